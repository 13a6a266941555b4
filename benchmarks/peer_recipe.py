r"""What a user would write: DeepHoyer's hyperparameters searched with Ray Tune, Optuna and MLflow.

The other side of ``peer.py``. Nothing of hoyer_search is imported: it is the public documentation
of Ray Tune (OptunaSearch with two objectives, MLflowLoggerCallback), torchvision and torch, and the
authors' formula of the regularizer. Settings are the paper's: Adam at a constant 1e-3, batch 100.

    python benchmarks/peer_recipe.py --data DATA --split split.json --dense dense.pt \
        --seconds 900 --output peer
"""

import argparse
import json
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.tune.search.optuna import OptunaSearch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

REGULARIZE_EPOCHS = 8
FINETUNE_EPOCHS = 2
BATCH_SIZE = 100
LEARNING_RATE = 1e-3


class LeNet300(nn.Module):
    """LeNet-300-100."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(784, 300)
        self.fc2 = nn.Linear(300, 100)
        self.fc3 = nn.Linear(100, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits."""
        x = torch.relu(self.fc1(x.flatten(1)))
        x = torch.relu(self.fc2(x))
        logits: Tensor = self.fc3(x)
        return logits


def make_loaders(data: str, split: str) -> tuple[DataLoader[Any], ...]:
    """Returns loaders of training, validation and test examples."""
    transform = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
    )
    full = datasets.MNIST(data, train=True, download=True, transform=transform)
    test = datasets.MNIST(data, train=False, transform=transform)
    indices = json.loads(Path(split).read_text())
    return (
        DataLoader(Subset(full, indices["train"]), batch_size=BATCH_SIZE, shuffle=True),
        DataLoader(Subset(full, indices["validation"]), batch_size=1000),
        DataLoader(test, batch_size=1000),
    )


def weights_of(model: nn.Module) -> list[nn.Parameter]:
    return [p for name, p in model.named_parameters() if name.endswith("weight")]


def hoyer_square(model: nn.Module) -> Tensor:
    """Returns the sum over layers of the squared L1 over the squared L2 norm."""
    return torch.stack([w.abs().sum() ** 2 / (w**2).sum() for w in weights_of(model)]).sum()


def prune(model: nn.Module, ratio: float) -> list[Tensor]:
    """Zeroes weights under ``ratio`` times their layer's standard deviation; returns the masks."""
    masks = []
    with torch.no_grad():
        for w in weights_of(model):
            mask = (w.abs() >= ratio * w.std()).float()
            w.mul_(mask)
            masks.append(mask)
    return masks


def train_epoch(
    model: nn.Module,
    loader: DataLoader[Any],
    optimizer: torch.optim.Optimizer,
    *,
    decay: float = 0.0,
    masks: list[Tensor] | None = None,
) -> None:
    model.train()
    for x, y in loader:
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        if decay:
            loss = loss + decay * hoyer_square(model)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if masks is not None:
            with torch.no_grad():
                for w, mask in zip(weights_of(model), masks, strict=True):
                    w.mul_(mask)


@torch.no_grad()
def accuracy(model: nn.Module, loader: DataLoader[Any]) -> float:
    model.eval()
    hits, total = 0, 0
    for x, y in loader:
        hits += int((model(x).argmax(1) == y).sum())
        total += len(y)
    return hits / total


def train(config: dict[str, Any], *, data: str, split: str, dense: str) -> None:
    """Runs one trial: regularize, prune, finetune, report."""
    train_loader, val_loader, test_loader = make_loaders(data, split)
    model = LeNet300()
    model.load_state_dict(torch.load(dense))
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    for _ in range(REGULARIZE_EPOCHS):
        train_epoch(model, train_loader, optimizer, decay=config["decay"])
    masks = prune(model, config["threshold"])
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    best, test_accuracy = 0.0, 0.0
    for _ in range(FINETUNE_EPOCHS):
        train_epoch(model, train_loader, optimizer, masks=masks)
        reached = accuracy(model, val_loader)
        if reached > best:
            best, test_accuracy = reached, accuracy(model, test_loader)
    weights = weights_of(model)
    nonzeros = int(sum(int(w.count_nonzero()) for w in weights))
    tune.report(
        {
            "accuracy": best,
            "test_accuracy": test_accuracy,
            "sparsity": 1 - nonzeros / sum(w.numel() for w in weights),
            "nonzeros": nonzeros,
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="folder that holds MNIST/raw")
    parser.add_argument("--split", required=True, help="JSON of training and validation indices")
    parser.add_argument("--dense", required=True, help="state dict of the dense network")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True, help="folder of Tune's results")
    args = parser.parse_args()
    output = args.output.absolute()
    output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    ray.init(num_cpus=2, include_dashboard=False)
    files = {name: str(Path(getattr(args, name)).absolute()) for name in ("data", "split", "dense")}
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(train, **files), {"cpu": 1}),
        param_space={
            "decay": tune.loguniform(1e-5, 1e-3),
            "threshold": tune.loguniform(0.01, 1.0),
        },
        tune_config=tune.TuneConfig(
            # Two objectives belong on the search algorithm, not on TuneConfig.
            search_alg=OptunaSearch(
                metric=["accuracy", "sparsity"], mode=["max", "max"], seed=args.seed
            ),
            num_samples=-1,
            time_budget_s=args.seconds,
            max_concurrent_trials=2,
        ),
        run_config=tune.RunConfig(
            name="deephoyer",
            storage_path=str(output),
            callbacks=[
                MLflowLoggerCallback(
                    tracking_uri=f"sqlite:///{output / 'mlflow.db'}", experiment_name="deephoyer"
                )
            ],
        ),
    )
    tuner.fit()
    ray.shutdown()


if __name__ == "__main__":
    main()
