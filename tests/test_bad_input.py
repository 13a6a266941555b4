"""Bad input: one clear paragraph, exit code 2, before any training, nothing left behind."""

import os
import pickle
import socket
import stat

import pytest
import torch
import toys
from test_sweep import call


@pytest.fixture
def run(toy_file, tmp_path, monkeypatch, capsys):
    def run_with(*settings, storage=None, extra=(), text=None):
        if text is not None:
            toy_file.write_text(text)
        storage = storage or tmp_path / "runs"
        pairs = [part for s in settings for part in ("--set", s)]
        code, out, error = call(
            monkeypatch,
            capsys,
            "run",
            toy_file,
            "--name",
            "bad",
            "--storage",
            storage,
            *pairs,
            *extra,
        )
        assert code == 2, out + error
        assert error.startswith(("error: ", "Usage: "))
        assert "Traceback" not in error
        assert not storage.exists() or list(storage.iterdir()) == []
        return error

    return run_with


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("budget.trails=3", "did you mean 'trials'"),
        ("budget.trials=0", "greater than or equal to 1, got 0"),
        ("budget.trials=many", "valid integer, got 'many'"),
        ("search.decay.low=1", "low must be less than high"),
        ("search.decay.low=-1", "low must be above 0"),
        ("search.decay.low=.nan", "finite number"),
        ("resources.cpus=4096", "a trial must fit the machine"),
        ("resources.gpus=1", "GPU"),
        ("resources.custom={GPU: 1}", "'GPU' is no custom resource"),
        ("resources.custom={fast_disk: 1}", "which only nodes of a cluster offer"),
        ("model.factory=toys:no_layers", "its layers are: Flatten, ReLU"),
        ("model.factory=toys:lazy", "has lazy ones: call it once on an example"),
        ("model.factory=toys:missing", "unknown callable 'missing'"),
        ("model.factory=lenet_5", "raised RuntimeError on the first example"),
        ("model.factory=toys:nothing", "returned NoneType"),
        ("data.source=toys:nothing", "returned NoneType"),
        ("data.validation=600", "sets 600 examples aside, but only 600"),
        ("regularizer.layer_weights={fc9: 1.0}", "unknown prunable layer 'fc9'"),
        ("regularizer.layer_weights={'?': 1.0, '[13]': 2.0}", "'1' is described by '?' and '[13]'"),
        (
            "search.regularizer.layer_weights.fc9.*={low: 0.1, high: 1.0}",
            "regularizer.layer_weights: unknown prunable layer 'fc9.*'",
        ),
        ("pruning.exclude=['*']", "pruning.exclude must leave a layer to prune"),
        ("pruning.exclude=['fc9*']", "pruning.exclude: unknown prunable layer 'fc9*'"),
        ("pipeline.regularize.batch_size=1000", "only 400 training examples"),
        (
            "search.pipeline.regularize.batch_size={choices: [50, 1000]}",
            "search.pipeline.regularize.batch_size may be 1000, but there are only 400",
        ),
        ("objective.accuracy=top5", "has 4 outputs: every accuracy would be 100%"),
        ("model.weights=missing.safetensors", "missing.safetensors"),
    ],
)
def test_bad_settings(run, setting, message):
    assert message in run(setting)


def test_a_label_without_an_output(run, monkeypatch):
    data = toys.blobs()
    data.test[1][7] = 9
    monkeypatch.setattr("toys.blobs", lambda: data)
    assert "test: the model has 4 outputs, but an example has the label 9" in run()


def test_a_last_batch_of_one_that_cannot_be_normalized(run):
    error = run("model.factory=toys:normalized", "data.validation=199")
    assert "pipeline.pretrain.batch_size is 50: of 401 training examples the last batch" in error
    assert "Expected more than 1 value per channel" in error


def test_a_pickle_in_place_of_weights_is_never_run(run, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "exploded"),))

    (tmp_path / "weights.pt").write_bytes(pickle.dumps(Bomb()))
    torch.save({"w": Bomb()}, tmp_path / "saved.pt")
    for name in ("weights.pt", "saved.pt"):
        assert "without running code" in run(f"model.weights={tmp_path / name}")
    assert not (tmp_path / "exploded").exists()


