"""Networks of a sweep from anywhere: its folder, MLflow behind a password, and its registry."""

import contextlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Builder, new_sweep
from servers import PASSWORD, USER, Link, Server, free_port, running
from test_readme import block, commands
from test_sweep import call

import hoyer_search as hs
from hoyer_search import models
from hoyer_search.compression.artifact import Architecture, save_artifact
from hoyer_search.errors import ArtifactError, ConnectionFailed, InputError, StorageError
from hoyer_search.tracking import registered_artifact, sync
from hoyer_search.tracking.cache import cache_folder
from hoyer_search.tracking.pulling import TrackedRecords

NAME = "pulled-1"
MODEL = "hoyer-mnist-lenet_300_100"


def with_networks(sweep: Builder, trials: int) -> Builder:
    """Runs a sweep whose points have real artefacts, each of its own weights."""
    sweep.pretrain()
    for number in range(trials):
        spec = sweep.start(number)
        for index in range(3):  # the builder leaves folders alone that are there
            torch.manual_seed(10 * number + index)
            save_artifact(
                sweep.folder.point(f"{spec.uid}-{index}"),
                models.build("lenet_300_100", {}).eval(),
                architecture=Architecture(factory="lenet_300_100", input_shape=[1, 28, 28]),
                metrics={"trial": number},
            )
        sweep.end(spec)
    sweep.finish()
    return sweep


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Server]:
    """A server that wants a password, which every client here has."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty_store, folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch, running(Server(folder, auth=True)) as server:
        patch.setenv("MLFLOW_TRACKING_USERNAME", USER)
        patch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        yield server


@pytest.fixture(scope="module")
def uploaded(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Builder:
    """A sweep that the server has whole."""
    sweep = with_networks(new_sweep(tmp_path_factory.mktemp("runs"), NAME), 3)
    sync(sweep.folder, server.uri)
    return sweep


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOYER_SEARCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_five_ways_give_the_same_bytes(
    uploaded: Builder, server: Server, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    storage = uploaded.folder.path.parent
    front = uploaded.folder.front()
    assert front is not None
    wanted = {n: p.name for n, p in front.operating_points.items() if p is not None}
    assert len(set(wanted.values())) > 1, "the sweep does not show what the test is about"
    for name, point in wanted.items():
        expected = contents(uploaded.folder.point(point))
        to = tmp_path / name
        hs.open_sweep(NAME, storage=storage).point(name).pull(to / "folder")
        hs.open_sweep(NAME, tracking_uri=server.uri).point(name).pull(to / "server")
        remote = ("--tracking-uri", server.uri)
        for where, arguments in {
            "folder-cli": (NAME, "--point", name, "--storage", storage),
            "server-cli": (NAME, "--point", name, *remote),
            "registry-cli": (f"models:/{MODEL}@{name}", *remote),
        }.items():
            code, out, error = call(monkeypatch, capsys, "pull", *arguments, "-o", to / where)
            assert code == 0, out + error
        assert {folder.name for folder in to.iterdir()} == {
            "folder", "server", "folder-cli", "server-cli", "registry-cli",
        }  # fmt: skip
        for folder in to.iterdir():
            assert contents(folder) == expected, folder.name
        network = hs.load_model(f"models:/{MODEL}@{name}", tracking_uri=server.uri)
        stored = hs.load_artifact(uploaded.folder.point(point)).state_dict()
        assert all(torch.equal(stored[k], v) for k, v in network.state_dict().items())


def test_a_sweep_reads_the_same_from_folder_and_server(uploaded: Builder, server: Server) -> None:
    local = hs.open_sweep(NAME, storage=uploaded.folder.path.parent)
    remote = hs.open_sweep(NAME, tracking_uri=server.uri)
    assert remote.state == local.state == "finished"
    assert remote.front().equals(local.front())
    some = local.front()["macs"].to_pylist()[1]
    for bounds in ({"min_accuracy": 0.97}, {"max_macs": some}, {"max_latency_ms": 1.0}):
        assert remote.best(**bounds).record == local.best(**bounds).record
    assert "from MLflow" in repr(remote)


def test_bounds_alone_and_together(uploaded: Builder) -> None:
    sweep = hs.open_sweep(NAME, storage=uploaded.folder.path.parent)
    front = sweep.front().to_pydict()
    smallest = sweep.best(min_accuracy=front["val_accuracy"][1])
    assert smallest.record.nonzeros == front["nonzeros"][1]
    assert sweep.best(max_macs=front["macs"][1]).record.macs == front["macs"][1]
    assert sweep.best(max_latency_ms=1e9).record.val_accuracy == front["val_accuracy"][0]
    both = sweep.best(min_accuracy=0.5, max_macs=front["macs"][1])
    assert both.record.nonzeros == front["nonzeros"][-1]
    with pytest.raises(InputError, match=r"within min_accuracy 0\.98, max_macs 1; .* reaches"):
        sweep.best(min_accuracy=0.98, max_macs=1)
    with pytest.raises(InputError, match="give at least one of min_accuracy"):
        sweep.best()


def test_a_network_is_downloaded_once_and_damage_is_mended(
    uploaded: Builder, server: Server, cache: Path, monkeypatch: Any
) -> None:
    link = Link(server.port)
    try:
        point = hs.open_sweep(NAME, tracking_uri=link.uri).point("best")
        size = (uploaded.folder.point(point.record.name) / "model.safetensors").stat().st_size
        folder = point.artifact
        assert folder.parent == cache == cache_folder()
        assert link.received > size
        link.received = 0
        assert point.artifact == folder
        assert link.received < size / 10
        weights = folder / "model.safetensors"
        damaged = bytearray(weights.read_bytes())
        damaged[-5] ^= 1
        weights.write_bytes(damaged)
        assert contents(point.artifact) == contents(uploaded.folder.point(point.record.name))
    finally:
        link.cut()


def test_an_interrupted_download_goes_on_where_it_was(
    uploaded: Builder, server: Server, cache: Path
) -> None:
    link = Link(server.port)
    try:
        records = TrackedRecords(link.uri, NAME)
        front = records.front()
        assert front is not None
        point = front.points[0]
        original = uploaded.folder.point(point.name)
        size = (original / "model.safetensors").stat().st_size
        link.mode, link.most, link.received = "cut", size // 4, 0
        with pytest.raises(ConnectionFailed):
            records.artifact(point)
        (part,) = cache.glob(".*.partial/.model.safetensors.part")
        assert 0 < part.stat().st_size < size
        link.mode = "good"
        assert contents(records.artifact(point)) == contents(original)
        assert link.received < 1.2 * size, "what had arrived was downloaded again"
        assert [f for f in cache.iterdir() if f.name.endswith(".partial")] == []
    finally:
        link.cut()


def test_what_was_changed_on_the_server_is_refused(
    uploaded: Builder, server: Server, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    point = hs.open_sweep(NAME, tracking_uri=server.uri).point("best")
    weights = (uploaded.folder.point(point.record.name) / "model.safetensors").read_bytes()
    stored = [f for f in server.folder.rglob("model.safetensors") if f.read_bytes() == weights]
    assert stored
    try:
        for file in stored:
            file.write_bytes(weights[:-4] + b"evil")
        with pytest.raises(ArtifactError, match=r"SHA-256 .* damaged"):
            point.load_model()
        code, _, error = call(
            monkeypatch, capsys, "pull", f"models:/{MODEL}@best", "--tracking-uri", server.uri,
            "-o", tmp_path / "best",
        )  # fmt: skip
        assert (code, "damaged" in error) == (2, True)
        assert not (tmp_path / "best").exists()
    finally:
        for file in stored:
            file.write_bytes(weights)


def test_a_registered_network_is_pulled_from_the_database_of_the_storage(
    tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    sweep = with_networks(new_sweep(tmp_path / "own", "own"), 1)
    sync(sweep.folder)
    best = (f"models:/{MODEL}@knee", "--storage", tmp_path / "own", "-o", tmp_path / "best")
    code, out, error = call(monkeypatch, capsys, "pull", *best)
    assert code == 0, out + error
    front = sweep.folder.front()
    assert front is not None
    assert front.knee is not None
    assert contents(tmp_path / "best") == contents(sweep.folder.point(front.knee.name))


def test_what_is_damaged_is_named_where_it_lies(tmp_path: Path) -> None:
    sweep = with_networks(new_sweep(tmp_path / "own", "own"), 1)
    point = hs.open_sweep("own", storage=tmp_path / "own").point("knee")
    damaged = sweep.folder.point(point.record.name) / "metrics.json"
    damaged.write_text("{}")
    with pytest.raises(ArtifactError, match=re.escape(str(damaged))):
        point.pull(tmp_path / "best")
    assert not (tmp_path / "best").exists()


def test_bad_input_is_explained(
    uploaded: Builder, server: Server, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    with pytest.raises(StorageError, match="did you mean 'pulled-1'"):
        hs.open_sweep("pulled-2", tracking_uri=server.uri)
    with pytest.raises(InputError, match="did you mean"):
        hs.open_sweep(NAME, tracking_uri=server.uri).point("kneee")
    with pytest.raises(InputError, match="did you mean"):
        hs.load_model(f"models:/{MODEL}x@B", tracking_uri=server.uri)
    with pytest.raises(InputError, match=r"the aliases of .*: .*best"):
        hs.load_model(f"models:/{MODEL}@nothing", tracking_uri=server.uri)
    with pytest.raises(InputError, match="models:/NAME@ALIAS"):
        hs.load_model("models:/x", tracking_uri=server.uri)
    with pytest.raises(ConnectionFailed, match="there is no tracking database"):
        hs.open_sweep(NAME, tracking_uri=f"sqlite:///{tmp_path / 'none.db'}")
    assert not (tmp_path / "none.db").exists()
    for arguments in (
        [NAME],
        [NAME, "--point", "A", "--max-macs", "1"],
        [f"models:/{MODEL}@B", "--point", "A"],
        [NAME, "--point", "A", "--tracking-uri", "http://127.0.0.1:1"],
        [NAME, "--max-macs", "1", "--tracking-uri", server.uri],
    ):
        code, out, error = call(monkeypatch, capsys, "pull", *arguments, "-o", tmp_path / "x")
        assert (code, "Traceback" in error) == (2, False), out + error
        assert not (tmp_path / "x").exists()


def test_a_running_sweep_says_when_its_networks_come(server: Server, tmp_path: Path) -> None:
    sweep = new_sweep(tmp_path / "runs", "pulled-running")
    sweep.pretrain()
    sync(sweep.folder, server.uri, running=True)
    remote = hs.open_sweep("pulled-running", tracking_uri=server.uri)
    assert (remote.state, remote.front().num_rows) == ("running", 0)
    with pytest.raises(InputError, match="no finished trial yet"):
        remote.point("A")
    sweep.trial(0)
    (sweep.folder.tracking / "front.json").unlink()  # as if the last one were a minute old
    sync(sweep.folder, server.uri, running=True)
    with pytest.raises(InputError, match="uploaded at its end"):
        _ = remote.point("knee").artifact


def test_no_password_gets_out(
    uploaded: Builder,
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
    right = f"http://{USER}:{PASSWORD}@127.0.0.1:{server.port}"
    said = []
    for uri in (right.replace("canary", "wrong-canary"), right.replace(str(server.port), "1")):
        for arguments in (
            ("pull", NAME, "--point", "A", "-o", tmp_path / "x", "--tracking-uri", uri),
            ("sync", NAME, "--storage", uploaded.folder.path.parent, "--tracking-uri", uri),
        ):
            code, out, error = call(monkeypatch, capsys, *arguments)
            assert code == 2
            said += [out, error]
        with pytest.raises(ConnectionFailed) as raised:
            registered_artifact(f"models:/{MODEL}@B", uri)
        cause: BaseException | None = raised.value
        while cause is not None:
            said.append(str(cause))
            cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    assert any("MLFLOW_TRACKING_PASSWORD" in text for text in said), "a refusal names the remedy"
    sweep = with_networks(new_sweep(tmp_path / "runs", "canary"), 1)
    said.append(sync(sweep.folder, right).link)
    assert hs.open_sweep("canary", tracking_uri=right).point("knee").artifact.is_dir()
    files = [f for f in (tmp_path / "runs").rglob("*") if f.is_file()]
    files += [f for f in server.folder.rglob("*") if f.is_file() and f.suffix != ".ini"]
    said += [f.read_bytes().decode("latin-1") for f in files]
    assert [text for text in [*said, caplog.text] if "canary-of" in text] == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")  # on import
def test_mlflow_loads_and_serves_a_registered_network_without_pickle(
    uploaded: Builder, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import mlflow.pyfunc

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    images = np.random.default_rng(0).random((2, 1, 28, 28), dtype=np.float32)
    with torch.inference_mode():
        expected = hs.load_model(f"models:/{MODEL}@best")(torch.from_numpy(images)).numpy()
    loaded = mlflow.pyfunc.load_model(f"models:/{MODEL}@best")
    np.testing.assert_allclose(loaded.predict(images), expected, rtol=1e-6)

    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/{MODEL}@best"]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # it calls uvicorn by name
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            cwd=tmp_path,
            env=os.environ | {"PATH": programs},
            start_new_session=True,
        )
    try:
        answer = ask(port, images, process, tmp_path / "log")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()
    np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-6)


def ask(port: int, images: Any, process: subprocess.Popen[bytes], log: Path) -> Any:
    """Returns what the served network says, once it is up."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations",
        data=json.dumps({"inputs": images.tolist()}).encode(),
        headers={"Content-Type": "application/json"},
    )
    deadline = time.monotonic() + 400
    while True:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)["predictions"]
        except OSError:
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.5)


def test_the_commands_of_the_readme(
    uploaded: Builder, server: Server, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").symlink_to(uploaded.folder.path.parent)
    written = commands(block("sh", "hoyer-search sync"))
    assert [command[1] for command in written] == ["pull", "pull", "sync"]
    for command in written:
        arguments = [NAME if part == "first" else part for part in command[1:]]
        arguments = [server.uri if part.startswith("https:") else part for part in arguments]
        if arguments[0] == "sync":
            arguments += ["--tracking-uri", server.uri]
        code, out, error = call(monkeypatch, capsys, *arguments)
        assert code == 0, out + error
        shutil.rmtree(tmp_path / "best", ignore_errors=True)
