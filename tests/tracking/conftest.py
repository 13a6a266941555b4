"""Sweep folders made of records alone, as realistic as a real sweep's, in no time."""

import json
import math
import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hoyer_search import files, histograms, results, spaces
from hoyer_search.config import SweepConfig
from hoyer_search.histograms import Histogram, TrialHistograms
from hoyer_search.results import (
    CurvePoint,
    Dense,
    LayerResult,
    Point,
    Progress,
    TrialResult,
    TrialSpec,
)
from hoyer_search.store import SweepFolder
from hoyer_search.tracking.address import default_uri

CONFIG = {
    "name": "example",
    "description": "LeNet-300-100 on MNIST, single weights",
    "model": {"factory": "lenet_300_100"},
    "data": {"source": "mnist"},
    "pipeline": {
        "pretrain": {"epochs": 8},
        "regularize": {"epochs": 8},
        "finetune": {"epochs": 2, "lr": 3e-4},
    },
    "search": {"decay": {"low": 1e-5, "high": 3e-3, "log": True}},
    "budget": {"trials": 6},
}
WEIGHTS = 266_200
START = 1_790_000_000.0
DENSE = Dense(
    val_accuracy=0.9806,
    test_accuracy=0.9811,
    nonzeros=WEIGHTS,
    macs=WEIGHTS,
    parameters=266_610,
    structure="784-300-100",
    latency_ms=0.12,
)


