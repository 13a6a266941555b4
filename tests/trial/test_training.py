"""The training loop: same bytes for the same seed, zeros stay zero, resumable anywhere."""

import random

import numpy as np
import pytest
import torch
import toys
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import Dataset

from hoyer_search.compression.channels import ChannelGraph
from hoyer_search.compression.masks import make_masks
from hoyer_search.config import Training
from hoyer_search.datasets.splits import to_source
from hoyer_search.errors import TrialDiverged
from hoyer_search.hoyer import make_regularizer
from hoyer_search.trial import training
from hoyer_search.trial.batches import make_batches
from hoyer_search.trial.checkpoint import Checkpoints, State

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def batches():
    data = toys.blobs()
    train = make_batches(to_source(data.train, name="train"), CPU, cpus=1)
    return train, make_batches(to_source(data.test, name="test"), CPU, cpus=1)


def fit(batches, folder, model=None, *, stop_after=None, every_minutes=1e-9, **changes):
    torch.manual_seed(3)
    if model is None:  # in the layout that a workbench gives convolutions
        model = toys.cnn().to(memory_format=torch.channels_last)
    options = {"epochs": 3, "lr": 1e-2, "batch_size": 50} | changes.pop("settings", {})
    epochs = training.train(
        model,
        Training(**options),
        train_data=batches[0],
        val_data=batches[1],
        topk=1,
        seed=5,
        checkpoints=Checkpoints(folder, every_minutes=every_minutes),
        **changes,
    )
    seen = []
    for epoch in epochs:
        seen.append(epoch)
        if epoch.epoch == stop_after:
            break
    return model, seen


def cut_short(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.state_dict().values()]).double()


def test_training_learns(batches, tmp_path):
    _, epochs = fit(batches, tmp_path / "c")
    assert epochs[-1].val_accuracy > 0.6
    assert epochs[-1].loss < epochs[0].loss


def test_the_same_seed_gives_the_same_bytes(batches, tmp_path):
    first, _ = fit(batches, tmp_path / "a")
    second, _ = fit(batches, tmp_path / "b")
    assert torch.equal(weights(first), weights(second))


class Shaken(Dataset):
    """Examples with noise of Python's and of numpy's own generators."""

    def __init__(self, data):
        self._images, self._labels = data

    def __len__(self):
        return len(self._labels)

    def __getitem__(self, index):
        noise = random.random() + np.random.rand()
        return self._images[index] + float(noise), self._labels[index]


def test_the_same_seed_gives_the_same_bytes_with_random_augmentation(batches, tmp_path):
    noisy = make_batches(to_source(Shaken(toys.blobs().train), name="train"), CPU, cpus=1)
    first, _ = fit((noisy, batches[1]), tmp_path / "a")
    second, _ = fit((noisy, batches[1]), tmp_path / "b")
    assert torch.equal(weights(first), weights(second))


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_a_resumed_training_gives_the_bytes_of_an_uninterrupted_one(batches, tmp_path, optimizer):
    options = {"settings": {"optimizer": optimizer, "schedule": "step"}, "keep_best": True}
    whole, epochs = fit(batches, tmp_path / "whole", **options)
    fit(batches, tmp_path / "part", stop_after=2, **options)
    # The process died after the checkpoint of epoch 1 or 2; a new one starts from fresh weights.
    resumed, rest = fit(batches, tmp_path / "part", **options)
    assert [e.epoch for e in rest] in ([2, 3], [3])
    assert rest[-1].val_accuracy == epochs[-1].val_accuracy
    assert torch.equal(weights(whole), weights(resumed))


def test_a_training_that_is_left_saves_where_it_stands(batches, tmp_path):
    whole, _ = fit(batches, tmp_path / "whole")
    fit(batches, tmp_path / "left", stop_after=2, every_minutes=60)
    resumed, rest = fit(batches, tmp_path / "left", every_minutes=60)
    assert [e.epoch for e in rest] == [3]
    assert torch.equal(weights(whole), weights(resumed))


@pytest.mark.parametrize("damage", [cut_short, flip_a_bit])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(batches, tmp_path, damage):
    fit(batches, tmp_path / "c", stop_after=3, settings={"epochs": 4})
    newest = sorted((tmp_path / "c").iterdir())[-1]
    damage(newest / "state.safetensors")
    whole, _ = fit(batches, tmp_path / "whole", settings={"epochs": 4})
    resumed, rest = fit(batches, tmp_path / "c", settings={"epochs": 4})
    assert len(rest) < 4, "the older generation was used"
    assert torch.equal(weights(whole), weights(resumed))


