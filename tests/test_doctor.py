"""The doctor: what it says of a healthy machine and cluster, and of others."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import ray

from hoyer_search import doctor
from hoyer_search.doctor import Finding, examine
from hoyer_search.errors import StorageError
from hoyer_search.search.cluster import cluster


def mended(findings):
    return {finding.check for finding in findings if finding.remedy}


def test_this_machine(tmp_path):
    findings = examine(storage=tmp_path, tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    assert {f.check for f in findings} == {"versions", "storage", "disk", "GPUs", "tracking"}
    assert mended(findings) <= {"disk"}
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_is_said_without_raising(tmp_path):
    findings = examine(
        address="127.0.0.1:1", storage=tmp_path / "none", tracking_uri="http://127.0.0.1:1"
    )
    assert mended(findings) == {"cluster", "tracking"}
    assert mended(examine(storage=tmp_path / "none")) >= {"storage"}
    assert not (tmp_path / "none").exists()


def test_a_storage_that_no_sweep_can_use_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError, match="looks like a URL"):
        examine(storage=Path("s3://bucket/runs"))


def run(*arguments):
    command = [sys.executable, "-c", "from hoyer_search.cli import main; main()", "doctor"]
    done = subprocess.run(
        [*command, *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode in (0, 1), done.stderr
    document = json.loads(done.stdout)
    assert document["ok"] == (done.returncode == 0)
    return [Finding(**finding) for finding in document["findings"]]


@pytest.mark.slow
def test_every_node_is_looked_at(tmp_path):
    with cluster(None):  # its token is in the environment while it runs
        address = ray.get_runtime_context().gcs_address
        findings = run("--address", address, "--storage", tmp_path)
    found = {finding.check: finding.found for finding in findings}
    assert mended(findings) <= {"disk"}
    assert found["token"] == "Ray asks for a token"
    assert found["versions"].endswith("on 1 node")
    assert found["storage"] == f"{tmp_path} is shared by 1 node"
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def node():
    return doctor.look(None, "", "") | {"gpus": 0, "devices": 0, "free": {"/tmp": 2**40}}


def judge(**nodes):
    return doctor._judge(nodes, doctor._Mark(None))


def test_versions_that_differ_are_named(node):
    other = node | {"versions": node["versions"] | {"torch": "1.0.0"}}
    same, differing = [f for f in judge(a=node, b=other, c=node) if f.check == "versions"]
    assert same.found.endswith("on 2 nodes")
    assert differing.found.startswith("b: torch 1.0.0, where this machine has torch ")


def test_what_no_node_has_is_not_said_to_be_well(node, tmp_path):
    other = node | {"versions": node["versions"] | {"torch": "1.0.0"}, "storage": "not there"}
    findings = doctor._judge({"a": other}, doctor._Mark(tmp_path), ids={"a": "x"})
    assert [f.check for f in findings if not f.remedy] == ["disk", "GPUs"]
    assert mended(findings) == {"versions", "storage"}


def test_nodes_that_ask_for_no_token_are_named(node):
    closed, open_ = node | {"token": True}, node | {"token": False}
    assert doctor._token({"a": closed}) == [Finding("token", "Ray asks for a token")]
    (finding,) = doctor._token({"a": closed, "b": open_})
    assert finding.found == "b: Ray asks for no token: whoever reaches it runs code on it"
    assert "RAY_AUTH_MODE=token" in finding.remedy
    assert doctor._token({}) == []


def test_little_space_is_named_with_its_node(node):
    full = node | {"free": {"/tmp": 2**40, "/sweeps": 2**20}}
    (finding,) = [f for f in judge(a=node, b=full) if f.check == "disk"]
    assert finding.found == "b: 0.0 GiB free in /sweeps"
    assert finding.remedy


def test_gpus_that_ray_does_not_offer_are_named(node):
    findings = judge(a=node | {"devices": 2, "gpus": 2}, b=node | {"devices": 1, "gpus": 0})
    gpus = [f for f in findings if f.check == "GPUs"]
    assert gpus[0] == Finding("GPUs", "1 on 1 node, 2 on 1 node")
    assert replace(gpus[1], remedy=None).found == "b: Ray offers 0, the machine has 1"


def test_a_folder_that_is_not_shared_is_named(tmp_path, node, monkeypatch):
    mark = doctor._Mark(tmp_path)
    monkeypatch.setattr(mark, "written", lambda name: name == "1")
    with mark:
        findings = doctor._judge({"a": node, "b": node}, mark, {"a": "1", "b": "2"})
    storage = [f for f in findings if f.check == "storage"]
    assert storage[0].found.endswith("is shared by 1 node")
    assert storage[1].found == "b: what it writes stays there"


def test_another_folder_of_the_same_name_is_named(tmp_path):
    assert "another folder" in doctor.look(str(tmp_path), "absent", "1")["storage"]
    assert list(Path(tmp_path).iterdir()) == []
