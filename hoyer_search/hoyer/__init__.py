"""DeepHoyer's sparsity measures and regularizers as pure functions of tensors.

Equations are those of Yang, Wen and Li, "DeepHoyer: Learning Sparser Neural Network with
Differentiable Scale-Invariant Sparsity Measures" (ICLR 2020, https://arxiv.org/abs/1908.09979).
"""

from hoyer_search.hoyer.arrangement import Arrangement
from hoyer_search.hoyer.compiling import worth_compiling
from hoyer_search.hoyer.coupled_group_hs import CoupledGroupHS
from hoyer_search.hoyer.explicit_group_hs import ExplicitGroupHS
from hoyer_search.hoyer.group_hs import GroupHS
from hoyer_search.hoyer.group_lasso import GroupLasso
from hoyer_search.hoyer.hoyer_ratio import Hoyer
from hoyer_search.hoyer.hoyer_square import HoyerSquare
from hoyer_search.hoyer.l1 import L1
from hoyer_search.hoyer.measures import hoyer_sparsity
from hoyer_search.hoyer.network import add_gradients_
from hoyer_search.hoyer.registry import REGULARIZERS, make_regularizer
from hoyer_search.hoyer.regularizer import Regularizer
from hoyer_search.hoyer.transformed_l1 import TransformedL1

__all__ = [
    "L1",
    "REGULARIZERS",
    "Arrangement",
    "CoupledGroupHS",
    "ExplicitGroupHS",
    "GroupHS",
    "GroupLasso",
    "Hoyer",
    "HoyerSquare",
    "Regularizer",
    "TransformedL1",
    "add_gradients_",
    "hoyer_sparsity",
    "make_regularizer",
    "worth_compiling",
]
