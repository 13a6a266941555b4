"""A sweep of LeNet on MNIST, submitted to two machines by a client that leaves; its speed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from machines import ROOT, machines, wait_until

from hoyer_search.store import SweepFolder

TRIALS, ALONE, WINDOW = 24, 8, 12
SPEEDUP = 1.7
SHORT = {
    "budget.trials": TRIALS,
    "pipeline.pretrain.epochs": 2,
    "pipeline.regularize.epochs": 4,
    "pipeline.finetune.epochs": 1,
    "pipeline.finetune.max_points": 1,
}


@pytest.fixture
def network():
    """Two machines of one core each, the first of which is a Ray cluster already."""
    with machines("head", "other", pinned=True) as network:
        head = network["head"]
        head.start_ray("--head", "--port=6379", f"--dashboard-host={head.address}", cpus=1)
        yield network


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "hoyer_search", *map(str, words)]


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_machines_run_a_submitted_sweep_nearly_twice_as_fast(network, tmp_path, capsys):
    address = f"http://{network['head'].address}:8265"
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": network.token,
        "RAY_API_SERVER_ADDRESS": address,
    }
    storage = network.shared / "sweeps"
    sweep = SweepFolder(storage / "first")

    def elsewhere(*words: object, code: int = 0) -> str:
        """Runs one of our commands in a terminal of its own."""
        done = subprocess.run(
            command(*words), env=environment, capture_output=True, text=True, timeout=900,
            start_new_session=True,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    settings = [word for name, value in SHORT.items() for word in ("--set", f"{name}={value}")]
    client = subprocess.Popen(
        command(
            "submit", "lenet300-mnist-element", "--name", "first", "--storage", storage, *settings
        ),
        env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert client.stdout is not None
    assert client.stdout.readline() == "submitted first\n"
    os.killpg(client.pid, signal.SIGKILL)
    client.communicate()

    wait_until(
        lambda: len(ends(sweep)) >= ALONE, seconds=600, say=lambda: elsewhere("logs", "first")
    )
    alone = ends(sweep)
    network["other"].start_ray("--address=head:6379", cpus=1)
    status = json.loads(elsewhere("status", "first", "--storage", storage, "--json"))
    assert status["job"]["state"] == "running"
    elsewhere("wait", "first")
    log = elsewhere("logs", "first")
    assert "Pareto front" in log
    elsewhere("pull", "first", "--storage", storage, "--point", "knee", "-o", tmp_path / "best")
    assert (tmp_path / "best" / "model.safetensors").is_file()

    results = sweep.results()
    assert [(r.number, r.state) for r in results] == [(n, "complete") for n in range(TRIALS)]
    # The first trial of a process loads what the next ones use; after the last but one, a machine
    # has nothing to do. An even number of ends, as two machines may end their trials together.
    both = ends(sweep)[-2 - WINDOW : -1]
    one = 3600 * (len(alone) - 1) / (alone[-1] - alone[0])
    two = 3600 * WINDOW / (both[-1] - both[0])
    with capsys.disabled():
        print(
            f"\nLeNet-300-100 on MNIST, trials per hour: {one:.0f} on one machine (trials 2 to "
            f"{len(alone)}), {two:.0f} on two (the last {WINDOW} but one): {two / one:.2f} times"
        )
    assert two >= SPEEDUP * one


def ends(sweep: SweepFolder) -> list[float]:
    """Returns when each trial ended, in seconds, in order."""
    paths: list[Path] = list(sweep.path.glob("trials/*/result.json"))
    return sorted(path.stat().st_mtime for path in paths)
