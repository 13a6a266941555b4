"use strict";
const root = document.documentElement;
const dark = matchMedia("(prefers-color-scheme: dark)");
const network = page.network;
let chosen = network ? network.first : null;

const percent = (share) => `${(100 * share).toFixed(2)}%`;
const digits = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const whole = (value) => digits.format(value);
const times = (value) => `${value.toFixed(value < 10 ? 2 : 1)}x`;
const short = (value) =>
  typeof value === "number" ? String(Number(value.toPrecision(4))) : String(value);

function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function point(index) {
  const columns = Object.entries(network.points).map(([name, values]) => [name, values[index]]);
  const params = Object.entries(network.params).map(([name, values]) => [name, values[index]]);
  return { ...Object.fromEntries(columns), params };
}

function settings(one) {
  return [...one.params.filter(([, value]) => value !== null), ["threshold", one.threshold]]
    .map(([name, value]) => `${name} ${short(value)}`).join(", ");
}

// The figures' hover texts are made here: thousands of them would be a large part of the file.
function hover(index) {
  const one = point(index);
  const escaped = settings(one).replace(/&/g, "&amp;").replace(/</g, "&lt;");
  return [
    `<b>trial ${one.trial}</b>: ${times(one.compression)}`,
    `${percent(one.val)} validation, ${percent(one.test)} test`,
    `${whole(one.nonzeros)} nonzeros, ${whole(one.macs)} MACs`,
    `structure ${one.structure}`, escaped,
  ].join("<br>");
}

const margin = { l: 70, r: 20, t: 40, b: 55 };
const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();

// The first sight of accuracy against compression, in milliseconds: compiling plotly.js alone
// takes a slow machine seconds. Plotly's own chart then takes its place.
function sketch(id) {
  const { data, layout } = page.figures[id];
  const box = document.getElementById(id);
  const [width, height] = [box.clientWidth, layout.height];
  const canvas = make("canvas", { width: width * devicePixelRatio, height: height * devicePixelRatio,
    style: `display: block; width: ${width}px; height: ${height}px` });
  const pen = canvas.getContext("2d");
  pen.scale(devicePixelRatio, devicePixelRatio);
  const place = ([low, high], share) => (share - low) / (high - low);
  const { l, r, t, b } = margin;
  const across = (x) => l + place(layout.xaxis.range, Math.log10(x)) * (width - l - r);
  const down = (y) => t + (1 - place(layout.yaxis.range, y)) * (height - t - b);
  pen.font = "13px system-ui, sans-serif";
  pen.fillStyle = colour("--text");
  pen.textAlign = "center";
  layout.xaxis.tickvals.forEach((x, k) =>
    pen.fillText(layout.xaxis.ticktext[k], across(x), height - b + 18));
  pen.textAlign = "left";
  for (const note of layout.annotations) pen.fillText(note.text, across(1) + 20, down(note.y) + 14);
  pen.rect(l, t, width - l - r, height - t - b);
  pen.clip();
  const floors = layout.shapes.map(({ y0, line }) => ({ x: [1e-9, 1e9], y: [y0, y0], line }));
  for (const trace of [...floors, ...data]) {
    pen.globalAlpha = trace.opacity ?? trace.marker?.opacity ?? 1;
    pen.setLineDash((trace.line?.dash ?? "solid") === "solid" ? [] : [2, 3]);
    if (trace.marker) sketchPoints(pen, trace, across, down);
    else sketchLine(pen, trace, across, down);
  }
  box.replaceChildren(canvas);
}

function sketchLine(pen, { x, y, line }, across, down) {
  pen.beginPath();
  pen.strokeStyle = line.color;
  pen.lineWidth = line.width;
  let move = true;
  x.forEach((at, k) => {
    if (at !== null) pen[move ? "moveTo" : "lineTo"](across(at), down(y[k]));
    move = at === null;
  });
  pen.stroke();
}

function sketchPoints(pen, { x, y, marker }, across, down) {
  pen.fillStyle = marker.color;
  x.forEach((at, k) => {
    pen.beginPath();
    pen.arc(across(at), down(y[k]), marker.size / 2, 0, 7);
    pen.fill();
  });
}

const undrawn = new Set(Object.keys(page.figures));

function draw() {
  for (const id of Object.keys(page.figures)) drawOne(id);
}

// A figure after the other, so that a reader of thousands of trials need not wait for the last.
// A browser calls no frame idle that it does not show, such as MLflow's while its page unfolds,
// and may go on so when it does: hence the limit, in milliseconds.
function drawLater() {
  (window.requestIdleCallback ?? setTimeout)(() => {
    const [next] = undrawn;
    if (next === undefined) return;
    if (window.Plotly) drawOne(next);
    else compile();
    drawLater();
  }, { timeout: 1000 });
}

