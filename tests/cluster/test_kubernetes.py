"""Kubernetes resources against the schemas of Kubernetes and KubeRay."""

import copy
import os
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml
from kuberay import KINDS
from manifests import KUBERNETES, SECRETS, documents, leaves

VERSION = "1.34"
RESOURCES = [
    (f"{path.stem}-{each['kind']}-{each['metadata']['name']}", each)
    for path in KUBERNETES
    for each in documents(path)
]
OURS = [(name, each) for name, each in RESOURCES if each["apiVersion"] == "ray.io/v1"]
KUBERNETES_OWN = [(name, each) for name, each in RESOURCES if each["apiVersion"] != "ray.io/v1"]


def named(pairs):
    return pytest.mark.parametrize(
        "resource", [r for _, r in pairs], ids=[name for name, _ in pairs]
    )


def validate(resource):
    kubernetes_validate.validate(resource, VERSION, strict=True)


def templates(resource):
    """Returns the pod templates of a RayCluster or RayJob."""
    spec = resource["spec"].get("rayClusterSpec", resource["spec"])
    return [group["template"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]


def pods(resource):
    """Returns the pod specs that a resource makes."""
    if resource["apiVersion"] == "ray.io/v1":
        return [template["spec"] for template in templates(resource)]
    template = resource.get("spec", {}).get("template")
    return [template["spec"]] if template else []


@named(KUBERNETES_OWN)
def test_kubernetes_accepts_it(resource):
    validate(resource)


@named(OURS)
def test_kuberay_accepts_it(resource):
    KINDS[resource["kind"]].model_validate(resource)
    for template in templates(resource):
        validate(
            {
                "apiVersion": "v1",
                "kind": "PodTemplate",
                "metadata": {"name": "x"},
                "template": template,
            }
        )


@named(OURS)
@pytest.mark.skipif("KUBERAY_CRDS" not in os.environ, reason="KUBERAY_CRDS names no folder of CRDs")
def test_the_operators_own_schema_accepts_it(resource):
    """With KUBERAY_CRDS=.../helm-chart/kuberay-operator/crds of a KubeRay release."""
    (path,) = Path(os.environ["KUBERAY_CRDS"]).glob(f"*_{resource['kind'].lower()}s.yaml")
    (version,) = [
        v for v in yaml.safe_load(path.read_text())["spec"]["versions"] if v["name"] == "v1"
    ]
    schema = closed(version["schema"]["openAPIV3Schema"])
    jsonschema.validate(resource, schema)
    wrong = copy.deepcopy(resource)
    wrong["spec"]["nonsense"] = 1
    with pytest.raises(jsonschema.ValidationError, match="nonsense"):
        jsonschema.validate(wrong, schema)


def closed(schema):
    """Returns a schema that allows no fields it does not name, as the API server prunes them."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(value) for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        result.pop("pattern", None)
        result["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        result.setdefault("additionalProperties", False)
    return result


@pytest.mark.parametrize(
    ("index", "change"),
    [
        (0, {"replica": 1}),
        (0, {"replicas": "1"}),
        (1, {"authOptions": {"mode": "on"}}),
        (1, {"a": 1}),
    ],
)
def test_mistakes_are_refused(index, change):
    if index:
        (cluster,) = [each for _, each in OURS if each["kind"] == "RayCluster"]
        with pytest.raises(ValueError, match=r"authOptions|Extra inputs"):
            KINDS["RayCluster"].model_validate(cluster | {"spec": cluster["spec"] | change})
        return
    (mlflow,) = [each for _, each in KUBERNETES_OWN if each["kind"] == "Deployment"]
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(mlflow | {"spec": mlflow["spec"] | change})


def test_a_job_has_the_same_cluster_as_the_one_that_stays():
    specs = {each["kind"]: each["spec"] for _, each in OURS}
    assert specs["RayJob"]["rayClusterSpec"] == specs["RayCluster"]


def test_ray_asks_for_a_token_and_scales():
    for _, resource in OURS:
        spec = resource["spec"].get("rayClusterSpec", resource["spec"])
        assert spec["authOptions"] == {"mode": "token"}
        assert spec["enableInTreeAutoscaling"] is True


def test_claims_services_and_secrets_exist():
    names = {(each["kind"], each["metadata"]["name"]) for _, each in RESOURCES}
    for _, resource in RESOURCES:
        for keys, value in leaves(resource):
            if keys[-1] == "claimName":
                assert ("PersistentVolumeClaim", value) in names
            if keys[-2:] == ("secretKeyRef", "name"):
                assert value == "tracking"
            if keys[-2:] == ("secretKeyRef", "key"):
                assert value in SECRETS
    env = {e["name"]: e.get("value") for _, r in RESOURCES for p in pods(r) for e in all_env(p)}
    assert ("Service", env["PGHOST"]) in names
    assert env["MLFLOW_SERVER_ALLOWED_HOSTS"].startswith("mlflow:5000,")
    (job,) = [each for _, each in OURS if each["kind"] == "RayJob"]
    assert job["spec"]["entrypoint"].count("--tracking-uri http://mlflow:5000") == 2
    assert ("Service", "mlflow") in names


def all_env(pod):
    return [variable for container in pod["containers"] for variable in container.get("env", [])]


@pytest.mark.parametrize(
    "pod",
    [pod for _, resource in RESOURCES for pod in pods(resource)],
    ids=lambda pod: str(len(pod)),
)
def test_pods_have_no_rights_they_do_not_need(pod):
    context = pod["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] == context["fsGroup"] != 0
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]


def test_long_running_servers_have_probes():
    for _, resource in RESOURCES:
        if resource["kind"] in ("Deployment", "StatefulSet"):
            for container in resource["spec"]["template"]["spec"]["containers"]:
                assert {"readinessProbe", "livenessProbe"} <= set(container)


def test_the_database_is_reached_by_mlflow_alone():
    policies = {
        r["metadata"]["name"]: r["spec"] for _, r in RESOURCES if r["kind"] == "NetworkPolicy"
    }
    rule = policies["namespace-only"]["podSelector"]["matchExpressions"]
    assert rule == [{"key": "app", "operator": "NotIn", "values": ["postgres"]}]
    (source,) = policies["postgres"]["ingress"]
    assert source["from"] == [{"podSelector": {"matchLabels": {"app": "mlflow"}}}]
    assert all(
        r["spec"].get("type", "ClusterIP") == "ClusterIP"
        for _, r in RESOURCES
        if r["kind"] == "Service"
    )
