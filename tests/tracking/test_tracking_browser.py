"""What a reader sees, in a real browser: MLflow's pages of a real sweep, and the report."""

import base64
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import toys
from conftest import Builder
from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait
from test_tracking_scale import large_sweep

from hoyer_search.store import SweepFolder
from hoyer_search.tracking import default_uri, registry, start_ui, write_report

pytestmark = [pytest.mark.browser, pytest.mark.slow]

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1900,1600",
]
POINTS = ".scatterlayer .points path.point"
ALONE = ["--set", "resources.workers=1"]
# The front has operating points of all letters, each kept by some network of a small sweep.
SPACE = toys.SPACE.replace("{A: 0.0, B: 0.05, C: 0.3}", "{A: 0.1, B: 0.2, C: 0.3, D: 0.6}")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    driver = shutil.which("chromedriver")
    assert driver, "install Chromium and its driver, e.g. apt-get install chromium chromium-driver"
    options = webdriver.ChromeOptions()
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "SEVERE"})
    with webdriver.Chrome(options=options, service=Service(driver)) as chrome:
        chrome.command_executor.client_config.timeout = (
            400  # a busy machine opens a page in minutes
        )
        chrome.set_page_load_timeout(390)
        yield chrome


@dataclass
class Served:
    """A real sweep, and MLflow's pages of it."""

    folder: SweepFolder
    printed: str
    port: int
    api: Any

    def at(self, address: str) -> str:
        """The address under the port of the test."""
        return address.replace(":5000/", f":{self.port}/")

    def page(self, path: str) -> str:
        """The address of one of MLflow's pages."""
        return f"http://127.0.0.1:{self.port}/#/{path}"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A sweep of three trials, run by the command line, and its pages."""
    from mlflow import MlflowClient

    place = tmp_path_factory.mktemp("real")
    (place / "toy.yaml").write_text(SPACE)
    tests = str(Path(toys.__file__).parent)
    paths = os.pathsep.join([tests, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": paths}
    main = [sys.executable, "-c", "from hoyer_search.cli import main; main()"]
    link = None
    # On a busy machine the sweep does not wait for all of the upload, and names this command.
    for arguments in (["run", "toy.yaml", "--name", "real", *ALONE], ["sync", "real"]):
        done = subprocess.run(
            [*main, *arguments], cwd=place, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        link = re.search(r"^MLflow:\s+(\S+)$", done.stdout, flags=re.MULTILINE) or link
    assert link is not None, done.stdout
    uri = default_uri(place / "runs")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    pages = start_ui(uri, port=port)
    try:
        api = MlflowClient(tracking_uri=uri, registry_uri=uri)
        yield Served(SweepFolder.open(place / "runs", "real"), link[1], port, api)
    finally:
        pages.terminate()
        pages.wait()


@pytest.fixture
def report(sweep: Builder, tmp_path: Path) -> Path:
    """The report of five trials."""
    sweep.pretrain()
    for number in range(5):
        sweep.trial(number)
    write_report(sweep.folder, tmp_path / "report.html")
    return tmp_path / "report.html"


def wait(browser: webdriver.Chrome, condition: Any, message: str) -> Any:
    return WebDriverWait(browser, 240).until(lambda _: condition(), message)


def count(browser: webdriver.Chrome, selector: str) -> int:
    found: int = browser.execute_script(
        "return document.querySelectorAll(arguments[0]).length", selector
    )
    return found


def wait_for_count(browser: webdriver.Chrome, selector: str, expected: int) -> None:
    try:
        wait(browser, lambda: count(browser, selector) == expected, "")
    except TimeoutException as error:
        console = [entry["message"] for entry in browser.get_log("browser")]
        raise AssertionError(
            f"{count(browser, selector)} of {expected} {selector}; console: {console}"
        ) from error


def body(browser: webdriver.Chrome) -> str:
    return str(browser.execute_script("return document.body.innerText"))


def run_ids(served: Served) -> dict[str, str]:
    """MLflow's run ids by uid; that of the sweep itself under the empty string."""
    experiment = served.api.get_experiment_by_name("hoyer/blobs-mlp")
    runs = served.api.search_runs([experiment.experiment_id])
    return {run.data.tags.get("hoyer.uid", ""): run.info.run_id for run in runs}


