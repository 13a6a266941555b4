"""The command line: every command is a thin face of a function that Python has too."""

import json
import logging
import sys
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from hoyer_search import __version__, spaces
from hoyer_search.client import DEFAULT_STORAGE
from hoyer_search.config import StoppingName, SweepConfig
from hoyer_search.confirmation import confirmations, confirmed_by_point, verdict
from hoyer_search.display import Display, clock, confirmations_table, points_table
from hoyer_search.ending import more_budget, stop_text
from hoyer_search.errors import HoyerSearchError, InputError
from hoyer_search.front import Front
from hoyer_search.results import Event, Finished
from hoyer_search.store import SweepFolder

if TYPE_CHECKING:
    from hoyer_search.compression.thresholds import Granularity, Rule
    from hoyer_search.exporting import Format

# Where no terminal says how wide it is (a pipe, a log file), tables get room for every column.
_width = None if sys.stdout.isatty() else 140
_out, _err = Console(width=_width), Console(stderr=True)
EXIT_ERROR, EXIT_INPUT, EXIT_INTERRUPTED = 1, 2, 130

storage_option = click.option(
    "--storage",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_STORAGE,
    show_default=True,
    help="Folder that holds sweeps.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
tracking_option = click.option(
    "--tracking-uri", help="MLflow store or server.  [default: sqlite:///STORAGE/mlflow.db]"
)
address_option = click.option(
    "--address", help="Ray cluster as HOST:PORT.  [default: Ray inside this process]"
)
set_option = click.option(
    "--set", "settings", multiple=True, metavar="PATH=VALUE", help="Change a field; repeatable."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="hoyer-search")
def cli() -> None:
    """Find the sparsest network at a given accuracy, with DeepHoyer regularizers.

    \b
    hoyer-search run quickstart             a sweep on this machine, a few minutes
    hoyer-search show SWEEP                 its Pareto front
    hoyer-search pull SWEEP --point B -o best/
    hoyer-search evaluate best/             the pulled network, measured again
    hoyer-search export best/ --format onnx -o best.onnx
    hoyer-search compress resnet50 --weights mine.pth --threshold 1e-4 -o small/
    """


@cli.command()
@click.argument("space")
@click.option("--name", help="Name of the sweep.  [default: the space's, with date and time]")
@storage_option
@tracking_option
@address_option
@set_option
def run(
    space: str,
    name: str | None,
    storage: Path,
    tracking_uri: str | None,
    address: str | None,
    settings: tuple[str, ...],
) -> None:
    """Run a sweep: SPACE is a built-in search space or a YAML file.

    \b
    hoyer-search run quickstart
    hoyer-search run lenet300-mnist-element --set budget.trials=40 --name big
    hoyer-search run my-space.yaml --address head.example:6379
    """
    from hoyer_search import sweep

    config = spaces.load(space, overrides=dict(map(spaces.parse_override, settings)))
    name = name or sweep.default_name(config)
    _follow(
        name,
        storage,
        config.budget.trials,
        lambda on_event: sweep.run(
            config,
            name=name,
            storage=storage,
            tracking_uri=tracking_uri,
            address=address,
            on_event=on_event,
        ),
        tracking_uri=tracking_uri,
    )


@cli.command()
@click.argument("sweep_name", metavar="SWEEP")
@storage_option
@tracking_option
@address_option
@set_option
def resume(
    sweep_name: str,
    storage: Path,
    tracking_uri: str | None,
    address: str | None,
    settings: tuple[str, ...],
) -> None:
    """Go on with a sweep: one that was interrupted, or one that is given more budget.

    Of its configuration budget.*, resources.* and confirm may change; they stay changed.

    \b
    hoyer-search resume quickstart-20261122-101500
    hoyer-search resume quickstart-20261122-101500 --set budget.trials=40
    hoyer-search resume quickstart-20261122-101500 --set confirm=3
    """
    from hoyer_search import sweep

    overrides = dict(map(spaces.parse_override, settings))
    folder = SweepFolder.open(storage, sweep_name)
    trials = sweep.changed_config(folder, overrides).budget.trials
    _follow(
        sweep_name,
        storage,
        trials,
        lambda on_event: sweep.resume(
            sweep_name,
            storage=storage,
            tracking_uri=tracking_uri,
            address=address,
            overrides=overrides,
            on_event=on_event,
        ),
        tracking_uri=tracking_uri,
    )


@cli.command()
@click.argument("sweep_name", metavar="SWEEP")
@storage_option
@json_option
def show(sweep_name: str, storage: Path, as_json: bool) -> None:
    """Print a sweep's state, its Pareto front and its operating points.

    \b
    hoyer-search show quickstart-20261122-101500
    hoyer-search show SWEEP --json | jq .points.A.nonzeros
    """
    from hoyer_search.client import open_sweep

    opened = open_sweep(sweep_name, storage=storage)
    if as_json:
        _print_json(opened.describe())
        return
    _print_sweep(sweep_name, storage)


@cli.command()
@click.argument("sweep_name", metavar="SWEEP")
@click.option("--point", help="Operating point, 'knee', 'best', or UID-K.")
@click.option("--min-accuracy", type=float, help="Least validation accuracy, in [0, 1].")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="New folder to write."
)
@storage_option
@json_option
def pull(
    sweep_name: str,
    point: str | None,
    min_accuracy: float | None,
    output: Path,
    storage: Path,
    as_json: bool,
) -> None:
    """Copy a pruned network out of a sweep, into a folder of its own.

    \b
    hoyer-search pull SWEEP --point B -o best/
    hoyer-search pull SWEEP --min-accuracy 0.98 -o best/
    """
    from hoyer_search.client import open_sweep

    if (point is not None) == (min_accuracy is not None):
        raise click.UsageError("give either --point, e.g. --point A, or --min-accuracy")
    opened = open_sweep(sweep_name, storage=storage)
    chosen = opened.point(point) if point else opened.best(min_accuracy=min_accuracy or 0.0)
    folder = chosen.pull(output)
    record = chosen.record
    if as_json:
        _print_json({"folder": str(folder), "point": record.name, "trial": record.trial})
        return
    _say(
        f"{folder}: {record.structure}, {record.nonzeros:,} nonzeros, {record.macs:,} MACs, "
        f"test accuracy {record.test_accuracy:.2%}"
    )
    _say(f"measure it again: hoyer-search evaluate {output}")


