"""Commands for sweeps that run on a cluster without this terminal."""

import json
import sys
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from hoyer_search.cli.options import dashboard_option, json_option, storage_option
from hoyer_search.cli.terminal import err, out, print_json, say
from hoyer_search.display import clock
from hoyer_search.errors import InputError, StorageError
from hoyer_search.store import SweepFolder, storage_argument, sweep_names

EXIT_CODES = {"finished": 0, "failed": 1, "stopped": 130}


@click.command("list")
@storage_option
@dashboard_option()
@json_option
def list_sweeps(storage: Path, address: str | None, as_json: bool) -> None:
    """List the sweeps of a storage folder, and those that were submitted to a cluster.

    \b
    hoyer-search list
    hoyer-search list --storage /shared/runs --address http://head:8265
    """
    from hoyer_search import service
    from hoyer_search.status import trial_counts

    jobs = service.jobs(address) if address else {}
    here = {name: SweepFolder.open(storage, name) for name in sweep_names(storage)}
    rows = []
    for name in dict.fromkeys([*here, *jobs]):
        row: dict[str, Any] = {"sweep": name, "state": None, "trials": None}
        if name in here:
            try:
                state = here[name].state()
                row |= {"state": state, "trials": trial_counts(here[name], state)}
            except InputError as error:  # the others are listed nevertheless
                say(f"error: {name}: {error}", console=err)
                row["state"] = "damaged"
        rows.append(row | {"job": _plain(jobs.get(name))})
    if as_json:
        print_json(rows)
        return
    if not rows:
        say(f"no sweep in {storage.absolute()}: give its folder with --storage", console=err)
        return
    table = Table(box=None, pad_edge=False)
    for column in ("sweep", "state", "trials", *(["job"] if address else [])):
        table.add_column(column)
    for row in rows:
        job = [row["job"]["state"] if row["job"] else ""] if address else []
        table.add_row(row["sweep"], row["state"] or "", _counts(row["trials"]), *job)
    out.print(table)


@click.command()
@click.argument("sweep_name", metavar="SWEEP")
@storage_option
@dashboard_option()
@json_option
def status(sweep_name: str, storage: Path, address: str | None, as_json: bool) -> None:
    """Print where a sweep stands: its trials by state, the front so far, the time left.

    \b
    hoyer-search status SWEEP --storage /shared/runs
    hoyer-search status SWEEP --address http://head:8265 --storage /shared/runs --json
    """
    from hoyer_search import service
    from hoyer_search.status import sweep_status

    job = service.jobs(address).get(sweep_name) if address else None
    try:
        folder = SweepFolder.open(storage, sweep_name)
    except StorageError:
        if job is None and address:
            service.open_job(sweep_name, address=address)  # says that the cluster knows none
        if job is None:
            raise
        standing: dict[str, Any] = {"sweep": sweep_name, "state": None}
    else:
        standing = sweep_status(folder)
    if as_json:
        print_json(standing | {"job": _plain(job)})
        return
    if job is not None:
        say(f"job {job.id}: {job.state}. {job.message}")
    if standing["state"] is None:
        say(f"the sweep is not in {storage.absolute()}: it has not begun, or lies elsewhere")
        return
    _print_standing(folder, standing)


@click.command()
@click.argument("sweep_name", metavar="SWEEP")
@click.option("--trial", type=click.IntRange(0), help="Number of a trial, for its log only.")
@click.option("-f", "--follow", is_flag=True, help="Go on until it has ended.")
@storage_option
@dashboard_option()
@json_option
def logs(
    sweep_name: str,
    trial: int | None,
    follow: bool,
    storage: Path,
    address: str | None,
    as_json: bool,
) -> None:
    """Print the log of a submitted sweep, or of one trial of any sweep.

    With --json every line is a JSON document.

    \b
    hoyer-search logs SWEEP --address http://head:8265 --follow
    hoyer-search logs SWEEP --trial 7 --storage /shared/runs
    """
    from hoyer_search import service
    from hoyer_search.trial_log import trial_log

    if trial is not None:
        for entry in trial_log(SweepFolder.open(storage, sweep_name), trial, follow=follow):
            click.echo(json.dumps(entry) if as_json else _trial_line(entry))
        return
    if address is None:
        raise InputError(
            "the log of a sweep is kept by the cluster that runs it: give --address "
            "http://HEAD:8265, or --trial N for a trial's"
        )
    for piece in service.open_job(sweep_name, address=address).logs(follow=follow):
        if not as_json:
            click.echo(piece, nl=False)
            continue
        for line in piece.splitlines():
            click.echo(json.dumps({"line": line}))


@click.command()
@click.argument("sweep_name", metavar="SWEEP")
@dashboard_option(required=True)
@json_option
def stop(sweep_name: str, address: str, as_json: bool) -> None:
    """Stop a submitted sweep: its trials end their epoch and save it, and `resume` goes on.

    \b
    hoyer-search stop SWEEP --address http://head:8265
    """
    from hoyer_search import service

    job = service.open_job(sweep_name, address=address)
    job.stop()
    end = job.wait()
    if as_json:
        print_json({"sweep": sweep_name, "state": end})
        return
    say(end)
    say(
        f"go on:   hoyer-search resume {sweep_name} --address {address} "
        f"{storage_argument(job.storage)}",
        console=err,
    )


@click.command()
@click.argument("sweep_name", metavar="SWEEP")
@dashboard_option(required=True)
@json_option
def wait(sweep_name: str, address: str, as_json: bool) -> None:
    """Wait until a submitted sweep has ended: exit code 0 finished, 1 failed, 130 stopped.

    \b
    hoyer-search wait SWEEP --address http://head:8265 && hoyer-search pull SWEEP ...
    """
    from hoyer_search import service

    job = service.open_job(sweep_name, address=address)
    end = job.wait()
    if as_json:
        print_json({"sweep": sweep_name, "state": end})
    else:
        say(end)
    if end == "failed":
        say(job.record().message, console=err)
    sys.exit(EXIT_CODES[end])


def _plain(job: Any) -> dict[str, Any] | None:
    if job is None:
        return None
    return {key: getattr(job, key) for key in ("id", "state", "message", "submitted", "ended")}


def _counts(trials: dict[str, int] | None) -> str:
    return ", ".join(f"{count} {state}" for state, count in (trials or {}).items() if count)


def _print_standing(folder: SweepFolder, standing: dict[str, Any]) -> None:
    from hoyer_search.display import points_table

    left = standing["hours_left"]
    head = f"sweep {standing['sweep']}: {standing['state']}; {_counts(standing['trials'])}"
    say(head if left is None else f"{head}; about {clock(3600 * left)} left")
    for step in standing["running"]:
        if step["stage"] is None:
            say(f"trial {step['number']}: starting")
            continue
        accuracy = step["val_accuracy"]
        value = "" if accuracy is None else f", val {accuracy:.2%}"
        say(f"trial {step['number']}: {step['stage']} {step['epoch']}/{step['epochs']}{value}")
    front = folder.front()
    if front is not None and front.points:
        out.print(points_table(front))


def _trial_line(entry: dict[str, Any]) -> str:
    if "error" in entry:
        return f"attempt failed:\n{entry['error'].rstrip()}"
    if "state" in entry:
        return f"{entry['state']}: {', '.join(entry['points']) or 'no points'}"
    values = ", ".join(f"{k} {v:.6g}" for k, v in entry["metrics"].items())
    return f"{entry['stage']} {entry['epoch']}/{entry['epochs']}" + (values and f": {values}")
