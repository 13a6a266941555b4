"""Secrets are taken out of what is printed, logged, recorded and raised."""

import logging
import sys

import canaries
import pytest
from test_sweep import call

from hoyer_search import cli
from hoyer_search.errors import ConfigError
from hoyer_search.redaction import paths_of_secrets, redact
from hoyer_search.user_code import job_environment


@pytest.fixture(autouse=True)
def planted(monkeypatch):
    canaries.plant(monkeypatch)


def test_texts_lose_secrets_and_nothing_else(monkeypatch):
    assert canaries.in_text(canaries.quoted()) == ["canary-of", "of/aws+key"]
    assert canaries.in_text(redact(canaries.quoted())) == []
    assert redact("user of/a-database canary-of/a-database") == "user of/a-database ***"
    monkeypatch.setenv("MY_TOKEN", "true")  # too short to be one
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/home/someone/.ray/token")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "disabled")
    for text in (
        "true, disabled /home/someone/.ray/token",
        "https://host/a@b",
        '{"url":"https://host","mail":"me@host"}',
        "nobody@host",
    ):
        assert redact(text) == text
    assert redact("s3://key:p@ss@host/bucket") == "s3://host/bucket"


def test_errors_hold_no_secret():
    assert canaries.in_text(repr(ConfigError(canaries.quoted()))) == []


def test_places_of_secrets_are_named():
    data = {"a": {"b": ["fine", canaries.URL]}, "c": 3, "d": "x canary-of-mlflow"}
    assert list(paths_of_secrets(data)) == ["a.b.1", "d"]


def test_the_command_line_prints_none(capsys):
    try:
        raise RuntimeError(canaries.quoted())
    except RuntimeError:
        cli._print_redacted(*sys.exc_info())
        record = logging.LogRecord("x", 30, "", 1, "%s", (canaries.quoted(),), sys.exc_info())
    printed = capsys.readouterr().err + cli._Redacting("%(message)s").format(record)
    assert printed.count("RuntimeError: cannot open https://127.0.0.1:1/data") == 2
    assert canaries.in_text(printed) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", f"data.arguments.root={canaries.URL}"], "data.arguments.root: a sweep's conf"),
        (["--set", "description=canary-of-mlflow"], "description: a sweep's configuration is"),
        (["--set", f"budget.trials={canaries.URL}"], "got 'https://127.0.0.1:1/data'"),
        (["--set", canaries.URL], "--set takes PATH=VALUE"),
        (["--name", canaries.URL], "a sweep's name takes letters"),
        (["--tracking-uri", canaries.URL], "tracking server https://127.0.0.1:1/data does not"),
        (["--tracking-uri", f"mysql{canaries.URL}"], "MLflow at mysqlhttps://127.0.0.1:1/data"),
        (["--address", canaries.URL], "got 'https://127.0.0.1:1/data'"),
    ],
)
@pytest.mark.parametrize("command", ["run", "submit"])
def test_secrets_that_are_given_are_refused_and_not_shown(
    command, arguments, message, monkeypatch, capsys, toy_file, tmp_path
):
    if command == "submit":
        message = "may hold no password" if "--tracking-uri" in arguments else message
        if "--address" not in arguments:
            arguments = [*arguments, "--address", "http://127.0.0.1:1"]
    where = ("--storage", str(tmp_path / "runs"))
    code, out, error = call(monkeypatch, capsys, command, str(toy_file), *arguments, *where)
    assert code == 2, out + error
    assert message in " ".join(error.split())
    assert canaries.in_text(out + error) == []
    assert not (tmp_path / "runs").exists()


def test_values_of_a_jobs_environment_are_not_shown(monkeypatch, capsys, toy_file, tmp_path):
    for text, message in [
        ("env_vars: {WANDB_KEY: 123456789012}", "env_vars.WANDB_KEY must be text, got int"),
        ("[123456789012]", "must be a mapping of Ray's fields, e.g. pip: [timm]; got list"),
    ]:
        file = tmp_path / "environment.yaml"
        file.write_text(text)
        where = ("--address", "http://127.0.0.1:1", "--storage", tmp_path / "runs")
        code, _, error = call(
            monkeypatch, capsys, "submit", toy_file, "--runtime-env", file, *where
        )
        assert code == 2
        assert message in error
        assert "123456789012" not in error
    assert job_environment(None, {"env_vars": {"A": "b"}}) == {"env_vars": {"A": "b"}}
