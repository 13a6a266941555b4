import dataclasses
import json
import math

import optuna
import pytest
import toy_pipeline as toy

from hoyer_search import results
from hoyer_search.results import TrialResult
from hoyer_search.search.journal import open_journal
from hoyer_search.search.study import Study


@pytest.fixture
def config(toy_config):
    return toy_config(sampler="random", budget__trials=4)


@pytest.fixture
def folder(config, make_sweep):
    return make_sweep(config)


def finish(folder, spec) -> TrialResult:
    result = toy.result(spec)
    results.save(folder.trial(spec.uid) / "result.json", result)
    return result


def optuna_study(folder) -> optuna.Study:
    return optuna.load_study(study_name=folder.name, storage=open_journal(folder.study_journal))


def test_a_trial_is_on_disk_when_it_is_asked_for(folder, config):
    spec = Study.open(folder, config).ask()
    assert folder.specs() == [spec]
    assert spec.number == 0
    assert spec.uid.startswith("000-")
    assert len(spec.uid) == len("000-abcdef")
    assert spec.config["regularizer"]["decay"] == spec.params["decay"]
    assert optuna_study(folder).trials[0].user_attrs["uid"] == spec.uid


def test_uids_of_two_sweeps_of_one_name_differ(config, make_sweep, tmp_path):
    one = make_sweep(config)
    first = Study.open(one, config).ask()
    one.path.rename(tmp_path / "moved")
    assert Study.open(make_sweep(config), config).ask().uid != first.uid


def test_the_budget_ends_the_asking(folder, config):
    study = Study.open(folder, config)
    specs = [study.ask() for _ in range(4)]
    assert study.ask() is None
    assert study.num_left == 4
    for spec in specs:
        study.tell(finish(folder, spec))
    assert (study.num_left, study.num_ended) == (0, 4)


@pytest.mark.parametrize(
    ("trials", "stopped_by"), [(50, "settings"), (3, "settings"), (2, "trials")]
)
def test_a_small_finite_space_caps_the_budget(trials, stopped_by, toy_config, make_sweep):
    """More budget is no way on where every setting was tried, even if it was just enough."""
    config = toy_config(
        sampler="random",
        budget__trials=trials,
        search={"regularizer.name": {"choices": ["hoyer", "hoyer_square", "l1"]}},
    )
    study = Study.open(make_sweep(config), config)
    asked = list(iter(study.ask, None))
    assert len({s.params["regularizer.name"] for s in asked}) == len(asked) == min(trials, 3)
    assert study.stopped_by == stopped_by


def test_what_finished_meanwhile_is_told_and_the_rest_is_relaunched(folder, config):
    study = Study.open(folder, config)
    told, finished, running = (study.ask() for _ in range(3))
    study.tell(finish(folder, told))
    finish(folder, finished)

    again = Study.open(folder, config)
    assert again.num_ended == 2
    assert again.ask() == running
    new = again.ask()
    assert new.number == 3
    assert again.ask() is None
    assert len({s.params["decay"] for s in folder.specs()}) == 4


def test_telling_twice_changes_nothing(folder, config):
    study = Study.open(folder, config)
    result = finish(folder, study.ask())
    study.tell(result)
    before = optuna_study(folder).trials
    study.tell(result)
    assert optuna_study(folder).trials == before


def test_a_crash_between_the_constraint_and_the_values_is_made_good(folder, config):
    spec = Study.open(folder, config).ask()
    finish(folder, spec)
    study = optuna_study(folder)
    optuna.trial.Trial(study, study.trials[0]._trial_id).set_constraint("floor", -1.0)
    assert Study.open(folder, config).num_ended == 1


def test_a_trial_killed_before_its_spec_was_written_is_rebuilt(folder, config):
    spec = Study.open(folder, config).ask()
    (folder.trial(spec.uid) / "spec.json").unlink()
    assert Study.open(folder, config).ask() == spec
    assert folder.specs() == [spec]


def test_a_trial_killed_before_it_had_parameters_gets_them(folder, config):
    Study.open(folder, config)
    optuna_study(folder).ask()
    spec = Study.open(folder, config).ask()
    assert spec.number == 0
    assert 1e-4 <= spec.params["decay"] <= 1e-1


def test_failed_trials_are_complete_and_infeasible_in_the_study(folder, config):
    study = Study.open(folder, config)
    spec = study.ask()
    study.tell(TrialResult(number=0, uid=spec.uid, params=spec.params, state="failed", error="x"))
    trial = optuna_study(folder).trials[0]
    assert trial.state == optuna.trial.TrialState.COMPLETE
    assert trial.constraints["floor"] > 0


