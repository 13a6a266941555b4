"""Data sets: built-in ones by alias, and any function of the user's."""

from hoyer_search.datasets.mnist import fashion_mnist, mnist
from hoyer_search.datasets.sources import DATASETS, load
from hoyer_search.datasets.splits import Data, Examples, Splits

__all__ = ["DATASETS", "Data", "Examples", "Splits", "fashion_mnist", "load", "mnist"]
