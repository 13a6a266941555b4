"""Artefacts that lie are refused with a clear error, whatever they do."""

import contextlib
import os
import shutil
import struct

import pytest
import safetensors.torch
import torch
from hostile import GOLDEN, edit, rewrite
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hoyer_search import load_artifact
from hoyer_search.compression.artifact import FORMAT, read_artifact
from hoyer_search.errors import ArtifactError, InputError

FILES = ["architecture.json", "manifest.json", "metrics.json", "model.safetensors"]


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(GOLDEN / f"format-{FORMAT}", tmp_path / "artifact")


@pytest.mark.parametrize("name", FILES)
def test_links_are_not_followed(folder, name, tmp_path):
    (folder / name).rename(tmp_path / name)
    (folder / name).symlink_to(tmp_path / name)
    with pytest.raises(ArtifactError, match=rf"{name} cannot be read.*links are not followed"):
        load_artifact(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_pipe_does_not_make_the_reader_wait(folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(ArtifactError, match=f"{name} cannot be read: it is no regular file"):
        load_artifact(folder)


def test_a_file_larger_than_promised_is_not_read(folder):
    os.truncate(folder / "model.safetensors", 2**40)  # a terabyte of holes
    with pytest.raises(ArtifactError, match=r"must have 2084 bytes, it has 1099511627776"):
        load_artifact(folder)


@pytest.mark.parametrize("name", ["architecture.json", "manifest.json"])
def test_an_enormous_record_is_not_read(folder, name):
    os.truncate(folder / name, 2**40)
    if name != "manifest.json":
        edit(folder, "manifest.json", lambda m: m["files"][name].update(size=2**40))
    with pytest.raises(ArtifactError, match="must have at most 67108864 bytes"):
        load_artifact(folder)


@pytest.mark.parametrize("length", [2**63, 10**9, 3000, 2**64 - 1])
def test_an_oversized_header_is_refused(folder, length):
    content = (folder / "model.safetensors").read_bytes()
    rewrite(folder, "model.safetensors", struct.pack("<Q", length) + content[8:])
    with pytest.raises(ArtifactError, match=r"model\.safetensors must be a safetensors file"):
        load_artifact(folder)


def test_numbers_of_an_odd_type_are_refused(folder):
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    for kind, message in ((torch.float8_e5m2, "plain numbers"), (torch.int64, "has type")):
        changed = weights | {"fc2.bias": weights["fc2.bias"].to(kind)}
        rewrite(folder, "model.safetensors", safetensors.torch.save(changed))
        with pytest.raises(ArtifactError, match=message):
            load_artifact(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"factory": "lenet_5", "factory": "lenet_300_100"}', "'factory' is there twice"),
        (b'{"factory": "lenet_5", "input_shape": [NaN]}', "NaN is not JSON"),
        (b'{"factory": "lenet_5", "input_shape": [1], "code": "x"}', "code: there is no such fie"),
        (b'{"factory": "lenet_5", "input_shape": [true]}', r"input_shape\[0\]: must be int"),
        (b'{"factory": "lenet_5", "input_shape": [1e3]}', r"input_shape\[0\]: must be int"),
        (b'{"factory": "lenet_5", "input_shape": [100000, 100000]}', "from 1 to 268,435,456 el"),
        (b'{"factory": "lenet_5", "input_shape": [1, -28, -28]}', "from 1 to 268,435,456 el"),
        (b'{"factory": ["lenet_5"], "input_shape": [1]}', "factory: must be str"),
        (b'["lenet_5"]', "the document: must be dict"),
        (b"\xff\xfe", "breaks the format"),
        (b"9" * 5000, "breaks the format"),
        (b"", "breaks the format"),
    ],
)
def test_records_are_read_strictly(folder, text, message):
    rewrite(folder, "architecture.json", text)
    with pytest.raises(ArtifactError, match=message):
        load_artifact(folder)


def test_more_classes_than_memory_are_refused(folder):
    change = {"factory": "resnet20", "arguments": {"num_classes": 10**13}}
    edit(folder, "architecture.json", lambda a: a.update(change))
    with pytest.raises(InputError, match="num_classes must be an integer from 1 to 100,000"):
        load_artifact(folder)


NAMES = st.sampled_from(FILES[:1] + FILES[2:])
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def mutate(data, value):
    """Replaces one random part of a JSON value."""
    if isinstance(value, dict) and value and data.draw(st.integers(0, 3)):
        key = data.draw(st.sampled_from(sorted(value)))
        return value | {key: mutate(data, value[key])}
    if isinstance(value, list) and value and data.draw(st.integers(0, 3)):
        place = data.draw(st.integers(0, len(value) - 1))
        return [*value[:place], mutate(data, value[place]), *value[place + 1 :]]
    return data.draw(TREES)


@pytest.fixture
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "artifact"


def load(folder):
    """An artefact is a network, or a clear error of ours; nothing else may come out."""
    with contextlib.suppress(InputError):
        load_artifact(folder)


FUZZ = settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@FUZZ
@given(data=st.data())
def test_random_records_never_crash_the_loader(scratch, data):
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(GOLDEN / f"format-{FORMAT}", scratch)
    name = data.draw(st.sampled_from(FILES[:3]))

    def change(value):
        changed = mutate(data, value)
        value.clear()
        value.update(changed if isinstance(changed, dict) else {"x": changed})

    edit(scratch, name, change)
    load(scratch)


@FUZZ
@given(data=st.data())
def test_random_bytes_never_crash_the_loader(scratch, data):
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(GOLDEN / f"format-{FORMAT}", scratch)
    name = data.draw(NAMES)
    content = bytearray((scratch / name).read_bytes())
    start = data.draw(st.integers(0, len(content) - 1))
    patch = data.draw(st.binary(max_size=12))
    length = data.draw(st.integers(0, 12))
    content[start : start + length] = patch
    if data.draw(st.booleans()):
        rewrite(scratch, name, bytes(content))
    else:
        (scratch / name).write_bytes(content)
        if bytes(content) != (GOLDEN / f"format-{FORMAT}" / name).read_bytes():
            with pytest.raises(ArtifactError):
                read_artifact(scratch)
    load(scratch)
