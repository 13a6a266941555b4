"""Links into MLflow's pages. Parts that begin with ``#`` work from any of its pages."""

from urllib.parse import quote, urlencode

from hoyer_search.tracking.address import is_server, without_password

UI_PORT = 5000


def page(uri: str, *, port: int = UI_PORT) -> str:
    """Returns the address of the pages of a tracking URI.

    Args:
        uri: The tracking URI.
        port: Of the pages of a local database, which has some while ``hoyer-search ui`` runs.
    """
    if is_server(uri):
        return without_password(uri).rstrip("/") + "/"
    return f"http://127.0.0.1:{port}/"


def view(experiment: str, key: str, *, chart: bool) -> str:
    """Returns the part after the address of a saved view, as charts or as a table."""
    query = {
        "workflowType": "machine_learning",  # else the page opens on traces
        "viewStateShareKey": key,
        "compareRunsMode": "CHART" if chart else "TABLE",
    }
    return f"#/experiments/{experiment}/runs?{urlencode(query)}"


def run(experiment: str, run_id: str) -> str:
    """Returns the part after the address of one run."""
    return f"#/experiments/{experiment}/runs/{run_id}?workflowType=machine_learning"


def artifact(run_id: str, path: str) -> str:
    """Returns the address of a file of a run, relative to any of MLflow's pages."""
    return f"get-artifact?{urlencode({'path': path, 'run_uuid': run_id})}"


def registered_model(name: str) -> str:
    """Returns the part after the address of a registered model."""
    return f"#/models/{quote(name, safe='')}"
