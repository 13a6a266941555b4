"""The Group-HS regularizer over any groups, overlapping ones too."""

from collections.abc import Sequence
from typing import Literal, final

import torch
from torch import Tensor

from hoyer_search.errors import InputError
from hoyer_search.hoyer._blocks import SMALLEST
from hoyer_search.hoyer._groups import inverse
from hoyer_search.hoyer.regularizer import Regularizer

Denominator = Literal["groups", "weight"]


@final
class ExplicitGroupHS(Regularizer):
    """G_H of given groups of one layer's elements, in both forms of DeepHoyer's Equation 6.

    The first form divides by the groups' own squared norms and holds for overlapping groups; the
    second divides by the whole weight's. They agree when every element is in exactly one group.

    Args:
        groups: Index tensors into the flattened weight, one a group; they may overlap, and need
            not cover every element.
        denominator: ``groups`` for the first form, ``weight`` for the second.

    Raises:
        InputError: There is no group, or a group is no integer vector or is empty, repeats an
            element, or has a negative index; or the denominator is unknown.
    """

    def __init__(self, groups: Sequence[Tensor], *, denominator: Denominator = "groups") -> None:
        if denominator not in ("groups", "weight"):
            raise InputError(f"denominator must be 'groups' or 'weight', got {denominator!r}")
        if not groups:
            raise InputError("Group-HS needs at least one group, got none")
        for number, group in enumerate(groups):
            _check(number, group)
        self._denominator = denominator
        self._elements = torch.cat([group.long() for group in groups])
        sizes = torch.tensor([len(group) for group in groups], device=self._elements.device)
        self._group_of = torch.arange(len(groups), device=sizes.device).repeat_interleave(sizes)
        self._num_groups = len(groups)
        self._size = int(self._elements.max()) + 1

    def values(self, weights: Sequence[Tensor]) -> Tensor:
        """Returns G_H of every layer, float64 of shape (layers,)."""
        return torch.stack([self._parts(_flat(weight))[0] for weight in weights])

    def add_gradients_(
        self, weights: Sequence[Tensor], grads: Sequence[Tensor], scales: Tensor
    ) -> Tensor:
        """Adds scale * dG_H/dw to every layer's gradient and returns the values.

        With D the denominator and s = sum(norms) / D, the gradient is
        2 s w (sum over its groups of 1 / norm - s m), where m is the number of groups that hold w
        for the first form and 1 for the second.

        Raises:
            InputError: A group has an element that the weight has not.
        """
        values = []
        for weight, grad, scale in zip(weights, grads, scales, strict=True):
            flat = _flat(weight)
            value, slope, norms = self._parts(flat)
            coefficients = self._scatter(flat, inverse(norms)[self._group_of])
            if self._denominator == "groups":
                multiplicity = self._scatter(flat, torch.ones_like(norms)[self._group_of])
                coefficients -= slope * multiplicity
            else:
                coefficients -= slope
            grad.add_((flat * coefficients * (2 * scale * slope)).view(grad.shape))
            values.append(value)
        return torch.stack(values)

    def _parts(self, flat: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns value, sum(norms) / denominator, and the norms."""
        if len(flat) < self._size:
            raise InputError(
                f"a group has element {self._size - 1}, the weight has only {len(flat)} elements: "
                "groups index the flattened weight"
            )
        squares = flat[self._elements].square_()
        group_squares = squares.new_zeros(self._num_groups).index_add_(0, self._group_of, squares)
        covered = group_squares if self._denominator == "groups" else flat.square()
        norms = group_squares.sqrt()
        slope = norms.sum() / covered.sum().clamp_min_(SMALLEST)
        return norms.sum() * slope, slope, norms

    def _scatter(self, flat: Tensor, values: Tensor) -> Tensor:
        """Returns values of group members added up by element."""
        return torch.zeros_like(flat).index_add_(0, self._elements, values)


def _flat(weight: Tensor) -> Tensor:
    return weight.flatten().double()


def _check(number: int, group: Tensor) -> None:
    integer = not (group.is_floating_point() or group.is_complex() or group.dtype == torch.bool)
    if group.dim() != 1 or not integer or len(group) == 0:
        raise InputError(
            f"group {number} must be a non-empty vector of integers, got {group.dtype} of shape "
            f"{tuple(group.shape)}"
        )
    if int(group.min()) < 0 or len(set(group.tolist())) != len(group):
        raise InputError(f"group {number} must hold distinct indices from 0, got {group.tolist()}")
