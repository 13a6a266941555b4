"""Options that several commands share."""

from pathlib import Path

import click

from hoyer_search.client import DEFAULT_STORAGE

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
