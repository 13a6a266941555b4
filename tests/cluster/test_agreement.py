"""The files of cluster/ agree with each other, with the lock and with the command line."""

import re

import click
import pytest
from manifests import (
    CLUSTER,
    COMPOSE,
    KUBERNETES,
    LAUNCHER,
    MANIFESTS,
    README,
    ROOT,
    commands,
    documents,
    images,
    leaves,
    load,
)

from hoyer_search import __version__
from hoyer_search.cli import cli

LOCK = dict(
    re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
)
FILES = [path for path in sorted(CLUSTER.rglob("*")) if path.is_file()]


def parse(group, words):
    """Parses a command as the program would, without running it."""
    context = click.Context(group, info_name=words[0])
    name, command, rest = group.resolve_command(context, words[1:])
    if isinstance(command, click.Group):
        parse(command, [name, *rest])
    else:
        command.make_context(name, rest, parent=context)


@pytest.fixture(autouse=True)
def address(monkeypatch):
    monkeypatch.setenv(
        "RAY_API_SERVER_ADDRESS", "http://127.0.0.1:8265"
    )  # as the README exports it


@pytest.mark.parametrize("words", commands("hoyer-search"), ids=" ".join)
def test_commands_of_ours_exist(words):
    parse(cli, words)


def test_commands_of_ours_are_found():
    assert {words[1] for words in commands("hoyer-search")} >= {
        "run",
        "resume",
        "show",
        "pull",
        "ui",
    }


def test_commands_of_ray_exist():
    from ray.scripts.scripts import cli as ray

    found = commands("ray")
    assert {words[1] for words in found} == {
        "start", "stop", "up", "down", "exec", "dashboard", "rsync-down",
    }  # fmt: skip
    for words in found:
        parse(ray, words)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_images_have_versions(path):
    for image in images(path):
        name, _, tag = image.rpartition(":")
        assert name, image
        assert re.search(r"\d+\.\d+", tag), image
        if name.endswith("hoyer-search"):
            assert tag == __version__


def test_images_are_the_same_everywhere():
    named = {image for path in [*COMPOSE, *KUBERNETES] for image in images(path)}
    assert len({image for image in named if image.startswith("postgres:")}) == 1
    tags = re.findall(r"hoyer-search:([\w.-]+)", README + (CLUSTER / "Dockerfile").read_text())
    assert {tag.removesuffix("-cuda") for tag in tags} == {__version__}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_latest_and_no_secret(path):
    text = path.read_text()
    assert not re.search(r":latest\b", text)
    assert not re.search(r"BEGIN [A-Z ]*PRIVATE KEY|AKIA[0-9A-Z]{16}|\b[0-9a-f]{24,}\b", text)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_values_of_secrets_are_named_never_given(path):
    for keys, value in leaves(documents(path)):
        if re.search(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY", str(keys[-1])):
            assert re.fullmatch(r"\$\{\w+:\?fill in \.env\}", value), keys
        if keys[-1] == "name" and re.search(r"PASSWORD|SECRET|TOKEN", str(value)):
            assert "env" in keys, keys
    for document in documents(path):
        for keys, _ in leaves(document):
            assert not (keys[-1] == "value" and _names_a_secret(document, keys)), keys


def _names_a_secret(document, keys):
    for key in keys[:-1]:
        document = document[key]
    return bool(re.search(r"PASSWORD|SECRET|TOKEN", str(document.get("name"))))


def test_the_example_has_no_values():
    lines = (CLUSTER / ".env.example").read_text().splitlines()
    assert all(line.startswith("#") or line.endswith("=") or not line for line in lines)
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {"cluster/.env", "cluster/secrets/"} <= set(ignored)


def test_versions_are_those_of_the_lock():
    found = re.findall(r"rayVersion: \"(.*?)\"", "".join(path.read_text() for path in KUBERNETES))
    assert set(found) == {LOCK["ray"]}
    dockerfile = (CLUSTER / "Dockerfile").read_text()
    (python,) = re.findall(r"FROM python:(\d+\.\d+)\.\d+-", dockerfile)
    assert f'requires-python = ">={python}"' in (ROOT / "pyproject.toml").read_text()
    # torch is built for one CUDA, which a CUDA base has to match.
    (cuda,) = re.findall(r"BASE=nvidia/cuda:(\d+\.\d+)", dockerfile)
    assert LOCK["cuda-toolkit"].startswith(f"{cuda}.")
    assert {"boto3", "psycopg", "Flask-WTF", "aiohttp-cors"} <= {
        name.replace("_", "-") for name in LOCK
    }


def test_a_silent_node_is_given_up_as_soon_by_hand_as_in_the_image():
    setting = re.compile(r"RAY_health_check_\w+=\d+")
    image = setting.findall((CLUSTER / "Dockerfile").read_text())
    assert len(image) == 3
    assert setting.findall(README) == image


def test_what_is_to_be_filled_in_is_explained():
    own = re.compile(r"(?<![\w$./-])(?!RAY_|CPU\b|AWS\b)[A-Z][A-Z0-9_]{2,}\b|(?<=dkr\.ecr\.)REGION")
    for path in LAUNCHER:
        wanted = {word for _, v in leaves(load(path)) for word in own.findall(str(v))}
        assert len(wanted) >= 6
        assert {word for word in wanted if f"`{word}`" not in README} == set(), path.name
    for path in KUBERNETES:
        for line in path.read_text().splitlines():
            assert ("REGISTRY" in line) <= ("# EDIT" in line), line


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (CLUSTER / target).exists(), target
    headings = {
        re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)", README, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= headings


def test_every_file_is_mentioned():
    beside = {path.relative_to(CLUSTER).as_posix() for path in FILES} - {"README.md"}
    unmentioned = {path for path in beside if path.rpartition("/")[2] not in README}
    assert unmentioned == {"Dockerfile.dockerignore"}
