"""The Dockerfile: a linter, and the parts of it that run without a container engine."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from manifests import CLUSTER, ROOT

DOCKERFILE = CLUSTER / "Dockerfile"
TEXT = DOCKERFILE.read_text()


def hadolint(path):
    command = [Path(sys.executable).parent / "hadolint", "--failure-threshold", "style", path]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_linter_has_nothing_to_say():
    done = hadolint(DOCKERFILE)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (("FROM python:3.11.14-slim-bookworm", "FROM python:latest"), "DL3007"),
        (("--no-install-recommends", ""), "DL3015"),
        (("USER 1000:1000", "USER root"), "DL3002"),
    ],
)
def test_the_linter_sees_mistakes(tmp_path, change, rule):
    assert change[0] in TEXT
    wrong = tmp_path / "Dockerfile"
    wrong.write_text(TEXT.replace(*change))
    assert rule in hadolint(wrong).stdout


def test_the_lock_is_split_without_loss(tmp_path):
    (split,) = re.findall(r"^RUN (grep (?:.*\\\n)*.*)", TEXT, re.MULTILINE)
    shutil.copy(ROOT / "requirements.lock", tmp_path)
    subprocess.run(["bash", "-ceu", split], cwd=tmp_path, check=True, timeout=10)
    large = (tmp_path / "torch.lock").read_text().splitlines()
    rest = (tmp_path / "rest.lock").read_text().splitlines()
    assert sorted(large + rest) == sorted((ROOT / "requirements.lock").read_text().splitlines())
    names = {line.partition("==")[0] for line in large}
    assert {"torch", "torchvision", "triton", "nvidia-nccl-cu13", "cuda-toolkit"} <= names
    assert not [line for line in rest if line.startswith(("nvidia", "cuda", "torch=="))]


def test_the_build_sees_what_it_installs_and_nothing_else():
    lines = (CLUSTER / "Dockerfile.dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    kept = {line[1:] for line in lines if line.startswith("!")}
    assert all((ROOT / path).exists() for path in kept)
    copied = re.findall(r"^COPY (?!--from)(\S+)", TEXT, re.MULTILINE)
    assert set(copied) <= kept
    project = (ROOT / "pyproject.toml").read_text()
    needed = {"pyproject.toml", "hoyer_search", "search_spaces", "README.md", "LICENSE"}
    assert needed <= kept
    assert all(f'"{name}"' in project for name in needed - {"pyproject.toml"})


def test_it_runs_as_the_user_that_owns_the_sweeps():
    (user,) = re.findall(r"^USER (\d+):\1$", TEXT, re.MULTILINE)
    assert f"--uid {user}" in TEXT
    assert f"--owner={user} --group={user} /sweeps" in TEXT
    assert "ENTRYPOINT" not in TEXT  # the launcher runs `bash` in it
