"""MNIST from the package, from the user's folder, and what happens when files are wrong."""

import gzip
import sys
from importlib.resources import files as resources
from pathlib import Path

import numpy as np
import pytest

from hoyer_search import datasets
from hoyer_search.errors import DataError

PACKAGED = Path(str(resources("hoyer_search.datasets"))) / "files" / "mnist"


@pytest.fixture(autouse=True)
def _no_data_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("HOYER_SEARCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_mnist_comes_with_the_package():
    data = datasets.mnist()
    images, labels = data.train
    assert images.shape == (60000, 1, 28, 28)
    assert data.test[0].shape == (10000, 1, 28, 28)
    assert abs(float(images.mean())) < 1e-3
    assert float(images.std()) == pytest.approx(1, abs=1e-3)
    # The published class counts of the training set.
    assert np.bincount(labels).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert len(data.classes) == 10
    assert "CC BY-SA 3.0" in (PACKAGED / "NOTICE").read_text()


@pytest.mark.parametrize("layout", ["mnist", "MNIST/raw"])
@pytest.mark.parametrize("packed", [True, False])
def test_the_users_own_files_are_read(monkeypatch, tmp_path, layout, packed):
    folder = tmp_path / layout
    folder.mkdir(parents=True)
    for file in PACKAGED.glob("*.gz"):
        if packed:
            (folder / file.name).write_bytes(file.read_bytes())
        else:
            (folder / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
    monkeypatch.setenv("HOYER_SEARCH_DATA", str(tmp_path))
    assert len(datasets.mnist().test[1]) == 10000


def test_damaged_files_are_refused(monkeypatch, tmp_path):
    folder = tmp_path / "mnist"
    folder.mkdir()
    for file in PACKAGED.glob("*.gz"):
        (folder / file.name).write_bytes(file.read_bytes()[:2000])
    monkeypatch.setenv("HOYER_SEARCH_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"damaged.*fetch it again"):
        datasets.mnist()


def test_a_damaged_installation_is_refused(monkeypatch):
    module = sys.modules["hoyer_search.datasets.mnist"]  # its function has the same name
    monkeypatch.setitem(module._PACKAGED_SHA256, "t10k-labels-idx1-ubyte", "0" * 64)
    with pytest.raises(DataError, match="install hoyer-search again"):
        datasets.mnist()


def test_fashion_mnist_is_downloaded_by_torchvision_or_says_what_to_do(monkeypatch, tmp_path):
    asked = []

    def download(self):
        asked.append(self.raw_folder)
        raise RuntimeError("no network")

    monkeypatch.setattr("torchvision.datasets.FashionMNIST.download", download)
    with pytest.raises(DataError, match=r"cannot be downloaded \(no network\).*HOYER_SEARCH_DATA"):
        datasets.fashion_mnist()
    assert asked == [str(tmp_path / "cache/hoyer-search/data/FashionMNIST/raw")]


def test_fashion_mnist_reads_the_four_files(monkeypatch, tmp_path):
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    for file in PACKAGED.glob("*.gz"):  # the same format: MNIST's digits in its place
        (folder / file.name).write_bytes(file.read_bytes())
    monkeypatch.setenv("HOYER_SEARCH_DATA", str(tmp_path))
    assert "Sneaker" in datasets.fashion_mnist().classes
