"""The README's code blocks, executed in an empty folder; only budgets are made smaller."""

import os
import re
import runpy
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from processes import descendants, wait_for_end
from test_sweep import call

from hoyer_search.cli import cli

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
SMALL = {
    "budget.trials": 1,
    "pipeline.pretrain.epochs": 1,
    "pipeline.regularize.epochs": 1,
    "pipeline.finetune.epochs": 1,
    "pipeline.finetune.max_points": 1,
}
ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def block(kind, containing):
    (found,) = [text for language, text in BLOCKS if language == kind and containing in text]
    return found


def run(command, folder, timeout=400):
    done = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def run_here(command, monkeypatch, capsys):
    code, out, error = call(monkeypatch, capsys, *command[1:])
    assert code == 0, f"{command}\n{out}\n{error}"
    return out


def commands(text):
    lines = [line.partition(" #")[0].strip() for line in text.replace("\\\n", " ").splitlines()]
    return [shlex.split(line) for line in lines if line.startswith("hoyer-search")]


def test_every_block_is_tested_or_no_code():
    kinds = sorted({language for language, _ in BLOCKS})
    assert kinds == ["python", "sh", "text", "yaml"]
    assert "make sweep" in block("sh", "make sweep")
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^sweep:.*\n\t.*hoyer-search run quickstart", makefile, re.MULTILINE)
    assert re.search(r"^test:", makefile, re.MULTILINE)


@pytest.mark.slow
def test_the_commands(tmp_path, monkeypatch, capsys):
    """Only `run` and `ui` are processes of their own: importing takes each seconds."""
    monkeypatch.chdir(tmp_path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    listed = commands(block("sh", "hoyer-search spaces"))
    assert {c[1] for c in listed} == {
        "spaces", "plan", "run", "resume", "show", "report", "ui", "pull", "evaluate", "compare",
    }  # fmt: skip
    for command in listed:
        if command[1] == "ui":
            check_pages([*command, "--port", str(port)], tmp_path, port)
        elif command[1] == "run":
            assert "Pareto front" in run(
                [*command, *(f"--set={k}={v}" for k, v in SMALL.items())], tmp_path
            )
        elif command[1] == "pull":
            # A short trial need not reach point B.
            run_here([*command[:3], "--point", "knee", *command[5:]], monkeypatch, capsys)
        else:
            assert run_here(command, monkeypatch, capsys)


def check_pages(command, folder, port):
    with (folder / "ui.log").open("w") as log:
        pages = subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 120
            while True:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as page:
                        assert page.status == 200
                    break
                except OSError:
                    assert pages.poll() is None, (folder / "ui.log").read_text()
                    assert time.monotonic() < deadline
                    time.sleep(0.5)
            servers = list(descendants(pages.pid))
            assert servers
        finally:
            pages.terminate()
        assert pages.wait(60) == 128 + signal.SIGTERM
        wait_for_end(servers)


@pytest.mark.slow
def test_a_network_in_memory(tmp_path):
    printed = run([sys.executable, "-c", block("python", "hs.shrink(")], tmp_path)
    assert "outputs differ by at most" in printed
    assert float(printed.splitlines()[-1]) > 1.5


def test_the_python(tmp_path):
    code = block("python", "hs.run(")
    assert '{"budget.trials": 4}' in code
    code = code.replace('{"budget.trials": 4}', repr(SMALL)).replace("0.95", "0.5")
    out = run([sys.executable, "-c", code], tmp_path)
    assert "val_accuracy" in out
    assert (tmp_path / "best" / "model.safetensors").is_file()


@pytest.mark.slow
def test_your_own_network_and_data(tmp_path):
    (tmp_path / "mine.yaml").write_text(block("yaml", "name: mine"))
    (tmp_path / "my_project.py").write_text(block("python", "def make_model"))
    (command,) = commands(block("sh", "run mine.yaml"))
    out = run(command, tmp_path)
    assert "3 of 3 trials ended" in out
    assert "failed" not in out


# In the user's own process: a network whose training left half of the filters small.
TRAINED = """
import torch
from my_project import make_model

torch.manual_seed(0)
model = make_model(width=32)
with torch.no_grad():
    model[0].weight[::2] *= 1e-3
    model[0].bias.zero_()
torch.save(model.state_dict(), "trained.pt")
"""


@pytest.mark.slow
def test_a_network_that_is_trained_already(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_project.py").write_text(block("python", "def make_model"))
    run([sys.executable, "-c", TRAINED], tmp_path)
    compress, *others = commands(block("sh", "hoyer-search compress"))
    assert {c[1] for c in others} == {"evaluate", "export"}
    # 16 filters are small; the threshold takes all that reads some others.
    left = re.search(r"parameters +962 -> (\d+) ", run_here(compress, monkeypatch, capsys))
    assert left is not None
    assert 0 < int(left[1]) <= 482
    for command in others:
        run_here(command, monkeypatch, capsys)
    assert {"small", "small.pt2", "small.onnx", "full.safetensors"} <= set(os.listdir(tmp_path))
    code = block("python", 'factory="my_project:make_model"')
    code += "assert 0 < model[0].out_channels <= 16"
    run([sys.executable, "-c", code], tmp_path)


@pytest.mark.slow
def test_a_training_loop_of_your_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_project.py").write_text(block("python", "def make_model"))
    run([sys.executable, "-c", block("python", "add_gradients_(")], tmp_path)
    compress = commands(block("sh", "hoyer-search compress"))[0]
    left = re.search(r"parameters +962 -> (\d+) ", run_here(compress, monkeypatch, capsys))
    assert left is not None
    assert 0 < int(left[1]) < 962


def test_the_reference_of_fields_is_that_of_the_code():
    """`python docs/fields.py` writes it anew."""
    fields = runpy.run_path(str(ROOT / "docs" / "fields.py"))
    assert fields["PAGE"].read_text() == fields["page"]()
    described = [line.split(" | ")[-1] for line in fields["page"]().splitlines() if "| `" in line]
    assert all(len(text.strip(" |")) > 9 for text in described)


def test_links_lead_somewhere():
    """Relative links of every page, with their anchors."""
    for page in ROOT.glob("**/*.md"):
        if ".venv" in page.parts:
            continue
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            if "://" in link:
                continue
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), f"{page}: {link}"
            if anchor:
                assert anchor in anchors(target), f"{page}: {link}"


def anchors(page):
    titles = re.findall(r"^#+\s+(.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_network_by_name_is_listed():
    from hoyer_search.models import MODELS

    named = TEXT.partition("### Networks by name")[2].partition("## ")[0]
    families = ("vgg", "resnet", "mobilenet_v3")
    assert all(f"`{alias}`" in named for alias in MODELS if not alias.startswith(families))
    assert all(f"`{family}" in named for family in families)


def test_the_commands_for_a_cluster_exist():
    listed = commands(block("sh", "hoyer-search submit"))
    assert {c[1] for c in listed} == {"submit", "list", "status", "logs", "stop", "resume", "wait"}
    for _, name, *arguments in listed:
        cli.commands[name].make_context(name, arguments)
