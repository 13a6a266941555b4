"""Random networks with random zeros are shrunk exactly, or refused with the reason."""

import pytest
import torch
from generated import generated
from hypothesis import given, settings
from hypothesis import strategies as st

import hoyer_search as hs
from hoyer_search.compression.channels import ChannelGraph
from hoyer_search.compression.exactness import exactness
from hoyer_search.compression.masks import make_masks
from hoyer_search.compression.measure import num_parameters, physical_macs
from hoyer_search.compression.shrink import shrink
from hoyer_search.errors import ShrinkError

IMAGE = torch.randn(1, 3, 5, 5, generator=torch.Generator().manual_seed(0))


@settings(max_examples=300)
@given(st.integers(0, 10**6), st.floats(0.6, 1.0))
def test_zeros_are_removed_exactly_or_the_network_is_refused(seed, density):
    model = generated(seed, density)
    try:
        shrunk, report = hs.shrink(
            model,
            IMAGE,
            round_to=1 + seed % 2,
            remove_inputs=seed % 3 == 0,
            remove_outputs=seed % 5 == 0,
            gather=seed % 7 < 3,
        )
    except ShrinkError as error:
        reason = str(error)
        with torch.no_grad():
            equal = torch.equal(model(IMAGE), model(-IMAGE))
        assert equal
        assert "nothing gets through layer" in reason
        return
    assert report.exactness <= 1e-9
    ends = {"inputs": report.inputs, "outputs": report.outputs}
    assert exactness(model, shrunk, (3, 7, 4), **ends) <= 1e-9
    part = IMAGE if report.inputs is None else IMAGE[:, report.inputs]
    assert physical_macs(shrunk, part) <= physical_macs(model, IMAGE)
    assert num_parameters(shrunk) <= num_parameters(model)
    assert all(one.reason for one in report.stayed)


@settings(max_examples=60)
@given(
    st.integers(0, 10**6), st.floats(0.6, 1.0), st.sampled_from(["element", "structural"]),
    st.floats(0.0, 0.3),
)  # fmt: skip
def test_masks_of_a_threshold_are_shrunk_exactly(seed, density, granularity, threshold):
    model = generated(seed, density)
    graph = ChannelGraph.trace(model, IMAGE)
    masks = make_masks(model, graph, threshold=threshold, rule="absolute", granularity=granularity)
    shrunk, _ = shrink(model, graph, masks)
    masks.apply_(model)
    assert exactness(model, shrunk, (3, 6, 6)) <= 1e-9


@pytest.mark.parametrize("seed", range(3))
def test_generated_networks_can_be_traced(seed):
    assert ChannelGraph.trace(generated(seed, 1.0), IMAGE).untraced is None
