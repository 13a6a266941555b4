"""BatchNorms vanish into convolutions, and the outputs stay."""

import pytest
import torch
from small_networks import SMALL, seeded
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hoyer_search.compression.exactness import exactness
from hoyer_search.compression.folding import fold_norms


def norms(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, _BatchNorm)]


@pytest.mark.parametrize("name", sorted(SMALL))
def test_the_outputs_stay_and_the_network_is_not_changed(name):
    model, example = seeded(name)
    model.double()  # folding rounds the weights
    before = norms(model)
    folded = fold_norms(model)
    assert exactness(model, folded, example.shape[1:]) <= 1e-10
    assert norms(model) == before
    assert not folded.training
    # A norm behind a concatenation stays.
    assert norms(folded) == (before if name == "concatenating" else [])


class Odd(nn.Module):
    """What must not be folded: a norm called twice, outputs read twice, batch statistics."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c, self.d = (nn.Conv2d(3, 3, 1) for _ in range(4))
        self.twice, self.beside = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.batch = nn.BatchNorm2d(3, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(self.b(self.twice(self.a(x))))
        y = self.c(x)
        return y + self.beside(y) + self.batch(self.d(x))


def test_what_cannot_be_folded_stays():
    model = Odd()
    model(torch.randn(8, 3, 4, 4))
    folded = fold_norms(model)
    assert norms(folded) == ["twice", "beside", "batch"]
    assert exactness(model, folded, (3, 4, 4)) == 0.0
