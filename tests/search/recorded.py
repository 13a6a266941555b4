"""A recording made by formula, so that what a simulation should find is known."""

import math

import numpy as np

from hoyer_search.config import SweepConfig
from hoyer_search.results import CurvePoint, Dense
from hoyer_search.search.simulate.recording import Finetuned, Milestone, Recording, Training

WEIGHTS = 100_000
DENSE = Dense(
    val_accuracy=0.97,
    test_accuracy=0.97,
    nonzeros=WEIGHTS,
    macs=WEIGHTS,
    parameters=WEIGHTS,
    structure="784-300-100",
    latency_ms=0.1,
)
BEST_DECAY = 1e-3
SPACE = {
    "name": "made",
    "model": {"factory": "lenet_300_100"},
    "data": {"source": "mnist"},
    "pipeline": {
        "pretrain": {"epochs": 1},
        "regularize": {"epochs": 4},
        "finetune": {"epochs": 1},
    },
    "search": {
        "decay": {"low": 1e-5, "high": 1e-1, "log": True},
        "regularizer.channel_weight": {"low": 0.1, "high": 10.0, "log": True},
    },
}


def recording(trainings: int = 24, *, noise: float = 0.0, seed: int = 0) -> Recording:
    """Returns trainings at random settings."""
    rng = np.random.default_rng(seed)
    return Recording(
        config=SweepConfig.model_validate(SPACE),
        dense=DENSE,
        trainings=[
            training(
                number,
                10.0 ** rng.uniform(-5, -1),
                10.0 ** rng.uniform(-1, 1),
                shift=noise * rng.standard_normal(),
            )
            for number in range(trainings)
        ],
    )


def edge(decay: float, channel_weight: float) -> float:
    """Returns the log2 compression at which a network collapses: most at the best decay."""
    off = math.log10(decay / BEST_DECAY) ** 2 + 0.2 * math.log10(channel_weight) ** 2
    return 6.0 - 0.5 * off


def training(number: int, decay: float, channel_weight: float, *, shift: float) -> Training:
    """Returns a training whose networks collapse at ``edge``, moved by a shift in doublings."""
    params = {"decay": decay, "regularizer.channel_weight": channel_weight}
    at = edge(decay, channel_weight) + shift
    curve = [point(doublings, at) for doublings in np.linspace(0.02, 9.0, 60)]
    return Training(
        number=number,
        params=params,
        milestones=[
            Milestone(epoch=epoch, curve=curve, wall_seconds=0.6) for epoch in (1, 2, 3, 4)
        ],
        finetuned=[finetuned(curve[i]) for i in range(5, 60, 9)],
        wall_seconds=10.0,
    )


def point(doublings: float, at: float) -> CurvePoint:
    """Returns the point of a curve at a compression."""
    size = round(WEIGHTS / 2**doublings)
    fallen = 1 / (1 + math.exp(-4 * (doublings - at)))
    return CurvePoint(
        threshold=0.01 * 2**doublings,
        val_accuracy=0.975 - 0.875 * fallen,
        nonzeros=size,
        macs=size,
    )


def finetuned(raw: CurvePoint) -> Finetuned:
    """Returns what finetuning makes of a point: a tenth of the loss stays."""
    accuracy = 0.977 - 0.1 * (0.975 - raw.val_accuracy)
    return Finetuned(
        threshold=raw.threshold,
        nonzeros=raw.nonzeros,
        macs=raw.macs,
        raw_val_accuracy=raw.val_accuracy,
        val_accuracy=accuracy,
        test_accuracy=accuracy,
        wall_seconds=2.0,
    )
