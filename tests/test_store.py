"""One driver a sweep: the lock, who holds it, and what becomes of it."""

import subprocess
import sys
from pathlib import Path

import pytest

from hoyer_search.errors import StorageError
from hoyer_search.store import check_new

HOLD = (
    "import sys, time; from pathlib import Path; from hoyer_search.store import SweepFolder; "
    "lock = SweepFolder(Path(sys.argv[1])).lock(); print('held', flush=True); time.sleep(600)"
)


@pytest.mark.parametrize("storage", ["s3://bucket/sweeps", "hdfs://host:8020/sweeps"])
def test_a_url_is_no_storage(tmp_path, storage):
    with pytest.raises(StorageError, match="must be a folder, one that all nodes mount"):
        check_new(Path(storage).absolute(), "first")
    drive = tmp_path / "c:"
    drive.mkdir()
    check_new(drive, "first")


def test_a_second_driver_is_refused_and_told_who_has_the_sweep(toy_config, make_sweep):
    folder = make_sweep(toy_config())
    first = subprocess.Popen([sys.executable, "-c", HOLD, folder.path], stdout=subprocess.PIPE)
    try:
        assert first.stdout.readline() == b"held\n"
        assert folder.state() == "running"
        for refused in (folder.lock, folder.check_idle):
            with pytest.raises(
                StorageError, match=rf"is being run by process {first.pid} on \S+: wait"
            ):
                refused()
        (folder.path / "driver.json").write_text("{torn")
        with pytest.raises(StorageError, match="is being run by another process"):
            folder.lock()
    finally:
        first.kill()
        first.communicate()
    # Nothing of it is in the way, nor is it named any more.
    assert folder.state() == "interrupted"
    folder.check_idle()
    with folder.lock():
        assert folder.state() == "running"
