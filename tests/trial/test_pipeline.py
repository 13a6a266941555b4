"""A trial, whole: what it leaves behind, what it skips, and where it goes on after a kill."""

import json
from dataclasses import replace

import pytest
import torch
import toys
from safetensors.torch import save_file

from hoyer_search import datasets, histograms, models, spaces
from hoyer_search.compression.artifact import read_artifact
from hoyer_search.errors import TrialDiverged, TrialFenced
from hoyer_search.results import Retraining, TrialSpec
from hoyer_search.trial import stages
from hoyer_search.trial.journal import Journal
from hoyer_search.trial.milestones import NUM_POINTS
from hoyer_search.trial.pipeline import run_trial
from hoyer_search.trial.pretraining import pretrain


@pytest.fixture
def start(toy_config, make_sweep):
    def begin(params=None, **overrides):
        config = toy_config(**overrides)
        folder = make_sweep(config)
        data = datasets.load(config.data, seed=config.seed, protocol=config.protocol)
        steps = list(pretrain(folder, config, data))
        params = params or {"decay": 0.01}
        trial = spaces.apply_params(config, params).model_dump(mode="json")
        spec = TrialSpec(number=0, uid="000-aaaaaa", params=params, config=trial)
        folder.add_trial(spec)
        return folder, spec, data, steps

    return begin


def stages_run(steps):
    return [(s.stage, s.point, s.epoch) for s in steps if s.stage != "curve"]


def test_pretraining_is_done_once(start, toy_config):
    folder, _, data, steps = start()
    assert [s.epoch for s in steps] == [1, 2, 3]
    assert folder.dense().val_accuracy == steps[-1].metrics["val_accuracy"]
    assert folder.dense().structure == "36-16-8"
    assert folder.dense().nonzeros == folder.dense().macs == 36 * 16 + 16 * 8 + 8 * 4
    assert list(pretrain(folder, toy_config(), data)) == []


def test_searched_parameters_do_not_change_the_pretrained_network(start, toy_config):
    folder, _, data, _ = start()
    config = toy_config(regularizer__decay=0.5, pipeline__regularize__epochs=9)
    assert list(pretrain(folder, config, data)) == []
    assert len(list(pretrain(folder, toy_config(seed=1), data))) == 3


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {
            "regularizer__name": "group_hs",
            "pruning__granularity": "structural",
            "objective__sparsity": "macs",
        },
        {
            "model__factory": "toys:cnn",
            "regularizer__name": "group_hs",
            "regularizer__groups": "coupled",
            "pruning__exclude": ["8"],
            "pruning__granularity": "structural",
        },
        {
            "model__factory": "toys:cnn",
            "pruning__rule": "absolute",
            "objective__sparsity": "latency_ms",
        },
        {"protocol": "paper", "objective__accuracy": "top5", "model__factory": "toys:cnn"},
        {"model__factory": "toys:tied"},
        {
            "model__factory": "toys:tied",
            "regularizer__name": "group_hs",
            "pruning__granularity": "structural",
        },
    ],
)
def test_a_trial_leaves_a_result_and_artefacts_that_agree(start, overrides):
    folder, spec, data, _ = start(**overrides)
    list(run_trial(folder, spec, data))
    result = folder.result(spec.uid)
    assert result.state == "complete"
    assert 1 <= len(result.points) <= 2
    assert [p.index for p in result.points] == list(range(len(result.points)))
    sizes = [p.nonzeros for p in result.curve]
    assert sizes == sorted(sizes, reverse=True)
    front = folder.front()
    assert front.points
    for point in front.points:
        artifact = read_artifact(folder.point(point.name))
        assert artifact.metrics["nonzeros"] == point.nonzeros
        assert artifact.architecture.origin["sweep"] == "sweep"
        assert point.exactness < 1e-10
        assert point.parameters <= result.dense.parameters
        assert sum(layer.nonzeros for layer in point.layers) == point.nonzeros
        factory = spec.config["model"]["factory"]
        model = models.load_artifact(artifact.folder, factory=factory)
        x, y = torch.from_numpy(data.test.inputs), torch.from_numpy(data.test.labels)
        topk = 4 if spec.config["objective"]["accuracy"] == "top5" else 1
        with torch.inference_mode():
            hits = model(x).topk(topk, 1).indices.eq(y[:, None]).any(1)
        assert float(hits.float().mean()) == pytest.approx(point.test_accuracy, abs=1e-6)
    assert set(result.wall_seconds) == {"regularize", "curve", "finetune", "measure"}
    spread = histograms.load(folder.trial(spec.uid))
    assert len(spread.points) == len(result.points)
    for point, layers in zip(result.points, spread.points, strict=True):
        assert {n: sum(h.counts) for n, h in layers.items()} == {
            layer.name: layer.nonzeros for layer in point.layers
        }
    dense, regularized = spread.dense, spread.regularized
    assert sum(sum(h.counts) for h in dense.values()) == result.dense.nonzeros
    assert regularized.keys() == dense.keys()
    assert regularized != dense


