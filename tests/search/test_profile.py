import numpy as np
import pytest

from hoyer_search.results import Outlook
from hoyer_search.search.profile import EXCESS, MOST_LOSS, Profiles
from hoyer_search.trial.prediction import TrialCurve, accuracies, doublings

FLOORS = np.array([0.98, 0.965, 0.95])
GRID = np.linspace(0.0, 8.0, 81)


def curve(*, knee=4.0, lost=0.0, finetuned=range(81)):
    """Returns a trial that always loses something, and 1% more for each doubling past a knee."""
    tuned = 0.98 - lost - 0.01 * np.maximum(GRID - knee, 0)
    raw = 0.98 - 10 * (0.98 - tuned)
    return TrialCurve(
        dense=0.98,
        floors=FLOORS,
        raw=np.stack([GRID, raw], axis=1),
        finetuned=np.stack([GRID, tuned], axis=1)[list(finetuned)],
    )


def test_a_known_curve_comes_apart_into_its_least_loss_and_the_rest():
    profiles = Profiles.of([curve(knee=4.0), curve(knee=5.0, lost=0.01)])
    assert accuracies(profiles.loss[:, 0]) == pytest.approx([0.0, 0.01], abs=1e-3)
    expected = [[knee + 100 * e for e in EXCESS] for knee in (4.0, 5.0)]
    assert profiles.reach[:, 1:] == pytest.approx(np.array(expected)[:, 1:], abs=0.35)
    assert (np.diff(profiles.reach, axis=1) > 0).all()


def test_what_was_not_finetuned_is_less_certain():
    known, guessed = Profiles.of([curve(), curve(finetuned=(80,))]).loss_variance[:, 0]
    assert guessed > 2 * known


def test_a_miss_by_a_hair_costs_a_hair():
    hit, missed = curve(finetuned=(20, 55, 70)), curve(finetuned=(20, 55, 70))
    hit.finetuned[1, 1], missed.finetuned[1, 1] = 0.9651, 0.9649
    one, other = Profiles.of([hit, missed]).reach
    assert other == pytest.approx(one, abs=0.1)


def test_an_expected_curve_is_as_good_as_its_deviation():
    found = curve(knee=5.0)
    drop = doublings(0.98 - found.finetuned[:, 1])
    sure, unsure = (
        Outlook(compression=GRID.tolist(), drop=drop.tolist(), deviation=deviation)
        for deviation in (0.01, 0.4)
    )
    profiles = Profiles.of([found, sure, unsure])
    assert profiles.reach[1, 1:] == pytest.approx(profiles.reach[0, 1:], abs=0.35)
    assert profiles.loss_variance[2, 0] > 100 * profiles.loss_variance[1, 0]
    assert (profiles.reach_variance[2] > profiles.reach_variance[1]).all()


def test_failed_and_collapsed_trials_say_nothing_of_compression():
    alive, dead = curve(knee=5.0), curve(lost=0.5)
    profiles = Profiles.of([alive, dead, None])
    assert profiles.loss[1:, 0] == pytest.approx(float(doublings(MOST_LOSS)))
    assert profiles.reach[1:] == pytest.approx(np.tile(profiles.reach[0], (2, 1)))
    assert (profiles.reach_variance[1:] > 100 * profiles.reach_variance[0]).all()
    assert np.isfinite(Profiles.of([dead, None]).reach).all()


def test_accuracies_undo_doublings():
    drops = np.array([-0.03, 0.0, 0.01, 0.5])
    assert accuracies(doublings(drops)) == pytest.approx(drops)
