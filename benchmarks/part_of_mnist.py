"""A data source for short recordings: MNIST with fewer training examples."""

from hoyer_search.datasets import Data
from hoyer_search.datasets.mnist import mnist


def part_of_mnist(examples: int) -> Data:
    """Returns MNIST with its first training examples only, and all of its test examples.

    Args:
        examples: Number of them, in [1, 60000]; validation is taken from these.
    """
    data = mnist()
    inputs, labels = data.train
    return Data(
        train=(inputs[:examples], labels[:examples]),
        test=data.test,
        classes=data.classes,
        mean=data.mean,
        std=data.std,
    )
