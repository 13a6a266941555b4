"""Fixtures for every test: the toy search space, and one thread; no process may stay behind."""

import os
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
if "PYTEST_XDIST_WORKER" in os.environ:
    # Commands and Ray's processes that tests start are not measured: that takes half as much again
    # of their time, for little that no test in this process covers.
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)

import processes
import toys

from hoyer_search import spaces
from hoyer_search.config import SweepConfig
from hoyer_search.store import SweepFolder

hypothesis.settings.register_profile("shared", deadline=None)  # of a machine that does much else
hypothesis.settings.load_profile("shared")

SESSION = uuid.uuid4().hex
os.environ[processes.SESSION] = SESSION  # also to what a module starts when it is imported


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts files with many slow tests first: of several processes none then ends long after."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Names what fails at once: a run that is cut short has no summary."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        print(f"\nFAILED {report.nodeid}", file=sys.__stderr__, flush=True)


@pytest.fixture(scope="session", autouse=True)
def no_process_stays_behind() -> Iterator[None]:
    """Fails, as part of the last test, when a process lives on that a test has started."""
    yield
    deadline = time.monotonic() + 60
    while (left := processes.left_by(SESSION)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left, "a test must end the processes it starts"


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with nothing in it; creating one takes seconds, copying it none."""
    from hoyer_search.tracking.address import default_uri
    from hoyer_search.tracking.client import Client

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    Client(default_uri(path.parent), artifacts=path.parent).ping()
    return path


@pytest.fixture
def toy_file(tmp_path: Path) -> Path:
    path = tmp_path / "toy.yaml"
    path.write_text(toys.SPACE)
    return path


@pytest.fixture
def toy_config(toy_file: Path) -> Callable[..., SweepConfig]:
    def load(**overrides: Any) -> SweepConfig:
        return spaces.load(
            toy_file, overrides={k.replace("__", "."): v for k, v in overrides.items()}
        )

    return load


@pytest.fixture
def make_sweep(tmp_path: Path) -> Callable[..., SweepFolder]:
    def create(config: SweepConfig, name: str = "sweep") -> SweepFolder:
        return SweepFolder.create(
            tmp_path / "runs", name, config=config, provenance={"versions": {}}
        )

    return create
