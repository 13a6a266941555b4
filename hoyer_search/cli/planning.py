"""Commands that tell what a sweep would be, before one runs."""

import typing
from collections.abc import Callable
from pathlib import Path

import click
from rich.table import Table

from hoyer_search import spaces
from hoyer_search.cli.options import Command, json_option, set_option
from hoyer_search.cli.terminal import kept_for_json, out, print_json, print_pairs
from hoyer_search.config import StoppingName, SweepConfig


@click.command("spaces")
@json_option
def list_spaces(as_json: bool) -> None:
    """List the built-in search spaces.

    \b
    hoyer-search spaces
    hoyer-search spaces --json
    """
    configs = {name: spaces.load(name) for name in spaces.builtin()}
    if as_json:
        print_json({name: c.model_dump(mode="json") for name, c in configs.items()})
        return
    table = Table(box=None, pad_edge=False)
    for column in ("space", "trials", "searches", "what it is"):
        table.add_column(column)
    for name, c in configs.items():
        searched = ", ".join([*c.search.dimensions, *_curve(c)])
        table.add_row(name, str(c.budget.trials), searched, c.description)
    out.print(table)


@click.command()
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
    with kept_for_json(as_json):
        estimate = plan_sweep(config)
    if as_json:
        print_json(estimate)
        return
    print_pairs({k: v for k, v in estimate.items() if k != "layers"})
    layers = Table(title="prunable layers", title_justify="left", box=None, pad_edge=False)
    for column in ("layer", "shape", "weights", "MACs"):
        layers.add_column(column, justify="left" if column in ("layer", "shape") else "right")
    for row in estimate["layers"]:
        shape = "x".join(map(str, row["shape"]))
        layers.add_row(row["name"], shape, f"{row['weights']:,}", f"{row['macs']:,}")
    out.print(layers)


def _count(name: str, *, default: int, description: str) -> Callable[[Command], Command]:
    return click.option(
        name, type=click.IntRange(1), default=default, show_default=True, help=description
    )


@click.command()
@click.argument("recording", type=click.Path(path_type=Path))
@click.option(
    "--sampler", default="auto", show_default=True, help="Sampler, SAMPLER-joint, or METHOD+RULE."
)
@click.option("--against", multiple=True, help="Method to test it against; repeatable.")
@_count("--trials", default=20, description="Budget of each sweep.")
@_count("--workers", default=1, description="Trials at once.")
@_count("--seeds", default=40, description="Sweeps of each method.")
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
    """Replay recorded trainings as sweeps in virtual time, to compare search methods.

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
        print_json(document)
        return
    for table in tables(document):
        out.print(table)


def _curve(config: SweepConfig) -> list[str]:
    return ["threshold (whole curve)"] if config.search.threshold == "curve" else []
