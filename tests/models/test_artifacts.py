import os
import pickle
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hostile import edit, rewrite
from torch import nn

import hoyer_search
from hoyer_search.compression.artifact import (
    Architecture,
    read_artifact,
    save_artifact,
    verify,
)
from hoyer_search.compression.channels import ChannelGraph
from hoyer_search.compression.exactness import exactness
from hoyer_search.compression.masks import Masks, make_masks, masks_from_zeros
from hoyer_search.compression.shrink import shrink
from hoyer_search.errors import ArtifactError, PluginError
from hoyer_search.models import build, load_artifact, load_masked

SHAPE = (1, 28, 28)
CALLS: list[str] = []


class Net(nn.Sequential):
    """A user's network, with buffers and without a name of its own in the registry."""

    def __init__(self, width: int) -> None:
        super().__init__(
            nn.Conv2d(1, width, 5, stride=3),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(width * 64, 10),
        )


def user_factory(width: int = 6) -> nn.Module:
    CALLS.append("user_factory")
    return Net(width)


def pruned(model: nn.Module) -> tuple[nn.Module, ChannelGraph, Masks]:
    """Returns a network after structural pruning, its graph and its masks."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1)
            if parameter.ndim > 1:
                parameter[::3] = 0
    graph = ChannelGraph.trace(model, torch.zeros(1, *SHAPE))
    masks = make_masks(model, graph, threshold=0.5, rule="std_ratio", granularity="element")
    masks.apply_(model)
    return model.eval(), graph, masks


def save(folder: Path, factory: str, model: nn.Module, arguments: dict | None = None) -> nn.Module:
    network, graph, masks = pruned(model)
    shrunk, report = shrink(network, graph, masks)
    architecture = Architecture(
        factory=factory,
        arguments=arguments or {},
        kept=report.kept,
        input_shape=list(SHAPE),
        mean=[0.1307],
        std=[1],
        classes=[str(digit) for digit in range(10)],
        origin={"sweep": "s", "trial": "abc", "threshold": 0.5, "params": {"decay": 1e-4}},
    )
    save_artifact(folder, shrunk, architecture=architecture, metrics={"val_accuracy": 0.98})
    return shrunk


@pytest.fixture(scope="module")
def lenet_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts") / "lenet"
    save(folder, "lenet_5", build("lenet_5", {}))
    return folder


@pytest.fixture
def folder(lenet_folder, tmp_path) -> Path:
    return Path(shutil.copytree(lenet_folder, tmp_path / "artifact"))


@pytest.mark.parametrize("alias", ["lenet_5", "lenet_300_100"])
def test_a_loaded_network_is_the_shrunk_one_bit_for_bit(alias, tmp_path):
    shrunk = save(tmp_path / "point", alias, build(alias, {}))
    loaded = hoyer_search.load_artifact(tmp_path / "point")
    assert not loaded.training
    images = torch.rand(3, *SHAPE)
    assert torch.equal(loaded(images), shrunk(images))
    assert sorted(p.name for p in (tmp_path / "point").iterdir()) == [
        "architecture.json", "manifest.json", "metrics.json", "model.safetensors",
    ]  # fmt: skip


def test_what_was_written_is_read(folder):
    artifact = read_artifact(folder)
    assert artifact.metrics == {"val_accuracy": 0.98}
    assert artifact.architecture.input_shape == [1, 28, 28]
    assert artifact.architecture.std == [1.0]
    assert artifact.architecture.classes[-1] == "9"
    assert artifact.architecture.origin["params"] == {"decay": 1e-4}
    assert len(artifact.architecture.kept["conv1"].rows) < 20


@pytest.mark.parametrize("alias", ["lenet_5", "lenet_300_100"])
def test_the_masked_network_is_measured_again_from_the_artefact_alone(alias, tmp_path):
    model, _, masks = pruned(build(alias, {}))
    save(tmp_path / "point", alias, build(alias, {}))
    masked, loaded = load_masked(tmp_path / "point"), load_artifact(tmp_path / "point")
    for name, parameter in model.named_parameters():
        assert torch.equal(masked.get_parameter(name), parameter)
    again = masks_from_zeros(masked, ChannelGraph.trace(masked, torch.zeros(1, *SHAPE)))
    assert again.nonzeros() == masks.nonzeros()
    assert again.macs() == masks.macs()
    assert exactness(masked, loaded, SHAPE) <= 1e-10


def test_saving_twice_keeps_the_first(folder):
    before = verify(folder)
    network = build("lenet_5", {})
    architecture = Architecture(factory="lenet_5", input_shape=[1, 28, 28])
    save_artifact(folder, network, architecture=architecture, metrics={})
    assert verify(folder) == before


def test_a_failed_save_leaves_nothing(tmp_path):
    architecture = Architecture(factory="lenet_5", input_shape=[1, 28, 28])
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_artifact(
            tmp_path / "point",
            build("lenet_5", {}),
            architecture=architecture,
            metrics={"val_accuracy": float("nan")},
        )
    assert list(tmp_path.iterdir()) == []


# A factory of the user


def test_a_user_factory_is_called_only_when_given(tmp_path):
    path = f"{__name__}:user_factory"
    shrunk = save(tmp_path / "point", path, user_factory(5), {"width": 5})
    CALLS.clear()
    with pytest.raises(ArtifactError, match=r"not built in.*may not say what code to run"):
        load_artifact(tmp_path / "point")
    with pytest.raises(ArtifactError, match=r"got 'os:system'\. Give that one"):
        load_artifact(tmp_path / "point", factory="os:system")
    assert CALLS == []
    images = torch.rand(2, *SHAPE)
    for factory in (user_factory, path):
        loaded = load_artifact(tmp_path / "point", factory=factory)
        assert torch.equal(loaded(images), shrunk(images))
    assert CALLS == ["user_factory"] * 2
    masked = load_masked(tmp_path / "point", factory=user_factory)
    assert exactness(masked, loaded, SHAPE) <= 1e-10


def test_the_wrong_factory_is_named(tmp_path):
    save(tmp_path / "point", "user:net", user_factory(5), {"width": 5})
    with pytest.raises(ArtifactError, match=r"architecture\.json does not fit.*no module '0'"):
        load_artifact(tmp_path / "point", factory=lambda width: build("lenet_5", {}))
    odd = nn.Linear(5 * 64, 11)
    with pytest.raises(ArtifactError, match=r"has shape .* where the network has"):
        load_artifact(
            tmp_path / "point", factory=lambda width: nn.Sequential(*list(Net(width))[:-1], odd)
        )
    with pytest.raises(PluginError, match="it returned NoneType"):
        load_artifact(tmp_path / "point", factory=lambda width: None)


# Damage


@pytest.mark.parametrize("name", ["model.safetensors", "architecture.json", "metrics.json"])
@pytest.mark.parametrize("place", [0.0, 0.5, 0.999])
def test_a_flipped_bit_anywhere_is_found(folder, name, place):
    content = bytearray((folder / name).read_bytes())
    content[int(place * len(content))] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"{name} must have the SHA-256.*damaged or was chan"):
        load_artifact(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "architecture.json", "metrics.json"])
def test_a_truncated_file_is_found(folder, name):
    os.truncate(folder / name, (folder / name).stat().st_size - 1)
    with pytest.raises(ArtifactError, match=rf"{name} must have \d+ bytes.*damaged"):
        load_artifact(folder)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "architecture.json", "metrics.json", "manifest.json"]
)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=f"{name} is missing"):
        load_artifact(folder)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"nowhere is no folder"):
        load_artifact(tmp_path / "nowhere")


@pytest.mark.parametrize("extra", ["weights.pkl", "model.pt", "notes.txt"])
def test_an_extra_file_is_refused(folder, extra):
    (folder / extra).write_bytes(b"x")
    with pytest.raises(ArtifactError, match=rf"{extra} does not belong into an artefact"):
        load_artifact(folder)


class Exploit:
    def __reduce__(self):
        return (os.system, ("touch exploited",))


def test_a_pickle_in_place_of_the_weights_is_not_loaded(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rewrite(folder, "model.safetensors", pickle.dumps(Exploit()))
    with pytest.raises(ArtifactError, match=r"model\.safetensors must be a safetensors file"):
        load_artifact(folder)
    assert not (tmp_path / "exploited").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(folder, value):
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    weights["fc1.bias"][0] = value
    rewrite(folder, "model.safetensors", safetensors.torch.save(weights))
    with pytest.raises(ArtifactError, match=r"'fc1\.bias' has a NaN or an infinity"):
        load_artifact(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.update({"fc1.bias": torch.zeros(3)}), r"fc1\.bias has shape \(3,\)"),
        (lambda w: w.pop("fc1.bias"), r"fc1\.bias is missing"),
        (lambda w: w.update({"fc9.bias": torch.zeros(3)}), r"fc9\.bias is not in the network"),
    ],
)
def test_weights_of_another_shape_or_name_are_refused(folder, change, message):
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    change(weights)
    rewrite(folder, "model.safetensors", safetensors.torch.save(weights))
    with pytest.raises(ArtifactError, match=message):
        load_artifact(folder)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("manifest.json", lambda m: m.update(format=4), "of format 1 to 3, got format 4"),
        ("manifest.json", lambda m: m.pop("format"), "format: this field is missing"),
        ("manifest.json", lambda m: m["files"].pop("metrics.json"), "must list exactly"),
        (
            "manifest.json",
            lambda m: m["files"].update({"../../etc/passwd": {"size": 1, "sha256": "0"}}),
            "must list exactly",
        ),
        (
            "manifest.json",
            lambda m: m["files"].update({"/etc/passwd": m["files"].pop("metrics.json")}),
            "must list exactly",
        ),
        ("architecture.json", lambda a: a.pop("factory"), "factory: this field is missing"),
        ("architecture.json", lambda a: a.update(kept=[]), "kept: must be dict"),
        (
            "architecture.json",
            lambda a: a["kept"].update(conv1={"rows": [0, 99], "columns": None}),
            r"must rise within \[0, 20\)",
        ),
        ("architecture.json", lambda a: a.update(input_shape=["1"]), r"shape\[0\]: must be int"),
    ],
)  # fmt: skip
def test_a_record_that_lies_is_refused(folder, name, change, message):
    edit(folder, name, change)
    with pytest.raises(ArtifactError, match=message):
        load_artifact(folder)


def test_records_that_are_no_json_are_refused(folder):
    rewrite(folder, "architecture.json", b"[" * 100_000)
    with pytest.raises(ArtifactError, match=r"architecture\.json breaks the format"):
        load_artifact(folder)
    (folder / "manifest.json").write_bytes(b"\x80\x04")
    with pytest.raises(ArtifactError, match=r"manifest\.json breaks the format"):
        load_artifact(folder)


@pytest.mark.parametrize("hostile", ["os:system", "builtins:eval", "subprocess:run"])
def test_a_file_cannot_name_the_code_to_run(folder, hostile, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    change = {"factory": hostile, "arguments": {"command": "touch exploited"}}
    edit(folder, "architecture.json", lambda a: a.update(change))
    with pytest.raises(ArtifactError, match="may not say what code to run"):
        load_artifact(folder)
    assert not (tmp_path / "exploited").exists()


def test_arguments_that_the_factory_refuses_are_named(folder):
    edit(folder, "architecture.json", lambda a: a.update(arguments={"width": 10**12}))
    with pytest.raises(PluginError, match="unexpected keyword argument 'width'"):
        load_artifact(folder)
