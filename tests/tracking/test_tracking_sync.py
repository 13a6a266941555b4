import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Builder, new_sweep
from test_sweep import call

from hoyer_search.results import Point, TrialSpec
from hoyer_search.tracking import default_uri, names, sweep_link, sync
from hoyer_search.tracking.client import Client
from hoyer_search.tracking.cursor import Cursor

TRACEBACK = "Traceback (most recent call last):\nTrialDiverged: the loss became NaN at epoch 3"
EXPERIMENT = "hoyer/mnist-lenet_300_100"
MODEL = "hoyer-mnist-lenet_300_100"


def five_trials(sweep: Builder) -> None:
    sweep.pretrain()
    for number in range(5):
        sweep.trial(number, error=TRACEBACK if number == 3 else None)


def all_runs(api: Any) -> dict[str, Any]:
    """Every run by uid; the sweep's own under the empty string."""
    experiment = api.get_experiment_by_name(EXPERIMENT)
    runs = api.search_runs([experiment.experiment_id])
    found = {run.data.tags.get("hoyer.uid", ""): run for run in runs}
    assert len(found) == len(runs), "a run is there twice"
    return found


def histories(api: Any) -> dict[tuple[str, str], list[tuple[int, float]]]:
    return {
        (uid, key): sorted((m.step, m.value) for m in api.get_metric_history(run.info.run_id, key))
        for uid, run in all_runs(api).items()
        for key in run.data.metrics
    }


def test_everything_of_a_finished_sweep_arrives(stored: Builder, mlflow_api: Any) -> None:
    five_trials(stored)
    stored.finish()
    report = sync(stored.folder, running=False)
    runs = all_runs(mlflow_api)
    assert set(runs) == {"", *(f"uid{n:04d}" for n in range(5))}
    assert report.runs == 6
    front = stored.folder.front()
    assert front is not None
    parent = runs[""]
    assert (parent.info.run_name, parent.info.status) == ("quick-1", "FINISHED")
    assert parent.data.metrics["hypervolume"] == round(front.hypervolume, 6)
    assert (parent.data.metrics["trials"], parent.data.metrics["failed"]) == (5, 1)
    best = front.operating_points["B"]
    assert best is not None
    assert parent.data.metrics["compression_B"] == round(front.compression(best), 2)
    assert parent.data.params["search.decay"] == "1e-05 to 0.003, log"
    for uid, run in runs.items():
        if uid:
            assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    note = parent.data.tags["mlflow.note.content"]
    assert note.startswith("[Pareto front](#/experiments/")
    assert f"![Pareto front](get-artifact?path=front.png&run_uuid={parent.info.run_id})" in note
    experiment = mlflow_api.get_experiment_by_name(EXPERIMENT)
    assert "[All trials](#/" in experiment.tags["mlflow.note.content"]
    assert "| **B** |" in note
    assert "hoyer-search pull quick-1 --point" in note
    assert {a.path for a in mlflow_api.list_artifacts(parent.info.run_id)} == {
        "front.json",
        "front.png",
        "report.html",
    }


def test_a_description_that_somebody_wrote_stays(stored: Builder, mlflow_api: Any) -> None:
    stored.pretrain()
    sync(stored.folder, running=False)
    experiment = mlflow_api.get_experiment_by_name(EXPERIMENT)
    ours = experiment.tags[names.NOTE]
    older = ours.replace("[Sweeps]", "[Elsewhere]")
    for written, expected in (
        (f"# Our plan\n\n{older}\nAsk Ada.", f"# Our plan\n\n{ours}\nAsk Ada."),
        ("Only ours.", "Only ours."),
        (" ", ours),
    ):
        mlflow_api.set_experiment_tag(experiment.experiment_id, names.NOTE, written)
        sync(stored.folder, running=False)
        assert mlflow_api.get_experiment_by_name(EXPERIMENT).tags[names.NOTE] == expected


