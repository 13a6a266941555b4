from pathlib import Path

import pytest
from conftest import Builder, new_sweep

from hoyer_search.importance import MIN_TRIALS, importances

SEARCH = {
    "decay": {"low": 1e-5, "high": 3e-3, "log": True},
    "regularizer.filter_weight": {"low": 0.1, "high": 10.0, "log": True},
    "regularizer.name": {"choices": ["hoyer", "hoyer_square"]},
}


def run(sweep: Builder, number: int) -> None:
    spec = sweep.start(number)
    spec.params["regularizer.filter_weight"] = 0.1 + (7 * number % 40) / 10
    spec.params["regularizer.name"] = "hoyer" if number % 3 else "hoyer_square"
    sweep.end(spec)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    """A sweep in which the decay alone decides how good a trial is."""
    sweep = new_sweep(tmp_path_factory.mktemp("importance") / "runs", search=SEARCH)
    sweep.pretrain()
    for number in range(40):
        run(sweep, number)
    return sweep


def test_what_decides_is_found(searched: Builder) -> None:
    front = searched.folder.front()
    assert front is not None
    found = importances(searched.folder.results(), front, searched.config)
    assert found
    for shares in found.values():
        assert list(shares) == list(SEARCH)
        assert sum(shares.values()) == pytest.approx(1.0)
        assert shares["decay"] > 0.6


def test_few_trials_or_one_parameter_say_nothing(searched: Builder, sweep: Builder) -> None:
    front, ended = searched.folder.front(), searched.folder.results()
    assert front is not None
    assert importances(ended[: MIN_TRIALS - 1], front, searched.config) == {}
    assert importances(ended, front, sweep.config) == {}


def test_a_floor_that_nothing_tells_apart_is_left_out(searched: Builder, tmp_path: Path) -> None:
    sweep = new_sweep(tmp_path / "runs", search=SEARCH)
    sweep.pretrain()
    for number in range(MIN_TRIALS):
        spec = sweep.start(number)
        spec.params["regularizer.filter_weight"] = 1.0
        spec.params["regularizer.name"] = "hoyer"
        sweep.end(spec, error="Traceback")
    front = sweep.folder.front()
    assert front is not None
    assert importances(sweep.folder.results(), front, sweep.config) == {}
