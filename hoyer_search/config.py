"""The configuration of a sweep: every field, its default, its range and what it means."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from hoyer_search.results import Sparsity, Value

ROUNDING = 1e-12
MOST_TRIALS = 100_000
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Arguments = dict[str, Any]
RegularizerName = Literal[
    "hoyer", "hoyer_square", "l1", "transformed_l1", "group_hs", "group_lasso"
]
SamplerName = Literal["auto", "curve-ei", "gp", "tpe", "nsga2", "random", "grid"]
StoppingName = Literal["curve", "asha", "none"]


class Section(BaseModel):
    """A part of the configuration: immutable, unknown keys refused, types not coerced."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class Model(Section):
    """The network to shrink."""

    factory: str
    """Alias, e.g. ``lenet_5`` or ``resnet50``, or ``package.module:function`` that returns a
    module. A wrong alias is answered with all of them."""
    arguments: Arguments = {}
    """Keyword arguments of the factory."""
    weights: str | None = None
    """Trained weights to start from, instead of pretraining: a file (safetensors, or a state dict),
    or the name of torchvision's weights for its network, e.g. ``IMAGENET1K_V2`` or ``DEFAULT``."""


class Data(Section):
    """The data to train and measure with."""

    source: str
    """``mnist``, ``fashion_mnist``, or ``package.module:function`` that returns data sets."""
    arguments: Arguments = {}
    """Keyword arguments of the function."""
    validation: int = Field(default=5000, ge=1)
    """Training examples set aside to choose by, unless the source brings its own."""


class Regularizer(Section):
    """The sparsity-inducing regularizer of the paper's Equations 7 and 8, or an alternative."""

    name: RegularizerName = "hoyer_square"
    """Which one; ``group_hs`` and ``group_lasso`` act on filters and channels."""
    decay: NonNegative = 0.0
    """Weight of the regularizer in the loss: alpha of Equation 7."""
    filter_weight: NonNegative = 1.0
    """Factor of the filter-wise groups of a group regularizer: alpha_n over alpha."""
    channel_weight: NonNegative = 1.0
    """Factor of the channel-wise groups of a group regularizer: alpha_c over alpha."""
    groups: Literal["layer", "coupled"] = "layer"
    """Filter-wise groups of ``group_hs``: each layer's own filters, as in the paper, or all filters
    that make one channel of a residual stream together."""
    layer_weights: dict[str, NonNegative] = {}
    """Further factor by layer name or pattern (``layer4.*``), a layer's own name before patterns; 1
    for layers not named, 0 leaves a layer alone."""


class Pruning(Section):
    """Which weights a threshold sets to zero."""

    granularity: Literal["element", "structural"] = "element"
    """Single weights, or filters and channels that have every weight under the threshold."""
    rule: Literal["std_ratio", "absolute"] = "std_ratio"
    """Threshold as a multiple of the layer's standard deviation, or in units of the weights."""
    exclude: list[str] = []
    """Layers that are neither regularized nor pruned, by name or pattern (``layer1.*``, ``fc``)."""


class Training(Section):
    """One training stage."""

    epochs: int = Field(ge=0)
    """Passes over the training data."""
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """Optimizer of torch.optim."""
    lr: Positive = 1e-3
    """Learning rate at the start."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of sgd; others ignore it."""
    weight_decay: NonNegative = 0.0
    """L2 penalty of the optimizer (beta of Equation 7)."""
    schedule: Literal["constant", "cosine", "step"] = "cosine"
    """Learning rate over the stage: constant, cosine to zero, or a tenth at 1/3 and 2/3."""
    batch_size: int = Field(default=100, ge=1)
    """Examples a step."""


class Regularizing(Training):
    """Training with the regularizer."""

    warm_epochs: int | None = Field(default=None, ge=0)
    """``epochs`` of a trial that ``warm_start: path`` starts from another's network; by default
    half of them, rounded up."""

    def starting(self, *, warm: bool) -> Training:
        """Returns the stage as a trial runs it, from the dense or from another trial's network."""
        epochs = self.epochs
        if warm:
            epochs = (epochs + 1) // 2 if self.warm_epochs is None else self.warm_epochs
        return Training(**self.model_dump(exclude={"warm_epochs"}) | {"epochs": epochs})


class Finetuning(Training):
    """Training after pruning, with the zeros fixed and no regularizer."""

    max_points: int = Field(default=3, ge=1, le=100)
    """Most thresholds of a curve that are finetuned."""


class Curve(Section):
    """The curve of accuracy against sparsity over thresholds."""

    points: int = Field(default=40, ge=2, le=1000)
    """Thresholds evaluated, spread evenly over the logarithm of the nonzeros."""


