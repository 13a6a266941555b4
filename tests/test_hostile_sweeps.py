"""A sweep's folder that somebody else wrote: it runs no code and leads nowhere else."""

import contextlib
import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
import toys
from hostile import GOLDEN
from test_front import DENSE, make_point
from test_sweep import call
from torch import nn

from hoyer_search import histograms, results, spaces
from hoyer_search.compression.artifact import FORMAT
from hoyer_search.config import SweepConfig
from hoyer_search.datasets import load
from hoyer_search.datasets.contents import contents
from hoyer_search.errors import HoyerSearchError, StorageError
from hoyer_search.histograms import TrialHistograms
from hoyer_search.results import Earlier, Finished, Progress, TrialResult, TrialSpec, Usage
from hoyer_search.search.failures import add_failure
from hoyer_search.search.study import Study
from hoyer_search.store import SweepFolder
from hoyer_search.tracking.cursor import Cursor
from hoyer_search.tracking.waiting import num_waiting
from hoyer_search.trial import stages
from hoyer_search.trial.checkpoint import Checkpoints, State
from hoyer_search.trial.journal import Journal

UID = "000-abcdef"
URI = "sqlite:////tmp/none/mlflow.db"


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.mkdir, (self.mark,)


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> SweepFolder:
    """A finished sweep of one trial, with every kind of file that a sweep may have."""
    storage = tmp_path_factory.mktemp("template")
    (storage / "toy.yaml").write_text(toys.SPACE)
    config = spaces.load(storage / "toy.yaml", overrides={"budget.trials": 1})
    folder = SweepFolder.create(
        storage,
        "sweep",
        config=config,
        provenance={"versions": {}},
        contents=contents(load(config.data, seed=config.seed)),
    )
    results.save(folder.path / "earlier.json", Earlier(sweep="before", trials=[], left_out=0))
    Study.open(folder, config)
    spec = TrialSpec(number=0, uid=UID, params={"decay": 1e-3}, config={})
    folder.add_trial(spec)
    step = Progress(stage="regularize", epoch=1, epochs=1, time=1.0, metrics={"loss": 0.1})
    Journal(folder.trial(UID) / "metrics.jsonl").add(step)
    add_failure(folder, spec, "ValueError: no luck\n")
    histograms.save(folder.trial(UID), TrialHistograms(dense={}, regularized={}, points=[]))
    model = nn.Linear(2, 2)
    for stage in (folder.pretrained("x"), folder.trial(UID) / "regularize-x"):
        attempt = stages.Attempt(folder.trial(UID))
        stages.save_stage(stage, attempt=attempt, model=model, info={})
    results.save(folder.pretrained("x") / "dense.json", DENSE)
    state = State(model, torch.optim.SGD(model.parameters(), lr=0.1), epoch=1)
    Checkpoints(folder.trial(UID) / "regularize-x.partial", every_minutes=1.0).save(state)
    point = make_point(0, 0.98, 400)
    ended = TrialResult(
        number=0, uid=UID, params={"decay": 1e-3}, state="complete", dense=DENSE, points=[point]
    )
    results.save(folder.trial(UID) / "result.json", ended)
    shutil.copytree(GOLDEN / f"format-{FORMAT}", folder.point(point.name))
    folder.save_usage(Usage())
    folder.save_finished(Finished(trials=1, budget=1, stopped_by="trials"))
    Cursor.new(URI).save(folder.tracking / "cursor.json")
    with folder.lock():
        return folder


@pytest.fixture
def whole(template, tmp_path) -> SweepFolder:
    """A copy of it."""
    return SweepFolder(shutil.copytree(template.path, tmp_path / "runs" / "sweep"))


def read_everything(folder: SweepFolder, config: SweepConfig) -> None:
    """Reads what trials and driver read; each reader alone, since the first may refuse."""
    model = nn.Linear(2, 2)
    state = State(model, torch.optim.SGD(model.parameters(), lr=0.1))
    partial = folder.trial(UID) / "regularize-x.partial"
    for read in (
        lambda: Study.open(folder, config).ended(),
        lambda: Checkpoints(partial, every_minutes=1.0).restore(state),
        lambda: stages.load_stage(folder.trial(UID) / "regularize-x"),
        lambda: stages.load_stage(folder.pretrained("x")),
        lambda: Journal(folder.trial(UID) / "metrics.jsonl"),
        lambda: histograms.load(folder.trial(UID)),
        lambda: num_waiting(folder, URI),
        folder.provenance,
        folder.contents,
    ):
        with contextlib.suppress(HoyerSearchError):
            read()