def test_trial_runs_carry_what_a_reader_looks_for(stored: Builder, mlflow_api: Any) -> None:
    five_trials(stored)
    sync(stored.folder, running=True)
    runs, front = all_runs(mlflow_api), stored.folder.front()
    assert front is not None
    members = {point.uid: point for point in front.points}
    assert members
    for result in stored.folder.results():
        run = runs[result.uid]
        assert run.data.params["decay"] == f"{result.params['decay']:.6g}"
        assert run.data.params["regularizer"] == "hoyer_square"
        assert run.data.params["regularize_epochs"] == "8"
        assert run.data.metrics["log10_decay"] < -2
        assert (run.data.tags["mlflow.runColor"] == "#d55e00") == (result.uid in members)
        if result.state == "complete":
            metrics = run.data.metrics
            shown = next(p for p in result.points if p.nonzeros == metrics["nonzeros"])
            assert metrics["accuracy"] == pytest.approx(shown.val_accuracy, abs=1e-4)
            assert metrics["test_accuracy"] == pytest.approx(shown.test_accuracy, abs=1e-4)
            assert metrics["macs"] == shown.macs
            assert 2 ** metrics["log2_compression"] == pytest.approx(
                metrics["compression"], rel=1e-2
            )
            compression = f"{front.compression(shown):.1f}x"
            expected = f"#{result.number:03d} {compression} @ {shown.val_accuracy:.2%}"
            assert run.info.run_name == expected
            assert run.info.status == "FINISHED"
    failed = runs["uid0003"]
    assert failed.info.status == "FAILED"
    assert TRACEBACK in failed.data.tags["mlflow.note.content"]
    assert failed.info.run_name == "#003"


def test_curves_keep_their_steps_and_times(stored: Builder, mlflow_api: Any) -> None:
    stored.pretrain()
    stored.trial(0)
    sync(stored.folder, running=True)
    run = all_runs(mlflow_api)["uid0000"]
    losses = mlflow_api.get_metric_history(run.info.run_id, "train/loss")
    assert [(m.step, m.value) for m in losses] == [(e, 0.5 / e) for e in range(1, 9)]
    lines = [line for line in stored.folder.metrics("uid0000") if line["stage"] == "regularize"]
    assert [m.timestamp for m in losses] == [int(line["time"] * 1000) for line in lines]
    assert len(mlflow_api.get_metric_history(run.info.run_id, "val/accuracy")) == 8
    assert len(mlflow_api.get_metric_history(run.info.run_id, "prune/val_accuracy_2")) == 2
    curve = mlflow_api.get_metric_history(run.info.run_id, "prune/accuracy_by_nonzeros")
    assert len(curve) == 40


def test_nothing_is_stored_twice(stored: Builder, mlflow_api: Any) -> None:
    five_trials(stored)
    stored.finish()
    sync(stored.folder, running=False)
    before = histories(mlflow_api)
    again = sync(stored.folder, running=False)
    assert (again.samples, again.runs) == (0, 0)
    (stored.folder.tracking / "cursor.json").unlink()
    afresh = sync(stored.folder, running=False)
    assert afresh.runs == 0
    assert histories(mlflow_api) == before
    versions = mlflow_api.search_model_versions(f"name = '{MODEL}'")
    front = stored.folder.front()
    assert front is not None
    assert sorted(v.tags["point"] for v in versions) == sorted(p.name for p in front.points)


