"""The compose files against compose's schema, and what they promise."""

import re
import subprocess
import sys
from urllib.parse import urlsplit

from manifests import CLUSTER, COMPOSE, SECRETS, load

SERVICES = load(CLUSTER / "compose.yaml")["services"]
TEXT = (CLUSTER / "compose.yaml").read_text()


def check(*paths):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    return subprocess.run([*command, *paths], capture_output=True, text=True, timeout=60)


def test_compose_accepts_the_files():
    done = check(*COMPOSE)
    assert done.returncode == 0, done.stdout


def test_mistakes_are_refused(tmp_path):
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(TEXT.replace("healthcheck:", "healthchecks:"))
    done = check(wrong)
    assert done.returncode == 1
    assert "healthchecks" in done.stdout


def test_secrets_come_from_the_env_file_alone():
    assert set(re.findall(r"\$\{(\w+):\?", TEXT)) == SECRETS
    assert set(re.findall(r"\$\{(\w+):-", TEXT)) == {"WORKERS", "WORKER_CPUS"}
    assert "${" not in re.sub(r"\$\{\w+:[?-]", "", TEXT)


def test_nothing_is_published_off_loopback():
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert sorted(published) == [f"127.0.0.1:{port}:{port}" for port in (3000, 5000, 8265)]
    assert "network_mode" not in TEXT
    assert load(CLUSTER / "compose.yaml")["networks"]["tracking"] == {"internal": True}
    for name in ("postgres", "store", "bucket"):
        assert SERVICES[name]["networks"] == ["tracking"]


def test_every_server_has_a_health_check_that_others_wait_for():
    assert {n for n, s in SERVICES.items() if "healthcheck" not in s} == {"bucket"}
    for service in SERVICES.values():
        for other, wanted in service.get("depends_on", {}).items():
            ends = "completed_successfully" if other == "bucket" else "healthy"
            assert wanted == {"condition": f"service_{ends}"}


def test_containers_have_no_rights_they_do_not_need():
    for service in SERVICES.values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "privileged" not in service


def test_volumes_and_networks_are_declared():
    whole = load(CLUSTER / "compose.yaml")
    for service in SERVICES.values():
        assert set(service["networks"]) <= set(whole["networks"])
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in whole["volumes"]
    assert set(load(CLUSTER / "compose.gpu.yaml")["services"]) <= set(SERVICES)


def test_services_find_each_other():
    mlflow, store = SERVICES["mlflow"]["environment"], SERVICES["store"]["environment"]
    assert SERVICES[mlflow["PGHOST"]]["environment"]["POSTGRES_USER"] == mlflow["PGUSER"]
    assert SERVICES[mlflow["PGHOST"]]["environment"]["POSTGRES_DB"] == mlflow["PGDATABASE"]
    endpoint = urlsplit(mlflow["MLFLOW_S3_ENDPOINT_URL"])
    assert endpoint.hostname == "store"
    assert store["VGW_PORT"] == f":{endpoint.port}"
    assert f":{endpoint.port}{store['VGW_HEALTH']}" in SERVICES["store"]["healthcheck"]["test"][-1]
    assert store["VGW_REGION"] == mlflow["AWS_DEFAULT_REGION"]
    bucket = mlflow["MLFLOW_ARTIFACTS_DESTINATION"].removeprefix("s3://")
    assert f'create_bucket(Bucket="{bucket}")' in SERVICES["bucket"]["command"][-1]
    port = re.search(r"--port=(\d+)", SERVICES["head"]["command"])
    assert port is not None
    assert f"--address=head:{port[1]}" in SERVICES["worker"]["command"]
    assert SERVICES["head"]["volumes"] == SERVICES["worker"]["volumes"] == ["sweeps:/sweeps"]


def test_the_health_checks_compile():
    for service in SERVICES.values():
        for command in (service.get("healthcheck", {}).get("test", []), service.get("command", [])):
            if "-c" in command:
                compile(command[-1], "<compose>", "exec")
