"""What passes between the tracking package and its MLflow adapter. Knows no MLflow."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a metric: ``time`` in Unix milliseconds, ``step`` from 0."""

    key: str
    value: float
    time: int
    step: int = 0


@dataclass(slots=True)
class RunRecord:
    """A run as the server holds it: its id, and the last values of what it shows."""

    run_id: str
    name: str = ""
    status: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
