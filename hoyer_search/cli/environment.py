"""Commands about where sweeps run."""

import sys
from dataclasses import asdict
from pathlib import Path

import click

from hoyer_search.cli.options import address_option, json_option
from hoyer_search.cli.terminal import print_json, say


@click.command()
@address_option
@click.option(
    "--storage",
    type=click.Path(path_type=Path),
    help="Folder of sweeps to look at, from every node.",
)
@click.option("--tracking-uri", help="MLflow store or server to look at.")
@json_option
def doctor(
    address: str | None,
    storage: Path | None,
    tracking_uri: str | None,
    as_json: bool,
) -> None:
    """Say whether sweeps can run here or on a cluster, and what to mend; then exit with 1.

    Looks at versions, token, shared storage, disk and GPUs of every node, and at MLflow.

    \b
    hoyer-search doctor
    hoyer-search doctor --address head:6379 --storage /sweeps --tracking-uri http://mlflow:5000
    """
    from hoyer_search.doctor import examine

    findings = examine(address=address, storage=storage, tracking_uri=tracking_uri)
    well = all(finding.remedy is None for finding in findings)
    if as_json:
        print_json({"ok": well, "findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            say(f"{'mend' if finding.remedy else 'ok':<6}{finding.check:<10}{finding.found}")
            if finding.remedy:
                say(f"{'':<16}-> {finding.remedy}")
    if not well:
        sys.exit(1)
