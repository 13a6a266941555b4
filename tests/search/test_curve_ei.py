import time

import curve_family
import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
)
from scipy.stats import mannwhitneyu

from hoyer_search import results
from hoyer_search.results import TrialResult
from hoyer_search.search.cube import Cube
from hoyer_search.search.curve_ei import CurveEISampler, values
from hoyer_search.search.journal import open_journal
from hoyer_search.search.objectives import CURVE
from hoyer_search.search.parameters import suggest
from hoyer_search.search.study import Study


class TestOptunasContract(
    BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase
):
    @pytest.fixture
    def sampler(self):
        return lambda: CurveEISampler(seed=0, n_startup_trials=0)


def study_of(family, *, trials, seed=0):
    """Returns a study with random trials of a family."""
    study = curve_family.new_study(family.space, "random", seed=seed, trials=1000)
    for number in range(trials):
        trial = study.ask()
        suggest(trial, family.space)
        curve_family.tell(study, trial, family.run(number, dict(trial.params)))
    return study


def suggestions(study, family, *, number):
    """Returns the points of that many trials, asked for one after the other and left running."""
    asked = []
    for _ in range(number):
        trial = study.ask()
        suggest(trial, family.space)
        asked.append(trial.params)
    return Cube(family.space).points(asked)


@pytest.mark.slow
def test_regret_is_far_below_that_of_random_search():
    ours, random = [], []
    for seed in range(20):
        family = curve_family.Family(3, seed)
        for name, found in (("curve-ei", ours), ("random", random)):
            values = curve_family.sweep(family, name, seed=seed, trials=18)
            found.append(curve_family.regret(family, values)[-1].mean())
    assert np.median(ours) < 0.7 * np.median(random)
    assert mannwhitneyu(ours, random, alternative="less").pvalue < 0.01


def test_a_batch_is_distinct_and_spread():
    family = curve_family.Family(2, 1)
    study = study_of(family, trials=10)
    study.sampler = CurveEISampler(seed=0)
    batch = suggestions(study, family, number=8)
    gaps = np.linalg.norm(batch[:, None] - batch, axis=-1)[np.triu_indices(8, 1)]
    assert gaps.min() > 0.01
    assert np.median(gaps) > 0.1


def test_the_collapsed_side_is_left_alone():
    family = curve_family.Family(1, 0)
    study = study_of(family, trials=12)
    study.sampler = CurveEISampler(seed=0)
    collapsed = family.limit + 4 / family.limit_slope  # no floor is kept beyond
    assert (suggestions(study, family, number=4)[:, 0] < collapsed).all()


def test_a_suggestion_at_200_trials_takes_less_than_three_seconds_of_a_core():
    family = curve_family.Family(3, 0)
    study = study_of(family, trials=200)
    study.sampler = CurveEISampler(seed=0)
    suggestions(study, family, number=7)
    start = time.process_time()
    suggestions(study, family, number=1)
    assert time.process_time() - start < 3.0


def test_the_seed_decides():
    family = curve_family.Family(2, 0)

    def asked(seed):
        study = study_of(family, trials=6)
        study.sampler = CurveEISampler(seed=seed)
        return suggestions(study, family, number=2).tolist()

    assert asked(1) == asked(1)
    assert asked(1) != asked(2)


def test_until_it_starts_everything_is_left_open():
    family = curve_family.Family(2, 0)
    study = study_of(family, trials=3)
    sampler = CurveEISampler(seed=0, n_startup_trials=4)
    study.sampler = sampler
    trial = study.trials[-1]
    assert sampler.sample_relative(study, trial, family.space) == {}


def test_a_plain_study_is_searched_by_its_values():
    study = optuna.create_study(
        directions=["minimize", "maximize"], sampler=CurveEISampler(seed=0, n_startup_trials=3)
    )
    study.optimize(
        lambda t: (
            (x := t.suggest_float("x", -5, 5)) ** 2,
            -((x - 0.2) ** 2) - abs(t.suggest_int("n", 0, 20) - 7),
        ),
        n_trials=20,
    )
    late = study.trials[-5:]
    assert min(abs(t.params["x"]) for t in late) < 0.5
    assert min(abs(t.params["n"] - 7) for t in late) <= 1


def test_infinite_values_count_as_the_worst():
    study = optuna.create_study(directions=["maximize", "minimize"])
    space = {"x": FloatDistribution(0.0, 1.0)}
    for x, told in enumerate(([1.0, 2.0], [-np.inf, np.inf], [-3.0, 4.0])):
        study.add_trial(optuna.create_trial(params={"x": x / 2}, distributions=space, values=told))
    assert values(study.trials, study.directions).tolist() == [[1, -2], [-3, -4], [-3, -4]]


class TestInASweep:
    @pytest.fixture
    def config(self, toy_config):
        points = dict(curve_family.OBJECTIVE.points)
        return toy_config(
            sampler="curve-ei",
            budget__trials=10,
            objective__points=points,
            search__decay={"low": 1e-5, "high": 1e-3, "log": True},
        )

    @pytest.fixture
    def folder(self, config, make_sweep):
        return make_sweep(config)

    def run(self, study, folder, *, trials):
        specs = [study.ask() for _ in range(trials)]
        for spec in specs:
            study.tell(self.result(folder, spec))
        return specs

    def result(self, folder, spec):
        one = curve_family.Family(1, 0).run(spec.number, dict(spec.params))
        result = TrialResult(
            number=spec.number,
            uid=spec.uid,
            params=spec.params,
            state="complete",
            dense=one.dense,
            curve=one.curve,
            points=one.points,
        )
        results.save(folder.trial(spec.uid) / "result.json", result)
        return result

    def test_curves_are_known_after_a_restart(self, folder, config):
        self.run(Study.open(folder, config), folder, trials=5)
        kept = optuna.load_study(study_name="sweep", storage=open_journal(folder.study_journal))
        assert all(len(t.user_attrs[CURVE]["raw"]) == 40 for t in kept.trials)
        again = Study.open(folder, config)
        specs = [again.ask() for _ in range(3)]
        assert [s.number for s in specs] == [5, 6, 7]
        assert len({s.params["decay"] for s in folder.specs()}) == 8

    def test_a_trial_that_ended_while_nobody_looked_is_known(self, folder, config):
        study = Study.open(folder, config)
        self.run(study, folder, trials=3)
        self.result(folder, study.ask())
        Study.open(folder, config)
        kept = optuna.load_study(study_name="sweep", storage=open_journal(folder.study_journal))
        assert CURVE in kept.trials[3].user_attrs

    def test_failed_trials_have_no_curve(self, folder, config):
        study = Study.open(folder, config)
        spec = study.ask()
        study.tell(
            TrialResult(number=0, uid=spec.uid, params=spec.params, state="failed", error="x")
        )
        kept = optuna.load_study(study_name="sweep", storage=open_journal(folder.study_journal))
        assert CURVE not in kept.trials[0].user_attrs
