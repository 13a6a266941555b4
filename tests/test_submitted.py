"""A sweep submitted to a real Ray cluster, left by its client and its driver."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import toys
from prometheus_client.parser import text_string_to_metric_families
from ray_head import METRICS, ray_head
from test_sweep import call

from hoyer_search.search.cluster import read_authentication
from hoyer_search.store import SweepFolder

ROOT = Path(__file__).parent.parent
EPOCHS = 200

# Trials of some seconds, so that there is a middle to kill the driver in.
SPACE = (
    toys.SPACE.replace("toys:", "own_code:")
    .replace("regularize: {epochs: 4", f"regularize: {{epochs: {EPOCHS}")
    .replace("resources: {cpus: 1, workers: 2}", "resources: {cpus: 1}")
)

SUBMIT = """
import sys, time
import hoyer_search as hs
job = hs.submit(
    "space.yaml", name="far", address=sys.argv[1], storage=sys.argv[2], working_dir="code",
    runtime_env={"excludes": ["big.bin"]}, retries=2,
)
print(job.name, flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def head():
    variables = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    variables |= {"RAY_metrics_report_interval_ms": "1000"}
    with (
        ray_head(cpus=1, **variables) as started,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", started.token)
        yield started
    read_authentication()


@pytest.fixture
def user(tmp_path, monkeypatch):
    """A user's folder: a space, and code of their own."""
    (tmp_path / "space.yaml").write_text(SPACE)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "own_code.py").write_text((ROOT / "tests" / "toys.py").read_text())
    (tmp_path / "code" / "big.bin").write_bytes(b"0" * 10)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def wait_until(condition, *, seconds=400):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)
    return value


def metrics_of(head, sweep):
    """Returns the values of a sweep's metrics at Ray's endpoint for Prometheus, by name and tag."""
    with urllib.request.urlopen(head.metrics, timeout=10) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return {
        (sample.name, sample.labels.get("state") or sample.labels.get("stage")): sample.value
        for family in families
        for sample in family.samples
        if sample.labels.get("sweep") == sweep
    }


@pytest.mark.slow
@pytest.mark.cluster
def test_a_submitted_sweep_outlives_its_client_and_its_driver(head, user, monkeypatch, capsys):
    storage = user / "runs"
    sweep = SweepFolder(storage / "far")
    address, stored = ("--address", head.address), ("--storage", storage)

    def command(*arguments, code=0):
        ended, out, error = call(monkeypatch, capsys, *arguments)
        assert ended == code, out + error
        return out

    # The client is killed when it has submitted.
    client = subprocess.Popen(
        [sys.executable, "-c", SUBMIT, head.address, str(storage)],
        cwd=user, env=head.environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert client.stdout.readline() == "far\n"
    client.kill()
    client.communicate()
    status = json.loads(command("status", "far", "--json", *address, *stored))
    assert status["job"]["state"] in ("pending", "running")
    command("resume", "far", *address, *stored, code=2)  # it has a job already

    # Ray shows how it goes.
    wait_until(lambda: any(sweep.path.glob("trials/*/metrics.jsonl")))
    seen = {}
    wait_until(
        lambda: seen.update(metrics_of(head, "far")) or {name for name, _ in seen} == METRICS
    )
    assert seen["ray_hoyer_search_epochs_total", "pretrain"] == 3
    assert seen["ray_hoyer_search_trials", "failed"] == 0

    # Its driver is killed, and goes on by itself.
    (driver,) = head.processes("hoyer_search run ")
    os.kill(driver, signal.SIGKILL)
    wait_until(lambda: head.processes("hoyer_search resume far "))
    assert "started again in 2 s (1 of 2)" in command("logs", "far", *address)

    # It is stopped, and goes on as another job, to its end.
    wait_until(lambda: sweep.state() == "running")
    command("stop", "far", *address)
    assert sweep.state() == "interrupted"
    command("wait", "far", *address, code=130)
    command("resume", "far", *address, *stored, "--working-dir", "code")
    command("wait", "far", *address)
    assert sweep.state() == "finished"
    (row,) = json.loads(command("list", "--json", *address, *stored))
    assert (row["job"]["state"], row["job"]["id"]) == ("succeeded", "far:2")
    assert "Pareto front" in command("logs", "far", *address)
    command("stop", "far", *address, code=2)  # it runs no more