function compile() {
  document.head.append(make("script", {}, document.getElementById("plotly").textContent));
}

function drawOne(id) {
  if (!window.Plotly) compile();
  const box = document.getElementById(id);
  const first = undrawn.delete(id);
  if (first) box.replaceChildren();
  const figure = page.figures[id];
  const layout = structuredClone(figure.layout);
  layout.paper_bgcolor = layout.plot_bgcolor = "rgba(0,0,0,0)";
  layout.font = { color: colour("--text"), family: "system-ui, sans-serif", size: 13 };
  layout.hoverlabel = { bgcolor: colour("--panel"), bordercolor: colour("--grid"),
    font: { color: colour("--text") }, align: "left" };
  layout.modebar = { bgcolor: "rgba(0,0,0,0)", color: colour("--soft"),
    activecolor: colour("--text") };
  layout.margin ??= { ...margin };
  for (const name of Object.keys(layout).filter((key) => /^[xy]axis\d*$/.test(key))) {
    Object.assign(layout[name], { gridcolor: colour("--grid"), linecolor: colour("--grid"),
      zeroline: false, automargin: true });
  }
  const data = figure.data.map((trace) => ({ ...trace }));
  for (const trace of data) {
    if (trace.type === "parcoords") {
      trace.labelfont = trace.tickfont = { color: colour("--text"), size: 12 };
      trace.rangefont = { color: "rgba(0,0,0,0)" };
    }
    if (network && trace.customdata) trace.hovertext = trace.customdata.map(hover);
  }
  if (id === "front" && network) data.push(ring(colour("--text")));
  // Plotly measures its place the first time only, and paper is narrower than the window.
  layout.width = box.clientWidth || undefined;
  Plotly.react(id, data, layout, { responsive: true, displaylogo: false,
    modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]] });
  delete layout.width; // with a fixed one it would not follow the window
  if (first && id === "front" && network) box.on("plotly_click", (event) => {
    const index = event.points[0].customdata;
    if (index !== undefined) choose(index);
  });
}

function ring(colour) {
  const { compression, val } = point(chosen);
  return { type: "scatter", mode: "markers", x: [compression], y: [val], hoverinfo: "skip",
    showlegend: false,
    marker: { symbol: "circle-open", size: 20, color: colour, line: { width: 2.5 } } };
}

function choose(index) {
  chosen = index;
  const { compression, val } = point(index);
  const place = { x: [[compression]], y: [[val]] };
  if (!undrawn.has("front")) Plotly.restyle("front", place, [page.figures.front.data.length]);
  describe();
}

function describe() {
  const select = document.getElementById("chosen");
  select.value = network.order.includes(chosen) ? String(chosen) : "";
  document.getElementById("network").replaceChildren(
    facts(point(chosen)), ...layers(network.layers[chosen]));
}

function facts(one) {
  const dense = network.dense;
  const name = network.labels[chosen] ?? `Trial ${one.trial}`;
  const fewer = (count, all) =>
    `${whole(count)} of ${whole(all)}${count ? ` (${times(all / count)} fewer)` : ""}`;
  const rows = make("dl", { class: "facts" });
  const add = (term, value, wide = false) => rows.append(
    make("dt", {}, term), make("dd", wide ? { class: "wide" } : {}, value));
  add("Validation", `${percent(one.val)}, ${percent(one.raw)} before finetuning`);
  add("Test", `${percent(one.test)} (dense ${percent(dense.test)})`);
  add("Nonzero weights", fewer(one.nonzeros, dense.nonzeros));
  add("MACs", `${fewer(one.macs, dense.macs)}, ${whole(one.physical_macs)} as it runs`);
  add("Structure", `${one.structure} of ${dense.structure}`);
  add("Parameters", `${whole(one.parameters)} of ${whole(dense.parameters)}`);
  add("One example", pair(one.dense_latency, one.latency, "ms", one.dense_latency / one.latency));
  if (one.rate) add("Batches of 16", pair(one.dense_rate, one.rate, "/s", one.rate / one.dense_rate));
  add("Settings", settings(one), true);
  const run = network.runs[one.uid];
  add("Trial", `#${String(one.trial).padStart(3, "0")}, ${one.uid}`, !run);
  if (run) add("MLflow run", copyable(run, "run"));
  const pull = network.pull[chosen];
  add("Pull", pull ? copyable(pull, "pull") : "networks of the front only", true);
  const box = make("div", {}, make("h3", {}, `${name}: ${times(one.compression)} fewer ` +
    `${network.unit} at ${percent(one.val)}`), rows);
  return box;
}