@dataclass
class Builder:
    """Builds one sweep's folder trial by trial; the same seed gives the same sweep."""

    folder: SweepFolder
    config: SweepConfig
    seed: int = 0

    def pretrain(self) -> None:
        files_ = self.folder.pretrained("0" * 16)
        files_.mkdir(parents=True, exist_ok=True)
        results.save(files_ / "dense.json", DENSE)

    def start(self, number: int) -> TrialSpec:
        rng = random.Random(f"{self.seed} {number}")
        params: dict[str, results.Value] = {"decay": 10 ** rng.uniform(-5, math.log10(3e-3))}
        config = spaces.apply_params(self.config, params).model_dump(mode="json")
        spec = TrialSpec(number=number, uid=f"uid{number:04d}", params=params, config=config)
        self.folder.add_trial(spec)
        return spec

    def epochs(
        self,
        spec: TrialSpec,
        count: int,
        *,
        first: int = 1,
        stage: str = "regularize",
        point: int | None = None,
    ) -> None:
        with (self.folder.trial(spec.uid) / "metrics.jsonl").open("a") as file:
            for epoch in range(first, first + count):
                metrics = {"loss": 0.5 / epoch, "val_accuracy": 0.98 - 0.05 / epoch}
                progress = Progress(
                    stage=stage,
                    epoch=epoch,
                    epochs=count,
                    point=point,
                    metrics=metrics,
                    time=START + spec.number * 100 + epoch,
                )
                file.write(json.dumps(results.to_json(progress)) + "\n")

    def end(self, spec: TrialSpec, *, error: str | None = None) -> TrialResult:
        points = [] if error else [self.point(spec, k) for k in range(3)]
        if not error:
            for k in range(3):
                self.epochs(spec, 2, stage="finetune", point=k)
        result = TrialResult(
            number=spec.number,
            uid=spec.uid,
            params=spec.params,
            state="failed" if error else "complete",
            dense=DENSE,
            curve=[] if error else self.curve(spec),
            points=points,
            wall_seconds={"regularize": 40.0, "finetune": 11.5},
            error=error,
        )
        for point in points:
            with files.new_directory(self.folder.point(point.name)) as folder:
                (folder / "model.safetensors").write_bytes(point.name.encode())
                files.write_json(folder / "metrics.json", results.to_json(point))
        if not error:
            histograms.save(self.folder.trial(spec.uid), self.histograms(len(points)))
        results.save(self.folder.trial(spec.uid) / "result.json", result)
        return result

    def trial(self, number: int, *, error: str | None = None) -> TrialResult:
        spec = self.start(number)
        self.epochs(spec, 8)
        return self.end(spec, error=error)

    def finish(self) -> None:
        files.write_json(self.folder.path / "finished.json", {})

    def histograms(self, points: int) -> TrialHistograms:
        """Spread wide, then heaped up at zero with long tails, then with a hole around zero."""
        dense = [int(9000 * math.exp(-(((b - 20) / 6) ** 2))) for b in range(41)]
        heaped = [
            int(230_000 * math.exp(-2 * abs(b - 20)) + 90 - 4 * abs(b - 20)) for b in range(41)
        ]
        left = [0 if abs(b - 20) < 2 else max(0, 90 - 4 * abs(b - 20)) for b in range(41)]
        return TrialHistograms(
            dense={"fc1": Histogram(limit=0.12, counts=dense)},
            regularized={"fc1": Histogram(limit=0.5, counts=heaped)},
            points=[{"fc1": Histogram(limit=0.55, counts=left)}] * points,
        )

    def skill(self, spec: TrialSpec) -> float:
        """How far the trial's curve reaches: best at a decay of about 4e-4."""
        decay = float(spec.params["decay"])
        return 6.0 - abs(math.log10(decay) - math.log10(4e-4))

    def curve(self, spec: TrialSpec) -> list[CurvePoint]:
        skill = self.skill(spec)
        curve = []
        for step in range(40):
            doublings = step / 40 * 9
            lost = 0.88 / (1 + math.exp(-2.5 * (doublings - skill)))
            nonzeros = int(WEIGHTS / 2**doublings)
            curve.append(
                CurvePoint(
                    threshold=step / 100,
                    val_accuracy=max(0.1, 0.981 - lost),
                    nonzeros=nonzeros,
                    macs=nonzeros,
                )
            )
        return curve

    def point(self, spec: TrialSpec, index: int) -> Point:
        rng = random.Random(f"{self.seed} {spec.number} {index}")
        doublings = self.skill(spec) - 2.0 + 0.9 * index
        accuracy = round(0.983 - 0.0015 * 2.4**index - 0.002 * rng.random(), 4)
        nonzeros = int(WEIGHTS / 2**doublings)
        return Point(
            trial=spec.number,
            uid=spec.uid,
            index=index,
            params=spec.params,
            threshold=0.02 * (index + 1) ** 1.5,
            raw_val_accuracy=accuracy - 0.01,
            val_accuracy=accuracy,
            test_accuracy=accuracy + 0.0004,
            nonzeros=nonzeros,
            macs=int(nonzeros * 2.2),
            physical_macs=int(nonzeros * 2.4),
            parameters=int(nonzeros * 2.5),
            structure="353-45-11",
            exactness=1e-15,
            latency_ms={"dense": 0.12, "shrunk": 0.05},
            examples_per_second={"dense": 9_000.0, "shrunk": 30_000.0},
            layers=[
                LayerResult(
                    name="fc1",
                    weights=235_200,
                    nonzeros=nonzeros,
                    rows=45,
                    columns=353,
                    macs=15_885,
                )
            ],
        )


def new_sweep(storage: Path, name: str = "quick-1", **overrides: Any) -> Builder:
    config = SweepConfig.model_validate(CONFIG | overrides)
    provenance = {"created": "2026-11-22T00:00:00", "host": "example", "name": name}
    folder = SweepFolder.create(storage, name, config=config, provenance=provenance)
    return Builder(folder, config)


@pytest.fixture
def sweep(tmp_path: Path) -> Builder:
    """A sweep of which nothing has run."""
    return new_sweep(tmp_path / "runs")


@pytest.fixture
def stored(sweep: Builder, empty_store: Path) -> Builder:
    """A sweep of which nothing has run, beside an empty MLflow database."""
    shutil.copy(empty_store, sweep.folder.path.parent / "mlflow.db")
    return sweep


@pytest.fixture
def mlflow_api(sweep: Builder) -> Any:
    """MLflow's own client on the database beside the sweep."""
    from mlflow import MlflowClient

    uri = default_uri(sweep.folder.path.parent)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)
