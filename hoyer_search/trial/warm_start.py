"""The network that a trial's regularizing starts from: the dense one, or another trial's.

The networks of a search follow a path over its parameters, as solutions of the lasso do in
warm-started coordinate descent (Friedman, Hastie and Tibshirani 2010, Section 2.5,
https://doi.org/10.18637/jss.v033.i01): one that is sparse already is regularized further.
"""

import logging
from dataclasses import dataclass

from torch import nn

from hoyer_search.errors import StorageError
from hoyer_search.results import TrialSpec
from hoyer_search.store import SweepFolder
from hoyer_search.trial import stages

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parent:
    """The trial that a network was taken from.

    Attributes:
        uid: Its unique id.
        key: Key of the stage that trained the network.
    """

    uid: str
    key: str


def load_parent(model: nn.Module, folder: SweepFolder, spec: TrialSpec) -> Parent | None:
    """Loads the regularized network of a trial's parent.

    Where it is missing or damaged, the reason is logged as a warning.

    Args:
        model: The dense network; holds the parent's weights afterwards, if there are any.
        folder: The sweep.
        spec: The trial that starts.

    Returns:
        Where the weights came from; None when the model was left as it is.
    """
    if spec.parent is None:
        return None
    try:
        result = folder.result(spec.parent)
        if result is None or result.regularized is None:
            raise StorageError(f"trial {spec.parent} left no regularized network")
        key = result.regularized
        stage = stages.read_stage(folder.trial(spec.parent) / f"regularize-{key}")
    except (OSError, ValueError, StorageError) as error:
        log.warning(
            "trial %s starts from the dense network, not from trial %s: %s",
            spec.number, spec.parent, error,
        )  # fmt: skip
        return None
    model.load_state_dict(stage.weights)
    return Parent(spec.parent, key)
