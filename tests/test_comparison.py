"""Sweeps side by side, and beside what was published."""

import json

import pytest
from test_front import DENSE, make_point
from test_sweep import call

import hoyer_search as hs
from hoyer_search import results
from hoyer_search.errors import InputError, StorageError
from hoyer_search.published import all_published, published_for
from hoyer_search.results import TrialResult, TrialSpec

GOOD = [(0.981, 400), (0.972, 100), (0.955, 20)]
BETTER = [(0.9805, 300), (0.975, 90), (0.951, 15)]


@pytest.fixture
def ended(make_sweep, toy_config, tmp_path):
    """Makes a sweep that ended, of networks of these accuracies and sizes; returns its storage."""

    def build(name, networks, **overrides):
        folder = make_sweep(toy_config(**overrides), name)
        folder.pretrained("x").mkdir()
        results.save(folder.pretrained("x") / "dense.json", DENSE)
        for number, network in enumerate(networks):
            point = make_point(number, *network)
            spec = {"number": number, "uid": point.uid, "params": {"decay": 1e-4}}
            folder.add_trial(TrialSpec(**spec, config={}))
            result = TrialResult(**spec, state="complete", points=[point])
            results.save(folder.trial(point.uid) / "result.json", result)
        return tmp_path / "runs"

    return build


def test_the_better_front_has_the_larger_hypervolume(ended):
    storage = ended("first", GOOD)
    ended("second", BETTER)
    found = hs.compare("first", "second", storage=storage).describe()
    first, second = found["sweeps"]["first"], found["sweeps"]["second"]
    assert found["reference"] == "first"
    assert second["hypervolume"] > first["hypervolume"] > 0
    assert first["points"]["A"]["nonzeros"] == 400
    assert second["points"]["A"]["compression"] == pytest.approx(1000 / 300)
    assert [p["nonzeros"] for p in second["front"]] == [300, 90, 15]


def test_all_keep_the_floors_of_the_first(ended):
    storage = ended("first", GOOD)
    ended("loose", GOOD, objective__points={"A": 0.02})
    found = hs.compare("first", "loose", storage=storage)
    assert found.fronts["loose"].floors == found.fronts["first"].floors
    assert found.fronts["loose"].hypervolume == found.fronts["first"].hypervolume


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"objective__sparsity": "macs"}, "same sparsity objective: first has objective.sparsity"),
        ({"objective__accuracy": "top5"}, "same accuracy"),
        ({"data__arguments": {"seed": 1}}, "same data set's arguments"),
        ({"data__source": "mnist"}, "same data set: first has data.source"),
        ({"model__factory": "toys:cnn"}, "same model"),
    ],
)
def test_sweeps_that_differ_are_refused(ended, overrides, message):
    storage = ended("first", GOOD)
    ended("other", GOOD, **overrides)
    with pytest.raises(InputError, match=message):
        hs.compare("first", "other", storage=storage)


def test_what_cannot_be_compared_is_said_with_exit_code_2(ended, monkeypatch, capsys):
    storage = ended("first", GOOD)
    ended("empty", [])
    for sweeps, message in [
        (["first"], "two sweeps or more"),
        (["first", "first"], "each sweep once"),
        (["first", "empty"], "sweep empty has no finished trial yet"),
        (["first", "frist"], "did you mean 'first'"),
        (["first", "--with", "paper"], "the paper's tables have no toys:mlp"),
    ]:
        code, _, error = call(monkeypatch, capsys, "compare", *sweeps, "--storage", storage)
        assert code == 2
        assert message in error
    with pytest.raises(StorageError):
        hs.compare("first", "frist", storage=storage)


def test_the_command_prints_tables_and_json(ended, monkeypatch, capsys):
    storage = ended("first", GOOD)
    ended("second", BETTER, protocol="paper")
    where = ("first", "second", "--storage", storage)
    code, out, _ = call(monkeypatch, capsys, "compare", *where)
    assert code == 0
    assert "second (selected on the TEST set)" in out
    assert "hypervolume" in out
    code, out, _ = call(monkeypatch, capsys, "compare", *where, "--json")
    assert code == 0
    assert json.loads(out) == hs.compare("first", "second", storage=storage).describe()


def test_published_rows_are_as_the_paper_prints_them():
    rows = {(r.table, r.method, r.measure): r for r in all_published()}
    assert len(rows) == len(all_published()) == 42
    assert {r.table for r in rows.values()} == {1, 2, 3, 4, 5, 6}
    # the percentages and factors printed beside the counts
    for key, factor in {
        (1, "Hoyer-Square", "nonzeros"): 42.9,
        (2, "Hoyer-Square", "nonzeros"): 122,
        (2, "ADMM", "nonzeros"): 1 / 0.0141,
        (3, "Hoyer-Square", "nonzeros"): 21.1,
        (4, "Group-HS", "macs"): 1 / 0.0619,
        (5, "BC-GHS", "macs"): 1 / 0.0669,
        (5, "Group-HS", "macs"): 1 / 0.0741,
        (6, "Group-HS-D", "macs"): 5.48,
    }.items():
        assert rows[key].compression == pytest.approx(factor, rel=0.01)
    for row in rows.values():
        assert row.source
        assert row.top1 or row.top5
        assert row.compression > 1


def test_macs_of_published_structures_are_those_printed():
    """Rows of Tables 4 and 5 whose counts follow from their widths by the paper's own rule."""
    for row in all_published():
        if row.table == 4:
            a, b, c = map(int, row.structure.split("-"))
            assert a * b + b * c + c * 10 == pytest.approx(row.size, rel=0.02)
        if row.method == "Group-HS" and row.table == 5:
            a, b, c, d = map(int, row.structure.split("-"))
            assert 576 * 25 * a + 64 * 25 * a * b + c * d + d * 10 == pytest.approx(
                row.size, rel=0.001
            )


def test_a_sweep_gets_the_rows_that_fit(toy_config):
    config = toy_config(data__source="mnist")

    def rows(factory, sparsity, accuracy="top1"):
        model = config.model.model_copy(update={"factory": factory})
        objective = config.objective.model_copy(update={"sparsity": sparsity, "accuracy": accuracy})
        changed = config.model_copy(update={"model": model, "objective": objective})
        return [r.table for r in published_for(changed)]

    assert set(rows("lenet_5", "nonzeros")) == {2}
    assert set(rows("lenet_300_100", "macs")) == {4}
    assert len(rows("resnet50", "macs", "top5")) == 8
    assert len(rows("resnet50", "macs")) == 7
    assert rows("alexnet", "nonzeros") == []
    assert rows("lenet_5", "latency_ms") == []