@cli.command()
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

    measured = evaluate_artifact(folder, factory=factory, source=source)
    if as_json:
        _print_json(measured)
        return
    _print_pairs({key: value for key, value in measured.items() if value is not None})


@cli.command()
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

    exported = export_artifact(folder, output, kind=kind, factory=factory)
    if as_json:
        _print_json(exported)
        return
    _print_pairs(exported)


@cli.command()
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

    metrics = compress_network(
        model,
        output,
        weights=weights,
        threshold=threshold,
        rule=rule,
        granularity=granularity,
        round_to=round_to,
        input_shape=_shape(input_shape),
        arguments=dict(map(spaces.parse_override, arguments)),
    )
    if as_json:
        _print_json(metrics | {"folder": str(output)})
        return
    _print_compressed(metrics)
    _say(f"measure it again: hoyer-search evaluate {output}")


@cli.command()
@storage_option
@tracking_option
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
def ui(storage: Path, tracking_uri: str | None, port: int) -> None:
    """Open MLflow on the sweeps of a storage folder, on this machine only.

    \b
    hoyer-search ui
    hoyer-search ui --storage /data/runs --port 5050
    """
    from hoyer_search import tracking

    uri = tracking_uri or tracking.default_uri(storage)
    tracking.serve_ui(uri, port=port)


@cli.command("spaces")
@json_option
def list_spaces(as_json: bool) -> None:
    """List the built-in search spaces.

    \b
    hoyer-search spaces
    hoyer-search spaces --json
    """
    configs = {name: spaces.load(name) for name in spaces.builtin()}
    if as_json:
        _print_json({name: c.model_dump(mode="json") for name, c in configs.items()})
        return
    table = Table(box=None, pad_edge=False)
    for column in ("space", "trials", "searches", "what it is"):
        table.add_column(column)
    for name, c in configs.items():
        searched = ", ".join([*c.search.dimensions, *_curve(c)])
        table.add_row(name, str(c.budget.trials), searched, c.description)
    _out.print(table)


@cli.command()
@click.argument("space")
@set_option
@json_option
def plan(space: str, settings: tuple[str, ...], as_json: bool) -> None:
    """Check a search space and estimate what its sweep will cost, without running it.

    \b
    hoyer-search plan lenet5-mnist-element
    hoyer-search plan my-space.yaml --set budget.trials=100
    """
    from hoyer_search.planning import plan_sweep

    config = spaces.load(space, overrides=dict(map(spaces.parse_override, settings)))
    estimate = plan_sweep(config)
    if as_json:
        _print_json(estimate)
        return
    _print_pairs({k: v for k, v in estimate.items() if k != "layers"})
    layers = Table(title="prunable layers", title_justify="left", box=None, pad_edge=False)
    for column in ("layer", "shape", "weights", "MACs"):
        layers.add_column(column, justify="left" if column in ("layer", "shape") else "right")
    for row in estimate["layers"]:
        shape = "x".join(map(str, row["shape"]))
        layers.add_row(row["name"], shape, f"{row['weights']:,}", f"{row['macs']:,}")
    _out.print(layers)