def test_a_searched_threshold_is_the_only_one(start):
    search = {"low": 0.01, "high": 2.0, "log": True}
    folder, spec, data, _ = start({"decay": 0.01, "threshold": 0.5}, search__threshold=search)
    list(run_trial(folder, spec, data))
    result = folder.result(spec.uid)
    assert [p.threshold for p in result.curve] == [p.threshold for p in result.points] == [0.5]


def test_a_finished_trial_is_not_run_again(start):
    folder, spec, data, _ = start()
    list(run_trial(folder, spec, data))
    assert list(run_trial(folder, spec, data)) == []


@pytest.mark.parametrize("killed_after", [2, 5, 6, 7])
def test_a_killed_trial_goes_on_and_gives_the_same_result(start, tmp_path, killed_after):
    folder, spec, data, _ = start(early_stopping="curve")
    whole_spec = TrialSpec(number=1, uid="001-bbbbbb", params=spec.params, config=spec.config)
    folder.add_trial(whole_spec)
    list(run_trial(folder, whole_spec, data))
    first = []
    for step in run_trial(folder, spec, data):
        first.append(step)
        if len(first) == killed_after:
            break  # the generator is dropped: nothing after its last yield happens
    rest = list(run_trial(folder, spec, data))
    done = stages_run(first)
    # A checkpoint is taken once a step was noted, so at most that step is repeated.
    assert len(set(done) & set(stages_run(rest))) <= 1
    result, whole = folder.result(spec.uid), folder.result("001-bbbbbb")
    assert result.curve == whole.curve
    for ours, theirs in zip(result.points, whole.points, strict=True):
        assert (ours.nonzeros, ours.val_accuracy, ours.threshold, ours.layers) == (
            theirs.nonzeros, theirs.val_accuracy, theirs.threshold, theirs.layers
        )  # fmt: skip
    keys = [(m["stage"], m["point"], m["epoch"]) for m in folder.metrics(spec.uid)]
    assert len(keys) == len(set(keys)), "every step is in the journal once"
    assert milestones(folder, spec) == milestones(folder, whole_spec)
    assert list(milestones(folder, spec)) == [1, 2, 3]


def milestones(folder, spec):
    """Returns the curves of a trial's milestones, by epoch, as the journal has them."""
    return {m["epoch"]: m["curve"] for m in folder.metrics(spec.uid) if m["curve"]}


def test_a_milestone_is_not_lost_between_its_epoch_and_the_journal(start, monkeypatch):
    folder, spec, data, _ = start(early_stopping="curve")
    add = Journal.add

    def killed(journal, progress):
        if progress.epoch == 2:
            raise KeyboardInterrupt
        add(journal, progress)

    monkeypatch.setattr(Journal, "add", killed)
    with pytest.raises(KeyboardInterrupt):
        list(run_trial(folder, spec, data))
    assert list(milestones(folder, spec)) == [1]
    monkeypatch.setattr(Journal, "add", add)
    list(run_trial(folder, spec, data))
    assert list(milestones(folder, spec)) == [1, 2, 3]