function pair(dense, shrunk, unit, gain) {
  const largest = Math.max(dense, shrunk);
  const text = (words) => make("span", {}, words);
  const bar = (kind, value) => {
    const made = make("i", { class: kind });
    made.style.width = `${100 * value / largest}%`;
    return made;
  };
  return make("div", { class: "pair" },
    text("dense"), bar("dense", dense), text(`${short(dense)} ${unit}`),
    text("shrunk"), bar("shrunk", shrunk), text(`${short(shrunk)} ${unit}, ${times(gain)}`));
}

function copyable(text, id) {
  const code = make("code", { id }, text);
  const button = make("button", { type: "button" }, "Copy");
  button.addEventListener("click", () => {
    getSelection().selectAllChildren(code);
    // Inside MLflow's frame the newer clipboard interface is not allowed.
    button.textContent = document.execCommand("copy") ? "Copied" : "Press Ctrl-C";
  });
  return make("span", {}, code, button);
}

function layers(rows) {
  if (!rows) return [make("p", { class: "soft" },
    `Layers are shown for networks of the front, at most ${network.detailed} of them.`)];
  const uid = network.points.uid[chosen];
  const stages = [network.histograms.dense, network.histograms.regularized[uid],
    network.histograms.finetuned[chosen]];
  const drawn = stages.every(Boolean);
  const head = ["Layer", "Density", "Nonzeros", "Filters × channels", "MACs",
    ...(drawn ? ["Range", "Dense", "Regularized", "Finetuned"] : [])];
  const body = rows.map(([name, weights, nonzeros, filters, channels, macs]) => {
    const density = make("td", { class: "share" }, percent(nonzeros / weights));
    density.style.setProperty("--share", `${100 * nonzeros / weights}%`);
    const row = make("tr", {}, make("td", {}, name), density,
      ...[`${whole(nonzeros)} of ${whole(weights)}`, `${whole(filters)} × ${whole(channels)}`,
        whole(macs)].map((words) => make("td", {}, words)));
    if (drawn) {
      const shown = stages.map((stage) => stage[name] ?? [0, []]);
      const limit = Math.max(...shown.map(([one]) => one));
      row.append(make("td", {}, `±${short(Number(limit.toPrecision(2)))}`),
        ...shown.map((one) => make("td", {}, histogram(one, limit))));
    }
    return row;
  });
  const note = drawn ? "Histograms are of nonzero weights, with logarithmic heights; the range is " +
    "that of a row." : "The trial was made by an older version, which kept no histograms.";
  return [make("div", { class: "scroll" }, make("table", { class: "layers" },
    make("thead", {}, make("tr", {}, ...head.map((one) => make("th", {}, one)))),
    make("tbody", {}, ...body))), make("p", { class: "soft" }, note)];
}

function histogram([limit, counts], widest) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 132 38");
  const base = document.createElementNS(space, "line");
  for (const [key, value] of [["x1", 0], ["x2", 132], ["y1", 37.5], ["y2", 37.5]]) {
    base.setAttribute(key, value);
  }
  const bars = document.createElementNS(space, "path");
  const width = 132 * (widest ? limit / widest : 0) / counts.length;
  const left = 66 - width * counts.length / 2;
  const largest = Math.log1p(Math.max(1, ...counts));
  bars.setAttribute("d", counts.map((count, bin) => count === 0 ? "" :
    `M${(left + bin * width).toFixed(2)} 37v${(-36 * Math.log1p(count) / largest).toFixed(2)}` +
    `h${width.toFixed(2)}V37z`).join(""));
  svg.append(base, bars);
  return svg;
}

function offer() {
  const select = document.getElementById("chosen");
  select.append(make("option", { value: "", hidden: "" }, "a network off the front"));
  for (const index of network.order) {
    const { compression, val, trial } = point(index);
    const label = network.labels[index];
    select.append(make("option", { value: index },
      `${label ? `${label}: ` : ""}${times(compression)} at ${percent(val)}, trial ${trial}`));
  }
  select.addEventListener("change", () => choose(Number(select.value)));
}

if (page.figures.front) sketch("front");
if (network) { offer(); describe(); }
addEventListener("load", drawLater);
dark.addEventListener("change", draw);
addEventListener("beforeprint", () => { root.dataset.print = ""; draw(); });
addEventListener("afterprint", () => { delete root.dataset.print; draw(); });
