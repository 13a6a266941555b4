"""A sweep's folder as it was at one moment, so that everything shown agrees with itself."""

from dataclasses import dataclass
from functools import lru_cache

from hoyer_search import spaces
from hoyer_search.config import SweepConfig
from hoyer_search.confirmation import Confirmation, confirmations
from hoyer_search.front import Front
from hoyer_search.results import TrialResult, TrialSpec
from hoyer_search.store import SweepFolder


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a sweep had produced at one moment.

    Attributes:
        folder: The sweep's folder.
        config: Its configuration.
        state: ``running``, ``finished`` or ``interrupted``.
        results: Results of the trials that had ended, by number.
        specs: Specifications of these and of the trials that had not, by number.
        retrainings: Results of the winners' retrainings that had ended.
        retraining_specs: Specifications of these and of the retrainings that had not.
        front: Front of the results, None before the dense network is known.
    """

    folder: SweepFolder
    config: SweepConfig
    state: str
    results: list[TrialResult]
    specs: list[TrialSpec]
    retrainings: list[TrialResult]
    retraining_specs: list[TrialSpec]
    front: Front | None

    @classmethod
    def of(cls, folder: SweepFolder, *, running: bool | None = None) -> "Snapshot":
        """Reads a sweep's folder.

        Args:
            folder: The folder.
            running: Whether a driver runs the sweep; asked of the folder by default.

        Raises:
            StorageError: The folder is damaged.
        """
        changed = (folder.path / "sweep.yaml").stat().st_mtime_ns
        config, dense, every = _config(folder, changed), folder.dense(), folder.all_results()
        ended = [result for result in every if result.retrains is None]
        front = None
        if dense is not None:
            front = Front.of(
                (point for result in ended for point in result.points),
                dense=dense,
                sparsity=config.objective.sparsity,
                floors=config.objective.floors(dense.val_accuracy),
            )
        state = "running" if running else folder.state() if running is None else _ended(folder)
        specs = folder.all_specs()  # last: each trial's is written before its result
        return cls(
            folder=folder,
            config=config,
            state=state,
            results=ended,
            retrainings=[result for result in every if result.retrains is not None],
            specs=[spec for spec in specs if spec.retrains is None],
            retraining_specs=[spec for spec in specs if spec.retrains is not None],
            front=front,
        )

    @property
    def confirmations(self) -> dict[str, Confirmation]:
        """Returns what became of the retrained winners, by operating point."""
        if self.front is None:
            return {}
        return confirmations(self.front, self.retrainings, wanted=self.config.confirm)

    @property
    def num_trials(self) -> int:
        """Returns how many trials the search has at most."""
        return max(spaces.num_trials(self.config), len(self.specs))

    @property
    def num_failed(self) -> int:
        """Returns how many trials failed."""
        return sum(result.state == "failed" for result in self.results)


@lru_cache(maxsize=8)
def _config(folder: SweepFolder, changed: int) -> SweepConfig:
    """Returns a sweep's configuration; reading its YAML takes longer than an idle sync."""
    return folder.config()


def _ended(folder: SweepFolder) -> str:
    return "finished" if (folder.path / "finished.json").is_file() else "interrupted"
