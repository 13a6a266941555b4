"""Shell code of the README and the manifests, run where it needs no cluster."""

import shutil
import subprocess

import pytest
from manifests import CLUSTER, SECRETS, load, shell_blocks


def run(code, folder, **environment):
    done = subprocess.run(
        ["sh", "-ec", code],
        cwd=folder,
        env={"PATH": f"{folder}:/usr/bin:/bin", "HOME": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_secrets_are_made_for_their_user_alone(tmp_path):
    shutil.copy(CLUSTER / ".env.example", tmp_path)
    lines = [line for block in shell_blocks() for line in block.splitlines()]
    (fill,) = {line for line in lines if line.startswith("for name in")}
    (token,) = {line for line in lines if line.startswith("mkdir -m 700 secrets")}
    run(f"umask 077; {fill}", tmp_path)
    run(token, tmp_path)
    values = dict(line.split("=", 1) for line in (tmp_path / ".env").read_text().splitlines())
    assert set(values) == SECRETS
    assert len(set(values.values())) == len(SECRETS)
    assert min(map(len, values.values())) >= 12  # MLflow's shortest password
    for path in (tmp_path / ".env", tmp_path / "secrets/ray_token"):
        assert path.stat().st_mode & 0o077 == 0
        assert path.stat().st_size > 32


def test_a_job_that_is_started_again_resumes_its_sweep(tmp_path):
    entrypoint = load(CLUSTER / "kubernetes/rayjob.yaml")["spec"]["entrypoint"]
    entrypoint = entrypoint.replace("/sweeps", str(tmp_path))
    program = tmp_path / "hoyer-search"
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    first = run(entrypoint, tmp_path, RAY_ADDRESS="10.0.0.1:6379").split()
    assert first[:4] == ["run", "lenet300-mnist-element", "--name", "lenet300"]
    (tmp_path / "lenet300").mkdir()
    (tmp_path / "lenet300/sweep.yaml").touch()
    again = run(entrypoint, tmp_path, RAY_ADDRESS="10.0.0.1:6379").split()
    assert again[:2] == ["resume", "lenet300"]
    for words in (first, again):
        assert words[words.index("--address") + 1] == "10.0.0.1:6379"
        assert words[words.index("--storage") + 1] == str(tmp_path)