@cli.command()
@click.argument("recording", type=click.Path(path_type=Path))
@click.option(
    "--sampler", default="auto", show_default=True, help="Sampler, SAMPLER-joint, or METHOD+RULE."
)
@click.option("--against", multiple=True, help="Method to test it against; repeatable.")
@click.option("--trials", type=click.IntRange(1), default=20, show_default=True)
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True)
@click.option("--seeds", type=click.IntRange(1), default=40, show_default=True)
@click.option(
    "--early-stopping",
    type=click.Choice(typing.get_args(StoppingName)),
    help="Of methods that name none as METHOD+RULE.  [default: the recorded space's]",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="PNG of a plot to write.")
@json_option
def simulate(
    recording: Path,
    sampler: str,
    against: tuple[str, ...],
    trials: int,
    workers: int,
    seeds: int,
    early_stopping: StoppingName | None,
    output: Path | None,
    as_json: bool,
) -> None:
    r"""Replay recorded trainings as sweeps in virtual time, to compare search methods.

    \b
    hoyer-search simulate RECORDING --sampler gp --against tpe-joint -o plot.png
    hoyer-search simulate RECORDING --sampler random --workers 8 --trials 40 --json
    hoyer-search simulate RECORDING --sampler random+curve --against random+none
    """
    from hoyer_search.search.simulate.report import compare, tables

    document = compare(
        recording,
        methods=[sampler, *against],
        trials=trials,
        workers=workers,
        seeds=seeds,
        early_stopping=early_stopping,
        plot=output,
    )
    if as_json:
        _print_json(document)
        return
    for table in tables(document):
        _out.print(table)


def _follow(
    name: str,
    storage: Path,
    trials: int,
    search: Callable[[Callable[[Event], None]], Any],
    *,
    tracking_uri: str | None,
) -> None:
    """Runs a search with its display, and says at its end how to look, pull and resume."""

    def front() -> Front | None:
        return SweepFolder.open(storage, name).front()

    try:
        with Display(_out, trials=trials, get_front=front) as display:
            search(display.on_event)
    except KeyboardInterrupt:
        if (storage / name).is_dir():
            command = _command("resume", name, storage)
            _say(f"stopped; nothing is lost. Go on with: {command}", console=_err)
        raise
    _print_sweep(name, storage)
    from hoyer_search import sweep, tracking

    folder = SweepFolder.open(storage, name)
    uri = sweep.tracking_uri_of(folder, tracking_uri)
    _say(f"MLflow:  {tracking.sweep_link(folder, uri)}")
    if not uri.startswith("http"):
        _say(f"         while this runs: {_command('ui', '', storage)}")
    ended = front()
    best = next((n for n, p in ended.operating_points.items() if p), None) if ended else None
    if best is not None:
        _say(f"pull:    {_command('pull', f'{name} --point {best} -o best/', storage)}")


def _print_sweep(name: str, storage: Path) -> None:
    folder = SweepFolder.open(storage, name)
    front, ended = folder.front(), folder.results()
    failed = [r for r in ended if r.state == "failed"]
    head = f"sweep {name}: {folder.state()}, {len(ended)} of {len(folder.specs())} trials ended"
    stopped = sum(r.state == "stopped" for r in ended)
    if stopped:
        head += f", {stopped} of them early"
    if folder.config().protocol == "paper":
        head += ", selected on the TEST set (protocol: paper)"
    _say(head)
    if front is not None:
        dense = front.dense
        _say(
            f"dense:  {dense.structure}, {dense.nonzeros:,} weights, {dense.macs:,} MACs, "
            f"val {dense.val_accuracy:.2%}, test {dense.test_accuracy:.2%}"
        )
        if front.points:
            found = confirmations(front, folder.retrainings(), wanted=folder.config().confirm)
            parents = {r.uid: r.parent for r in ended if r.parent}
            _out.print(_front_table(front, parents, confirmed_by_point(found.values())))
            _out.print(points_table(front))
            if found:
                _out.print(confirmations_table(found))
    lost = {spec.uid: spec.parent for spec in folder.specs() if spec.parent is not None}
    for result in ended:
        if result.state == "complete" and result.uid in lost and result.parent is None:
            _say(
                f"trial {result.number} started from the dense network: the regularized network "
                f"of trial {lost[result.uid]} was gone"
            )
    earlier = folder.earlier()
    if earlier is not None:
        known = f"{len(earlier.trials)} trials of sweep {earlier.sweep}"
        _say(f"knew:    {known}; {earlier.left_out} more were outside of the search ranges")
    finished = folder.finished()
    if finished is not None:
        _print_stop(folder, finished)
    for result in failed:
        reason = (result.error or "no reason is known").strip().splitlines()[-1]
        _say(f"trial {result.number} failed: {reason}")


