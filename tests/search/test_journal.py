import time

import optuna
import pytest

from hoyer_search.search.journal import open_journal


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "study.journal"
    study = optuna.create_study(study_name="s", storage=open_journal(path))
    study.ask()
    study.ask()
    return path


def load(path):
    return optuna.load_study(study_name="s", storage=open_journal(path))


@pytest.mark.parametrize("cut", [1, 5, 60])
def test_a_line_cut_short_by_a_crash_is_dropped_and_writing_goes_on(path, cut):
    path.write_bytes(path.read_bytes()[:-cut])
    known = len(load(path).trials)
    load(path).ask()
    assert len(load(path).trials) == known + 1


def test_a_dead_writers_lock_does_not_hold_anyone_up(path):
    lock = path.with_name("study.journal.lock")
    lock.symlink_to(path)
    started = time.monotonic()
    load(path).ask()
    assert time.monotonic() - started < 25, "Optuna waits 30 s"
    assert not lock.is_symlink()
