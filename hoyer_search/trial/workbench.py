"""What every stage works with: device, threads, data and the network of one sweep."""

import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from hoyer_search import models
from hoyer_search.compression.channels import ChannelGraph
from hoyer_search.compression.layers import (
    TRANSPOSED_TYPES,
    by_pattern,
    matching,
    prunable_layers,
)
from hoyer_search.compression.masks import Masks
from hoyer_search.config import SweepConfig, Training
from hoyer_search.datasets import Splits
from hoyer_search.datasets.splits import Source
from hoyer_search.hoyer import (
    Arrangement,
    CoupledGroupHS,
    Regularizer,
    make_regularizer,
    worth_compiling,
)
from hoyer_search.results import Progress
from hoyer_search.trial.batches import Batches, make_batches
from hoyer_search.trial.checkpoint import Checkpoints
from hoyer_search.trial.training import Epoch, Look, Penalty, derive_seed, no_look, train


class Workbench:
    """Device, threads, data and model of one process's work for a sweep.

    Attributes:
        noted: Whether the last epoch is in the journal: only then a training that is left is saved.
    """

    def __init__(self, config: SweepConfig, data: Splits, *, seed: int | None = None) -> None:
        """Moves the data to the device.

        Args:
            config: The sweep's or the trial's configuration.
            data: The sweep's data.
            seed: Seed of the training, in place of the sweep's.
        """
        torch.set_num_threads(max(1, int(config.resources.cpus)))
        self.config, self.data = config, data
        self._seed = config.seed if seed is None else seed
        self.noted = True
        self.device = torch.device("cuda" if config.resources.gpus > 0 else "cpu")
        self.training = self._batches(data.train, "train")
        self.validation = self._batches(data.validation, "validation")
        self.test = self._batches(data.test, "test")
        self.topk = 5 if config.objective.accuracy == "top5" else 1
        self.example = torch.zeros((1, *data.input_shape), device=self.device)

    def _batches(self, source: Source, name: str) -> Batches:
        cpus, outputs = self.config.resources.cpus, self.data.outputs
        return make_batches(source, self.device, cpus=cpus, name=name, outputs=outputs)

    def model(self) -> nn.Module:
        """Returns the untrained network on the device, the same for the same seed."""
        torch.manual_seed(derive_seed(self.config.seed, "weights"))
        model = models.build(self.config.model.factory, self.config.model.arguments)
        model = model.to(self.device)
        if len(self.data.input_shape) == 3:
            # Convolutions of images run faster in this layout, on CPUs and on GPUs.
            for weight in model.parameters():
                if weight.ndim == 4:
                    weight.data = weight.data.contiguous(memory_format=torch.channels_last)
        return model

    def graph(self, model: nn.Module) -> ChannelGraph:
        """Returns the network's channels."""
        return ChannelGraph.trace(model, self.example)

    def penalty(self, model: nn.Module) -> Penalty:
        """Returns the regularizer of Equations 7 and 8 on a network's prunable layers."""
        settings, training = self.config.regularizer, self.config.pipeline.regularize
        layers = prunable_layers(model)
        factors = dict.fromkeys(layers, 1.0) | by_pattern(settings.layer_weights, layers)
        excluded = matching(self.config.pruning.exclude, factors)
        names = [name for name, factor in factors.items() if factor and name not in excluded]
        weights = [layers[name].get_parameter("weight") for name in names]
        arrangements = [_arrangement(layers[name]) for name in names]
        steps = training.epochs * math.ceil(self.training.num_examples / training.batch_size)
        if settings.groups == "coupled":
            regularizer = self._coupled(model, names, arrangements)
        else:
            regularizer = make_regularizer(
                settings.name,
                filter_weight=settings.filter_weight,
                channel_weight=settings.channel_weight,
                arrangements=arrangements,
                compiled=worth_compiling(sum(w.numel() for w in weights), steps),
            )
        return Penalty(regularizer, weights, [factors[name] for name in names], settings.decay)

    def _coupled(
        self, model: nn.Module, names: list[str], arrangements: list[Arrangement]
    ) -> Regularizer:
        """Returns Group-HS over the channels that layers make together."""
        settings, layers = self.config.regularizer, self.graph(model).layers
        return CoupledGroupHS(
            [layers[name].rows for name in names],
            filter_weight=settings.filter_weight,
            channel_weight=settings.channel_weight,
            arrangements=arrangements,
        )

    def checkpoints(self, folder: Path) -> Checkpoints:
        """Returns the checkpoints of a stage."""
        return Checkpoints(folder, every_minutes=self.config.pipeline.checkpoint_minutes)

    def train(
        self,
        model: nn.Module,
        settings: Training,
        *,
        stage: str,
        checkpoints: Checkpoints,
        penalty: Penalty | None = None,
        masks: Masks | None = None,
        keep_best: bool = False,
        look: Look = no_look,
    ) -> Iterator[Epoch]:
        """Trains a network through a stage; see ``training.train``."""
        return train(
            model,
            settings,
            train_data=self.training,
            val_data=self.validation,
            topk=self.topk,
            seed=derive_seed(self._seed, stage),
            checkpoints=checkpoints,
            penalty=penalty,
            masks=masks,
            keep_best=keep_best,
            look=look,
            noted=lambda: self.noted,
        )


def _arrangement(layer: nn.Module) -> Arrangement:
    return Arrangement(getattr(layer, "groups", 1), isinstance(layer, TRANSPOSED_TYPES))


def to_progress(stage: str, epoch: Epoch, settings: Training, point: int | None = None) -> Progress:
    """Returns a finished epoch as the step that the driver and the journal see."""
    metrics = {"loss": epoch.loss, "val_accuracy": epoch.val_accuracy}
    if stage == "regularize":
        metrics["penalty"] = epoch.penalty
    return Progress(
        stage=stage,
        point=point,
        epoch=epoch.epoch,
        epochs=settings.epochs,
        metrics=metrics,
        time=time.time(),
        wall_seconds=epoch.wall_seconds,
        curve=epoch.curve,
    )