class Pipeline(Section):
    """The stages of a trial."""

    pretrain: Training
    """Training of the dense network: done once a sweep and shared by its trials."""
    regularize: Regularizing
    """Training with the regularizer."""
    curve: Curve = Curve()
    """Evaluation of thresholds without finetuning."""
    finetune: Finetuning
    """Training of the pruned networks."""
    checkpoint_minutes: Positive = 5.0
    """Longest time of training that a killed trial repeats, rounded up to an epoch."""


class Range(Section):
    """An interval to search."""

    low: float = Field(allow_inf_nan=False)
    """Smallest value."""
    high: float = Field(allow_inf_nan=False)
    """Largest value."""
    log: bool = False
    """Whether to search the logarithm."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low must be less than high, got low {self.low} and high {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low must be above 0 for a log range, got {self.low}")
        return self


class Choices(Section):
    """A set of values to search."""

    choices: list[Value] = Field(min_length=2)
    """The values."""


# Where a field has several forms, errors are about the one that is meant.
def _form_of_dimension(value: Any) -> str:
    chosen = isinstance(value, Choices) or (isinstance(value, Mapping) and "choices" in value)
    return "(choices)" if chosen else "(range)"


def _form_of_threshold(value: Any) -> str:
    return "(range)" if isinstance(value, Range | Mapping) else "(value)"


def _form_of_point(value: Any) -> str:
    return "(floor)" if isinstance(value, Floor | Mapping) else "(value)"


Dimension = Annotated[
    Annotated[Range, Tag("(range)")] | Annotated[Choices, Tag("(choices)")],
    Discriminator(_form_of_dimension),
]
Threshold = Annotated[
    Annotated[Literal["curve"], Tag("(value)")] | Annotated[Range, Tag("(range)")],
    Discriminator(_form_of_threshold),
]


class Search(Section):
    """The searched parameters: decay, threshold, and fields of ``spaces.SEARCHABLE`` by path."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Dimension]

    decay: Range | None = None
    """The regularizer's decay; short for ``regularizer.decay``."""
    threshold: Threshold = "curve"
    """``curve`` sweeps all thresholds inside each trial; a range searches one a trial."""

    @property
    def dimensions(self) -> dict[str, Range | Choices]:
        """Returns every searched parameter by name, in the order of the file."""
        named: dict[str, Range | Choices] = {}
        if self.decay is not None:
            named["decay"] = self.decay
        if isinstance(self.threshold, Range):
            named["threshold"] = self.threshold
        return named | self.__pydantic_extra__


class Floor(Section):
    """An operating point given by the accuracy to keep rather than the drop allowed."""

    floor: float = Field(gt=0, le=1)
    """Least validation accuracy."""


OperatingPoint = Annotated[
    Annotated[float, Field(ge=0, lt=1), Tag("(value)")] | Annotated[Floor, Tag("(floor)")],
    Discriminator(_form_of_point),
]

FORMS: dict[str, type[Section]] = {"(range)": Range, "(choices)": Choices, "(floor)": Floor}
"""The forms of fields that have several, as pydantic names them in the path of an error."""


class Objective(Section):
    """What the search wants: the sparsest network at each operating point."""

    sparsity: Sparsity = "nonzeros"
    """What to make small: the paper's counts, the shrunk network's size, or its latency."""
    accuracy: Literal["top1", "top5"] = "top1"
    """Which accuracy to keep."""
    points: dict[str, OperatingPoint] = {
        "A": 0.0,
        "B": 0.005,
        "C": 0.015,
        "D": 0.027,
    }
    """Operating points: allowed drop of validation accuracy from the dense network, or a floor."""

    @field_validator("points")
    @classmethod
    def _some(cls, points: dict[str, float | Floor]) -> dict[str, float | Floor]:
        if not points:
            raise ValueError("at least one operating point is needed, e.g. {A: 0.0}")
        for name in points:
            if not 1 <= len(name) <= 50:
                raise ValueError(f"an operating point's name has 1 to 50 characters; got {name!r}")
        return points

    def floors(self, dense_accuracy: float) -> dict[str, float]:
        """Returns the validation accuracy each operating point must keep, to within 1e-12.

        Accuracies are fractions whose difference is rounded: 0.9874 - 0.005 is above 0.9824.
        """
        return {
            name: point.floor if isinstance(point, Floor) else dense_accuracy - point - ROUNDING
            for name, point in self.points.items()
        }


class Budget(Section):
    """When the sweep stops: at the first limit reached, once the trials that run have ended."""

    trials: int = Field(default=20, ge=1, le=MOST_TRIALS)
    """Number of trials."""
    hours: Positive | None = None
    """Wall hours of search after which no further trial starts; time between an interruption and
    ``resume`` does not count."""
    accelerator_hours: Positive | None = None
    """GPU-hours of trials after which no further one starts: ``resources.gpus`` times the time a
    trial ran, over all attempts and resumes. Core-hours (``resources.cpus``) without GPUs."""
    flat_trials: int | None = Field(default=None, ge=1)
    """Stop when the hypervolume grew by no more than a thousandth over this many ended trials."""


