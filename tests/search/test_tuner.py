"""Whole sweeps on a real Ray, with trials that take no time."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import ray
import toy_pipeline as toy
from processes import descendants, kill_driver, read, wait_for

from hoyer_search.config import Budget, SweepConfig
from hoyer_search.errors import ConfigError, ConnectionFailed, TrialDiverged, TrialError
from hoyer_search.results import Event
from hoyer_search.search.cluster import Slots, cluster
from hoyer_search.search.pretraining import pretrain_remotely, pretrains_here
from hoyer_search.search.stopping import Stopping
from hoyer_search.search.study import Study
from hoyer_search.search.tuner import SearchRun, run_search
from hoyer_search.search.watchdog import Watchdog
from hoyer_search.store import SweepFolder

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def workers_find_the_toys(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)


@pytest.fixture(autouse=True)
def nothing_stays_behind(workers_find_the_toys):
    before = ray_variables()
    yield
    assert not ray.is_initialized()
    assert ray_variables() == before
    assert temporary_folders(os.getpid()) == []


def ray_variables() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k.startswith(("RAY_", "TUNE_"))}


def temporary_folders(pid: int) -> list[Path]:
    return list(Path("/tmp").glob(f"hs-{pid}-*"))


def search(folder: SweepFolder, **options) -> list[Event]:
    events: list[Event] = []
    options = {"run_trial": toy.run_trial, "pretrain": toy.pretrain, "data": None} | options
    run_search(folder, on_event=events.append, **options)
    return events


def slots(config: SweepConfig) -> Slots:
    return Slots(config.resources, elastic=False)


def ended(folder: SweepFolder) -> list[str]:
    return [line.split()[1] for line in toy.notes(folder.path) if line.startswith("end ")]


@pytest.mark.slow
def test_trials_that_raise_diverge_or_lose_their_worker(toy_config, make_sweep):
    config = toy_config(sampler="random", budget__trials=6, presets=[{"decay": 0.003}])
    folder = make_sweep(config)
    events = search(folder, run_trial=toy.run_troubled_trial)

    by_number = {result.number: result for result in folder.results()}
    states = [by_number[n].state for n in range(6)]
    assert states == ["failed", "complete", "failed", "complete", "failed", "complete"]
    uids = {n: result.uid for n, result in by_number.items()}

    def failures(number: int) -> int:
        path = folder.trial(uids[number]) / "failures.jsonl"
        return len(path.read_text().splitlines()) if path.is_file() else 0

    # Raised three times; once; diverged, which is not tried again; a lost worker leaves no trace;
    # wrong data, which stay wrong.
    assert [failures(n) for n in range(6)] == [3, 1, 1, 0, 1, 0]
    assert "ValueError: no luck" in by_number[0].error
    assert "TrialDiverged: the loss became nan" in by_number[2].error
    assert by_number[0].params == {"decay": 0.003}
    assert len({r.params["decay"] for r in by_number.values()}) == 6
    assert Study.open(folder, config).num_left == 0
    assert (folder.path / "finished.json").is_file()

    # Pretraining first; then each trial starts, steps, and ends once.
    assert [e.progress.epoch for e in events[:2] if e.spec is None] == [1, 2]
    assert all(e.spec is not None for e in events[2:])
    for number, uid in uids.items():
        own = [e for e in events if e.spec is not None and e.spec.uid == uid]
        assert own[0] == Event(spec=own[0].spec)
        assert own[0].spec.number == number
        assert own[-1].result == by_number[number]
        assert all(e.progress.stage == "regularize" for e in own[1:-1])
        assert all(e.progress.metrics["loss"] == 1 / e.progress.epoch for e in own[1:-1])

    # All is done: nothing starts again, not even Ray.
    assert search(folder) == []


def test_given_weights_are_measured_here_before_ray_starts(toy_config, make_sweep):
    config = toy_config(model__weights="mine.safetensors")
    with pytest.raises(TrialDiverged, match="dense network"):
        search(make_sweep(config), pretrain=toy.pretrain_diverging)
    assert not ray.is_initialized()
    assert temporary_folders(os.getpid()) == []


@pytest.mark.parametrize(
    ("changed", "address"),
    [
        ({}, None),
        ({"model__weights": "mine.safetensors"}, "head:6379"),
        ({"model__weights": "mine.safetensors", "resources__gpus": 1.0}, None),
    ],
)
def test_training_clusters_and_gpus_want_a_worker(changed, address, toy_config):
    assert not pretrains_here(toy_config(**changed), address=address)


@pytest.mark.slow
def test_hopeless_trials_are_stopped_early(toy_config, make_sweep):
    config = toy_config(
        sampler="random",
        early_stopping="curve",
        budget__trials=10,
        resources__workers=1,
        objective__points={"A": 0.0, "B": 0.01, "C": 0.03},
    )
    folder = make_sweep(config)
    events = search(folder, run_trial=toy.run_watched_trial)

    by_number = {result.number: result for result in folder.results()}
    stopped = [n for n, result in by_number.items() if result.state == "stopped"]
    assert list(by_number) == list(range(10)), "stopped trials count against the budget"
    # Three trials teach the rule; then every second one is stopped at its first milestone.
    assert stopped == [3, 5, 7, 9]
    for number in stopped:
        result = by_number[number]
        assert result.curve == toy.curve(3.0)
        assert 0 < result.forecast["B"] < result.forecast["C"] < 5
        assert result.forecast["A"] < 5, "the strictest floor may be out of reach"
        own = [e for e in events if e.spec is not None and e.spec.number == number]
        assert [e.progress.epoch for e in own if e.progress is not None] == [1]
        assert own[-1].result == result
    ends = ended(folder)
    assert sorted(ends) == sorted(r.uid for r in by_number.values() if r.state == "complete")
    told = Study.open(folder, config)
    assert (told.num_ended, told.num_left) == (10, 0)
    assert search(folder, run_trial=toy.run_watched_trial) == []


@pytest.mark.slow
@pytest.mark.chaos
def test_a_sweep_survives_ctrl_c_and_kill_9_of_its_driver(toy_config, make_sweep):
    config = toy_config(sampler="tpe", budget__trials=7)
    folder = make_sweep(config)

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, str(HERE / "toy_driver.py"), str(folder.path)],
            stderr=subprocess.PIPE,
            start_new_session=True,
            # A shell's background job ignores Ctrl-C, and so would everything it starts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    driver = start()
    wait_for(lambda: len(ended(folder)) >= 2, driver)
    os.killpg(driver.pid, signal.SIGINT)  # as a terminal does: to the whole group
    _, errors = driver.communicate(timeout=180)
    assert b"KeyboardInterrupt" in errors
    assert "interrupted" in toy.notes(folder.path)
    assert folder.state() == "interrupted"
    assert len(ended(folder)) < 7, "it waited for trials to end"

    driver = start()
    before = len(ended(folder))
    wait_for(lambda: len(ended(folder)) >= before + 2, driver)
    commands = [read(pid, "cmdline") for pid in descendants(driver.pid)]
    assert any("run_trial" in c or "Trainable" in c for c in commands)
    kill_driver(driver)
    driver.communicate()

    events = search(folder)
    specs = folder.specs()
    assert [s.number for s in specs] == list(range(7))
    assert len({s.params["decay"] for s in specs}) == 7
    assert [r.state for r in folder.results()] == ["complete"] * 7
    assert sorted(ended(folder)) == sorted(s.uid for s in specs), "a trial ended twice or never"
    assert all(e.spec is not None for e in events), "pretraining ran again"
    assert folder.state() == "finished"


@pytest.mark.slow
def pretrained(pretrain, folder, data):
    """Pretrains in a worker, and returns the epochs of its steps."""
    watchdog = Watchdog(minutes=0.1)
    steps = pretrain_remotely(pretrain, folder, folder.config(), data, watchdog=watchdog)
    return [step.epoch for step in steps]


def test_on_a_cluster_that_runs_already(toy_config, make_sweep):
    """Several cases on one cluster, since it takes seconds to start."""
    config = toy_config(sampler="random", budget__trials=3)
    with cluster(None) as temporary:
        # A driver in another process joins by address, with the token from its environment.
        folder = make_sweep(config, "joined")
        subprocess.run(
            [
                sys.executable,
                str(HERE / "toy_driver.py"),
                str(folder.path),
                ray.get_runtime_context().gcs_address,
            ],
            check=True,
            timeout=120,
        )
        assert [r.state for r in folder.results()] == ["complete"] * 3
        assert folder.state() == "finished"

        data = ray.put(None)
        # What pretraining raises is raised as it is.
        folder = make_sweep(config, "diverging")
        with pytest.raises(TrialDiverged, match="dense network"):
            pretrained(toy.pretrain_diverging, folder, data)

        # Pretraining goes on after its worker died, and after it hung.
        assert pretrained(toy.pretrain_dying_once, folder, data) == [1, 2]
        assert folder.dense() == toy.DENSE
        folder = make_sweep(config, "hanging-once")
        assert pretrained(toy.pretrain_hanging_once, folder, data) == [1, 1, 1, 2]

        # Not for ever: a worker that dies each time is given three.
        folder = make_sweep(config, "dying")
        with pytest.raises(TrialError, match="pretraining was given up, its worker lost 3 times"):
            pretrained(toy.pretrain_dying, folder, data)
        assert toy.notes(folder.path) == ["pretraining died"] * 3

        # What the listener raises ends the search, as it is.
        def refuse(event: Event) -> None:
            if event.result is not None:
                raise LookupError("the listener broke")

        study, stopping = Study.open(folder, config), Stopping.of(folder, config, [])
        run = SearchRun(folder, config, study, refuse, stopping, temporary, slots(config))
        with pytest.raises(LookupError, match="the listener broke"):
            run.run(None, toy.run_trial, toy.pretrain)
        assert len(folder.results()) < 3

        # Where no worker can start, trials fail with the reason.
        config = config.model_copy(update={"budget": Budget(trials=1)})
        folder = make_sweep(config, "unreadable")
        study, stopping = Study.open(folder, config), Stopping.of(folder, config, [])
        run = SearchRun(folder, config, study, lambda _: None, stopping, temporary, slots(config))
        run.run(toy.Unreadable(), toy.run_trial, None)
        (result,) = folder.results()
        assert result.state == "failed"
        assert "was lost too often: ModuleNotFoundError: No module named 'mine'" in result.error

        # A worker that takes longer to start than trials take gets its trial all the same.
        config = config.model_copy(update={"budget": Budget(trials=14)})
        folder = make_sweep(config, "late")
        study, stopping = Study.open(folder, config), Stopping.of(folder, config, [])
        run = SearchRun(folder, config, study, lambda _: None, stopping, temporary, slots(config))
        run.run(toy.LateWorkers(folder.path / "loads"), toy.run_trial, toy.pretrain)
        starts = [line.split() for line in toy.notes(folder.path) if line.startswith("start ")]
        workers = {uid[:3]: pid for _, uid, pid, _ in starts}
        assert workers["000"] != workers["001"], "a worker was ended while it started"
        assert len(folder.results()) == 14


def test_an_address_where_nothing_listens_is_refused_before_anything_starts(toy_config, make_sweep):
    folder = make_sweep(toy_config())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ConnectionFailed, match="no Ray cluster answers"):
        search(folder, address=f"127.0.0.1:{port}")
    assert not folder.study_journal.exists()


@pytest.mark.parametrize("address", ["head", "ray://head:10001", "head:port", ":6379"])
def test_an_address_of_another_form_is_refused(address, toy_config, make_sweep):
    with pytest.raises(ConnectionFailed, match="HOST:PORT"):
        search(make_sweep(toy_config()), address=address)


def test_a_trial_too_large_for_the_machine_is_refused(toy_config, make_sweep):
    folder = make_sweep(toy_config(resources__cpus=4096))
    with pytest.raises(ConfigError, match=r"resources\.cpus is 4096"):
        search(folder)
    assert not folder.study_journal.exists()
