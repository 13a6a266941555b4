"""Find the sparsest network at a given accuracy, with DeepHoyer regularizers.

Names load on first use, so that ``import hoyer_search`` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hoyer_search.client import load_model as load_model
    from hoyer_search.client import open_sweep as open_sweep
    from hoyer_search.comparison import compare as compare
    from hoyer_search.compression.api import shrink as shrink
    from hoyer_search.compression.measure import count_macs as count_macs
    from hoyer_search.errors import HoyerSearchError as HoyerSearchError
    from hoyer_search.models import load_artifact as load_artifact
    from hoyer_search.reading import Sweep as Sweep
    from hoyer_search.reading import SweepPoint as SweepPoint
    from hoyer_search.service import Job as Job
    from hoyer_search.service import open_job as open_job
    from hoyer_search.service import submit as submit
    from hoyer_search.sweep import resume as resume
    from hoyer_search.sweep import run as run

__version__ = "0.1.0"

_HOMES = {
    "HoyerSearchError": "hoyer_search.errors",
    "Job": "hoyer_search.service",
    "Sweep": "hoyer_search.reading",
    "SweepPoint": "hoyer_search.reading",
    "compare": "hoyer_search.comparison",
    "count_macs": "hoyer_search.compression.measure",
    "load_artifact": "hoyer_search.models",
    "load_model": "hoyer_search.client",
    "open_job": "hoyer_search.service",
    "open_sweep": "hoyer_search.client",
    "resume": "hoyer_search.sweep",
    "run": "hoyer_search.sweep",
    "shrink": "hoyer_search.compression.api",
    "submit": "hoyer_search.service",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hoyer_search' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*_HOMES, "__version__"])
