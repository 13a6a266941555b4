"""Commands that write what sweeps found, for people and for other programs."""

from pathlib import Path
from typing import Literal

import click

from hoyer_search.cli.options import json_option, storage_option
from hoyer_search.cli.summary import command_line, comparison_tables
from hoyer_search.cli.terminal import out, print_json, say
from hoyer_search.errors import InputError
from hoyer_search.store import SweepFolder


@click.command()
@click.argument("sweep_name", metavar="SWEEP")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="HTML file to write.  [default: STORAGE/SWEEP/report.html]",
)
@click.option(
    "--png",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write the figures into, as PNG.",
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write front.parquet, curves.parquet and trials.parquet into.",
)
@storage_option
@json_option
def report(
    sweep_name: str,
    output: Path | None,
    png: Path | None,
    data: Path | None,
    storage: Path,
    as_json: bool,
) -> None:
    """Write a sweep's report: one HTML file that needs no network.

    \b
    hoyer-search report quickstart-20261122-101500
    hoyer-search report SWEEP -o sweep.html --png figures/ --data tables/
    """
    from hoyer_search import tracking

    folder = SweepFolder.open(storage, sweep_name)
    if not folder.points():
        if folder.finished() is not None:
            raise InputError(
                f"no trial of sweep {sweep_name} reached its end: see why by "
                f"`{command_line('show', sweep_name, storage)}`"
            )
        raise InputError(
            f"sweep {sweep_name} has no finished trial yet: run it on with "
            f"`{command_line('resume', sweep_name, storage)}`"
        )
    path = output or folder.path / "report.html"
    written = tracking.write_report(folder, path, png=png, data=data)
    if as_json:
        print_json({"sweep": sweep_name, "files": list(map(str, written))})
        return
    for file in written:
        say(str(file))


@click.command()
@click.argument("sweep_names", metavar="SWEEP...", nargs=-1, required=True)
@click.option(
    "--with",
    "published",
    type=click.Choice(["paper"]),
    help="Published results beside them: Tables 1 to 6 of the DeepHoyer paper.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="HTML file to write, with the fronts on one chart.",
)
@storage_option
@json_option
def compare(
    sweep_names: tuple[str, ...],
    published: Literal["paper"] | None,
    output: Path | None,
    storage: Path,
    as_json: bool,
) -> None:
    """Compare sweeps of the same model, data and objective.

    The first sweep is the reference: its dense network and its floors hold for all.

    \b
    hoyer-search compare first second -o comparison.html
    hoyer-search compare first second third --json
    hoyer-search compare first --with paper
    """
    from hoyer_search import tracking
    from hoyer_search.comparison import compare as compare_sweeps

    comparison = compare_sweeps(*sweep_names, storage=storage, published=published)
    if output is not None:
        tracking.write_comparison(comparison, output)
    if as_json:
        print_json(comparison.describe())
        return
    for table in comparison_tables(comparison):
        out.print(table)
    if output is not None:
        say(str(output))
