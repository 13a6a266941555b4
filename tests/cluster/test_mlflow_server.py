"""MLflow as the manifests start it, on SQLite: it lets in who has a password, and nobody else."""

import base64
import configparser
import os
import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from manifests import CLUSTER, documents, load

COMPOSE = load(CLUSTER / "compose.yaml")["services"]["mlflow"]
COMMAND = shlex.split(COMPOSE["command"])
PASSWORD = "correct horse battery"


def in_kubernetes():
    (deployment,) = [
        d for d in documents(CLUSTER / "kubernetes/mlflow.yaml") if d["kind"] == "Deployment"
    ]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return container


def test_compose_and_kubernetes_start_it_alike():
    assert sorted(in_kubernetes()["command"]) == sorted(COMMAND)
    given = {variable["name"]: variable.get("value") for variable in in_kubernetes()["env"]}
    compose = {
        k: v
        for k, v in COMPOSE["environment"].items()
        if not k.startswith(("AWS", "MLFLOW_S3", "MLFLOW_BOTO"))
    }
    assert set(given) == set(compose)
    differing = {name for name, value in given.items() if value and value != compose[name]}
    assert differing == {"MLFLOW_ARTIFACTS_DESTINATION"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlflow")
    auth = configparser.ConfigParser()
    auth.read(CLUSTER / "mlflow-auth.ini")
    assert auth["mlflow"]["database_uri"] == COMPOSE["environment"]["MLFLOW_BACKEND_STORE_URI"]
    auth["mlflow"]["database_uri"] = f"sqlite:///{folder}/auth.db"
    with (folder / "auth.ini").open("w") as file:
        auth.write(file)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = (
        os.environ
        | COMPOSE["environment"]
        | {
            "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{folder}/mlflow.db",
            "MLFLOW_ARTIFACTS_DESTINATION": str(folder / "artifacts"),
            "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
            "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "key",
        }
    )
    command = [sys.executable, "-m", *COMMAND, "--host=127.0.0.1", f"--port={port}"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 240
            while status(port, "/health") != 200:
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.5)
            yield port
        finally:
            process.terminate()
            process.wait(30)


def status(port, path, *, password=None, host="mlflow:5000"):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Host": host})
    if password:
        name = COMPOSE["environment"]["MLFLOW_AUTH_ADMIN_USERNAME"]
        user = base64.b64encode(f"{name}:{password}".encode()).decode()
        request.add_header("Authorization", f"Basic {user}")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


@pytest.mark.slow
def test_it_asks_for_a_password(server):
    path = "/api/2.0/mlflow/experiments/search?max_results=1"
    assert status(server, path) == 401
    assert status(server, path, password="wrong password") == 401
    assert status(server, path, password=PASSWORD) == 200
    assert status(server, path, password=PASSWORD, host="localhost:5000") == 200
    assert status(server, path, password=PASSWORD, host="elsewhere.example") == 403
    assert status(server, "/health") == 200
