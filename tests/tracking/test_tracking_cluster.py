"""MLflow as a cluster has it: PostgreSQL, an object store, a password, artefacts by proxy."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import toys
from mlflow import MlflowClient
from moto.server import ThreadedMotoServer
from servers import HOST, PASSWORD, USER, Server, free_port, running
from test_sweep import PATH, call

import hoyer_search as hs

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The URI of a PostgreSQL database that lives in a folder of its own."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    assert found, "install PostgreSQL, e.g. apt-get install postgresql"
    programs = found[-1]
    # PostgreSQL does not run as root; a socket's path must be short.
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    if as_user:
        shutil.chown(folder, "postgres")
    port, data = free_port(), folder / "data"
    password = folder / "password"
    password.write_text(PASSWORD)
    password.chmod(0o644)
    initdb = [programs / "initdb", "-D", data, "-U", "hoyer", "-A", "scram-sha-256", "--no-sync"]
    subprocess.run(
        [*as_user, *initdb, f"--pwfile={password}"], check=True, capture_output=True, cwd=folder
    )
    serve = [programs / "postgres", "-D", data, "-h", HOST, "-p", str(port), "-k", folder, "-F"]
    process = subprocess.Popen(
        [*as_user, *serve], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        ready = [programs / "pg_isready", "-h", HOST, "-p", str(port), "-q"]
        deadline = time.monotonic() + 60
        while subprocess.run(ready, check=False).returncode:
            assert process.poll() is None, "PostgreSQL did not start"
            assert time.monotonic() < deadline, "PostgreSQL does not answer"
            time.sleep(0.2)
        yield f"postgresql+psycopg://hoyer:{PASSWORD}@{HOST}:{port}/postgres"
    finally:
        stop = [programs / "pg_ctl", "-D", data, "-m", "immediate", "stop"]
        subprocess.run([*as_user, *stop], check=False, capture_output=True, cwd=folder)
        process.wait(30)
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def object_store() -> Iterator[dict[str, str]]:
    """What a client's environment needs to know of an S3-compatible store with a bucket."""
    store = ThreadedMotoServer(ip_address=HOST, port=0, verbose=False)
    store.start()
    try:
        endpoint = "http://{}:{}".format(*store.get_host_and_port())
        known = {
            "AWS_ACCESS_KEY_ID": "hoyer",
            "AWS_SECRET_ACCESS_KEY": PASSWORD,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name=known["AWS_DEFAULT_REGION"],
            aws_access_key_id=known["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=known["AWS_SECRET_ACCESS_KEY"],
        ).create_bucket(Bucket="networks")
        yield known | {"MLFLOW_S3_ENDPOINT_URL": endpoint}
    finally:
        store.stop()


@pytest.fixture(scope="module")
def server(
    postgres: str, object_store: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    server = Server(
        tmp_path_factory.mktemp("server"),
        backend=postgres,
        artifacts="s3://networks/mlflow",
        auth=True,
        environment=object_store,
    )
    with pytest.MonkeyPatch.context() as patch, running(server):
        patch.setenv("MLFLOW_TRACKING_USERNAME", USER)
        patch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
        yield server


def test_a_sweep_a_pull_and_a_rebuild(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("PYTHONPATH", PATH)
    monkeypatch.setenv("HOYER_SEARCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "toy.yaml").write_text(toys.SPACE)
    storage = tmp_path / "runs"
    local = hs.run(tmp_path / "toy.yaml", name="far", storage=storage, tracking_uri=server.uri)
    call(monkeypatch, capsys, "sync", "far", "--storage", storage)  # where the machine is slow
    remote = hs.open_sweep("far", tracking_uri=server.uri)
    assert remote.state == "finished"
    assert remote.front().equals(local.front())
    pull(remote, local, tmp_path / "pulled")

    api = MlflowClient(server.uri)
    (model,) = [found.name for found in api.search_registered_models()]
    api.delete_registered_model(model)
    (experiment,) = [e for e in api.search_experiments() if e.name.startswith("hoyer/")]
    before = api.search_runs([experiment.experiment_id])
    for run in before:
        api.delete_run(run.info.run_id)
    code, out, error = call(monkeypatch, capsys, "sync", "far", "--storage", storage)
    assert code == 0, out + error
    assert f"made {len(before)} runs" in out
    shutil.rmtree(tmp_path / "cache")
    again = hs.open_sweep("far", tracking_uri=server.uri)
    assert again.front().equals(local.front())
    pull(again, local, tmp_path / "pulled-again")
    by_alias = hs.load_model(f"models:/{model}@knee", tracking_uri=server.uri, factory="toys:mlp")
    assert sum(p.numel() for p in by_alias.parameters()) == local.point("knee").record.parameters


def pull(remote: hs.Sweep, local: hs.Sweep, to: Path) -> None:
    for name in ("knee", "C"):
        pulled = remote.point(name).pull(to / name)
        for file in local.point(name).artifact.iterdir():
            assert (pulled / file.name).read_bytes() == file.read_bytes()
