"""The training loop: one epoch at a time, with no host sync inside a step."""

import contextlib
import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hoyer_search.compression.masks import Masks
from hoyer_search.config import Training
from hoyer_search.errors import TrialDiverged
from hoyer_search.hoyer import Regularizer, add_gradients_
from hoyer_search.results import CurvePoint
from hoyer_search.trial.batches import Batches
from hoyer_search.trial.checkpoint import Checkpoints, State
from hoyer_search.trial.randomness import seed_all


@contextlib.contextmanager
def flushed_denormals() -> Iterator[None]:
    """Counts numbers below 1e-38 as zero in this thread while the block runs, on the CPU.

    Groups that a regularizer has emptied shrink on for ever, and CPUs compute with such numbers
    ten to a hundred times slower.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@dataclass(frozen=True, slots=True)
class Penalty:
    """A regularizer on some of a network's weights.

    Attributes:
        regularizer: Value and gradient for one weight.
        weights: The regularized weights.
        layer_weights: A factor for each of them.
        decay: The factor of all (alpha of Equation 7).
    """

    regularizer: Regularizer
    weights: Sequence[nn.Parameter]
    layer_weights: Sequence[float]
    decay: float

    def add_gradient_(self) -> Tensor:
        """Adds the penalty's gradient to ``.grad`` and returns its value, without a host sync."""
        return add_gradients_(
            self.regularizer, self.weights, decay=self.decay, layer_weights=self.layer_weights
        )


@dataclass(frozen=True, slots=True)
class Epoch:
    """One finished epoch.

    Attributes:
        epoch: Epochs done.
        loss: Mean loss of its steps.
        penalty: Mean penalty of its steps.
        val_accuracy: Validation accuracy after it, in [0, 1].
        best_accuracy: Best validation accuracy so far, where the best epoch is kept.
        wall_seconds: Seconds of the stage so far, over all attempts.
        curve: What ``look`` returned after it.
    """

    epoch: int
    loss: float
    penalty: float
    val_accuracy: float
    best_accuracy: float
    wall_seconds: float
    curve: list[CurvePoint]


Look = Callable[[int], list[CurvePoint]]


def no_look(epoch: int) -> list[CurvePoint]:
    """Returns no curve."""
    return []


def derive_seed(seed: int, *parts: str | int) -> int:
    """Returns a seed in [0, 2^63) that depends on every part."""
    text = ":".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def train(
    model: nn.Module,
    settings: Training,
    *,
    train_data: Batches,
    val_data: Batches,
    topk: int,
    seed: int,
    checkpoints: Checkpoints,
    penalty: Penalty | None = None,
    masks: Masks | None = None,
    keep_best: bool = False,
    look: Look = no_look,
    noted: Callable[[], bool] = lambda: True,
) -> Iterator[Epoch]:
    """Trains a network in place, from its last checkpoint when there is one.

    Order of the examples and all randomness of an epoch depend on the seed and the epoch alone,
    so a resumed training gives the bytes of an uninterrupted one. A checkpoint is saved when the
    next epoch is asked for: what was seen of an epoch is safe before it can be skipped. One is
    saved too when the training is left half-way (``close`` of the generator), if it was ``noted``.

    Args:
        model: The network, on its device.
        settings: Epochs, optimizer, learning rate, schedule, batch size.
        train_data: Examples to train with.
        val_data: Examples to measure each epoch with.
        topk: A prediction counts when the label is among the k highest outputs.
        seed: Seed of the stage.
        checkpoints: Where to resume from and save to.
        penalty: Regularizer to add to the gradients.
        masks: Zeros to keep at zero after every step.
        keep_best: Whether the network ends with the weights of its best epoch by validation.
        look: Called after each epoch with its number; leaves the network as it is.
        noted: Returns whether the last epoch was written down. One that was not is trained again.

    Yields:
        Every epoch that this call trained.

    Raises:
        TrialDiverged: The loss or the penalty became NaN or infinite.
    """
    optimizer = make_optimizer(model, settings)
    state = State(model=model, optimizer=optimizer)
    checkpoints.restore(state)
    if masks is not None:
        masks.apply_(model)
    steps = math.ceil(train_data.num_examples / settings.batch_size)
    for epoch in range(state.epoch, settings.epochs):
        start = time.perf_counter()
        seed_all(derive_seed(seed, "epoch", epoch))
        loss, penalty_value = train_epoch(
            model,
            optimizer,
            train_data.shuffled(settings.batch_size, seed=derive_seed(seed, "order", epoch)),
            first_step=epoch * steps,
            total_steps=settings.epochs * steps,
            settings=settings,
            penalty=penalty,
            masks=masks,
        )
        for name, value in (("loss", loss), ("penalty", penalty_value)):
            if not math.isfinite(value):
                raise TrialDiverged(
                    f"the {name} became {value} in epoch {epoch + 1} of {settings.epochs}: "
                    "lower the learning rate or the decay"
                )
        accuracy = evaluate(model, val_data, topk=topk)
        if keep_best and accuracy >= state.best_accuracy:
            state.keep(accuracy)
        state.epoch = epoch + 1
        curve = look(state.epoch)
        state.wall_seconds += time.perf_counter() - start
        last = state.epoch == settings.epochs
        try:
            yield Epoch(
                epoch=state.epoch,
                loss=loss,
                penalty=penalty_value,
                val_accuracy=accuracy,
                best_accuracy=max(accuracy, state.best_accuracy),
                wall_seconds=state.wall_seconds,
                curve=curve,
            )
        except GeneratorExit:
            if noted() and not last:
                checkpoints.save(state)
            raise
        checkpoints.save_if_due(state, last=last)
    if keep_best:
        state.restore_best()


