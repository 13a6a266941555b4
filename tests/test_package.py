"""Importing the package costs nothing; what it promises to hold is there."""

import subprocess
import sys

import pytest

import hoyer_search as hs

HEAVY = ("torch", "torchvision", "ray", "optuna", "mlflow", "plotly", "matplotlib", "pandas")


def python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_import_loads_no_framework():
    loaded = python(f"import hoyer_search, sys; print([m for m in {HEAVY} if m in sys.modules])")
    assert loaded == "[]"


def test_import_takes_no_time():
    code = (
        "import time; t = time.process_time(); import hoyer_search; print(time.process_time() - t)"
    )
    assert min(float(python(code)) for _ in range(3)) < 0.3


def test_the_command_line_answers_without_a_framework():
    code = (
        "import sys; sys.argv = ['hoyer-search', '--help']\n"
        "from hoyer_search import cli\n"
        "try: cli.main()\nexcept SystemExit: pass\n"
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    assert python(code).endswith("[]")


def test_public_names_resolve():
    assert {"run", "resume", "open_sweep", "load_artifact", "shrink", "count_macs"} <= set(dir(hs))
    for name in dir(hs):
        assert getattr(hs, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = hs.nonsense
