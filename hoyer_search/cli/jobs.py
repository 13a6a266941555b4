"""Commands that hand a sweep to a cluster."""

import sys
from pathlib import Path
from typing import Any

import click

from hoyer_search import spaces
from hoyer_search.cli.options import (
    dashboard_option,
    job_options,
    json_option,
    set_option,
    shared_storage_option,
    storage_option,
    tracking_option,
)
from hoyer_search.cli.terminal import print_json, say
from hoyer_search.errors import InputError
from hoyer_search.store import storage_argument


@click.command()
@click.argument("space")
@click.option("--name", help="Name of the sweep.  [default: the space's, with date and time]")
@dashboard_option(required=True)
@shared_storage_option
@tracking_option
@job_options
@set_option
@json_option
def submit(
    space: str,
    name: str | None,
    address: str,
    storage: Path,
    settings: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Start a sweep on a Ray cluster and leave it there: SPACE is a built-in one or a YAML file.

    \b
    hoyer-search submit lenet5-mnist-element --address http://head:8265 --storage /shared/runs
    hoyer-search submit my-space.yaml --address http://head:8265 --storage /shared/runs \\
        --working-dir . --runtime-env environment.yaml --set budget.trials=40
    """
    from hoyer_search import service

    overrides = dict(map(spaces.parse_override, settings))
    job = service.submit(
        space,
        name=name,
        address=address,
        storage=storage,
        overrides=overrides,
        **job_arguments(options),
    )
    print_submitted(job.name, address, storage, as_json=as_json)


def print_submitted(name: str, address: str, storage: Path, *, as_json: bool = False) -> None:
    """Prints what was submitted, and the commands to look after it."""
    if as_json:
        print_json({"sweep": name, "address": address, "storage": str(storage)})
        return
    where = f"--address {address}"
    say(f"submitted {name}")
    say(f"status:  hoyer-search status {name} {where} {storage_argument(storage)}")
    say(f"logs:    hoyer-search logs {name} {where} --follow")
    say(f"stop:    hoyer-search stop {name} {where}")


@click.command(hidden=True)
@click.argument("sweep_name", metavar="SWEEP")
@storage_option
@click.option("--tracking-uri")
@click.option("--retries", type=click.IntRange(0), default=0)
@set_option
def drive(
    sweep_name: str,
    storage: Path,
    tracking_uri: str | None,
    retries: int,
    settings: tuple[str, ...],
) -> None:
    """Run a sweep as the job that `submit` made, and start it again when it dies.

    \b
    hoyer-search drive SWEEP --storage /shared/runs
    """
    from hoyer_search.driving import drive

    options = [part for setting in settings for part in ("--set", setting)]
    if tracking_uri is not None:
        options += ["--tracking-uri", tracking_uri]
    code = drive(sweep_name, storage=storage, options=options, retries=retries)
    sys.exit(code if code >= 0 else 128 - code)


def job_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments of ``service.submit`` that the options of a job stand for."""
    file: Path | None = options.pop("runtime_env")
    return options | {"runtime_env": None if file is None else _read_environment(file)}


def _read_environment(file: Path) -> dict[str, Any]:
    from hoyer_search import strict_yaml

    try:
        data = strict_yaml.parse(file.read_text(encoding="utf-8"), source=str(file)).data
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--runtime-env {file}: cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise InputError(
            f"--runtime-env {file} must be a mapping of Ray's fields, e.g. pip: [timm]; "
            f"got {type(data).__name__}"  # what it holds may be a secret
        )
    return data