def test_the_printed_link_opens_on_a_point_a_trial_and_leads_to_its_run(
    served: Served, browser: webdriver.Chrome
) -> None:
    browser.get(served.at(served.printed))
    first_chart = f".js-plotly-plot:first-of-type {POINTS}"
    trials = len(served.folder.results())
    wait(browser, lambda: count(browser, first_chart) >= trials, "the chart's points")
    charts = browser.find_elements(By.CSS_SELECTOR, ".js-plotly-plot")
    assert len(charts[0].find_elements(By.CSS_SELECTOR, POINTS)) == trials
    text = body(browser)
    assert "Pareto front of real" in text
    assert "log2_compression vs. accuracy" in text
    front = served.folder.front()
    assert front is not None
    run_id = run_ids(served)[front.points[0].uid]
    name = served.api.get_run(run_id).info.run_name
    link = browser.find_element(By.PARTIAL_LINK_TEXT, name)
    assert run_id in str(link.get_attribute("href"))
    link.click()
    wait(browser, lambda: run_id in browser.current_url and name in body(browser), name)
    wait(browser, lambda: "log2_compression" in body(browser), "the run's metrics")


def test_the_sweeps_description_shows_links_picture_and_front(
    served: Served, browser: webdriver.Chrome
) -> None:
    parent = run_ids(served)[""]
    experiment = served.api.get_run(parent).info.experiment_id
    path = f"experiments/{experiment}/runs/{parent}?workflowType=machine_learning"
    browser.get(served.page(path))
    wait(browser, lambda: "Operating points" in body(browser), "the description")
    picture = browser.find_element(By.CSS_SELECTOR, "img[src*='front.png']")
    wait(
        browser,
        lambda: browser.execute_script("return arguments[0].naturalWidth > 100", picture),
        "the picture",
    )
    front = served.folder.front()
    assert front is not None
    for point in front.points:
        browser.find_element(By.CSS_SELECTOR, f"a[href*='{run_ids(served)[point.uid]}']")


def test_the_report_draws_inside_mlflow_and_names_the_runs(
    served: Served, browser: webdriver.Chrome
) -> None:
    ids = run_ids(served)
    experiment = served.api.get_run(ids[""]).info.experiment_id
    browser.get_log("browser")
    browser.get(served.page(f"experiments/{experiment}/runs/{ids['']}/artifacts/report.html"))
    frame = wait(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "iframe#html"), "frame")
    browser.switch_to.frame(frame[0])
    try:
        points = len(served.folder.points()) + 2  # the dense network, and a ring
        wait_for_count(browser, f"#front {POINTS}", points)
        front = served.folder.front()
        assert front is not None
        options = browser.find_elements(By.CSS_SELECTOR, "#chosen option[value]:not([hidden])")
        assert len(options) == len(front.points)
        for option, point in zip(options, front.points, strict=True):
            option.click()
            assert f"{point.nonzeros:,} of" in browser.find_element(By.ID, "network").text
            assert browser.find_element(By.ID, "run").text == ids[point.uid]
        for button in browser.find_elements(By.CSS_SELECTOR, "#network button"):
            button.click()
            assert button.text in ("Copied", "Press Ctrl-C")
    finally:
        browser.switch_to.default_content()
    assert errors_of_ours(browser, served) == []


def errors_of_ours(browser: webdriver.Chrome, served: Served) -> list[str]:
    """The errors in the console but those of MLflow's own scripts and requests."""
    own = f"http://127.0.0.1:{served.port}/"
    messages = [str(entry["message"]) for entry in browser.get_log("browser")]
    return [message for message in messages if not message.startswith(own)]


def test_the_registry_shows_the_aliases(served: Served, browser: webdriver.Chrome) -> None:
    front = served.folder.front()
    assert front is not None
    aliases = registry.aliases(front)
    assert set(aliases) == {"A", "B", "C", "D", "knee", "best"}
    (model,) = served.api.search_registered_models()
    browser.get(served.page(f"models/{model.name}"))
    rows = {
        name: f"Version {served.api.get_model_version_by_alias(model.name, name).version}"
        for name in aliases
    }

    def shown() -> bool:
        found = [row.text for row in browser.find_elements(By.CSS_SELECTOR, "[role=row]")]
        return all(
            any(version in row and f"@ {alias}" in row for row in found)
            for alias, version in rows.items()
        )

    wait(browser, shown, f"{rows} in {body(browser)}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_draws_without_a_network(
    sweep: Builder, report: Path, browser: webdriver.Chrome, scheme: str
) -> None:
    wanted = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [wanted]})
    browser.get_log("browser")
    browser.get(report.as_uri())
    points = len(sweep.folder.points()) + 2  # the dense network, and a ring around the chosen one
    wait_for_count(browser, f"#front {POINTS}", points)
    wait_for_count(browser, f"#progress {POINTS}", 2 * 6)
    wait_for_count(browser, "#parallel .y-axis", 5)
    wait_for_count(browser, "#timeline .bars path", 5)
    assert not browser.get_log("browser")
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    red = int(
        browser.execute_script(
            "return getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]"
        )
    )
    assert (red > 128) == (scheme == "light")


