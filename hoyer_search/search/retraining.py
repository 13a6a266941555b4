"""The retrainings of a sweep's winners, asked for and told as a study's trials are."""

from collections import deque
from dataclasses import replace

import numpy as np

from hoyer_search.config import SweepConfig
from hoyer_search.results import Point, Retraining, TrialResult, TrialSpec
from hoyer_search.store import SweepFolder


class Retrainings:
    """Each operating point's winner, trained again with other seeds.

    A trial that wins at several operating points is trained again once a repeat, and all its
    winning thresholds are pruned and finetuned from that training. The sampler is told nothing:
    a setting's second result is no new setting. The folder is the only state: a retraining is
    named after its winner, so the same call after a crash finds it where it stopped.
    """

    def __init__(self, folder: SweepFolder, config: SweepConfig) -> None:
        self._folder, self._config = folder, config
        self._all = self._specs() if config.confirm else []
        self._waiting: deque[TrialSpec] = deque()
        self.recover()

    @property
    def num_left(self) -> int:
        """Returns how many retrainings have not ended, whether or not they started."""
        return sum(self._folder.result(spec.uid) is None for spec in self._all)

    @property
    def num_ended(self) -> int:
        """Returns how many retrainings have ended, those of former winners included."""
        return len(self._folder.retrainings())

    def ask(self, *, start: bool = True) -> TrialSpec | None:
        """Returns the next retraining to run, None when all were asked for; it is on disk then.

        Args:
            start: Whether further ones may start.
        """
        if not start or not self._waiting:
            return None
        spec = self._waiting.popleft()
        self._folder.add_trial(spec)
        return spec

    def tell(self, result: TrialResult) -> None:
        """Does nothing: the result is in the folder."""

    def recover(self) -> None:
        """Finds the retrainings that have not ended; all of them will be asked for again."""
        self._waiting.clear()
        self._waiting.extend(s for s in self._all if self._folder.result(s.uid) is None)

    def _specs(self) -> list[TrialSpec]:
        """Returns all retrainings of the winners, the first repeat of each first."""
        front = self._folder.front()
        won: dict[str, list[Point]] = {}
        for point in front.operating_points.values() if front else []:
            if point is not None and point not in won.setdefault(point.uid, []):
                won[point.uid].append(point)
        return [
            self._spec(uid, repeat, points)
            for repeat in range(1, self._config.confirm + 1)
            for uid, points in won.items()
        ]

    def _spec(self, uid: str, repeat: int, points: list[Point]) -> TrialSpec:
        retraining = f"{uid}-r{repeat}"
        winner = self._folder.spec(retraining) or self._folder.spec(uid)
        if winner is None:
            raise FileNotFoundError(f"{self._folder.trial(uid)} has no spec.json")
        resources = self._config.resources.model_dump(mode="json")
        entropy = (self._config.seed, winner.number, repeat)
        return replace(
            winner,
            uid=retraining,
            config=winner.config | {"resources": resources},
            retrains=winner.retrains
            or Retraining(
                uid=uid,
                repeat=repeat,
                seed=int(np.random.SeedSequence(entropy).generate_state(1)[0] >> 1),
                thresholds=sorted({point.threshold for point in points}),
            ),
        )
