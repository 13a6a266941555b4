"""Commands that take pruned networks out of sweeps, measure, make and convert them."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from hoyer_search import spaces
from hoyer_search.cli.options import json_option, storage_option
from hoyer_search.cli.terminal import kept_for_json, out, print_json, print_pairs, say
from hoyer_search.client import DEFAULT_STORAGE
from hoyer_search.reading import POINT_KEYS
from hoyer_search.tracking.address import default_uri

if TYPE_CHECKING:
    from hoyer_search.compression.thresholds import Granularity, Rule
    from hoyer_search.exporting import Format
    from hoyer_search.reading import Sweep


@click.command()
@click.argument("sweep_name", metavar="SWEEP")
@click.option("--point", help="Operating point, 'knee', 'best', or UID-K.")
@click.option("--min-accuracy", type=float, help="Least validation accuracy, in [0, 1].")
@click.option("--max-macs", type=float, help="Most logical MACs of one example.")
@click.option("--max-latency-ms", type=float, help="Most milliseconds for one example.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="New folder to write."
)
@storage_option
@click.option("--tracking-uri", help="MLflow store to pull from, in place of the sweep's folder.")
@json_option
def pull(
    sweep_name: str,
    point: str | None,
    min_accuracy: float | None,
    max_macs: float | None,
    max_latency_ms: float | None,
    output: Path,
    storage: Path,
    tracking_uri: str | None,
    as_json: bool,
) -> None:
    """Copy a pruned network into a folder of its own, from a sweep's folder or from MLflow.

    SWEEP is a sweep's name, or models:/NAME@ALIAS of MLflow's registry. Of --min-accuracy,
    --max-macs and --max-latency-ms any may be given together.

    \b
    hoyer-search pull SWEEP --point B -o best/
    hoyer-search pull SWEEP --min-accuracy 0.98 --max-macs 2e5 -o best/
    hoyer-search pull SWEEP --point B --tracking-uri https://mlflow.example -o best/
    hoyer-search pull models:/hoyer-mnist-lenet_5@B --tracking-uri https://mlflow.example -o best/
    """
    bounds = {
        "min_accuracy": min_accuracy,
        "max_macs": max_macs,
        "max_latency_ms": max_latency_ms,
    }
    bounded = any(bound is not None for bound in bounds.values())
    if sweep_name.startswith("models:"):
        if point is not None or bounded:
            raise click.UsageError("models:/NAME@ALIAS names one network: give no other choice")
        if tracking_uri is None and storage != Path(DEFAULT_STORAGE):
            tracking_uri = default_uri(storage)
        _pull_registered(sweep_name, output, tracking_uri, as_json=as_json)
        return
    if (point is not None) == bounded:
        raise click.UsageError(
            "give either --point, e.g. --point A, or some of --min-accuracy, --max-macs and "
            "--max-latency-ms"
        )
    sweep = _open(sweep_name, storage, tracking_uri)
    chosen = sweep.point(point) if point is not None else sweep.best(**bounds)
    folder = chosen.pull(output)
    record = chosen.record
    if as_json:
        shown = {key: getattr(record, key) for key in POINT_KEYS}
        print_json({"folder": str(folder), "point": record.name} | shown)
        return
    say(
        f"{folder}: {record.structure}, {record.nonzeros:,} nonzeros, {record.macs:,} MACs, "
        f"test accuracy {record.test_accuracy:.2%}"
    )
    say(f"measure it again: {_evaluate_line(output)}")


def _evaluate_line(folder: Path) -> str:
    """Returns the command that measures an artefact, with what a file may not name by itself."""
    from hoyer_search.compression.artifact import read_artifact

    architecture = read_artifact(folder).architecture
    data = architecture.origin.get("data") or {}
    command = ["hoyer-search", "evaluate", str(folder)]
    for option, name in (("--factory", architecture.factory), ("--data", data.get("source", ""))):
        command += [option, name] if ":" in name else []
    return shlex.join(command)


def _open(name: str, storage: Path, tracking_uri: str | None) -> "Sweep":
    from hoyer_search.client import open_sweep

    if tracking_uri is None:
        return open_sweep(name, storage=storage)
    return open_sweep(name, tracking_uri=tracking_uri)


def _pull_registered(uri: str, output: Path, tracking_uri: str | None, *, as_json: bool) -> None:
    from hoyer_search.client import pull_model

    folder = pull_model(uri, output, tracking_uri=tracking_uri)
    if as_json:
        print_json({"folder": str(folder), "model": uri})
        return
    say(f"{folder}: {uri}")
    say(f"measure it again: {_evaluate_line(output)}")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--factory", help="Model factory of a network that is not built in.")
@click.option("--data", "source", help="Data source, when it is not built in.")
@json_option
def evaluate(folder: Path, factory: str | None, source: str | None, as_json: bool) -> None:
    """Measure a pulled or compressed network from scratch: accuracy, size, speed, exactness.

    \b
    hoyer-search evaluate best/
    hoyer-search evaluate best/ --factory my_models:small_net --data my_data:load
    """
    from hoyer_search.evaluation import evaluate_artifact

    with kept_for_json(as_json):
        measured = evaluate_artifact(folder, factory=factory, source=source)
    if as_json:
        print_json(measured)
        return
    print_pairs({key: value for key, value in measured.items() if value is not None})


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "kind",
    type=click.Choice(["torch-export", "onnx", "masked"]),
    required=True,
    help="A program for torch.export.load, one for ONNX runtimes, or full-size weights with zeros.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="New file to write."
)
@click.option("--factory", help="Model factory of a network that is not built in.")
@json_option
def export(folder: Path, kind: "Format", output: Path, factory: str | None, as_json: bool) -> None:
    """Write a pulled or compressed network in another format, and check what was written.

    \b
    hoyer-search export best/ --format torch-export -o best.pt2
    hoyer-search export best/ --format onnx -o best.onnx
    hoyer-search export best/ --format masked -o best.safetensors
    """
    from hoyer_search.exporting import export_artifact

    with kept_for_json(as_json):
        exported = export_artifact(folder, output, kind=kind, factory=factory)
    if as_json:
        print_json(exported)
        return
    print_pairs(exported)


@click.command()
@click.argument("model")
@click.option("--weights", required=True, help="Trained weights: a file, or torchvision's name.")
@click.option(
    "--rule",
    type=click.Choice(["absolute", "std_ratio"]),
    default="absolute",
    show_default=True,
    help="Unit of the threshold: that of the weights, or each layer's standard deviation.",
)
@click.option("--threshold", type=float, required=True, help="Weights under it become zero.")
@click.option(
    "--granularity",
    type=click.Choice(["element", "structural"]),
    default="element",
    show_default=True,
    help="Zero single weights, or filters and channels with every weight under the threshold.",
)
@click.option(
    "--round-to", type=click.IntRange(1), default=1, show_default=True, help="Multiple of widths."
)
@click.option(
    "--gather", is_flag=True, help="Copy what a layer reads of a wider input: fewer MACs."
)
@click.option("--input-shape", metavar="C,H,W", help="Shape of one example, for your own network.")
@click.option(
    "--argument",
    "arguments",
    multiple=True,
    metavar="NAME=VALUE",
    help="Argument of the factory; repeatable.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="New folder to write."
)
@json_option
def compress(
    model: str,
    weights: str,
    rule: "Rule",
    threshold: float,
    granularity: "Granularity",
    round_to: int,
    gather: bool,
    input_shape: str | None,
    arguments: tuple[str, ...],
    output: Path,
    as_json: bool,
) -> None:
    """Prune and shrink a trained network of your own, without a sweep and without training.

    MODEL is the name of a built-in network or PACKAGE.MODULE:FUNCTION. The new folder is what
    `evaluate`, `export` and load_artifact() take.

    \b
    hoyer-search compress resnet50 --weights mine.pth --threshold 1e-4 -o small/
    hoyer-search compress my_models:net --weights net.safetensors --input-shape 3,32,32 \\
        --rule std_ratio --threshold 0.5 --granularity structural -o small/
    """
    from hoyer_search.compressing import compress as compress_network

    with kept_for_json(as_json):
        metrics = compress_network(
            model,
            output,
            weights=weights,
            threshold=threshold,
            rule=rule,
            granularity=granularity,
            round_to=round_to,
            gather=gather,
            input_shape=_shape(input_shape),
            arguments=dict(map(_argument, arguments)),
        )
    if as_json:
        print_json(metrics | {"folder": str(output)})
        return
    _print_compressed(metrics)
    say(f"measure it again: {_evaluate_line(output)}")


def _argument(text: str) -> tuple[str, Any]:
    return spaces.parse_override(text, option="--argument", form="NAME=VALUE, e.g. width=32")


def _shape(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(size) for size in text.split(",")]
    except ValueError as error:
        raise click.BadParameter(f"give numbers as 3,224,224; got {text!r}") from error


def _print_compressed(metrics: dict[str, Any]) -> None:
    layers = Table(title="layers", title_justify="left", box=None, pad_edge=False)
    for column in ("layer", "weights", "nonzeros", "rows", "columns", "MACs"):
        layers.add_column(column, justify="left" if column == "layer" else "right")
    for row in metrics["layers"]:
        counts = [row[k] for k in ("weights", "nonzeros", "rows", "columns", "macs")]
        layers.add_row(row["name"], *(f"{count:,}" for count in counts))
    out.print(layers)
    for stayed in metrics["stayed"]:
        what = f"{stayed['count']} zero {stayed['side']} of {stayed['layer']}"
        say(f"stayed: {what}: {stayed['reason']}")
    dense = metrics["dense"]
    for key in ("nonzeros", "macs", "physical_macs", "parameters"):
        ratio = dense[key] / max(metrics[key], 1)
        say(f"{key.replace('_', ' '):<20} {dense[key]:,} -> {metrics[key]:,} ({ratio:.2f}x less)")
    for key in ("latency_ms", "examples_per_second"):
        before, after = metrics[key]["dense"], metrics[key]["shrunk"]
        say(f"{key.replace('_', ' '):<20} {before:.4g} -> {after:.4g}")
    say(f"{'largest difference':<20} {metrics['exactness']:.1e} (shrunk against masked, float64)")