def test_the_report_draws_in_a_frame_that_was_not_seen_at_first(
    sweep: Builder, report: Path, browser: webdriver.Chrome
) -> None:
    page = report.with_name("frame.html")
    page.write_text(
        f'<iframe id="html" sandbox="allow-scripts" src="{report.name}" width="0" height="0">'
    )
    browser.get(page.as_uri())
    frame = browser.find_element(By.ID, "html")
    browser.execute_script("arguments[0].width = 1200; arguments[0].height = 800", frame)
    browser.switch_to.frame(frame)
    try:
        wait_for_count(browser, f"#front {POINTS}", len(sweep.folder.points()) + 2)
        wait_for_count(browser, ".js-plotly-plot", 4)
    finally:
        browser.switch_to.default_content()


def test_another_network_can_be_chosen(
    sweep: Builder, report: Path, browser: webdriver.Chrome
) -> None:
    browser.get(report.as_uri())
    wait(browser, lambda: count(browser, "#pull") == 1, "the panel")
    front = sweep.folder.front()
    assert front is not None
    last = front.points[-1]
    options = browser.find_elements(By.CSS_SELECTOR, "#chosen option")
    options[-1].click()
    panel = browser.find_element(By.ID, "network").text
    assert f"{last.nonzeros:,} of" in panel
    assert f"#{last.trial:03d}, {last.uid}" in panel
    pull = browser.find_element(By.ID, "pull").text
    assert pull.startswith("hoyer-search pull quick-1 --point ")
    for button in browser.find_elements(By.CSS_SELECTOR, "#network button"):
        button.click()
        assert button.text in ("Copied", "Press Ctrl-C")


def test_the_report_prints_with_its_charts_in_light_colours(
    sweep: Builder, report: Path, browser: webdriver.Chrome
) -> None:
    dark = {"name": "prefers-color-scheme", "value": "dark"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [dark]})
    with idle_held(browser):  # a reader may print before any chart is drawn
        browser.get(report.as_uri())
    browser.execute_script(WATCH_PRINTING)
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    pdf = base64.b64decode(printed["data"])
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) >= 2
    seen = browser.execute_script("return window.seen")
    points = len(sweep.folder.points()) + 2
    assert (seen["charts"], seen["points"]) == (4, points)
    assert seen["background"] == "rgb(255, 255, 255)"
    assert 0 < seen["width"] <= 720  # an A4 sheet between its margins
    after = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert after != seen["background"]


# What the page is when it is printed: its own listener has been called before this one.
WATCH_PRINTING = f"""
addEventListener("beforeprint", () => {{ window.seen = {{
  charts: document.querySelectorAll(".js-plotly-plot").length,
  points: document.querySelectorAll("#front {POINTS}").length,
  background: getComputedStyle(document.body).backgroundColor,
  width: document.querySelector("#front svg").getBoundingClientRect().width,
}}; }});
"""


def test_the_report_of_thousands_of_trials_opens_at_once(
    tmp_path: Path, browser: webdriver.Chrome
) -> None:
    path = tmp_path / "many.html"
    write_report(large_sweep(tmp_path / "large"), path)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    with idle_held(browser):
        browser.get(path.as_uri())
    opened = browser.execute_script(SECONDS)
    assert browser.execute_script("return typeof Plotly") == "undefined", "it takes seconds itself"
    assert browser.execute_script(SKETCHED) > 100, "the front is there to see"
    assert browser.find_element(By.ID, "pull").text
    assert count(browser, ".js-plotly-plot") == 0, "the charts come when the page is idle"
    while browser.execute_script("const call = idle; idle = null; call?.(); return idle !== null"):
        pass
    print(f"open after {opened:.2f} s")
    assert count(browser, ".js-plotly-plot") == 4
    assert count(browser, "#front canvas") == 0
    assert count(browser, f"#front {POINTS}") > 1000


# Not compared with anything: it is wall time, and other load is in it.
SECONDS = "return performance.getEntriesByType('navigation')[0].loadEventEnd / 1000"

# How many pixels of the sketch have the front's colour.
SKETCHED = """
const canvas = document.querySelector("#front canvas");
const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
let found = 0;
for (let at = 0; at < data.length; at += 4) {
  found += data[at] === 213 && data[at + 1] === 94 && data[at + 2] === 0;
}
return found;
"""


@contextmanager
def idle_held(browser: webdriver.Chrome) -> Iterator[None]:
    """A page opened within puts off for ever what it leaves for when it is idle."""
    source = "var idle = null; window.requestIdleCallback = (call) => { idle = call; };"
    held = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": source})
    yield
    browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", held)
