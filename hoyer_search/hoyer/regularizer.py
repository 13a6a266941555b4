"""What every regularizer can do."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor


class Regularizer(ABC):
    r"""A penalty R on a layer's weight, with its gradient in closed form.

    Weights are floating tensors of any strides with at least one dimension; group regularizers
    take (out, in, \*kernel), as Linear and Conv hold them, unless told their ``Arrangement``.
    Everything is computed in float32 or
    better, whatever the weight's type; values are float64. Zero weights, groups and layers have
    the gradient zero, and a zero layer the value 0. NaN and infinite weights give NaN.

    No method waits for the device. ``value`` and ``add_gradient_`` record no autograd history; the
    methods over several layers are called with gradients disabled.
    """

    @abstractmethod
    def values(self, weights: Sequence[Tensor]) -> Tensor:
        """Returns R of every layer, float64 of shape (layers,).

        Args:
            weights: At least one layer; all on one device.
        """

    @abstractmethod
    def add_gradients_(
        self, weights: Sequence[Tensor], grads: Sequence[Tensor], scales: Tensor
    ) -> Tensor:
        """Adds scale * dR/dweight to every layer's gradient in place and returns :meth:`values`.

        Args:
            weights: At least one layer; all on one device. They stay as they are.
            grads: Gradients of the same shapes, of any floating type.
            scales: One factor a layer, float64 of shape (layers,).
        """

    @torch.no_grad()
    def value(self, weight: Tensor) -> Tensor:
        """Returns R of one layer, a 0-dim float64 tensor."""
        return self.values([weight])[0]

    @torch.no_grad()
    def add_gradient_(self, weight: Tensor, grad: Tensor, scale: float | Tensor = 1.0) -> Tensor:
        """Adds scale * dR/dweight to ``grad`` in place and returns R, a 0-dim float64 tensor.

        Args:
            weight: One layer; it stays as it is.
            grad: Gradient of the same shape, of any floating type.
            scale: Factor of the gradient only; a tensor must be 0-dim.
        """
        scales = torch.ones(1, dtype=torch.float64, device=weight.device) * scale
        return self.add_gradients_([weight], [grad], scales)[0]