def test_only_two_generations_are_kept(tmp_path):
    model = toys.mlp()
    state = State(model=model, optimizer=torch.optim.Adam(model.parameters()))
    checkpoints = Checkpoints(tmp_path / "c", every_minutes=1)
    for epoch in range(5):
        state.epoch = epoch
        checkpoints.save(state)
    assert [p.name for p in sorted((tmp_path / "c").iterdir())] == ["epoch-000003", "epoch-000004"]


@settings(max_examples=12, deadline=None)
@given(
    optimizer=st.sampled_from(["adam", "adamw", "sgd"]),
    weight_decay=st.sampled_from([0.0, 0.1]),
    granularity=st.sampled_from(["element", "structural"]),
)
def test_masks_stay_zero_under_any_optimizer(
    batches, tmp_path_factory, optimizer, weight_decay, granularity
):
    torch.manual_seed(1)
    model = toys.cnn()
    graph = ChannelGraph.trace(model, torch.zeros(1, 1, 6, 6))
    masks = make_masks(model, graph, threshold=1.2, rule="std_ratio", granularity=granularity)
    options = {"optimizer": optimizer, "weight_decay": weight_decay, "epochs": 1}
    fit(batches, tmp_path_factory.mktemp("c"), model, masks=masks, settings=options)
    for name, mask in masks.items():
        values = model.get_parameter(name).detach()
        assert torch.all(values[mask == 0] == 0), name
        assert torch.any(values[mask == 1] != 0) or not torch.any(mask == 1)


def test_keep_best_ends_with_the_best_epoch(batches, tmp_path):
    model, epochs = fit(batches, tmp_path / "c", keep_best=True, settings={"lr": 0.3, "epochs": 5})
    assert training.evaluate(model, batches[1], topk=1) == max(e.val_accuracy for e in epochs)
    assert epochs[-1].best_accuracy == max(e.val_accuracy for e in epochs)


def test_the_penalty_makes_weights_sparse(batches, tmp_path):
    def small_share(decay):
        torch.manual_seed(0)
        model = toys.mlp()
        layers = [m.weight for m in model if isinstance(m, torch.nn.Linear)]
        penalty = training.Penalty(make_regularizer("hoyer_square"), layers, [1.0] * 3, decay)
        fit(batches, tmp_path / str(decay), model, penalty=penalty, settings={"epochs": 4})
        return float(
            torch.cat([w.detach().abs().flatten() for w in layers]).lt(0.02).float().mean()
        )

    assert small_share(0.03) > small_share(0.0) + 0.2


def test_an_infinite_loss_ends_the_trial(batches, tmp_path):
    with pytest.raises(TrialDiverged, match="lower the learning rate"):
        fit(batches, tmp_path / "c", toys.diverging())


def test_topk_counts_the_label_among_the_k_highest(batches):
    model = toys.mlp()
    accuracies = [training.evaluate(model, batches[1], topk=k) for k in (1, 2, 4, 9)]
    assert accuracies == sorted(accuracies)
    assert accuracies[-1] == accuracies[-2] == 1.0


@pytest.mark.parametrize("schedule", ["constant", "cosine", "step"])
def test_learning_rates_start_at_lr_and_never_rise(schedule):
    stage = Training(epochs=1, lr=0.5, schedule=schedule)
    rates = [training.learning_rate(stage, step=s, total=90) for s in range(90)]
    assert rates[0] == 0.5
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(
        {"constant": 0.5, "cosine": 0.5 * 3e-4, "step": 5e-3}[schedule], rel=0.05
    )


def test_no_step_waits_for_the_device(batches):
    """A training step on fake tensors, which raise wherever a value would leave the device."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        model = toys.mlp()
        layers = [m.weight for m in model if isinstance(m, torch.nn.Linear)]
        penalty = training.Penalty(make_regularizer("group_hs"), layers, [1.0] * 3, 0.1)
        optimizer = torch.optim.Adam(model.parameters())
        inputs, labels = torch.randn(5, 1, 6, 6), torch.zeros(5, dtype=torch.long)
        loss = torch.nn.functional.cross_entropy(model(inputs), labels)
        loss.backward()
        penalty.add_gradient_()
        optimizer.step()