def test_weights_of_another_network_are_refused(run, tmp_path):
    torch.save(toys.mlp(width=9).state_dict(), tmp_path / "other.pt")
    assert "has shape" in run(f"model.weights={tmp_path / 'other.pt'}")


def test_an_unwritable_storage(run, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    assert "cannot be written" in run(storage=tmp_path / "file" / "runs")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_storage(run, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(stat.S_IRUSR | stat.S_IXUSR)
    assert "cannot be written" in run(storage=locked)


def test_an_existing_name(toy_file, toy_config, make_sweep, tmp_path, monkeypatch, capsys):
    make_sweep(toy_config(), name="taken")
    storage = ("--storage", tmp_path / "runs")
    code, _, error = call(monkeypatch, capsys, "run", toy_file, "--name", "taken", *storage)
    assert code == 2
    assert "hoyer-search resume taken" in error
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["taken"]


@pytest.mark.parametrize("name", ["../escape", "a/b", "", "x" * 101, ".hidden"])
def test_names_cannot_leave_their_folder(toy_file, tmp_path, monkeypatch, capsys, name):
    storage = ("--storage", tmp_path / "runs")
    code, _, error = call(monkeypatch, capsys, "run", toy_file, f"--name={name or ' '}", *storage)
    assert code == 2
    assert "a sweep's name takes" in error
    assert not (tmp_path / "runs").exists()


def unused_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_an_unreachable_tracking_server(run, tmp_path, monkeypatch, capsys):
    uri = f"http://127.0.0.1:{unused_port()}"
    assert uri in run(extra=["--tracking-uri", uri])
    code, out, error = call(monkeypatch, capsys, "ui", "--storage", tmp_path, "--tracking-uri", uri)
    assert (code, out) == (2, "")
    assert f"the tracking server {uri} does not answer" in error


@pytest.mark.parametrize("address", ["nowhere", "ray://x", "127.0.0.1:{port}"])
def test_an_unreachable_ray_cluster(run, address):
    assert "Ray cluster" in run(extra=["--address", address.format(port=unused_port())])


def test_a_space_that_is_no_yaml(run):
    assert "toy.yaml:" in run(text="name: [")


def test_unknown_spaces_sweeps_and_points(monkeypatch, capsys, tmp_path):
    code, _, error = call(monkeypatch, capsys, "run", "quickstrat")
    assert (code, "did you mean 'quickstart'" in error) == (2, True)
    code, _, error = call(monkeypatch, capsys, "show", "nothing", "--storage", tmp_path)
    assert (code, "no sweep in" in error) == (2, True)
    code, _, error = call(monkeypatch, capsys, "pull", "nothing", "-o", tmp_path / "x")
    assert (code, "--point" in error) == (2, True)
    code, out, error = call(monkeypatch, capsys, "list", "--storage", tmp_path)
    assert (code, out, "no sweep in" in error) == (0, "", True)
    code, _, error = call(monkeypatch, capsys, "evaluate", tmp_path)
    assert (code, "is missing" in error) == (2, True)
    code, _, error = call(monkeypatch, capsys, "frobnicate")
    assert (code, "No such command" in error) == (2, True)


def test_an_artefact_with_a_flipped_byte(toy_config, make_sweep, tmp_path, monkeypatch, capsys):
    from hoyer_search.compression.artifact import Architecture, save_artifact

    network = toys.mlp()
    architecture = Architecture(factory="toys:mlp", input_shape=[1, 6, 6])
    save_artifact(tmp_path / "best", network, architecture=architecture, metrics={})
    weights = tmp_path / "best" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(content)
    code, _, error = call(
        monkeypatch, capsys, "evaluate", tmp_path / "best", "--factory", "toys:mlp"
    )
    assert code == 2
    assert "damaged or was changed" in error
