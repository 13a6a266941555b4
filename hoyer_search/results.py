"""What trials produce: plain frozen records, and their JSON form on disk."""

from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from hoyer_search import files
from hoyer_search.errors import StorageError

Sparsity = Literal["nonzeros", "macs", "physical_macs", "parameters", "latency_ms"]
Value = float | int | str | bool
TrialState = Literal["running", "complete", "failed", "stopped"]
StopReason = Literal["trials", "settings", "hours", "accelerator_hours", "flat_trials"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerResult:
    """One prunable layer after pruning.

    Attributes:
        name: Its name in the model, e.g. ``"fc1"``.
        weights: Number of weights of the dense layer; biases are not counted, as in the paper.
        nonzeros: Number of weights that are not zero.
        rows: Surviving filters (rows of a Linear layer): those with a nonzero weight.
        columns: Surviving input channels (columns of a Linear layer).
        macs: Logical MACs: rows times columns times kernel and output positions.
    """

    name: str
    weights: int
    nonzeros: int
    rows: int
    columns: int
    macs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """One threshold of a regularized network's curve, before any finetuning.

    ``threshold`` is in the unit of the space's rule; ``val_accuracy`` is in [0, 1].
    """

    threshold: float
    val_accuracy: float
    nonzeros: int
    macs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense:
    """The dense, pretrained network that every point is compared with.

    ``nonzeros`` counts the weights of prunable layers; ``macs`` is for one example.
    """

    val_accuracy: float
    test_accuracy: float
    nonzeros: int
    macs: int
    parameters: int
    structure: str
    latency_ms: float
    examples_per_second: float | None = None

    @property
    def physical_macs(self) -> int:
        """Returns MACs of the network as it runs; for a dense one they are the logical ones."""
        return self.macs


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One pruned and finetuned network.

    Attributes:
        trial: Number of the trial it came from.
        uid: That trial's unique id.
        index: Its place among the trial's points, sparsest last.
        params: Searched parameters by name.
        threshold: Threshold it was pruned with, in the unit of the space's rule.
        raw_val_accuracy: Validation accuracy in [0, 1] after pruning, before finetuning.
        val_accuracy: Validation accuracy after finetuning; every choice is made by it.
        test_accuracy: Test accuracy, reported and never used to choose.
        nonzeros: Nonzero weights of the masked network (the paper's count).
        macs: Logical MACs of the masked network (the paper's count).
        physical_macs: MACs of the shrunk network, as it runs.
        parameters: Parameters of the shrunk network, biases included.
        structure: Surviving widths, e.g. ``"353-45-11"``.
        exactness: Largest difference between the masked and the shrunk network's outputs in
            float64.
        latency_ms: Median time of one batch of one, of the dense and of the shrunk network.
        examples_per_second: Throughput of both in batches of 16, by the median time.
        layers: Per prunable layer.
    """

    trial: int
    uid: str
    index: int
    params: dict[str, Value]
    threshold: float
    raw_val_accuracy: float
    val_accuracy: float
    test_accuracy: float
    nonzeros: int
    macs: int
    physical_macs: int
    parameters: int
    structure: str
    exactness: float
    latency_ms: dict[Literal["dense", "shrunk"], float]
    layers: list[LayerResult]
    examples_per_second: dict[Literal["dense", "shrunk"], float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Returns the name of the point's artefact folder, ``UID-INDEX``."""
        return f"{self.uid}-{self.index}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """What the finished trials of a sweep taught, as far as choosing thresholds needs it.

    Attributes:
        surface: What finetuning does beyond the guess: the coefficients of
            ``trial.prediction.Offset``, in doublings of drop. None in what was written before there
            was a surface.
        covariance: Of them.
        deviation: Standard deviation of finetuned points from it, in doublings of drop.
        best: log2 of the best compression at each of ``trial.levels.levels``, 0 where no trial
            is so accurate.
    """

    covariance: list[list[float]]
    deviation: float
    best: list[float]
    surface: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retraining:
    """What makes a trial a retraining of a winner, which shows whether the winner was luck.

    Attributes:
        uid: The winner's trial.
        repeat: Which retraining of it, from 1.
        seed: Seed of the order of examples, in place of the sweep's.
        thresholds: Thresholds of the winner's points that are pruned and finetuned again, rising.
    """

    uid: str
    repeat: int
    seed: int
    thresholds: list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSpec:
    """What a worker needs to run one trial, or to go on with it.

    Attributes:
        number: The trial's number in the study, from 0.
        uid: Unique id, stable over restarts; the name of its folder.
        params: Searched parameters by name.
        config: The whole sweep configuration with ``params`` filled in, as plain data.
        parent: uid of the finished trial whose regularized network it starts from; None is the
            dense network.
        knowledge: What the sweep knew when the trial was first asked for; None for nothing.
        retrains: The winner that the trial retrains, which has the same number; None for a trial
            of the search.
    """

    number: int
    uid: str
    params: dict[str, Value]
    config: dict[str, Any]
    parent: str | None = None
    knowledge: Knowledge | None = None
    retrains: Retraining | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a trial that was stopped early would probably have lost, whatever its compression.

    Attributes:
        compression: log2 compressions, rising.
        drop: Accuracy that finetuned networks were expected to lose there, in doublings (see
            ``trial.prediction.doublings``).
        deviation: Standard deviation of that, in doublings, along the whole curve.
    """

    compression: list[float]
    drop: list[float]
    deviation: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult:
    """How a trial ended.

    Attributes:
        state: ``complete``, ``failed`` (``error`` says why) or ``stopped`` early.
        dense: The dense network, or None when the trial failed before it was known.
        curve: Accuracy against sparsity before finetuning, by rising threshold.
        points: Finetuned points, sparsest last.
        wall_seconds: Seconds by stage, over all attempts.
        error: Traceback of a failed trial.
        parent: Of a complete trial, uid of the one whose network it started from; None is the
            dense network, also where the one that the specification names was gone.
        regularized: Key of the stage that holds its regularized network, for trials that start
            from it.
        retrains: As in the trial's specification.
        forecast: Of a stopped trial, by operating point: the log2 compression that was expected of
            it, or minus what it was expected to lack (see ``search.objectives.shortfall``).
        outlook: Of a stopped trial, what was expected over its whole curve; None for trials that
            older versions stopped.
    """

    number: int
    uid: str
    params: dict[str, Value]
    state: TrialState
    dense: Dense | None = None
    curve: list[CurvePoint] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    wall_seconds: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    parent: str | None = None
    regularized: str | None = None
    retrains: Retraining | None = None
    forecast: dict[str, float] = field(default_factory=dict)
    outlook: Outlook | None = None


def parent(spec: TrialSpec, result: TrialResult | None) -> str | None:
    """Returns the trial that a trial started from, None for the dense network.

    Only a complete trial knows it; of others it is the one that they were to start from.
    """
    return spec.parent if result is None or result.state != "complete" else result.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """What a sweep knows from an earlier one before its first trial.

    Attributes:
        sweep: The earlier sweep's name.
        trials: Its trials that had ended, and those that it knew from sweeps before it.
        left_out: How many more there were, outside of the new sweep's ranges.
    """

    sweep: str
    trials: list[TrialResult]
    left_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitContents:
    """What tells the examples of a split from others.

    Of a Dataset the number alone is known; the others are None.

    Attributes:
        examples: How many there are.
        labels: SHA-256 of the labels in their order, as little-endian int64.
        mean: Mean of all input values.
        rms: Their root mean square.
    """

    examples: int
    labels: str | None = None
    mean: float | None = None
    rms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DataContents:
    """What tells the data that a sweep began with from others."""

    train: SplitContents
    validation: SplitContents
    test: SplitContents


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One step of a running trial, sent to the driver and appended to its ``metrics.jsonl``.

    Attributes:
        stage: ``pretrain``, ``regularize``, ``curve``, ``finetune`` or ``measure``.
        point: Which finetuning it is, from 0; None in other stages.
        epoch: Epochs of the stage that are done.
        epochs: Epochs the stage has.
        metrics: Named measurements, e.g. ``{"loss": 0.11, "val_accuracy": 0.98}``.
        time: Unix time in seconds.
        wall_seconds: Seconds of the stage so far, over all attempts; 0 where none is counted.
        curve: Raw curve at a milestone of regularizing, by rising threshold; else empty.
    """

    stage: str
    epoch: int
    epochs: int
    metrics: dict[str, float]
    time: float
    point: int | None = None
    wall_seconds: float = 0.0
    curve: list[CurvePoint] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the search of a sweep has used, over all calls that went on with it.

    Attributes:
        wall_seconds: Time in which a driver searched, pretraining included; not the time between.
        core_seconds: Cores of a trial times the time it ran, summed over all attempts of all
            trials, those that failed or were lost included.
        gpu_seconds: The same of GPUs; a fraction of one counts as such.
    """

    wall_seconds: float = 0.0
    core_seconds: float = 0.0
    gpu_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How the search of a sweep ended.

    Attributes:
        trials: Trials that ended.
        budget: Trials that it had, at most.
        stopped_by: The field of ``budget`` that ended it, or ``settings`` when every setting of a
            finite space was tried; None where an older version did not write it.
    """

    trials: int
    budget: int
    stopped_by: StopReason | None = None


Record = TypeVar("Record")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What the driver tells the display: a step of pretraining, or a trial's start, step or end.

    Attributes:
        spec: The trial; None while the dense network is pretrained.
        progress: A step, None at the start and at the end of a trial.
        result: How the trial ended, None before.
    """

    spec: TrialSpec | None = None
    progress: Progress | None = None
    result: TrialResult | None = None


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def to_json(record: Any) -> dict[str, Any]:
    """Returns a record as plain JSON-ready data."""
    return asdict(record)


def save(path: Path, record: Any) -> None:
    """Writes a record as a JSON file, atomically."""
    files.write_json(path, to_json(record))


def load(kind: type[Record], path: Path) -> Record:
    """Reads a record from a JSON file and checks every field.

    Raises:
        StorageError: The file is missing, is no JSON, or does not hold such a record.
    """
    try:
        record: Record = _adapter(cast(Any, kind)).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise StorageError(f"{path} does not hold a {kind.__name__}: {error}") from error
    return record
