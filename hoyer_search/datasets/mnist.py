"""MNIST and Fashion-MNIST, normalised to mean zero and variance one (paper, appendix B.1)."""

import gzip
import os
import shutil
import tempfile
from importlib.resources import files
from pathlib import Path

import torchvision

from hoyer_search.datasets.splits import Data
from hoyer_search.errors import DataError
from hoyer_search.files import sha256_file

_NAMES = tuple(
    f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
)
_PACKAGED_SHA256 = {
    "train-images-idx3-ubyte": "0b367032e93c5d0cea0925647cfdb18614af8ee15f83e6f2fc2ad904a6835971",
    "train-labels-idx1-ubyte": "1787548bbe0bff1ec2ecdc0ef292b02df999e2d1a6002d27500982c652b17203",
    "t10k-images-idx3-ubyte": "1a1a05eab793c14bb050b398624a11b0ffd1a2953baed553b1b9bd079e2a20be",
    "t10k-labels-idx1-ubyte": "b91679a0acfe4ba0e50a2437a903084cba1f5f92592b016a25a7dfd00455798b",
}


def mnist() -> Data:
    """Returns MNIST: 60,000 training and 10,000 test images of shape (1, 28, 28).

    The files of the user's ``HOYER_SEARCH_DATA`` are read when it is set, those inside this
    package otherwise; no network is needed.

    Raises:
        DataError: Files are missing or damaged.
    """
    if "HOYER_SEARCH_DATA" in os.environ:
        return _read(torchvision.datasets.MNIST, "mnist", mean=0.1307, std=0.3081)
    packaged = Path(str(files("hoyer_search.datasets"))) / "files" / "mnist"
    for name, expected in _PACKAGED_SHA256.items():
        path = packaged / f"{name}.gz"
        if not path.is_file() or sha256_file(path) != expected:
            raise DataError(f"{path} is missing or damaged: install hoyer-search again")
    return _unpack(torchvision.datasets.MNIST, packaged, mean=0.1307, std=0.3081)


def fashion_mnist() -> Data:
    """Returns Fashion-MNIST: 60,000 training and 10,000 test images of shape (1, 28, 28).

    The files are looked for in ``HOYER_SEARCH_DATA`` (default: the user's cache folder) and
    downloaded there by torchvision when they are missing.

    Raises:
        DataError: Files are missing and cannot be downloaded, or are damaged.
    """
    return _read(torchvision.datasets.FashionMNIST, "fashion-mnist", mean=0.2860, std=0.3530)


def data_folder() -> Path:
    """Returns the folder of data sets: ``HOYER_SEARCH_DATA``, or one in the user's cache."""
    default = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "hoyer-search" / "data"
    return Path(os.environ.get("HOYER_SEARCH_DATA", default)).expanduser()


def _read(kind: type[torchvision.datasets.MNIST], folder: str, *, mean: float, std: float) -> Data:
    """Returns a data set of the data folder: IDX files, IDX files in gzip, or a download."""
    root = data_folder()
    for candidate in (root / kind.__name__ / "raw", root / folder):
        if all(_find(candidate, name) for name in _NAMES):
            return _unpack(kind, candidate, mean=mean, std=std)
    try:
        root.mkdir(parents=True, exist_ok=True)
        kind(root, download=True)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"{kind.__name__} is not in {root} and cannot be downloaded ({error}). Put its four "
            f"IDX files into {root / folder}, or set HOYER_SEARCH_DATA to the folder above them"
        ) from error
    return _load(kind, root, mean=mean, std=std)


def _find(folder: Path, name: str) -> Path | None:
    return next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)


def _unpack(
    kind: type[torchvision.datasets.MNIST], source: Path, *, mean: float, std: float
) -> Data:
    """Returns a data set of four files, laid out for torchvision in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="hoyer-search-") as temporary:
        raw = Path(temporary) / kind.__name__ / "raw"
        raw.mkdir(parents=True)
        for name in _NAMES:
            path = source / name
            if path.is_file():
                (raw / name).symlink_to(path.absolute())
                continue
            try:
                with gzip.open(source / f"{name}.gz") as packed, (raw / name).open("wb") as file:
                    shutil.copyfileobj(packed, file)
            except (OSError, EOFError) as error:
                raise DataError(f"{path}.gz is damaged: {error}; fetch it again") from error
        return _load(kind, Path(temporary), mean=mean, std=std)


def _load(kind: type[torchvision.datasets.MNIST], root: Path, *, mean: float, std: float) -> Data:
    try:
        train, test = kind(root, train=True), kind(root, train=False)
    except (OSError, RuntimeError, ValueError, AssertionError) as error:
        raise DataError(f"{kind.__name__} in {root} is damaged: {error}; fetch it again") from error

    def normalised(part: torchvision.datasets.MNIST) -> tuple[object, object]:
        return part.data.unsqueeze(1).float().div_(255).sub_(mean).div_(std), part.targets

    return Data(
        train=normalised(train),
        test=normalised(test),
        classes=tuple(train.classes),
        mean=(mean,),
        std=(std,),
    )
