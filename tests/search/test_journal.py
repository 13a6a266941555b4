import resource
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


def test_half_a_line_that_a_full_disk_took_is_not_left(path):
    study, before = load(path), path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            study.ask()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    study.ask()
    assert len(load(path).trials) == 3
