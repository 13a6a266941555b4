"""Search spaces: strict YAML, messages with file, line and field, and the built-in ones."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoyer_search import spaces, strict_yaml
from hoyer_search.config import Choices, Range, Search, SweepConfig
from hoyer_search.errors import ConfigError
from hoyer_search.store import dump_yaml
from hoyer_search.sweep import load_space

MINIMAL = """\
name: tiny
model: {factory: lenet_300_100}
data: {source: mnist}
pipeline:
  pretrain: {epochs: 1}
  regularize: {epochs: 1}
  finetune: {epochs: 1}
search:
  decay: {low: 1e-5, high: 1e-3, log: true}
"""


@pytest.fixture
def write(tmp_path):
    def write_space(text: str) -> str:
        path = tmp_path / "space.yaml"
        path.write_text(text)
        return str(path)

    return write_space


@pytest.mark.parametrize("name", sorted(spaces.builtin()))
def test_builtin_spaces_are_valid_and_survive_a_round_trip(name, write):
    config = spaces.load(name)
    assert config.name == name
    assert config.description
    assert config.presets, "the paper's settings are tried first"
    assert spaces.load(write(dump_yaml(config))) == config


def test_a_minimal_space_takes_defaults_and_yaml_1_2_numbers(write):
    config = spaces.load(write(MINIMAL))
    assert config.search.decay == Range(low=1e-5, high=1e-3, log=True)
    assert list(config.objective.points) == ["A", "B", "C", "D"]
    assert config.budget.trials == 20


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epochs: 1}", "epoch: 1}", r"space.yaml:5: unknown key 'epoch': did you mean 'epochs'\?"),
        ("name: tiny", "nam: tiny", r"space.yaml:1: unknown key 'nam': did you mean 'name'\?"),
        ("epochs: 1}", "epochs: two}", r"space.yaml:5: pipeline.pretrain.epochs: .*integer.*'two'"),
        ("low: 1e-5", "low: 1e-2", r"space.yaml:9: search.decay: low must be less than high"),
        ("low: 1e-5", "low: -1e-5", r"space.yaml:9: search.decay: low must be above 0"),
        ("low: 1e-5", "low: .nan", r"space.yaml:9: search.decay.low: .*finite number"),
        ("log: true", "log: yes", r"space.yaml:9: search.decay.log: .*boolean, got 'yes'"),
        ("name: tiny", "name: ../x", r"space.yaml:1: name: "),
        ("name: tiny", "name: tiny\nname: b", r"space.yaml:2: key 'name' stands twice"),
        ("name: tiny", "name: &a tiny", r"space.yaml:1: anchors and aliases are not allowed"),
        ("name: tiny", "name: !!python/name:os.system x", r"space.yaml:1: .*not allowed"),
        ("name: tiny", "name: [", r"space.yaml:\d+: not valid YAML"),
        (
            "name: tiny",
            "name: tiny\nbudget: {trials: 0}",
            r"space.yaml:2: budget.trials: .*, got 0",
        ),
        ("name: tiny", "name: tiny\nsampler: bo", r"space.yaml:2: sampler: .*'tpe'.*, got 'bo'"),
        ("name: tiny", "name: tiny\npresets: [{decay: 1}]", r"decay = 1 is outside its range"),
        ("name: tiny", "name: tiny\npresets: [{lr: 1}]", r"'lr' is not searched"),
        (
            "  decay: {",
            "  pipeline.finetune.lrr: {low: 1, high: 2}\n  decay: {",
            r"space.yaml:9: search.pipeline.finetune.lrr.*did you mean 'lr'",
        ),
        (
            "  decay: {",
            "  regularizer.name: {choices: [l1, l3]}\n  decay: {",
            r"space.yaml:9: search.regularizer.name = 'l3'",
        ),
        (
            "  decay: {",
            "  regularizer.name: {choices: [l1, hoyer, l1]}\n  decay: {",
            r"space.yaml:9: search.regularizer.name: choices must differ, got \['l1', 'hoyer'",
        ),
        (
            "  decay: {",
            "  regularizer.decay: {low: 0, high: 1}\n  decay: {",
            r"space.yaml:10: search.decay is short for search.regularizer.decay: search one",
        ),
        (
            "name: tiny",
            "name: tiny\nresources: {gpus: 1.5}",
            r"space.yaml:2: resources.gpus: a trial gets a part of one GPU or whole ones, got 1.5",
        ),
        (
            "name: tiny",
            "name: tiny\nregularizer: {name: group_hs}",
            r"set pruning.granularity to structural",
        ),
        (
            "name: tiny",
            "name: tiny\nregularizer: {groups: coupled}",
            r"coupled is for group_hs, got regularizer hoyer_square: set groups to layer",
        ),
    ],
)
def test_errors_name_file_line_and_field(write, old, new, message):
    with pytest.raises(ConfigError, match=message):
        spaces.load(write(MINIMAL.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": -1}, "search space tiny: seed: .*, got -1"),
        (
            {"search": Search(**{"pipeline.pretrain.lr": {"low": 0.1, "high": 0.2}})},
            "search space tiny: search.pipeline.pretrain.lr: what is searched must be",
        ),
    ],
)
def test_a_configuration_made_in_python_is_checked_like_a_file(write, changes, message):
    config = spaces.load(write(MINIMAL))
    assert load_space(config, None) == config
    with pytest.raises(ConfigError, match=message):
        load_space(config.model_copy(update=changes), None)


def test_presets_hold_what_their_fields_take(write):
    text = MINIMAL.replace(
        "  decay: {", "  pipeline.finetune.epochs: {low: 1, high: 4}\n  decay: {"
    )
    spaces.load(write(text + "presets: [{pipeline.finetune.epochs: 2}]\n"))
    with pytest.raises(ConfigError, match=r"preset .*pipeline.finetune.epochs: .*integer.*got 2.5"):
        spaces.load(write(text + "presets: [{pipeline.finetune.epochs: 2.5}]\n"))


def test_a_range_of_a_whole_number_that_may_be_none_holds_whole_numbers(write):
    text = MINIMAL.replace(
        "  decay: {", "  pipeline.regularize.warm_epochs: {low: 1, high: 4}\n  decay: {"
    )
    assert spaces.integer_parameters(spaces.load(write(text))) == {
        "pipeline.regularize.warm_epochs"
    }


def test_an_empty_or_scalar_file_is_no_space(write):
    for text in ("", "just text", "- a\n- b"):
        with pytest.raises(ConfigError, match="must be a mapping"):
            spaces.load(write(text))


def test_depth_and_size_are_bounded():
    with pytest.raises(ConfigError, match="nested deeper"):
        strict_yaml.parse("[" * 40 + "]" * 40, source="deep.yaml")
    with pytest.raises(ConfigError, match="at most"):
        strict_yaml.parse("a: " + "x" * 300_000, source="large.yaml")


def test_unknown_spaces_list_the_known_ones():
    with pytest.raises(ConfigError, match="did you mean 'quickstart'"):
        spaces.load("quickstrat")
    with pytest.raises(ConfigError, match="no such file"):
        spaces.load("missing/space.yaml")


def test_overrides_are_read_as_yaml_and_blamed_by_their_path():
    pairs = ["budget.trials=6", "search.decay.low=2e-5", "sampler=tpe", "objective.points={A: 0.1}"]
    overrides = dict(map(spaces.parse_override, pairs))
    config = spaces.load("quickstart", overrides=overrides)
    assert config.budget.trials == 6
    assert config.search.decay.low == 2e-5
    assert config.sampler == "tpe"
    assert config.objective.points == {"A": 0.1}
    with pytest.raises(ConfigError, match=r"--set budget.trails: unknown key 'trails'"):
        spaces.load("quickstart", overrides={"budget.trails": 6})
    with pytest.raises(ConfigError, match=r"--set budgt.trials: unknown key 'budgt'"):
        spaces.load("quickstart", overrides={"budgt.trials": 6})
    with pytest.raises(ConfigError, match="PATH=VALUE"):
        spaces.parse_override("budget.trials")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "budget.trails=3",
            "--set budget.trails: unknown key 'trails': did you mean 'trials'? "
            "Valid: trials, flat_trials, accelerator_hours, hours (in budget)",
        ),
        (
            "search.decay.low=1",
            "--set search.decay.low: search.decay: low must be less than high, got low 1.0 and "
            "high 0.001",
        ),
        (
            "objective.points={A: {flor: 0.5}}",
            "--set objective.points: objective.points.A.floor: Field required\n"
            "--set objective.points: unknown key 'flor': did you mean 'floor'? Valid: floor "
            "(in objective.points.A)",
        ),
        (
            "objective.points.A={floor: 98.5}",
            "--set objective.points.A: objective.points.A.floor: Input should be less than or "
            "equal to 1, got 98.5",
        ),
        (
            "objective.points.A=1.5",
            "--set objective.points.A: Input should be less than 1, got 1.5",
        ),
        (
            "objective.points={'': 0.1}",
            "--set objective.points: an operating point's name has 1 to 50 characters; got ''",
        ),
        ("search.threshold=curv", "--set search.threshold: Input should be 'curve', got 'curv'"),
        (
            "search.pipeline.finetune.lr={low: 3, high: 2}",
            "--set search.pipeline.finetune.lr: low must be less than high, got low 3.0 and "
            "high 2.0",
        ),
        (
            "search.pipeline.finetune.lr=3",
            "--set search.pipeline.finetune.lr: must be a mapping with low, high, log, got 3",
        ),
        (
            "search.pipeline.finetune.lrr={low: 0.1, high: 0.2}",
            "space.yaml:8: search.pipeline.finetune.lrr = 0.1: unknown key 'lrr': did you mean "
            "'lr'? Valid: lr, batch_size, epochs, max_points, momentum, optimizer, schedule, "
            "weight_decay (in pipeline.finetune)",
        ),
        (
            "search.pipeline.finetune.epochs={low: 0.5, high: 4, log: true}",
            "space.yaml:8: search.pipeline.finetune.epochs: low and high must be whole numbers, as "
            "the field takes, got 0.5 and 4",
        ),
        (
            "search.pipeline.pretrain.lr={low: 0.1, high: 0.2}",
            "space.yaml:8: search.pipeline.pretrain.lr: what is searched must be a field of "
            "regularizer, pruning, pipeline.regularize, pipeline.curve, pipeline.finetune, since "
            "the trials of a sweep share one dense network, its data and all else; run a sweep "
            "for each value, and `hoyer-search compare` them",
        ),
    ],
)
def test_one_error_for_one_mistake(write, override, message):
    path = write(MINIMAL)
    with pytest.raises(ConfigError) as caught:
        spaces.load(path, overrides=dict([spaces.parse_override(override)]))
    assert str(caught.value).replace(path, "space.yaml") == message


def test_a_searched_path_may_be_overridden_as_a_whole_or_in_part():
    config = spaces.load(
        "lenet300-mnist-structural",
        overrides={
            "search.pipeline.regularize.lr": {"low": 1e-4, "high": 1e-2, "log": True},
            "search.threshold": {"low": 0.01, "high": 1.0, "log": True},
        },
    )
    assert list(config.search.dimensions) == [
        "decay",
        "threshold",
        "regularizer.channel_weight",
        "pipeline.regularize.lr",
    ]


def test_choices_that_do_not_go_together_are_refused(write):
    pairs = {
        "regularizer.name": "l1",
        "pruning.granularity": "structural",
        "search.regularizer.name": {"choices": ["l1", "group_hs"]},
    }
    path = write(MINIMAL)
    assert spaces.load(path, overrides=pairs).search.dimensions
    pairs["search.pruning.granularity"] = {"choices": ["structural", "element"]}
    with pytest.raises(
        ConfigError, match=r"with regularizer.name = 'group_hs', pruning.granu.*: reg"
    ):
        spaces.load(path, overrides=pairs)


def test_params_fill_the_configuration_of_a_trial():
    config = spaces.load(
        "quickstart",
        overrides={
            "search.pipeline.regularize.epochs": {"low": 2, "high": 9},
            "search.regularizer.name": {"choices": ["hoyer", "hoyer_square"]},
        },
    )
    assert spaces.integer_parameters(config) == {"pipeline.regularize.epochs"}
    assert isinstance(config.search.dimensions["regularizer.name"], Choices)
    trial = spaces.apply_params(
        config,
        {"decay": 1e-3, "pipeline.regularize.epochs": 3, "regularizer.name": "hoyer"},
    )
    assert trial.regularizer.decay == 1e-3
    assert trial.regularizer.name == "hoyer"
    assert trial.pipeline.regularize.epochs == 3
    assert SweepConfig.model_validate(trial.model_dump(mode="json")) == trial


def test_layers_are_weighted_by_names_and_patterns_with_dots(write):
    name = "regularizer.layer_weights.layer4.*"
    config = spaces.load(
        write(MINIMAL),
        overrides={
            f"search.{name}": {"low": 0.1, "high": 1.0},
            "regularizer.layer_weights.layer4.0.conv1": 2.0,
        },
    )
    assert spaces.load(write(dump_yaml(config))) == config
    trial = spaces.apply_params(config, {name: 0.5})
    assert trial.regularizer.layer_weights == {"layer4.0.conv1": 2.0, "layer4.*": 0.5}


@given(st.text(max_size=200))
def test_any_text_is_parsed_or_refused_cleanly(text):
    with contextlib.suppress(ConfigError):  # anything else would be a crash
        strict_yaml.parse(text, source="any.yaml")


def test_floors_are_drops_or_absolute():
    config = spaces.load(
        "quickstart", overrides={"objective.points": {"A": 0.0, "Z": {"floor": 0.9}}}
    )
    assert config.objective.floors(0.98) == pytest.approx({"A": 0.98, "Z": 0.9}, abs=1e-11)


@pytest.mark.parametrize(("examples", "drop"), [(5000, 0.005), (10_000, 0.027), (3000, 0.01)])
def test_what_loses_as_much_as_allowed_keeps_its_floor(examples, drop):
    config = spaces.load("quickstart", overrides={"objective.points": {"B": drop}})
    lost = round(drop * examples)
    for right in range(examples // 2, examples + 1):
        floor = config.objective.floors(right / examples)["B"]
        assert (right - lost) / examples >= floor
        assert (right - lost - 1) / examples < floor