class TestPath:
    @pytest.fixture
    def config(self, toy_config):
        return toy_config(
            sampler="random", budget__trials=6, warm_start="path", presets=[{"decay": 0.001}]
        )

    def end(self, folder, study, spec, state="complete"):
        result = dataclasses.replace(toy.result(spec), state=state)
        results.save(folder.trial(spec.uid) / "result.json", result)
        study.tell(result)

    def test_first_trials_start_dense_and_later_ones_from_the_nearest(self, folder, config):
        study = Study.open(folder, config)
        preset, second = study.ask(), study.ask()
        assert preset.parent is None
        assert second.parent is None, "nothing has finished yet"
        self.end(folder, study, preset)
        assert study.ask().parent == preset.uid
        self.end(folder, study, second)
        for spec in (study.ask(), study.ask()):
            near = min(
                (preset, second),
                key=lambda s: abs(math.log(s.params["decay"] / spec.params["decay"])),
            )
            assert spec.parent == near.uid

    def test_a_preset_starts_dense_whatever_has_finished(self, toy_config, make_sweep):
        config = toy_config(warm_start="path", presets=[{"decay": 0.001}, {"decay": 0.002}])
        folder = make_sweep(config)
        study = Study.open(folder, config)
        self.end(folder, study, study.ask())
        assert study.ask().parent is None

    @pytest.mark.parametrize("state", ["failed", "stopped"])
    def test_no_trial_starts_from_one_that_did_not_end_well(self, folder, config, state):
        study = Study.open(folder, config)
        self.end(folder, study, study.ask(), state)
        assert study.ask().parent is None

    def test_a_relaunched_trial_keeps_its_parent(self, folder, config):
        study = Study.open(folder, config)
        preset, other = study.ask(), study.ask()
        self.end(folder, study, preset)
        spec = study.ask()
        finish(folder, other)
        again = Study.open(folder, config)
        assert again.ask() == spec
        assert spec.parent == preset.uid

    def test_the_dense_network_is_the_default(self, toy_config, make_sweep):
        config = toy_config(sampler="random")
        folder = make_sweep(config)
        study = Study.open(folder, config)
        self.end(folder, study, study.ask())
        assert study.ask().parent is None


class TestPresets:
    @pytest.fixture
    def config(self, toy_config):
        return toy_config(
            sampler="random",
            budget__trials=4,
            presets=[
                {"decay": 0.01, "threshold": 0.02},
                {"decay": 0.002, "threshold": 0.03},
                {"decay": 0.01, "threshold": 0.08},
            ],
        )

    def test_come_first_in_order_without_a_swept_threshold_and_once(self, folder, config):
        study = Study.open(folder, config)
        assert [study.ask().params for _ in range(2)] == [{"decay": 0.01}, {"decay": 0.002}]
        assert study.ask().params["decay"] not in (0.01, 0.002)

    def test_are_not_enqueued_twice(self, folder, config):
        first = Study.open(folder, config).ask()
        again = Study.open(folder, config)
        assert [again.ask().params for _ in range(2)] == [first.params, {"decay": 0.002}]
        assert {again.ask().number, again.ask().number} == {2, 3}
        assert again.ask() is None

    def test_keep_a_threshold_that_is_searched(self, toy_config, make_sweep):
        config = toy_config(
            search__threshold={"low": 0.01, "high": 0.1}, presets=[{"decay": 0.01}], sampler="gp"
        )
        study = Study.open(make_sweep(config), config)
        spec = study.ask()
        assert spec.params["decay"] == 0.01
        assert 0.01 <= spec.params["threshold"] <= 0.1
        assert "threshold" not in spec.config["pruning"]


def test_a_trial_that_goes_on_gets_the_resources_of_the_resumed_sweep(folder, config, toy_config):
    spec = Study.open(folder, config).ask()
    more = toy_config(sampler="random", budget__trials=4, resources__cpus=2.0)
    again = Study.open(folder, more).ask()
    assert again.uid == spec.uid
    assert again.config["resources"]["cpus"] == 2.0
    assert folder.specs() == [again]


class TestKnowledge:
    def test_a_trial_is_given_what_finished_ones_taught(self, folder, config):
        study = Study.open(folder, config)
        first = study.ask()
        assert first.knowledge is None
        study.tell(finish(folder, first))
        second = study.ask()
        assert second.knowledge is not None
        assert max(second.knowledge.best) > 0
        assert sorted(second.knowledge.best) == second.knowledge.best
        assert folder.specs()[1] == second

    def test_a_relaunched_trial_knows_what_it_knew(self, folder, config):
        study = Study.open(folder, config)
        first, second = study.ask(), study.ask()
        study.tell(finish(folder, first))
        again = Study.open(folder, config)
        assert again.ask() == second
        assert again.ask().knowledge is not None

    def test_a_spec_written_before_there_was_knowledge_is_read(self, folder, config):
        spec = Study.open(folder, config).ask()
        path = folder.trial(spec.uid) / "spec.json"
        old = json.loads(path.read_text())
        del old["knowledge"]
        path.write_text(json.dumps(old))
        assert Study.open(folder, config).ask() == spec

    def test_knowledge_that_an_older_version_wrote_is_read(self, folder, config):
        study = Study.open(folder, config)
        study.tell(finish(folder, study.ask()))
        spec = study.ask()
        path = folder.trial(spec.uid) / "spec.json"
        old = json.loads(path.read_text())
        del old["knowledge"]["surface"]
        old["knowledge"]["line"] = [0.1, 0.0, 0.0]
        path.write_text(json.dumps(old))
        again = Study.open(folder, config).ask()
        assert again.knowledge is not None
        assert again.knowledge.surface == []
