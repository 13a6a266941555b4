"""What tracking keeps on disk can be torn, unwritable, or another's: no row is lost or doubled."""

import resource
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from conftest import Builder
from test_tracking_faults import rows

from hoyer_search.tracking import Tracker, sync
from hoyer_search.tracking.address import default_uri


@pytest.fixture
def held(stored: Builder, mlflow_api: Any) -> Callable[[], dict[str, Any]]:
    """Returns everything that MLflow holds of the sweep, by uid; no run may be there twice."""
    return lambda: rows(default_uri(stored.folder.path.parent), stored)


def wait_for(condition: Callable[[], Any], *, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def series(found: dict[str, Any]) -> list[int]:
    """Returns the steps of the sweep's own series, in the order of storage."""
    return [step for step, _, _ in found[""]["rows"]["trials"]]


def test_a_full_disk_is_told_and_made_good(
    stored: Builder, held: Callable[[], dict[str, Any]]
) -> None:
    stored.pretrain()
    stored.trial(0)
    sync(stored.folder, running=True)
    stored.trial(1)
    tracker = Tracker(stored.folder, seconds=0.1, share=1.0)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))  # no file of this process may grow
    try:
        tracker.start()
        wait_for(lambda: tracker.problem)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "cannot be written" in tracker.problem
    assert not list(stored.folder.tracking.glob(".*.json.*")), "half-written files were left"
    stored.trial(2)
    stored.finish()
    assert tracker.close()
    found = held()
    assert set(found) == {"", "uid0000", "uid0001", "uid0002"}
    assert series(found) == [1, 2, 3]


@pytest.mark.parametrize(
    "torn",
    [
        pytest.param('{"target": "', id="half"),
        pytest.param("\x00" * 100, id="zeros"),
        pytest.param("{}", id="another version's"),
    ],
)
def test_a_torn_cursor_costs_nothing(
    stored: Builder, held: Callable[[], dict[str, Any]], torn: str
) -> None:
    stored.pretrain()
    for number in range(2):
        stored.trial(number)
    sync(stored.folder, running=True)
    before = held()
    (stored.folder.tracking / "cursor.json").write_text(torn)
    assert sync(stored.folder, running=True).runs == 0
    assert held() == before


def test_a_line_is_sent_once_it_is_whole(
    stored: Builder, held: Callable[[], dict[str, Any]]
) -> None:
    stored.pretrain()
    spec = stored.start(0)
    stored.epochs(spec, 3)
    path = stored.folder.trial(spec.uid) / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    for written in (lines[0] + lines[1][:40], lines[0] + lines[1], "".join(lines)):
        path.write_text(written)
        sync(stored.folder, running=True)
        epochs = [step for step, _, _ in held()["uid0000"]["rows"]["train/loss"]]
        assert epochs == list(range(1, written.count("\n") + 1))


def test_two_that_sync_at_once_make_each_run_once(
    stored: Builder, held: Callable[[], dict[str, Any]]
) -> None:
    stored.pretrain()
    for number in range(2):
        stored.trial(number)
    stored.finish()
    with ThreadPoolExecutor(2) as both:
        done = list(both.map(sync, [stored.folder] * 2))
    assert sorted(one.runs for one in done) == [0, 3]
    assert series(held()) == [1, 2]