def test_looking_at_milestones_changes_nothing_and_can_be_left(start, tmp_path):
    folder, spec, data, _ = start(early_stopping="curve")
    config = spec.config | {"early_stopping": "none"}
    left = TrialSpec(number=1, uid="001-bbbbbb", params=spec.params, config=config)
    folder.add_trial(left)
    seen = [step.curve for step in run_trial(folder, spec, data) if step.stage == "regularize"]
    assert [bool(curve) for curve in seen] == [True, True, True, False]
    for curve in seen[:3]:
        assert len(curve) <= NUM_POINTS
        sizes = [point.nonzeros for point in curve]
        assert sizes == sorted(sizes, reverse=True)
    assert not any(step.curve for step in run_trial(folder, left, data))
    assert folder.result(left.uid).curve == folder.result(spec.uid).curve
    accuracies = [[p.val_accuracy for p in folder.result(s.uid).points] for s in (left, spec)]
    assert accuracies[0] == accuracies[1]


@pytest.mark.parametrize("kept", [-8, 100])
def test_a_damaged_stage_is_run_again(start, kept):
    folder, spec, data, _ = start()
    list(run_trial(folder, spec, data))
    trial = folder.trial(spec.uid)
    expected = folder.result(spec.uid).curve
    (trial / "result.json").unlink()
    weights = next(trial.glob("regularize-*")) / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept] + b"\xff" * (8 if kept < 0 else 0))
    steps = list(run_trial(folder, spec, data))
    assert [s.epoch for s in steps if s.stage == "regularize"] == [1, 2, 3, 4]
    assert folder.result(spec.uid).curve == expected


def test_an_orphan_may_write_no_more(start):
    folder, spec, data, _ = start()
    orphan = run_trial(folder, spec, data)
    next(orphan)
    stages.Attempt(folder.trial(spec.uid))  # a successor on another node
    with pytest.raises(TrialFenced, match="newer attempt"):
        list(orphan)
    assert folder.result(spec.uid) is None


def test_what_an_orphan_leaves_is_not_saved(start):
    folder, spec, data, _ = start(pipeline__checkpoint_minutes=60)

    def saved():
        return [path.name for path in folder.trial(spec.uid).glob("*.partial/*")]

    orphan = run_trial(folder, spec, data)
    next(orphan)
    stages.Attempt(folder.trial(spec.uid))
    orphan.close()
    assert saved() == []
    owner = run_trial(folder, spec, data)
    next(owner)
    owner.close()
    assert saved() == ["epoch-000001"]


def test_an_orphan_whose_files_are_gone_does_not_try_again(start, monkeypatch):
    folder, spec, data, _ = start()
    orphan = run_trial(folder, spec, data)
    next(orphan)

    def gone(journal, progress):
        stages.Attempt(folder.trial(spec.uid))
        raise FileNotFoundError("tidied away by the successor")

    monkeypatch.setattr(Journal, "add", gone)
    with pytest.raises(TrialFenced):
        next(orphan)


def test_a_torn_journal_line_is_left_out(start):
    folder, spec, data, _ = start()
    steps = run_trial(folder, spec, data)
    next(steps)
    steps.close()
    path = folder.trial(spec.uid) / "metrics.jsonl"
    path.write_text(path.read_text() + '{"stage": "regul')
    list(run_trial(folder, spec, data))
    entries = list(folder.metrics(spec.uid))
    assert [e["epoch"] for e in entries if e["stage"] == "regularize"] == [1, 2, 3, 4]
    assert all(json.dumps(e) for e in entries)