def evaluate(model: nn.Module, data: Batches, *, topk: int) -> float:
    """Returns a network's accuracy in [0, 1] on a split, with one host sync."""
    return float(count_correct(model, data, topk=topk)) / data.num_examples


def count_correct(model: nn.Module, data: Batches, *, topk: int) -> Tensor:
    """Returns how many examples a network gets right, as a 0-dim int64 tensor on its device."""
    was_training = model.training
    model.eval()
    correct: Tensor | None = None
    with torch.inference_mode(), flushed_denormals():
        for inputs, labels in data.in_order():
            outputs = model(inputs)
            if topk == 1:
                hits = outputs.argmax(1).eq(labels).sum()
            else:
                k = min(topk, outputs.shape[1])
                hits = outputs.topk(k, dim=1).indices.eq(labels[:, None]).sum()
            correct = hits if correct is None else correct + hits
    model.train(was_training)
    if correct is None:
        raise ValueError("accuracy on no examples is not defined")
    return correct


def make_optimizer(model: nn.Module, settings: Training) -> torch.optim.Optimizer:
    """Returns the optimizer of a stage, fused into one kernel a step."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    lr, weight_decay = settings.lr, settings.weight_decay
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, lr=lr, momentum=settings.momentum, weight_decay=weight_decay, fused=True
        )
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, lr=lr, weight_decay=weight_decay, fused=True)


def learning_rate(settings: Training, *, step: int, total: int) -> float:
    """Returns the learning rate of a step, in closed form so that resuming needs no state."""
    if settings.schedule == "cosine":
        return settings.lr * 0.5 * (1 + math.cos(math.pi * step / total))
    if settings.schedule == "step":
        return settings.lr * 0.1 ** (3 * step // total)
    return settings.lr


@flushed_denormals()
def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[tuple[Tensor, Tensor]],
    *,
    first_step: int,
    total_steps: int,
    settings: Training,
    penalty: Penalty | None = None,
    masks: Masks | None = None,
) -> tuple[float, float]:
    """Takes a step for each batch; nothing leaves the device before the last.

    Args:
        model: The network, changed in place.
        optimizer: Its optimizer.
        batches: At least one batch.
        first_step: Number of the first step within the stage.
        total_steps: Steps of the whole stage, for the schedule.
        settings: Learning rate and schedule.
        penalty: Regularizer to add to the gradients.
        masks: Zeros to keep at zero.

    Returns:
        Mean loss and mean penalty of the steps.
    """
    model.train()
    device = next(model.parameters()).device
    losses = torch.zeros((), dtype=torch.float64, device=device)
    penalties = torch.zeros((), dtype=torch.float64, device=device)
    step = first_step
    for inputs, labels in batches:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, step=step, total=total_steps)
        optimizer.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(model(inputs), labels)
        torch.autograd.backward(loss)
        if penalty is not None:
            penalties += penalty.add_gradient_()
        optimizer.step()
        if masks is not None:
            masks.apply_(model)
        losses += loss.detach()
        step += 1
    means = torch.stack([losses, penalties]).div_(step - first_step).tolist()
    return means[0], means[1]
