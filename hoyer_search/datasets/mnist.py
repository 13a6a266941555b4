"""MNIST and Fashion-MNIST, normalised to mean zero and variance one (paper, appendix B.1).

Only a download needs torchvision: it takes as long to import as all else here together.
"""

import gzip
import math
import os
import zlib
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hoyer_search.datasets.splits import Data
from hoyer_search.errors import DataError
from hoyer_search.files import sha256_file

_PARTS = ("train", "t10k")
_KINDS = ("images-idx3", "labels-idx1")
_NAMES = tuple(f"{part}-{kind}-ubyte" for part in _PARTS for kind in _KINDS)
_PACKAGED_SHA256 = {
    "train-images-idx3-ubyte": "0b367032e93c5d0cea0925647cfdb18614af8ee15f83e6f2fc2ad904a6835971",
    "train-labels-idx1-ubyte": "1787548bbe0bff1ec2ecdc0ef292b02df999e2d1a6002d27500982c652b17203",
    "t10k-images-idx3-ubyte": "1a1a05eab793c14bb050b398624a11b0ffd1a2953baed553b1b9bd079e2a20be",
    "t10k-labels-idx1-ubyte": "b91679a0acfe4ba0e50a2437a903084cba1f5f92592b016a25a7dfd00455798b",
}


class _Set(NamedTuple):
    """A data set in four IDX files."""

    name: str
    """Its class in torchvision."""

    folder: str
    mean: float
    std: float
    classes: tuple[str, ...]


_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_MNIST = _Set(
    name="MNIST",
    folder="mnist",
    mean=0.1307,
    std=0.3081,
    classes=tuple(f"{digit} - {word}" for digit, word in enumerate(_DIGITS)),
)
_FASHION_MNIST = _Set(
    name="FashionMNIST",
    folder="fashion-mnist",
    mean=0.2860,
    std=0.3530,
    classes=(
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
)


def mnist() -> Data:
    """Returns MNIST: 60,000 training and 10,000 test images of shape (1, 28, 28).

    The files of the user's ``HOYER_SEARCH_DATA`` are read when it is set, those inside this
    package otherwise; no network is needed.

    Raises:
        DataError: Files are missing or damaged.
    """
    if "HOYER_SEARCH_DATA" in os.environ:
        return _find_or_download(_MNIST)
    packaged = Path(str(files("hoyer_search.datasets"))) / "files" / "mnist"
    for name, expected in _PACKAGED_SHA256.items():
        path = packaged / f"{name}.gz"
        if not path.is_file() or sha256_file(path) != expected:
            raise DataError(f"{path} is missing or damaged: install hoyer-search again")
    return _read(_MNIST, packaged)


def fashion_mnist() -> Data:
    """Returns Fashion-MNIST: 60,000 training and 10,000 test images of shape (1, 28, 28).

    The files are looked for in ``HOYER_SEARCH_DATA`` (default: the user's cache folder) and
    downloaded there by torchvision when they are missing.

    Raises:
        DataError: Files are missing and cannot be downloaded, or are damaged.
    """
    return _find_or_download(_FASHION_MNIST)


def data_folder() -> Path:
    """Returns the folder of data sets: ``HOYER_SEARCH_DATA``, or one in the user's cache."""
    default = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "hoyer-search" / "data"
    return Path(os.environ.get("HOYER_SEARCH_DATA", default)).expanduser()


def _find_or_download(of: _Set) -> Data:
    """Returns a data set of the data folder: IDX files, IDX files in gzip, or a download."""
    root = data_folder()
    downloaded = root / of.name / "raw"
    for candidate in (downloaded, root / of.folder):
        if all(_find(candidate, name) for name in _NAMES):
            return _read(of, candidate)
    import torchvision

    try:
        root.mkdir(parents=True, exist_ok=True)
        getattr(torchvision.datasets, of.name)(root, download=True)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"{of.name} is not in {root} and cannot be downloaded ({error}). Put its four "
            f"IDX files into {root / of.folder}, or set HOYER_SEARCH_DATA to the folder above them"
        ) from error
    return _read(of, downloaded)


def _find(folder: Path, name: str) -> Path | None:
    return next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)


def _read(of: _Set, folder: Path) -> Data:
    """Returns a data set of four files."""

    def part(name: str) -> tuple[Tensor, Tensor]:
        images, labels = (_read_idx(folder, f"{name}-{kind}-ubyte") for kind in _KINDS)
        if images.shape[1:] != (28, 28) or labels.shape != images.shape[:1]:
            raise DataError(
                f"{of.name} in {folder} is damaged: {name} has images of shape "
                f"{tuple(images.shape)} and labels of shape {tuple(labels.shape)}; fetch it again"
            )
        inputs = images.unsqueeze(1).float().div_(255).sub_(of.mean).div_(of.std)
        return inputs, labels.long()

    train, test = (part(name) for name in _PARTS)
    return Data(train=train, test=test, classes=of.classes, mean=(of.mean,), std=(of.std,))


def _read_idx(folder: Path, name: str) -> Tensor:
    """Returns an IDX file of bytes: two zeros, 8, dimensions n, n sizes, data (big-endian)."""
    path = _find(folder, name)
    if path is None:
        raise DataError(f"{folder / name} is missing; fetch it again")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged: {error}; fetch it again") from error
    start = 4 + 4 * content[3] if content[:3] == b"\0\0\x08" and len(content) > 3 else 0
    sizes = np.frombuffer(content[4:start], dtype=">u4").tolist() if len(content) >= start else []
    if not start or len(content) != start + math.prod(sizes):
        raise DataError(f"{path} is damaged: it is no IDX file of bytes; fetch it again")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=start).reshape(sizes)
