"""The files of Ray's cluster launcher against Ray's own schema and rules."""

import copy
from pathlib import Path

import pytest
from manifests import CLUSTER, LAUNCHER, load
from ray.autoscaler._private.util import prepare_config, validate_config


def check(config):
    validate_config(prepare_config(copy.deepcopy(config)))


@pytest.mark.parametrize("path", LAUNCHER, ids=lambda path: path.name)
def test_ray_accepts_it(path):
    check(load(path))


@pytest.mark.parametrize(
    "change",
    [
        {"max_worker": 3},
        {"docker": {"image": "x"}},
        {"head_node_type": "none"},
        {"max_workers": "8"},
    ],
    ids=str,
)
def test_ray_refuses_mistakes(change):
    with pytest.raises(Exception, match=r"max_worker|container|head_node_type|integer"):
        check(load(CLUSTER / "aws.yaml") | change)


@pytest.mark.parametrize("path", LAUNCHER, ids=lambda path: path.name)
def test_the_token_reaches_every_node(path):
    config = load(path)
    (folder,) = config["file_mounts"]
    assert f"--env RAY_AUTH_TOKEN_PATH={folder}/ray_token" in config["docker"]["run_options"]
    assert config["file_mounts"][folder] == "secrets"
    dockerfile = (CLUSTER / "Dockerfile").read_text()
    assert "RAY_AUTH_MODE=token" in dockerfile
    assert f"HOME={Path(folder).parent}" in dockerfile


@pytest.mark.parametrize("path", LAUNCHER, ids=lambda path: path.name)
def test_the_dashboard_stays_on_loopback(path):
    head = " ".join(load(path)["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in head
    assert "--port=6379" in head
    assert "--address=$RAY_HEAD_IP:6379" in " ".join(load(path)["worker_start_ray_commands"])


def test_workers_on_aws_are_spot_and_the_head_is_not():
    types = load(CLUSTER / "aws.yaml")["available_node_types"]
    spot = {name for name, kind in types.items() if "InstanceMarketOptions" in kind["node_config"]}
    assert spot == {"spot"}
    for kind in types.values():
        node = kind["node_config"]
        assert node["SecurityGroupIds"] == [
            "SECURITY_GROUP"
        ]  # or the launcher opens port 22 to all
        assert node["MetadataOptions"] == {"HttpTokens": "required"}
        assert node["BlockDeviceMappings"][0]["Ebs"]["Encrypted"]
