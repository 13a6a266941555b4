"""A layer that reads some channels of its input: others read the rest."""

import torch
from torch import Tensor, nn

from hoyer_search.compression.layers import PrunableLayer


class Gather(nn.Module):
    """Picks channels of its input by index and hands them to a smaller layer.

    It takes the place of a layer whose input holds channels that this layer has no weights for, but
    another one does, or other positions of a flattened channel. The copy costs time, the layer
    behind it is smaller.
    """

    index: Tensor

    def __init__(self, layer: PrunableLayer, index: list[int]) -> None:
        """Takes over a layer.

        Args:
            layer: The layer, its columns already cut.
            index: Channel of the input that each of its columns reads.
        """
        super().__init__()
        self.layer = layer
        self.dim = -1 if isinstance(layer, nn.Linear) else 1
        positions = torch.tensor(index, device=layer.weight.device)
        self.register_buffer("index", positions, persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns the layer's output."""
        outputs: Tensor = self.layer(inputs.index_select(self.dim, self.index))
        return outputs

    def extra_repr(self) -> str:
        """Returns what is printed of it."""
        return f"columns={len(self.index)}"


def gathered(there: Tensor, read: Tensor, *, round_to: int = 1) -> tuple[list[int], list[int]]:
    """Returns which columns a layer keeps that gathers, and where its input holds them.

    Args:
        there: Which columns its input still has, boolean of shape (columns,).
        read: Which of them have a weight other than zero.
        round_to: Their number becomes a multiple of it, or stays full.
    """
    chosen = there & read
    others = (there & ~read).nonzero().flatten()
    chosen[others[: -int(chosen.sum()) % round_to]] = True
    places = there.cumsum(0) - 1
    return chosen.nonzero().flatten().tolist(), places[chosen].tolist()