def _print_stop(folder: SweepFolder, finished: Finished) -> None:
    config = folder.config()
    _say(f"stopped: {stop_text(config, finished, folder.usage())}")
    more = more_budget(config, finished)
    if more is not None:
        command = _command("resume", f"{folder.name} --set {more}", folder.path.parent)
        _say(f"go on:   {command}")


def _front_table(
    front: Front, parents: Mapping[str, str], confirmed: Mapping[str, bool | None]
) -> Table:
    """Returns the front as a table.

    Args:
        front: The front.
        parents: By uid, the trial that a trial started from.
        confirmed: By name, whether a winner was confirmed by retrainings.
    """
    table = Table(title="Pareto front", title_justify="left", box=None, pad_edge=False)
    for column in ("val", "test", "nonzeros", "MACs", "smaller", "trial"):
        table.add_column(column, justify="right")
    for column in ("structure", *(["confirmed"] if confirmed else []), "parameters"):
        table.add_column(column)
    for p in front.points:
        params = ", ".join(f"{k}={_format(k, v)}" for k, v in p.params.items())
        table.add_row(
            f"{p.val_accuracy:.2%}",
            f"{p.test_accuracy:.2%}",
            f"{p.nonzeros:,}",
            f"{p.macs:,}",
            f"{front.compression(p):.1f}x",
            f"{p.trial} from {parents[p.uid]}" if p.uid in parents else str(p.trial),
            p.structure,
            *([verdict(confirmed[p.name]) if p.name in confirmed else ""] if confirmed else []),
            params,
        )
    return table


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
    _out.print(layers)
    for stayed in metrics["stayed"]:
        what = f"{stayed['count']} zero {stayed['side']} of {stayed['layer']}"
        _say(f"stayed: {what}: {stayed['reason']}")
    dense = metrics["dense"]
    for key in ("nonzeros", "macs", "physical_macs", "parameters"):
        ratio = dense[key] / max(metrics[key], 1)
        _say(f"{key.replace('_', ' '):<20} {dense[key]:,} -> {metrics[key]:,} ({ratio:.2f}x less)")
    for key in ("latency_ms", "examples_per_second"):
        before, after = metrics[key]["dense"], metrics[key]["shrunk"]
        _say(f"{key.replace('_', ' '):<20} {before:.4g} -> {after:.4g}")
    _say(f"{'largest difference':<20} {metrics['exactness']:.1e} (shrunk against masked, float64)")


def _curve(config: SweepConfig) -> list[str]:
    return ["threshold (whole curve)"] if config.search.threshold == "curve" else []


def _command(verb: str, arguments: str, storage: Path) -> str:
    where = "" if storage == Path(DEFAULT_STORAGE) else f" --storage {storage}"
    return f"hoyer-search {verb} {arguments}".strip() + where


def _format(key: str, value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_format(key, v)}" for k, v in value.items())
    if isinstance(value, float):
        if key.endswith("accuracy"):
            return f"{value:.2%}"
        if key.endswith("_hours"):
            return clock(3600 * value)
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def _print_pairs(values: dict[str, Any]) -> None:
    width = max(map(len, values))
    for key, value in values.items():
        _say(f"{key.removesuffix('_hours').replace('_', ' '):<{width}}  {_format(key, value)}")


def _print_json(document: Any) -> None:
    click.echo(json.dumps(document, indent=1))


def _say(text: str, *, console: Console = _out) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def main() -> None:
    """Runs the command line; exit codes are 0, 1 (failed), 2 (bad input), 130 (interrupted)."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        cli(prog_name="hoyer-search", standalone_mode=False)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(EXIT_INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except HoyerSearchError as error:
        _say(f"error: {error}", console=_err)
        sys.exit(EXIT_INPUT if isinstance(error, InputError) else EXIT_ERROR)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
