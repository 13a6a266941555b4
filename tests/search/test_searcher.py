import statistics
import threading
import time

import pytest
import toy_pipeline as toy
from ray.tune.search import Searcher

from hoyer_search import results
from hoyer_search.search.searcher import PATIENCE_SECONDS, StudySearcher
from hoyer_search.search.study import Study


@pytest.fixture
def sweep(toy_config, make_sweep):
    config = toy_config(sampler="gp", budget__trials=6)
    folder = make_sweep(config)
    return folder, Study.open(folder, config)


@pytest.fixture
def gate(sweep, monkeypatch):
    """Open; closed, whoever asks or tells the study something has to wait."""
    _, study = sweep
    opened = threading.Event()
    opened.set()

    def gated(method):
        def wait(*args, **options):
            opened.wait()
            return method(*args, **options)

        return wait

    for name in ("ask", "tell"):
        monkeypatch.setattr(study, name, gated(getattr(study, name)))
    yield opened
    opened.set()


def suggested(searcher: StudySearcher, trial_id: str) -> dict | str:
    """Asks as Tune does, until there is an answer."""
    while (answer := searcher.suggest(trial_id)) is None:
        time.sleep(0.01)
    return answer


def test_a_study_that_takes_its_time_never_holds_the_event_loop(sweep, gate):
    folder, study = sweep
    searcher = StudySearcher(study, folder, slots=lambda: 1)
    assert PATIENCE_SECONDS < 0.1
    for number in range(6):
        gate.clear()
        assert [searcher.suggest(str(number)) for _ in range(3)] == [None] * 3
        gate.set()
        uid = suggested(searcher, str(number))["uid"]
        spec = next(s for s in folder.specs() if s.uid == uid)
        results.save(folder.trial(uid) / "result.json", toy.result(spec))
        gate.clear()
        searcher.on_trial_complete(str(number), {})
        assert study.num_ended == number
    gate.set()
    assert suggested(searcher, "7") == Searcher.FINISHED
    searcher.close()
    assert study.num_ended == 6


def test_an_answer_is_waited_for_while_a_worker_starts(sweep, gate):
    """Else Tune gives the worker of a trial that ended to the trial whose own is starting."""
    folder, study = sweep
    searcher = StudySearcher(study, folder, slots=lambda: 2, starting=lambda live: live == 1)
    suggested(searcher, "0")
    gate.clear()
    answered = threading.Timer(4 * PATIENCE_SECONDS, gate.set)
    answered.start()
    assert searcher.suggest("1") is not None
    answered.join()
    searcher.close()


def test_a_model_that_thinks_leaves_the_event_loop_its_time(sweep):
    """Most calls are short even while a Gaussian process computes in the thread beside."""
    folder, study = sweep
    searcher = StudySearcher(study, folder, slots=lambda: 1)
    seconds = []
    for number in range(5):
        answer = None
        while answer is None:
            started = time.monotonic()
            answer = searcher.suggest(str(number))
            seconds.append(time.monotonic() - started)
        spec = next(s for s in folder.specs() if s.uid == answer["uid"])
        results.save(folder.trial(spec.uid) / "result.json", toy.result(spec))
        searcher.on_trial_complete(str(number), {})
    searcher.close()
    assert sum(seconds) > 0.1, "the model was never asked, so nothing was shown"
    assert statistics.median(seconds) < 0.1


def test_nothing_is_asked_for_while_all_slots_are_taken(sweep):
    folder, study = sweep
    searcher = StudySearcher(study, folder, slots=lambda: 2)
    suggested(searcher, "a")
    suggested(searcher, "b")
    assert searcher.suggest("c") is None
    searcher.close()
    assert len(folder.specs()) == 2


def test_a_stopped_sweep_starts_no_trial_and_ends_those_that_were_started(sweep):
    folder, study = sweep
    started = study.ask()
    study.recover()
    searcher = StudySearcher(study, folder, slots=lambda: 2, stopped=lambda: "hours")
    assert suggested(searcher, "a") == {"uid": started.uid}
    assert suggested(searcher, "b") == Searcher.FINISHED
    searcher.close()
    assert folder.specs() == [started]


def test_a_trial_whose_worker_was_lost_is_recorded_as_failed(sweep):
    folder, study = sweep
    searcher = StudySearcher(study, folder, slots=lambda: 1)
    uid = suggested(searcher, "a")["uid"]
    searcher.on_trial_complete("a", error=True)
    searcher.close()
    assert folder.result(uid).state == "failed"
    assert "lost" in folder.result(uid).error
    assert study.num_ended == 1


def test_a_trial_that_was_only_taken_away_stays_open(sweep):
    folder, study = sweep
    searcher = StudySearcher(study, folder, slots=lambda: 1)
    uid = suggested(searcher, "a")["uid"]
    searcher.on_trial_complete("a")
    searcher.close()
    study.recover()
    assert study.ask().uid == uid


def test_errors_of_the_study_reach_tune(sweep):
    folder, study = sweep
    searcher = StudySearcher(study, folder, slots=lambda: 1)
    folder.path.joinpath("study.journal").unlink()
    folder.path.joinpath("trials").rename(folder.path / "gone")
    folder.path.joinpath("trials").touch()
    with pytest.raises(OSError, match=r"trials|journal"):
        suggested(searcher, "a")
    searcher.close()