def test_a_running_trial_goes_on_where_the_last_sync_ended(
    stored: Builder, mlflow_api: Any
) -> None:
    stored.pretrain()
    spec = stored.start(0)
    stored.epochs(spec, 3)
    sync(stored.folder, running=True)
    assert all_runs(mlflow_api)["uid0000"].info.status == "RUNNING"
    stored.epochs(spec, 5, first=4)
    with (stored.folder.trial(spec.uid) / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "regul')  # a line that is still being written
    second = sync(stored.folder, running=True)
    assert second.samples == 2 * 5
    run = all_runs(mlflow_api)["uid0000"]
    history = mlflow_api.get_metric_history(run.info.run_id, "train/loss")
    assert [m.step for m in history] == list(range(1, 9))


def test_a_sync_that_broke_off_is_completed_by_the_next(
    stored: Builder, mlflow_api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    five_trials(stored)
    create, left = Client.create_run, 3

    def breaking(self: Client, *args: Any, **kwargs: Any) -> str:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return create(self, *args, **kwargs)

    monkeypatch.setattr(Client, "create_run", breaking)
    with pytest.raises(KeyboardInterrupt):
        sync(stored.folder, running=True)
    monkeypatch.undo()
    assert len(all_runs(mlflow_api)) == 3
    assert sync(stored.folder, running=True).runs == 3
    assert len(all_runs(mlflow_api)) == 6


def test_states_follow_an_interruption_and_a_resume(stored: Builder, mlflow_api: Any) -> None:
    stored.pretrain()
    spec = stored.start(0)
    for running, status in [(True, "RUNNING"), (False, "KILLED"), (True, "RUNNING")]:
        sync(stored.folder, running=running)
        runs = all_runs(mlflow_api)
        assert [runs[uid].info.status for uid in ("", "uid0000")] == [status, status]
    stored.epochs(spec, 2)
    stored.end(spec)
    stored.finish()
    sync(stored.folder, running=False)
    assert all_runs(mlflow_api)["uid0000"].info.status == "FINISHED"
    assert all_runs(mlflow_api)[""].info.status == "FINISHED"


def test_a_trial_that_leaves_the_front_loses_its_colour(stored: Builder, mlflow_api: Any) -> None:
    stored.pretrain()
    stored.trial(0)
    sync(stored.folder, running=True)
    assert all_runs(mlflow_api)["uid0000"].data.tags["hoyer.front"] != "no"
    for number in range(1, 12):
        stored.trial(number)
    sync(stored.folder, running=True)
    front = stored.folder.front()
    assert front is not None
    members = {point.uid for point in front.points}
    outside = [uid for uid in all_runs(mlflow_api) if uid and uid not in members]
    assert "uid0000" in outside, "the test's trials do not show what it is about"
    run = all_runs(mlflow_api)["uid0000"]
    assert (run.data.tags["hoyer.front"], run.data.tags["mlflow.runColor"]) == ("no", "#56b4e9")


@pytest.mark.parametrize("deleted", ["trial", "sweep", "experiment"])
def test_what_was_deleted_in_mlflow_is_made_again(
    stored: Builder, mlflow_api: Any, deleted: str
) -> None:
    stored.pretrain()
    stored.trial(0)
    sync(stored.folder, running=True)
    before = all_runs(mlflow_api)
    if deleted == "experiment":
        mlflow_api.delete_experiment(before[""].info.experiment_id)
    else:
        mlflow_api.delete_run(before["" if deleted == "sweep" else "uid0000"].info.run_id)
    stored.trial(1)
    spec = stored.folder.specs()[0]
    stored.epochs(spec, 1, first=9)
    result = stored.folder.trial(spec.uid) / "result.json"
    result.unlink()  # so that the trial has something to send
    sync(stored.folder, running=True)
    assert set(all_runs(mlflow_api)) == {"", "uid0000", "uid0001"}


def test_another_uri_gets_everything(stored: Builder, empty_store: Path, tmp_path: Path) -> None:
    five_trials(stored)
    first = sync(stored.folder, running=True)
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(empty_store, other / "mlflow.db")
    second = sync(stored.folder, default_uri(other), running=True)
    assert (second.runs, second.samples) == (first.runs, first.samples)


def test_front_points_are_registered_with_aliases(stored: Builder, mlflow_api: Any) -> None:
    five_trials(stored)
    sync(stored.folder, running=True)
    assert not mlflow_api.search_model_versions(f"name = '{MODEL}'")
    stored.finish()
    sync(stored.folder, running=False)
    front = stored.folder.front()
    assert front is not None
    expected = {name: p.name for name, p in front.operating_points.items() if p is not None}
    assert front.knee is not None
    expected |= {"knee": front.knee.name, "best": next(iter(expected.values()))}
    model = mlflow_api.get_registered_model(MODEL)
    named = {
        alias: mlflow_api.get_model_version(MODEL, version).tags["point"]
        for alias, version in model.aliases.items()
    }
    assert named == expected
    point = front.operating_points["C"]
    assert point is not None
    version = mlflow_api.get_model_version_by_alias(MODEL, "C")
    assert version.tags["nonzeros"] == str(point.nonzeros)
    assert version.tags["sweep"] == "quick-1"
    assert version.tags["data"] == "mnist"
    run = mlflow_api.get_run(version.run_id)
    assert run.data.tags["hoyer.uid"] == point.uid
    assert [i.dataset.name for i in run.inputs.dataset_inputs] == ["mnist"]
    logged = mlflow_api.get_logged_model(version.tags["model_id"])
    assert {m.key: m.value for m in logged.metrics}["nonzeros"] == point.nonzeros
    location = Path(logged.artifact_location.removeprefix("file://"))
    assert (location / "artifact" / "model.safetensors").read_bytes() == point.name.encode()
    flavor = json.loads((location / "MLmodel").read_text())["flavors"]["python_function"]
    assert flavor["loader_module"] == "hoyer_search.tracking.serving"


def test_a_trial_keeps_its_own_metrics_beside_those_of_its_models(
    stored: Builder, mlflow_api: Any
) -> None:
    five_trials(stored)
    stored.finish()
    sync(stored.folder, running=True)
    before = {uid: run.data.metrics for uid, run in all_runs(mlflow_api).items()}
    sync(stored.folder, running=False)
    after = {uid: run.data.metrics for uid, run in all_runs(mlflow_api).items()}
    assert after == before


def test_two_sweeps_share_experiment_and_model(stored: Builder, mlflow_api: Any) -> None:
    other = new_sweep(stored.folder.path.parent, "quick-2")
    for sweep in (stored, other):
        sweep.pretrain()
        sweep.start(0)
        sync(sweep.folder, running=True)
    experiment = mlflow_api.get_experiment_by_name(EXPERIMENT)
    runs = mlflow_api.search_runs([experiment.experiment_id])
    assert sorted(run.info.run_name for run in runs) == ["#000", "#000", "quick-1", "quick-2"]


def test_the_link_needs_no_server(stored: Builder) -> None:
    assert sweep_link(stored.folder) is None
    link = sync(stored.folder, running=True).link
    assert link == sweep_link(stored.folder)
    assert "workflowType=machine_learning" in link
    assert "viewStateShareKey=hoyer-front-" in link
    uri = "https://user:secret@mlflow.example/base/"
    assert sweep_link(stored.folder, uri) is None, "nothing was uploaded there"
    cursor = Cursor.new(uri)
    cursor.experiment = "7"
    cursor.save(stored.folder.tracking / "cursor.json")
    shown = sweep_link(stored.folder, uri)
    assert shown is not None
    assert shown.startswith("https://mlflow.example/base/#/experiments/7/")


def test_the_cursor_holds_no_password(stored: Builder) -> None:
    sync(stored.folder, running=True)
    assert "mlflow.db" not in (stored.folder.tracking / "cursor.json").read_text()


def test_an_alias_stays_with_the_smaller_network_of_another_sweep(
    stored: Builder, mlflow_api: Any
) -> None:
    other = new_sweep(stored.folder.path.parent, "quick-2")
    other.seed = 1
    for sweep in (stored, other):
        five_trials(sweep)
        sweep.finish()
        sync(sweep.folder, running=False)
    fronts = [sweep.folder.front() for sweep in (stored, other)]
    for name in "ABCD":
        best = [(f.compression(p), p.nonzeros) for f in fronts if (p := f.operating_points[name])]
        if best:
            version = mlflow_api.get_model_version_by_alias(MODEL, name)
            assert version.tags["nonzeros"] == str(max(best)[1])


def test_an_alias_moves_when_the_sweep_finds_a_smaller_network(
    stored: Builder, mlflow_api: Any
) -> None:
    stored.pretrain()
    stored.trial(0)
    sync(stored.folder, running=False)
    for number in range(1, 12):
        stored.trial(number)
    sync(stored.folder, running=False)
    front = stored.folder.front()
    assert front is not None
    for name, point in front.operating_points.items():
        if point is not None:
            version = mlflow_api.get_model_version_by_alias(MODEL, name)
            assert version.tags["point"] == point.name


@dataclass
class Single(Builder):
    """A sweep whose trials have one network each, of given accuracy and size."""

    accuracy: float = 0.0
    nonzeros: int = 0

    def point(self, spec: TrialSpec, index: int) -> Point:
        point = super().point(spec, 0)
        return replace(point, index=index, val_accuracy=self.accuracy, nonzeros=self.nonzeros)

    def add(self, accuracy: float, nonzeros: int) -> None:
        """Goes on with a trial that finds this network, and syncs."""
        self.accuracy, self.nonzeros = accuracy, nonzeros
        self.pretrain()
        self.trial(len(self.folder.specs()))
        sync(self.folder, running=False)


def single(stored: Builder, name: str, **overrides: Any) -> Single:
    sweep = new_sweep(stored.folder.path.parent, name, **overrides)
    return Single(sweep.folder, sweep.config)


def holders(api: Any) -> dict[str, str]:
    """The sweep that each alias is with, and its network's accuracy."""
    found = {}
    for alias, version in api.get_registered_model(MODEL).aliases.items():
        tags = api.get_model_version(MODEL, version).tags
        found[alias] = f"{tags['sweep']} {tags['accuracy']}"
    return found


LOOSE = {"points": {"A": 0.2, "B": 0.3}}


def test_a_looser_sweep_takes_no_alias_for_a_less_accurate_network(
    stored: Builder, mlflow_api: Any
) -> None:
    five_trials(stored)
    sync(stored.folder, running=False)
    before = holders(mlflow_api)
    assert {"A", "B", "best", "knee"} <= set(before)
    loose = single(stored, "loose", objective=LOOSE)
    loose.add(0.8, 100)
    assert holders(mlflow_api) == before
    sync(stored.folder, running=False)
    sync(loose.folder, running=False)
    assert holders(mlflow_api) == before


@pytest.mark.parametrize(
    ("accuracy", "nonzeros", "tagged", "taken"),
    [
        (0.9804, 1000, True, set()),
        (0.9807, 1000, True, {"A", "B", "best"}),
        (0.9807, 1000, False, set()),
        (0.9813, 1000, True, {"A", "B", "best", "knee"}),
        (0.9813, 1000, False, {"A", "B", "best", "knee"}),
        (0.9813, 9000, True, set()),
    ],
)
def test_an_alias_moves_to_a_smaller_network_that_keeps_the_floor_of_the_one_it_is_with(
    stored: Builder,
    mlflow_api: Any,
    accuracy: float,
    nonzeros: int,
    tagged: bool,
    taken: set[str],
) -> None:
    points = {"A": 0.0, "B": {"floor": 0.9805}}
    single(stored, "strict", objective={"points": points}).add(0.9812, 2000)
    (version,) = mlflow_api.search_model_versions(f"name = '{MODEL}'")
    floors = {key: float(v) for key, v in version.tags.items() if key.startswith("floor_")}
    expected = {"floor_A": 0.9806, "floor_B": 0.9805, "floor_best": 0.9806}
    assert floors == pytest.approx(expected)
    if not tagged:  # as versions were before
        for key in floors:
            mlflow_api.delete_model_version_tag(MODEL, version.version, key)
    single(stored, "loose", objective=LOOSE).add(accuracy, nonzeros)
    sweeps = {alias: holder.split()[0] for alias, holder in holders(mlflow_api).items()}
    assert {alias for alias, sweep in sweeps.items() if sweep == "loose"} == taken
    assert set(sweeps) == {"A", "B", "best", "knee"}


def test_the_floor_of_an_alias_does_not_sink_from_sweep_to_sweep(
    stored: Builder, mlflow_api: Any
) -> None:
    single(stored, "strict").add(0.9812, 4000)
    loose = single(stored, "loose", objective=LOOSE)
    loose.add(0.9813, 3000)
    assert holders(mlflow_api)["A"] == "loose 0.9813"
    single(stored, "looser", objective=LOOSE).add(0.9, 2000)
    loose.add(0.9, 1000)
    assert holders(mlflow_api)["A"] == "loose 0.9813"
    assert holders(mlflow_api)["best"] == "loose 0.9813"
    loose.add(0.981, 500)
    assert holders(mlflow_api)["A"] == "loose 0.981"


@pytest.mark.parametrize("loose_first", [True, False])
def test_an_alias_is_with_the_strictest_floor_whichever_sweep_was_first(
    stored: Builder, mlflow_api: Any, loose_first: bool
) -> None:
    loose, strict = single(stored, "loose", objective=LOOSE), single(stored, "strict")
    found = [(loose, 0.9, 1000), (strict, 0.9812, 4000)]
    for sweep, accuracy, nonzeros in found if loose_first else reversed(found):
        sweep.add(accuracy, nonzeros)
    sync(loose.folder, running=False)
    sweeps = {alias: holder.split()[0] for alias, holder in holders(mlflow_api).items()}
    kept = dict.fromkeys(["A", "B", "C", "D", "best"], "strict")
    assert {alias: sweeps[alias] for alias in kept} == kept


def test_a_network_that_keeps_no_floor_is_not_the_best(stored: Builder, mlflow_api: Any) -> None:
    single(stored, "lost").add(0.5, 1000)
    assert holders(mlflow_api) == {"knee": "lost 0.5"}


@pytest.mark.parametrize(
    ("objective", "accuracy", "taken"),
    [
        ({"sparsity": "macs"}, 0.9, set()),
        ({"sparsity": "macs"}, 0.9811, {"A", "B", "best"}),
        ({"accuracy": "top5"}, 0.999, set()),
    ],
)
def test_a_sweep_of_another_objective_takes_an_alias_only_if_it_surely_keeps_the_floor(
    stored: Builder, mlflow_api: Any, objective: Any, accuracy: float, taken: set[str]
) -> None:
    single(stored, "strict").add(0.9812, 2000)
    single(stored, "other", objective=LOOSE | objective).add(accuracy, 1000)
    sweeps = {alias: holder.split()[0] for alias, holder in holders(mlflow_api).items()}
    assert {alias for alias, sweep in sweeps.items() if sweep == "other"} == taken


def test_an_alias_stays_with_a_version_that_says_nothing_of_its_accuracy(
    stored: Builder, mlflow_api: Any
) -> None:
    mlflow_api.create_registered_model(MODEL)
    mlflow_api.create_model_version(MODEL, "file:///by-hand", tags={"owner": "somebody"})
    mlflow_api.set_registered_model_alias(MODEL, "A", "1")
    single(stored, "strict").add(0.9812, 2000)
    aliases = mlflow_api.get_registered_model(MODEL).aliases
    assert (str(aliases["A"]), str(aliases["best"])) == ("1", "2")


def sync_by_hand(monkeypatch: Any, capsys: Any, sweep: Builder, *arguments: object) -> Any:
    storage = ("--storage", sweep.folder.path.parent)
    code, out, error = call(monkeypatch, capsys, "sync", "quick-1", *storage, "--json", *arguments)
    assert code == 0, out + error
    return json.loads(out)


@pytest.mark.parametrize("lost", ["nothing", "runs", "experiment", "model"])
def test_sync_rebuilds_what_was_lost(
    stored: Builder, mlflow_api: Any, lost: str, monkeypatch: Any, capsys: Any
) -> None:
    five_trials(stored)
    stored.finish()
    first = sync_by_hand(monkeypatch, capsys, stored)
    assert (first["runs"], first["versions"] > 0) == (6, True)
    before, aliases = histories(mlflow_api), mlflow_api.get_registered_model(MODEL).aliases
    runs = all_runs(mlflow_api)
    if lost == "runs":
        for uid in ("", "uid0003"):
            mlflow_api.delete_run(runs[uid].info.run_id)
    elif lost == "experiment":
        mlflow_api.delete_experiment(runs[""].info.experiment_id)
    elif lost == "model":
        mlflow_api.delete_registered_model(MODEL)
    again = sync_by_hand(monkeypatch, capsys, stored)
    assert again["runs"] == (2 if lost == "runs" else 0)
    assert (again["samples"] > 0) == (lost == "runs")
    assert histories(mlflow_api) == before
    found = all_runs(mlflow_api)
    parent = found.pop("").info.run_id
    assert {run.data.tags["mlflow.parentRunId"] for run in found.values()} == {parent}
    model = mlflow_api.get_registered_model(MODEL)
    assert set(model.aliases) == set(aliases)
    versions = mlflow_api.search_model_versions(f"name = '{MODEL}'")
    assert len({v.tags["point"] for v in versions}) == len(versions) == first["versions"]
    assert sync_by_hand(monkeypatch, capsys, stored)["samples"] == 0


def test_a_run_that_a_slow_server_made_twice_is_there_once(
    stored: Builder, mlflow_api: Any
) -> None:
    stored.pretrain()
    stored.trial(0)
    sync(stored.folder, running=True)
    run = all_runs(mlflow_api)["uid0000"]
    mlflow_api.create_run(
        run.info.experiment_id, start_time=run.info.start_time, tags=dict(run.data.tags)
    )
    stored.finish()
    sync(stored.folder, running=False)
    assert set(all_runs(mlflow_api)) == {"", "uid0000"}


def test_sync_says_what_is_wrong(stored: Builder, monkeypatch: Any, capsys: Any) -> None:
    storage = ("--storage", stored.folder.path.parent)
    code, _, error = call(monkeypatch, capsys, "sync", "quick-2", *storage)
    assert (code, "did you mean 'quick-1'" in error) == (2, True)
    gone = ("--tracking-uri", "http://127.0.0.1:1")
    code, _, error = call(monkeypatch, capsys, "sync", "quick-1", *storage, *gone)
    assert (code, "does not answer" in error) == (2, True)
