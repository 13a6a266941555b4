"""What is said of a network before a sweep starts."""

from hoyer_search.trial.preflight import check_model


def test_layers_that_are_not_pruned_are_named(toy_config, caplog):
    check_model(toy_config())
    assert caplog.messages == []
    check_model(toy_config(model__factory="toys:weight_normed"))
    (message,) = caplog.messages
    assert message.startswith("neither pruned nor counted: 1, whose weights are computed")