FILES = """
sweep.yaml provenance.json data.json earlier.json study.journal usage.json finished.json
driver.lock driver.json pretrained/x/dense.json pretrained/x/weights.safetensors
pretrained/x/info.json pretrained/x/manifest.json trials/UID/spec.json trials/UID/result.json
trials/UID/metrics.jsonl trials/UID/failures.jsonl trials/UID/histograms.json trials/UID/attempt
trials/UID/regularize-x/weights.safetensors trials/UID/regularize-x/info.json
trials/UID/regularize-x/manifest.json trials/UID/regularize-x.partial/epoch-000001/manifest.json
trials/UID/regularize-x.partial/epoch-000001/state.safetensors tracking/cursor.json
points/UID-0/model.safetensors points/UID-0/architecture.json points/UID-0/metrics.json
points/UID-0/manifest.json
""".replace("UID", UID).split()


def test_every_file_of_a_sweep_is_tried(whole):
    found = {str(p.relative_to(whole.path)) for p in whole.path.rglob("*") if p.is_file()}
    assert found == set(FILES)


def test_a_pickle_in_place_of_a_file_is_never_run(whole, template, tmp_path, monkeypatch, capsys):
    mark, config = tmp_path / "it-ran", whole.config()
    for name in FILES:
        bomb = Bomb(mark)
        content = _saved(bomb, tmp_path) if name.endswith(".safetensors") else pickle.dumps(bomb)
        (whole.path / name).write_bytes(content)
        read_everything(whole, config)
        for command in (
            ["status", "sweep", "--json"],
            ["logs", "sweep", "--trial", 0, "--json"],
            ["pull", "sweep", "--point", "best", "-o", tmp_path / "pulled"],
        ):
            code, _, _ = call(monkeypatch, capsys, *command, "--storage", whole.path.parent)
            assert code in (0, 2), (name, command)
        assert not mark.exists(), name
        for changed in (whole.path, tmp_path / "pulled"):
            shutil.rmtree(changed, ignore_errors=True)
        shutil.copytree(template.path, whole.path)


def _saved(value: object, folder: Path) -> bytes:
    torch.save(value, folder / "saved.pt")
    return (folder / "saved.pt").read_bytes()


def test_the_bomb_works(tmp_path):
    mark = tmp_path / "it-ran"
    pickle.loads(pickle.dumps(Bomb(mark)))
    assert mark.is_dir()


@pytest.mark.parametrize("uid", ["../../../outside", "/etc", "..", "a/b", ""])
def test_ids_in_records_cannot_leave_the_sweep(whole, uid, tmp_path, monkeypatch, capsys):
    for record in ("spec.json", "result.json"):
        path = whole.trial(UID) / record
        data = json.loads(path.read_text())
        data["uid"] = uid
        for point in data.get("points", []):
            point["uid"] = uid
        path.write_text(json.dumps(data))
    with pytest.raises(StorageError, match="is no plain name"):
        whole.trial(uid)
    out = tmp_path / "best"
    for command in (["logs", whole.name, "--trial", 0], ["pull", whole.name, "-o", out]):
        code, _, error = call(
            monkeypatch, capsys, *command, *(["--point", "best"] if "pull" in command else []),
            "--storage", whole.path.parent,
        )  # fmt: skip
        assert code == 2, error
        assert "is no plain name" in error
    assert not out.exists()


@pytest.mark.parametrize(
    "command",
    [
        ["show"],
        ["report"],
        ["status"],
        ["resume"],
        ["sync"],
        ["logs", "--trial", "0"],
        ["pull", "--point", "best", "-o", "out"],
    ],
    ids=lambda command: command[0],
)
def test_names_of_sweeps_cannot_leave_the_storage(whole, command, monkeypatch, capsys):
    monkeypatch.chdir(whole.path.parent)
    first, *rest = command
    for name in ("../sweep", "/etc", "..", ".", "a/b", "https://host/x"):
        code, _, error = call(
            monkeypatch, capsys, first, name, *rest, "--storage", whole.path.parent
        )
        assert code == 2
        assert "a sweep's name takes" in error
    assert {path.name for path in whole.path.parent.iterdir()} == {"sweep"}


def test_names_of_points_cannot_leave_the_sweep(whole, tmp_path, monkeypatch, capsys):
    where = ("--storage", whole.path.parent, "-o", tmp_path / "out")
    code, _, error = call(
        monkeypatch, capsys, "pull", "sweep", "--point", f"../points/{UID}-0", *where
    )
    assert code == 2
    assert "unknown point" in error
    assert not (tmp_path / "out").exists()
