import time

import torch
from small_networks import seeded
from torch import nn

from hoyer_search.compression.latency import THROUGHPUT_BATCH, measure_latency, measure_throughput


class Slow(nn.Linear):
    calls = 0

    def forward(self, x):
        self.calls += 1
        assert not self.training
        assert torch.is_inference_mode_enabled()
        time.sleep(0.02)
        return super().forward(x)


def test_medians_are_in_milliseconds_and_ordered():
    slow = Slow(4, 2)
    latency = measure_latency({"slow": slow, "fast": nn.Linear(4, 2)}, torch.zeros(1, 4))
    assert slow.calls <= 2 + 50 + 1, "longer than the limit of a second"
    assert 20 <= latency["slow"] < 2000
    assert 0 < latency["fast"] < latency["slow"]
    assert slow.training
    assert torch.is_grad_enabled()


def test_a_short_limit_still_gives_a_median():
    model, example = seeded("batch_norm")
    latency = measure_latency({"only": model}, example, seconds=0.0)
    assert list(latency) == ["only"]
    assert latency["only"] > 0


def test_throughput_is_of_a_batch():
    class Seen(nn.Linear):
        sizes: set[int] = set()  # noqa: RUF012

        def forward(self, x):
            self.sizes.add(len(x))
            time.sleep(0.01)
            return super().forward(x)

    examples = measure_throughput({"one": Seen(4, 2)}, torch.zeros(3, 4), seconds=0.0)
    assert Seen.sizes == {THROUGHPUT_BATCH}
    assert 0 < examples["one"] < THROUGHPUT_BATCH / 0.01