class Resources(Section):
    """What one trial gets, and how many run at once."""

    cpus: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """CPU cores of a trial; also its number of threads."""
    gpus: NonNegative = 0.0
    """GPUs of a trial; a fraction shares one."""
    workers: int | None = Field(default=None, ge=1)
    """Trials at once; by default as many as the machine or cluster has room for at the
    time. Given, a cluster's autoscaler may add nodes until there is room for so many."""
    hang_minutes: Positive | None = None
    """Minutes without a step after which a trial's process is killed and the trial goes on from its
    checkpoint; the third time it failed. By default ten, or ten of the sweep's slowest epochs so
    far where that is longer; before the first epoch there is no limit."""
    custom: dict[str, Positive] = {}
    """Custom resources of a trial, under the names by which the nodes of a cluster offer them."""

    @field_validator("gpus")
    @classmethod
    def _whole_above_one(cls, gpus: float) -> float:
        if gpus > 1 and not gpus.is_integer():
            raise ValueError(f"a trial gets a part of one GPU or whole ones, got {gpus:g}")
        return gpus

    @field_validator("custom")
    @classmethod
    def _own_names(cls, custom: dict[str, float]) -> dict[str, float]:
        for name in custom:
            if name.lower() in ("cpu", "gpu", "memory", "object_store_memory"):
                raise ValueError(
                    f"{name!r} is no custom resource: use resources.cpus and resources.gpus"
                )
        return custom


class SweepConfig(Section):
    """One sweep: what a YAML file of ``search_spaces/`` says."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")
    """Name of the space; the sweep's own name adds date and time."""
    description: str = ""
    """One sentence for ``hoyer-search spaces``."""
    model: Model
    data: Data
    regularizer: Regularizer = Regularizer()
    pruning: Pruning = Pruning()
    pipeline: Pipeline
    search: Search
    objective: Objective = Objective()
    sampler: SamplerName = "auto"
    """How trials are suggested; ``auto`` is ``curve-ei`` up to 200 trials and ``tpe`` beyond."""
    warm_start: Literal["dense", "path"] = "dense"
    """What a trial regularizes: the dense network, or with ``path`` the regularized network of the
    finished trial nearest in the searched space, for ``pipeline.regularize.warm_epochs``. Presets,
    and trials that start before any has finished, take the dense one."""
    early_stopping: StoppingName = "none"
    """``curve`` stops a trial of which little gain is to be expected at any operating point, judged
    at each quarter of regularizing; ``asha`` stops half of the trials there, ``none`` no trial.
    With another sparsity than ``nonzeros`` and ``macs`` no trial is stopped."""
    budget: Budget = Budget()
    resources: Resources = Resources()
    presets: list[dict[str, Value]] = []
    """Settings tried first, by parameter name."""
    warm_start_from: str | None = None
    """Earlier sweep, by name in the same storage or by path, whose trials the sampler knows from
    the start. Both must agree in all but ranges, budget, sampler, seed and resources (for
    ``latency_ms`` also in a trial's CPUs and GPUs); trials outside of the new ranges are left out,
    and the front holds the new sweep's points only."""
    confirm: int = Field(default=0, ge=0, le=100)
    """How often the winner of each operating point is retrained with other seeds, once the budget
    is spent and on top of it, to see whether it keeps its floor on average."""
    protocol: Literal["honest", "paper"] = "honest"
    """``paper`` selects on the test set, as the paper did, and marks every result so made."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of everything random."""

    @property
    def stops_early(self) -> bool:
        """Returns whether trials may be stopped; only if curves know what is to be small."""
        known = self.objective.sparsity in ("nonzeros", "macs")
        return known and self.early_stopping != "none"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        group = self.regularizer.name in ("group_hs", "group_lasso")
        if group and self.pruning.granularity == "element":
            raise ValueError(
                f"regularizer {self.regularizer.name} makes whole filters and channels zero: "
                "set pruning.granularity to structural"
            )
        if self.regularizer.groups == "coupled" and self.regularizer.name != "group_hs":
            raise ValueError(
                "regularizer.groups: coupled is for group_hs, got regularizer "
                f"{self.regularizer.name}: set groups to layer"
            )
        for preset in self.presets:
            for name, value in preset.items():
                if name == "threshold" and self.search.threshold == "curve":
                    continue  # the curve covers every threshold
                if name not in self.search.dimensions:
                    raise ValueError(f"preset {preset}: {name!r} is not searched")
                if not within(value, self.search.dimensions[name]):
                    raise ValueError(f"preset {preset}: {name} = {value!r} is outside its range")
        return self


def within(value: Value, dimension: Range | Choices) -> bool:
    """Returns whether a searched parameter may have a value."""
    if isinstance(dimension, Choices):
        return value in dimension.choices
    return (
        isinstance(value, int | float)
        and math.isfinite(value)
        and dimension.low <= value <= dimension.high
    )
