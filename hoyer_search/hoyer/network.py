"""A regularizer over all layers of a network."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hoyer_search.errors import InputError
from hoyer_search.hoyer.regularizer import Regularizer


@torch.no_grad()
def add_gradients_(
    regularizer: Regularizer,
    weights: Sequence[nn.Parameter],
    *,
    decay: float,
    layer_weights: Sequence[float] | None = None,
) -> Tensor:
    """Adds the regularizer's gradient to the ``.grad`` of every layer, and returns its loss term.

    The sum over layers of Equations 7 and 8: decay * layer_weight * R(w). Call it after the
    backward pass (and after unscaling, with a gradient scaler). Does not wait for the device.

    Args:
        regularizer: R.
        weights: The layers' weights, all on one device. A missing ``.grad`` is created.
        decay: Factor of every layer: alpha of Equation 7.
        layer_weights: Further factor of each layer, 1 by default; a layer with 0 is left alone.

    Returns:
        0-dim float64 tensor on the weights' device (on the CPU when no layer is regularized).

    Raises:
        InputError: There are not as many layer weights as weights.
    """
    if layer_weights is None:
        layer_weights = [1.0] * len(weights)
    if len(layer_weights) != len(weights):
        raise InputError(f"got {len(layer_weights)} layer weights for {len(weights)} weights")
    scales = [decay * factor for factor in layer_weights]
    active = [(weight, scale) for weight, scale in zip(weights, scales, strict=True) if scale]
    if not active:
        return torch.zeros((), dtype=torch.float64)
    layers = [weight for weight, _ in active]
    # Not blocking: a copy of a few numbers from the host must not wait for the device.
    scale = torch.tensor([scale for _, scale in active], dtype=torch.float64).to(
        layers[0].device, non_blocking=True
    )
    values = regularizer.add_gradients_(layers, [_gradient(layer) for layer in layers], scale)
    return torch.dot(scale, values)


def _gradient(weight: nn.Parameter) -> Tensor:
    if weight.grad is None:
        weight.grad = torch.zeros_like(weight)
    return weight.grad
