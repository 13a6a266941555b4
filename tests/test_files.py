"""Atomic writes: whole or not at all."""

import contextlib
import errno
import resource

import pytest
from safetensors import SafetensorError

from hoyer_search import files


def test_a_failed_directory_leaves_nothing(tmp_path):
    def write_half() -> None:
        with files.new_directory(tmp_path / "out") as folder:
            (folder / "half").write_text("x")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_an_existing_directory_stays(tmp_path):
    for text in ("first", "second"):
        with files.new_directory(tmp_path / "out") as folder:
            (folder / "file").write_text(text)
    assert (tmp_path / "out" / "file").read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "value.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(path, {"a": float("nan")})
    assert files.read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["value.json"]


def test_digest_ignores_the_order_of_keys():
    assert files.digest({"a": 1, "b": [2, 3]}) == files.digest({"b": [2, 3], "a": 1})
    assert files.digest({"a": 1}) != files.digest({"a": 2})


@pytest.fixture
def no_room():
    """Returns a block in which no file of this process may grow beyond some bytes."""

    @contextlib.contextmanager
    def beyond(size):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return beyond


def test_a_line_that_only_fits_in_part_is_not_there(tmp_path, no_room):
    path = tmp_path / "lines.jsonl"
    files.append_line(path, '{"a": 1}')
    with no_room(12), pytest.raises(OSError, match="No space left") as caught:
        files.append_line(path, '{"a": 2}')
    assert files.out_of_space(caught.value)
    assert path.read_text() == '{"a": 1}\n'
    files.append_line(path, '{"a": 3}')
    assert [*files.read_lines(path)] == [{"a": 1}, {"a": 3}]


def test_a_torn_line_costs_no_other_line(tmp_path):
    path = tmp_path / "lines.jsonl"
    assert [*files.read_lines(path)] == []
    path.write_text('{"a": 1}\n{"a": ')
    assert [*files.read_lines(path)] == [{"a": 1}]
    files.append_line(path, '{"a": 2}')
    assert [*files.read_lines(path)] == [{"a": 1}, {"a": 2}]


def test_a_full_disk_is_found_behind_other_errors():
    def wrapped(error):
        try:
            try:
                raise error
            except Exception as cause:
                raise RuntimeError("Tune stopped") from cause
        except RuntimeError as outer:
            return outer

    assert files.out_of_space(wrapped(OSError(errno.ENOSPC, "No space left on device")))
    assert files.out_of_space(wrapped(OSError(errno.EDQUOT, "Disk quota exceeded")))
    assert files.out_of_space(SafetensorError("I/O error: No space left on device (os error 28)"))
    assert not files.out_of_space(wrapped(PermissionError(errno.EACCES, "denied")))
    assert not files.out_of_space(None)


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path):
    left = f".stage.{'0af' * 10}12"
    (tmp_path / left).mkdir()
    (tmp_path / left / "weights").write_text("half")
    (tmp_path / f"{left[:-1]}3").write_text("half")
    for name in ("stage", ".hidden", ".a.b", f"stage.{'0' * 32}"):
        (tmp_path / name).write_text("kept")
    files.remove_unfinished(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        ["stage", ".hidden", ".a.b", f"stage.{'0' * 32}"]
    )
