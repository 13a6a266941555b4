"""What the two Hoyer measures share: values and gradients of (sum(|w|)^2 / sum(w^2))^(p / 2).

The Hoyer ratio has p = 1 and Hoyer-Square p = 2.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from hoyer_search.hoyer._blocks import (
    LONGEST_ROW,
    SAFE_SQUARES,
    SMALLEST,
    add_product_,
    compute_dtype,
    limited,
    on_host,
    per_layer,
    row_blocks,
)
from hoyer_search.hoyer._compiled import add_compiled_


def hoyer_values(weights: Sequence[Tensor], *, power: int) -> Tensor:
    """Returns (sum(|w|)^2 / sum(w^2))^(power / 2) of every layer, float64 of shape (layers,).

    Args:
        weights: At least one tensor, on one device.
        power: 1 or 2.
    """
    l1, l2_squared = _absolute_and_square_sums(weights)
    return _power(l1, l2_squared, power)


def add_hoyer_gradients_(
    weights: Sequence[Tensor],
    grads: Sequence[Tensor],
    scales: Tensor,
    *,
    power: int,
    compiled: bool = False,
) -> Tensor:
    """Adds scale * dR/dw to every layer's gradient and returns the values R.

    With s = sum(|w|) / sum(w^2), dR/dw = power R / sum(|w|) (sign(w) - s w): Equation 4 for a
    power of 2.

    Args:
        weights: At least one layer; all on one device.
        grads: Gradients of the same shapes.
        scales: float64 of shape (layers,).
        power: 1 or 2.
        compiled: Whether to use a compiled kernel for large layers, where there is one.
    """
    if on_host([*weights, *grads]):
        return add_on_host_(weights, grads, scales.tolist(), power=power, compiled=compiled)
    return _add_anywhere_(weights, grads, scales, power=power)


def _add_anywhere_(
    weights: Sequence[Tensor], grads: Sequence[Tensor], scales: Tensor, *, power: int
) -> Tensor:
    l1, l2_squared = _absolute_and_square_sums(weights)
    values = _power(l1, l2_squared, power)
    factors = power * scales * values / l1.clamp_min(SMALLEST)
    slopes = l1 / l2_squared.clamp_min(SMALLEST)
    _add_directions_(weights, grads, factors=factors, slopes=slopes)
    return values


def _power(l1: Tensor, l2_squared: Tensor, power: int) -> Tensor:
    l2_squared = l2_squared.clamp_min(SMALLEST)
    return l1 * (l1 / l2_squared) if power == 2 else l1 * l2_squared.rsqrt()


def _absolute_and_square_sums(weights: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Returns sum(|w|) and sum(w^2) of every layer, float64 of shape (layers,).

    Relative error about 1e-7 for float32 weights of any magnitude. A float64 pass would cost four
    times as much, so squares are summed in the weights' own precision, over blocks divided by
    their absolute sum: nothing overflows, and what underflows does not count.

    Args:
        weights: At least one tensor, on one device.
    """
    dtype = compute_dtype(weights)
    tiny = torch.finfo(dtype).tiny
    counts, sums, square_sums = [], [], []
    for weight in weights:
        blocks = row_blocks(weight, dtype)
        counts.append(len(blocks))
        for block in blocks:
            magnitudes = block.to(dtype).abs()
            total = magnitudes.sum()
            shares = magnitudes.mul_(total.clamp_min(tiny).reciprocal_())
            sums.append(total)
            # Not vector_norm or dot: they add in sequence and lose digits, sum() adds in a tree.
            square_sums.append(shares.square_().sum())
    l1 = torch.stack(sums).double()
    l2_squared = torch.stack(square_sums) * l1.clamp_min(tiny).square_()
    return per_layer(l1, counts), per_layer(l2_squared, counts)


def _add_directions_(
    weights: Sequence[Tensor], grads: Sequence[Tensor], *, factors: Tensor, slopes: Tensor
) -> None:
    """Adds ``factor * (sign(w) - slope * w)`` to every layer's gradient, in place.

    Args:
        weights: The layers.
        grads: Gradients of the same shapes.
        factors: float64 of shape (layers,).
        slopes: float64 of shape (layers,): sum(|w|) / sum(w^2), the inverse of the magnitude
            below which gradient descent shrinks a weight.
    """
    dtype = compute_dtype(weights)
    factors, slopes = limited(torch.stack([factors, -slopes]), dtype).unbind()
    for weight, grad, factor, slope in zip(weights, grads, factors, slopes, strict=True):
        pairs = zip(row_blocks(weight, dtype), row_blocks(grad, dtype), strict=True)
        for block, target in pairs:
            block = block.to(dtype)
            add_product_(target, block.sign().addcmul_(block, slope), factor)


def add_on_host_(
    weights: Sequence[Tensor],
    grads: Sequence[Tensor],
    scales: Sequence[float],
    *,
    power: int,
    compiled: bool,
) -> Tensor:
    """Does what ``add_hoyer_gradients_`` does, at half the cost for a small network.

    There most of the time goes into calls that work on single numbers, which are Python's here,
    and into a pass over the weights that only very large or small ones need.
    """
    values = []
    for weight, grad, scale in zip(weights, grads, scales, strict=True):
        value = add_compiled_(weight, grad, scale, power=power) if compiled else None
        if value is None:
            value = _add_layer_on_host_(weight, grad, scale, power)
        if value is None:
            one = torch.tensor([scale], dtype=torch.float64)
            value = float(_add_anywhere_([weight], [grad], one, power=power))
        values.append(value)
    return torch.tensor(values, dtype=torch.float64)


def _add_layer_on_host_(weight: Tensor, grad: Tensor, scale: float, power: int) -> float | None:
    """Returns the value, or None where sums in float32 would overflow or lose digits."""
    if weight[0].numel() > LONGEST_ROW:
        return None
    blocks = row_blocks(weight, torch.float32)
    signs = []
    l1 = l2_squared = 0.0
    for block in blocks:
        sign = block.sign()
        l1 += float(torch.dot(_flat(block), _flat(sign)))
        # By row: a long sum of squares of unlike sizes would lose digits.
        norms = torch.linalg.vector_norm(block.flatten(1) if block.ndim > 2 else block, dim=-1)
        l2_squared += float(torch.dot(norms, norms) if norms.ndim else norms * norms)
        if len(blocks) == 1:
            signs.append(sign)  # those of a large layer are made again, within the cache
    if not SAFE_SQUARES[0] < l2_squared < SAFE_SQUARES[1]:
        return None
    slope = l1 / l2_squared
    value: float = (l1 * slope) ** (power / 2)
    for index, target in enumerate(row_blocks(grad, torch.float32)):
        direction = signs[index] if signs else blocks[index].sign()
        target.add_(direction.add_(blocks[index], alpha=-slope), alpha=scale * power * value / l1)
    return value


def _flat(tensor: Tensor) -> Tensor:
    """Returns the elements in the order of memory, so that channels-last weights need no copy."""
    if tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        tensor = tensor.permute(0, 2, 3, 1)
    return tensor.reshape(-1)
