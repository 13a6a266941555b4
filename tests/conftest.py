"""Fixtures for every test: the toy search space, and one thread."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

import toys

from hoyer_search import spaces
from hoyer_search.config import SweepConfig
from hoyer_search.store import SweepFolder


@pytest.fixture
def toy_file(tmp_path: Path) -> Path:
    path = tmp_path / "toy.yaml"
    path.write_text(toys.SPACE)
    return path


@pytest.fixture
def toy_config(toy_file: Path) -> Callable[..., SweepConfig]:
    def load(**overrides: Any) -> SweepConfig:
        return spaces.load(
            toy_file, overrides={k.replace("__", "."): v for k, v in overrides.items()}
        )

    return load


@pytest.fixture
def make_sweep(tmp_path: Path) -> Callable[..., SweepFolder]:
    def create(config: SweepConfig, name: str = "sweep") -> SweepFolder:
        return SweepFolder.create(
            tmp_path / "runs", name, config=config, provenance={"versions": {}}
        )

    return create
