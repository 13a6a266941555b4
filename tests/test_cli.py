"""The parts of the command line that need no sweep."""

import json

import pytest
from test_sweep import call

from hoyer_search import spaces


@pytest.mark.parametrize(
    "command", ["run", "resume", "show", "pull", "evaluate", "ui", "spaces", "plan"]
)
def test_every_command_has_help_with_an_example(monkeypatch, capsys, command):
    code, out, _ = call(monkeypatch, capsys, command, "--help")
    assert code == 0
    assert f"  hoyer-search {command}" in out


def test_version(monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "--version")
    assert code == 0
    assert out.startswith("hoyer-search, version")


def test_spaces_lists_the_built_in_ones(monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "spaces", "--json")
    assert code == 0
    assert list(json.loads(out)) == sorted(spaces.builtin())
    _, out, _ = call(monkeypatch, capsys, "spaces")
    assert all(name in out for name in spaces.builtin())


def test_plan_counts_and_times(monkeypatch, capsys, toy_file):
    code, out, _ = call(monkeypatch, capsys, "plan", toy_file, "--json")
    planned = json.loads(out)
    assert code == 0
    assert planned["weights"] == planned["macs"] == 736
    assert [layer["shape"] for layer in planned["layers"]] == [[16, 36], [8, 16], [4, 8]]
    assert planned["trials"] == 3
    assert planned["sweep_hours"] > planned["trial_hours"] > 0
    _, out, _ = call(monkeypatch, capsys, "plan", toy_file)
    assert "prunable layers" in out


def test_plan_refuses_what_run_would_refuse(monkeypatch, capsys, toy_file):
    code, _, error = call(monkeypatch, capsys, "plan", toy_file, "--set", "budget.trails=1")
    assert code == 2
    assert "did you mean 'trials'" in error
