"""Commands that run sweeps and show them."""

import contextlib
import dataclasses
import shlex
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click

from hoyer_search import spaces
from hoyer_search.cli.jobs import job_arguments, print_submitted
from hoyer_search.cli.options import (
    address_option,
    job_options,
    json_option,
    set_option,
    storage_option,
    tracking_option,
)
from hoyer_search.cli.summary import command_line, print_sweep
from hoyer_search.cli.terminal import err, out, print_json, say
from hoyer_search.display import Display
from hoyer_search.ending import all_failed
from hoyer_search.errors import HoyerSearchError, InputError
from hoyer_search.front import Front
from hoyer_search.reading import Sweep
from hoyer_search.service import Job
from hoyer_search.store import SweepFolder, sweep_names
from hoyer_search.tracking.address import is_server, without_password


@click.command()
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
    search = partial(sweep.run, config, name=name, tracking_uri=tracking_uri, address=address)
    _follow(search, name, storage, spaces.num_trials(config), tracking_uri=tracking_uri)


@click.command()
@click.argument("sweep_name", metavar="SWEEP")
@storage_option
@tracking_option
@click.option(
    "--address",
    help="Ray cluster as HOST:PORT, or as http://HEAD:8265 to submit to.  "
    "[default: Ray inside this process]",
)
@job_options
@set_option
def resume(
    sweep_name: str,
    storage: Path,
    tracking_uri: str | None,
    address: str | None,
    settings: tuple[str, ...],
    **options: Any,
) -> None:
    """Go on with a sweep: one that was interrupted, or one that is given more budget.

    With an http address it goes on there as a job, as `submit` starts one.
    Of its configuration budget.*, resources.* and confirm may change; they stay changed.

    \b
    hoyer-search resume quickstart-20261122-101500
    hoyer-search resume quickstart-20261122-101500 --set budget.trials=40
    hoyer-search resume quickstart-20261122-101500 --set confirm=3
    hoyer-search resume SWEEP --address http://head:8265 --storage /shared/runs --working-dir .
    """
    from hoyer_search import sweep

    overrides = dict(map(spaces.parse_override, settings))
    if address is not None and address.startswith(("http://", "https://")):
        job = Job(sweep_name, storage, address)
        job.resume(tracking_uri=tracking_uri, overrides=overrides, **job_arguments(options))
        print_submitted(sweep_name, address, storage)
        return
    if options["working_dir"] or options["runtime_env"] or options["insecure"]:
        raise click.UsageError(
            "--working-dir, --runtime-env and --insecure are of a job: give --address http://HEAD:8265"
        )
    folder = SweepFolder.open(storage, sweep_name)
    trials = spaces.num_trials(sweep.changed_config(folder, overrides))
    search = partial(
        sweep.resume, sweep_name, tracking_uri=tracking_uri, address=address, overrides=overrides
    )
    ended = len(folder.results())
    _follow(search, sweep_name, storage, trials, tracking_uri=tracking_uri, ended=ended)


@click.command()
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
        print_json(opened.describe())
        return
    print_sweep(sweep_name, storage)


@click.command()
@click.argument("sweep_name", metavar="SWEEP")
@storage_option
@click.option(
    "--tracking-uri", help="MLflow store to fill.  [default: the one the sweep was started with]"
)
@json_option
def sync(sweep_name: str, storage: Path, tracking_uri: str | None, as_json: bool) -> None:
    """Bring MLflow up to date with a sweep's folder; what it lacks or lost is made again.

    What is there already is not sent twice, so it may be run at any time and as often as you like.

    \b
    hoyer-search sync SWEEP
    hoyer-search sync SWEEP --tracking-uri https://mlflow.example
    """
    from hoyer_search import sweep, tracking

    folder = SweepFolder.open(storage, sweep_name)
    uri = sweep.tracking_uri_of(folder, tracking_uri)
    tracking.check(uri)
    report = tracking.sync(folder, uri)
    if as_json:
        print_json(dataclasses.asdict(report))
        return
    say(
        f"made {report.runs} runs, sent {report.samples:,} values; {report.versions} networks are "
        "registered"
    )
    say(f"MLflow:  {report.link}")


@click.command()
@storage_option
@tracking_option
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=5000,
    show_default=True,
    help="Port to serve them on.",
)
def ui(storage: Path, tracking_uri: str | None, port: int) -> None:
    """Serve MLflow's pages of a storage folder's sweeps, on this machine only.

    It prints the link to the front of the newest one. A server has pages of its own: of one, it
    prints the link only.

    \b
    hoyer-search ui
    hoyer-search ui --storage /data/runs --port 5050
    """
    from hoyer_search import tracking

    uri = tracking_uri or tracking.default_uri(storage)
    server = is_server(uri)
    pages = uri if server else f"http://127.0.0.1:{port}/"

    def links() -> Iterator[str | None]:
        for name in reversed(sweep_names(storage)):
            with contextlib.suppress(InputError):  # a damaged sweep has none
                yield tracking.sweep_link(SweepFolder.open(storage, name), uri, port=port)

    def say_where() -> None:
        say(f"MLflow:  {next(filter(None, links()), pages)}")

    if server:
        tracking.check(uri)
        say_where()
    else:
        tracking.serve_ui(uri, port=port, on_ready=say_where)


def _follow(
    search: Callable[..., Sweep],
    name: str,
    storage: Path,
    trials: int,
    *,
    tracking_uri: str | None,
    ended: int = 0,
) -> None:
    """Runs a search with its display, and says at its end how to look, pull and resume."""

    def front() -> Front | None:
        return SweepFolder.open(storage, name).front()

    try:
        with Display(out, trials=trials, get_front=front, ended=ended) as display:
            search(storage=storage, on_event=display.on_event)
    except KeyboardInterrupt:
        if (storage / name).is_dir():
            command = command_line("resume", name, storage)
            say(f"stopped; nothing is lost. Go on with: {command}", console=err)
        raise
    print_sweep(name, storage)
    from hoyer_search import sweep, tracking

    folder = SweepFolder.open(storage, name)
    uri = sweep.tracking_uri_of(folder, tracking_uri)
    link = tracking.sweep_link(folder, uri)
    if link is None:
        say(f"MLflow:  holds nothing of it yet: {command_line('sync', name, storage)}")
    else:
        say(f"MLflow:  {link}")
        if not is_server(uri):
            own = uri == tracking.default_uri(storage)
            shown = "" if own else f"--tracking-uri {shlex.quote(without_password(uri))}"
            say(f"         while this runs: {command_line('ui', shown, storage)}")
    found = front()
    best = next((n for n, p in found.operating_points.items() if p), None) if found else None
    if best is not None:
        pull = f"{name} --point {shlex.quote(best)} -o best/"
        say(f"pull:    {command_line('pull', pull, storage)}")
    results = folder.results()
    if all_failed(results):
        first = command_line("logs", f"{name} --trial {results[0].number}", storage)
        raise HoyerSearchError(
            f"every trial of sweep {name} failed, and resuming it does not try them again: see "
            f"`{first}`, mend what it says, and start a new sweep"
        )