def test_a_diverging_trial_says_so(start):
    folder, spec, data, _ = start()
    config = spec.config | {"model": spec.config["model"] | {"factory": "toys:mlp"}}
    config["pipeline"]["regularize"] |= {"lr": 1e30, "optimizer": "sgd"}
    diverging = TrialSpec(number=2, uid="002-cccccc", params=spec.params, config=config)
    folder.add_trial(diverging)
    with pytest.raises(TrialDiverged, match=r"loss became|NaN or infinite"):
        list(run_trial(folder, diverging, data))
    assert folder.result(diverging.uid) is None


def test_a_trial_of_which_nothing_is_left_says_so(start):
    folder, spec, data, _ = start(model__factory="toys:emptied")
    with pytest.raises(TrialDiverged, match="every weight that may be pruned is zero"):
        list(run_trial(folder, spec, data))
    assert folder.result(spec.uid) is None


def test_given_weights_replace_pretraining(start, tmp_path):
    torch.manual_seed(4)
    model = toys.mlp()
    save_file(model.state_dict(), tmp_path / "mine.safetensors")
    folder, spec, data, steps = start(model__weights=str(tmp_path / "mine.safetensors"))
    assert steps == []
    with torch.inference_mode():
        hits = model(torch.from_numpy(data.validation.inputs)).argmax(1).numpy()
    assert folder.dense().val_accuracy == pytest.approx((hits == data.validation.labels).mean())
    list(run_trial(folder, spec, data))
    assert folder.result(spec.uid).state == "complete"


def test_a_trial_without_its_pretrained_network_stops(toy_config, make_sweep):
    config = toy_config()
    folder = make_sweep(config)
    data = datasets.load(config.data, seed=0)
    spec = TrialSpec(number=0, uid="u", params={}, config=config.model_dump(mode="json"))
    folder.add_trial(spec)
    with pytest.raises(FileNotFoundError, match="pretrain the network first"):
        list(run_trial(folder, spec, data))


@pytest.fixture
def winner(start):
    """A trial with two points, at low accuracy so that seeds differ."""
    folder, spec, data, _ = start(objective__points={"A": 0.1, "B": 0.4})
    list(run_trial(folder, spec, data))
    return folder, spec, data


def retraining(folder, spec, *, seed, name="again"):
    thresholds = sorted(p.threshold for p in folder.result(spec.uid).points)
    again = replace(
        spec,
        uid=f"{spec.uid}-{name}-{seed}",
        retrains=Retraining(uid=spec.uid, repeat=1, seed=seed, thresholds=thresholds),
    )
    folder.add_trial(again)
    return again


def numbers(folder, spec):
    points = folder.result(spec.uid).points
    return [(p.threshold, p.val_accuracy, p.test_accuracy, p.nonzeros) for p in points]


def test_a_retraining_repeats_the_pipeline_at_the_winners_thresholds(winner):
    folder, spec, data = winner
    seeds = (1, 2, spec.config["seed"])
    first, second, same = (retraining(folder, spec, seed=seed) for seed in seeds)
    for one in (first, second, same):
        list(run_trial(folder, one, data))
        result = folder.result(one.uid)
        assert result.retrains == one.retrains
        assert result.dense == folder.dense()
        assert [c.threshold for c in result.curve] == one.retrains.thresholds
        assert sorted(p.threshold for p in result.points) == one.retrains.thresholds
    assert numbers(folder, same) == numbers(folder, spec), "the same seed repeats the winner"
    assert numbers(folder, first) != numbers(folder, spec)
    assert numbers(folder, first) != numbers(folder, second)


def test_a_retraining_that_was_killed_goes_on_to_the_same_result(winner):
    folder, spec, data = winner
    whole, killed = (retraining(folder, spec, seed=5, name=name) for name in ("whole", "killed"))
    steps = stages_run(run_trial(folder, whole, data))
    begun = run_trial(folder, killed, data)
    for _ in range(3):
        next(begun)
    begun.close()
    rest = stages_run(run_trial(folder, killed, data))
    assert len(rest) < len(steps)
    assert numbers(folder, killed) == numbers(folder, whole)
