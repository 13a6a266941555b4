"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from hoyer_search.client import DEFAULT_STORAGE

storage_option = click.option(
    "--storage",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_STORAGE,
    show_default=True,
    help="Folder that holds sweeps.",
)
shared_storage_option = click.option(
    "--storage",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder for sweeps that all nodes of the cluster share, as an absolute path.",
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

Command = TypeVar("Command", bound=Callable[..., Any])


def dashboard_option(*, required: bool = False) -> Callable[[Command], Command]:
    """Returns the option for the cluster that a sweep was submitted to."""
    return click.option(
        "--address",
        envvar="RAY_API_SERVER_ADDRESS",
        required=required,
        help="Ray cluster that runs it, by its dashboard.  [env: RAY_API_SERVER_ADDRESS]",
        metavar="http://HEAD:8265",
    )


def job_options(command: Command) -> Command:
    """Adds the options of a job to a command."""
    for option in (
        click.option(
            "--insecure",
            is_flag=True,
            help="Also to a cluster that runs the code of whoever reaches it.",
        ),
        click.option(
            "--retries",
            type=click.IntRange(0),
            default=3,
            show_default=True,
            help="How often a driver that dies is started again without a trial's end in between.",
        ),
        click.option(
            "--runtime-env",
            type=click.Path(path_type=Path),
            help="YAML of Ray's runtime environment: env_vars, pip, excludes ...; no secrets.",
        ),
        click.option(
            "--working-dir",
            type=click.Path(path_type=Path),
            help="Folder with your code, uploaded as working folder of driver and trials.",
        ),
    ):
        command = option(command)
    return command
