import pytest
import torch

from hoyer_search.errors import InputError
from hoyer_search.hoyer import CoupledGroupHS, GroupHS


def layers(seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(4, 3, 2, 2), (5, 4), (4, 5, 1, 1), (3, 4)]
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


# The first and the third layer make one stream; the last one's filters are its own.
STREAM = [10, 11, 12, 13]
FILTERS = [torch.tensor(STREAM), torch.tensor([1, 2, 3, 4, 5]), torch.tensor(STREAM), None]
WEIGHTS = {"filter_weight": 0.7, "channel_weight": 1.3}


def by_definition(weights: list[torch.Tensor]) -> torch.Tensor:
    def group_hs(squares: torch.Tensor) -> torch.Tensor:
        return squares.sqrt().sum() ** 2 / squares.sum()

    rows = [w.square().flatten(1).sum(1) for w in weights]
    columns = [w.square().transpose(0, 1).flatten(1).sum(1) for w in weights]
    filters = [rows[0] + rows[2], rows[1], rows[0] + rows[2], rows[3]]
    return torch.stack(
        [0.7 * group_hs(f) + 1.3 * group_hs(c) for f, c in zip(filters, columns, strict=True)]
    )


def test_values_are_those_of_the_definition():
    found = CoupledGroupHS(FILTERS, **WEIGHTS).values(layers())
    torch.testing.assert_close(found, by_definition(layers()))


@pytest.mark.parametrize("scales", [[1.0, 2.0, 0.5, 3.0], [1e-5, 0.0, 1e-3, 0.0]])
def test_gradients_are_those_of_autograd(scales):
    scales = torch.tensor(scales, dtype=torch.float64)
    weights = [w.requires_grad_() for w in layers()]
    expected = torch.autograd.grad((scales * by_definition(weights)).sum(), weights)
    grads = [torch.ones_like(w) for w in weights]
    with torch.no_grad():
        values = CoupledGroupHS(FILTERS, **WEIGHTS).add_gradients_(weights, grads, scales)
    torch.testing.assert_close(values, by_definition(weights))
    for found, one in zip(grads, expected, strict=True):
        torch.testing.assert_close(found - 1, one, rtol=1e-9, atol=1e-12)


def test_layers_without_a_stream_have_the_values_of_group_hs():
    coupled = CoupledGroupHS([None] * 4, **WEIGHTS)
    torch.testing.assert_close(coupled.values(layers()), GroupHS(**WEIGHTS).values(layers()))


def test_zero_groups_and_layers_have_no_gradient():
    weights = layers()
    weights[0][1], weights[2][1] = 0, 0
    weights[1].zero_()
    grads = [torch.zeros_like(w) for w in weights]
    scales = torch.ones(4, dtype=torch.float64)
    values = CoupledGroupHS(FILTERS).add_gradients_(weights, grads, scales)
    assert values[1] == 0
    assert bool(values.isfinite().all())
    assert not grads[0][1].any()
    assert not grads[1].any()


def test_a_dead_filter_of_a_living_channel_is_not_pulled_apart():
    """A filter alone in its channel is pressed towards zero, one in large company less."""
    weights = [torch.ones(2, 3), torch.tensor([[1e-2] * 3, [1.0] * 3])]
    grads = [torch.zeros_like(w) for w in weights]
    shared = [torch.tensor([0, 1]), torch.tensor([0, 1])]
    CoupledGroupHS(shared, channel_weight=0.0).add_gradients_(
        weights, grads, torch.ones(2, dtype=torch.float64)
    )
    alone = torch.zeros_like(weights[1])
    GroupHS(channel_weight=0.0).add_gradient_(weights[1], alone)
    assert grads[1][0].abs().max() < 0.1 * alone[0].abs().max()


def test_other_weights_than_traced_are_refused():
    with pytest.raises(InputError, match=r"layers with \[4, 5, 4, None\] filters, got \[4, 5\]"):
        CoupledGroupHS(FILTERS).values(layers()[:2])
