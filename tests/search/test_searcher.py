import time

import pytest
import toy_pipeline as toy
from ray.tune.search import Searcher

from hoyer_search import results
from hoyer_search.search.searcher import StudySearcher
from hoyer_search.search.study import Study


@pytest.fixture
def sweep(toy_config, make_sweep):
    config = toy_config(sampler="gp", budget__trials=6)
    folder = make_sweep(config)
    return folder, Study.open(folder, config)


def suggested(searcher: StudySearcher, trial_id: str) -> dict | str:
    """Asks as Tune does, until there is an answer; no call may hold Tune up."""
    while True:
        started = time.monotonic()
        answer = searcher.suggest(trial_id)
        assert time.monotonic() - started < 0.1
        if answer is not None:
            return answer
        time.sleep(0.01)


def test_slow_suggestions_never_hold_the_event_loop(sweep):
    folder, study = sweep
    searcher = StudySearcher(study, folder, slots=1)
    waited = 0.0
    for number in range(6):
        started = time.monotonic()
        uid = suggested(searcher, str(number))["uid"]
        waited = max(waited, time.monotonic() - started)
        spec = next(s for s in folder.specs() if s.uid == uid)
        results.save(folder.trial(uid) / "result.json", toy.result(spec))
        started = time.monotonic()
        searcher.on_trial_complete(str(number), {})
        assert time.monotonic() - started < 0.1
    assert waited > 0.1, "the model was never asked, so nothing was shown"
    assert suggested(searcher, "7") == Searcher.FINISHED
    searcher.close()
    assert study.num_ended == 6


def test_nothing_is_asked_for_while_all_slots_are_taken(sweep):
    folder, study = sweep
    searcher = StudySearcher(study, folder, slots=2)
    suggested(searcher, "a")
    suggested(searcher, "b")
    assert searcher.suggest("c") is None
    searcher.close()
    assert len(folder.specs()) == 2


def test_a_stopped_sweep_starts_no_trial_and_ends_those_that_were_started(sweep):
    folder, study = sweep
    started = study.ask()
    study.recover()
    searcher = StudySearcher(study, folder, slots=2, stopped=lambda: "hours")
    assert suggested(searcher, "a") == {"uid": started.uid}
    assert suggested(searcher, "b") == Searcher.FINISHED
    searcher.close()
    assert folder.specs() == [started]


def test_a_trial_whose_worker_was_lost_is_recorded_as_failed(sweep):
    folder, study = sweep
    searcher = StudySearcher(study, folder, slots=1)
    uid = suggested(searcher, "a")["uid"]
    searcher.on_trial_complete("a", error=True)
    searcher.close()
    assert folder.result(uid).state == "failed"
    assert "lost" in folder.result(uid).error
    assert study.num_ended == 1


def test_a_trial_that_was_only_taken_away_stays_open(sweep):
    folder, study = sweep
    searcher = StudySearcher(study, folder, slots=1)
    uid = suggested(searcher, "a")["uid"]
    searcher.on_trial_complete("a")
    searcher.close()
    study.recover()
    assert study.ask().uid == uid


def test_errors_of_the_study_reach_tune(sweep):
    folder, study = sweep
    searcher = StudySearcher(study, folder, slots=1)
    folder.path.joinpath("study.journal").unlink()
    folder.path.joinpath("trials").rename(folder.path / "gone")
    folder.path.joinpath("trials").touch()
    with pytest.raises(OSError, match=r"trials|journal"):
        suggested(searcher, "a")
    searcher.close()
