"""``kill -9`` of driver, Ray and workers at random moments: the sweep finds the same."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import counted
import optuna
import pytest
from counted import STEPS_PER_EPOCH
from processes import descendants, wait_for_end

from hoyer_search.search.journal import open_journal
from hoyer_search.store import SweepFolder

TESTS = Path(__file__).parent
TRIALS, EPOCHS, KILLS, ATTEMPTS = 12, 20, 10, 3
SEED = 20261122

# One worker, and a grid: then neither the order of ends nor that of restarts plays a part.
SPACE = (
    counted.SPACE.replace("epochs: 60", f"epochs: {EPOCHS}")
    .replace("trials: 2", f"trials: {TRIALS}")
    .replace("finetune: {epochs: 2", "finetune: {epochs: 3")
    + "sampler: grid\n"
)


@dataclass(frozen=True)
class Run:
    """A sweep whose driver is started as often as need be."""

    folder: SweepFolder
    space: Path
    steps: Path

    @classmethod
    def of(cls, path: Path, name: str) -> "Run":
        space = path / "space.yaml"
        space.write_text(SPACE)
        return cls(SweepFolder(path / "runs" / name), space, path / f"{name}.steps")

    def start(self) -> "subprocess.Popen[str]":
        """Starts the driver, or goes on, as a user would."""
        name, storage = self.folder.name, self.folder.path.parent
        begun = (self.folder.path / "sweep.yaml").is_file()
        words = ["resume", name] if begun else ["run", str(self.space), "--name", name]
        return subprocess.Popen(
            [sys.executable, "-m", "hoyer_search", *words, "--storage", str(storage)],
            env=os.environ | {
                "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]),
                "STEPS": str(self.steps),
            },
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def train(self) -> "subprocess.Popen[str]":
        """Starts the driver, and returns when it has trained a step.

        Ray gives up starting after half a minute, too soon for a busy machine.
        """
        before = self.num_steps()
        for _ in range(ATTEMPTS):
            driver = self.start()
            while driver.poll() is None:
                if self.num_steps() > before:
                    return driver
                time.sleep(0.02)
        pytest.fail(f"the driver ended early: {driver.communicate()[0]}")

    def num_steps(self) -> int:
        return len(counted.steps(self.steps))

    def trained(self) -> list[tuple[object, ...]]:
        """Returns what every trial found, without what time and chance of a run are in."""
        return [
            (
                r.number, r.state, r.params, r.curve,
                [(p.threshold, p.val_accuracy, p.test_accuracy, p.nonzeros, p.macs, p.structure)
                 for p in r.points],
            )
            for r in self.folder.results()
        ]  # fmt: skip

    def front(self) -> list[tuple[int, float, float, int]]:
        found = self.folder.front()
        assert found is not None
        return [(p.trial, p.threshold, p.val_accuracy, p.nonzeros) for p in found.points]

    def steps_repeated(self) -> int:
        """Returns how many steps were trained more than a sweep without a kill needs."""
        finetunings = sum(len(result.points) for result in self.folder.results())
        epochs = 3 + TRIALS * EPOCHS + 3 * finetunings
        return self.num_steps() - epochs * STEPS_PER_EPOCH


def kill_everything(driver: "subprocess.Popen[str]") -> None:
    """Ends the driver and all below it at once, as the end of their machine does."""
    driver.send_signal(signal.SIGSTOP)  # so that it starts nothing meanwhile
    everything = list(descendants(driver.pid))
    for pid in [driver.pid, *everything]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    driver.communicate()
    wait_for_end(everything)
    for logs in Path("/tmp").glob(f"hs-{driver.pid}-*"):
        shutil.rmtree(logs, ignore_errors=True)


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_kills_change_nothing_that_a_sweep_finds(tmp_path, capsys):
    whole = Run.of(tmp_path, "whole")
    began = time.monotonic()
    driver = whole.train()
    start_up = time.monotonic() - began
    output, _ = driver.communicate(timeout=900)
    assert driver.returncode == 0, output
    work = time.monotonic() - began - start_up
    assert whole.steps_repeated() == 0

    killed, moments, when = Run.of(tmp_path, "killed"), random.Random(SEED), Counter()
    for _ in range(KILLS):
        if moments.random() < 0.3:  # while it starts
            driver = killed.start()
            time.sleep(moments.uniform(0, start_up))
        else:
            driver = killed.train()
            time.sleep(moments.uniform(0, work / 10))
        assert killed.folder.finished() is None, "the sweep ended before all kills"
        kill_everything(driver)
        when[len(killed.folder.results()) if killed.folder.path.is_dir() else 0] += 1
    driver = killed.train()
    output, _ = driver.communicate(timeout=900)
    assert driver.returncode == 0, output

    study = optuna.load_study(
        study_name="killed", storage=open_journal(killed.folder.study_journal)
    )
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * TRIALS
    assert len({tuple(trial.params.items()) for trial in study.trials}) == TRIALS
    for known in (killed.folder.specs(), killed.folder.results()):
        assert [trial.number for trial in known] == list(range(TRIALS))
    assert killed.trained() == whole.trained()
    assert killed.front() == whole.front()
    repeated = killed.steps_repeated()
    with capsys.disabled():
        ended = ", ".join(f"{number}: {times}" for number, times in sorted(when.items()))
        print(
            f"\n{KILLS} kills (seed {SEED}; kills by number of ended trials {ended}): "
            f"{TRIALS} of {TRIALS} trials, same front of {len(killed.front())} points, "
            f"{repeated} of {whole.num_steps()} steps repeated"
        )
    assert repeated <= KILLS * 2 * STEPS_PER_EPOCH, "more than a checkpoint's interval a kill"
