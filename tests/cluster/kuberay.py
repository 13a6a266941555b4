"""The part of KubeRay's API that cluster/kubernetes/ uses, as strict models.

Fields, types and rules are those of KubeRay 1.7's API reference
(https://ray-project.github.io/kuberay/reference/api/). What the operator only checks when a
resource is applied is a validator here. Pod templates are checked by the schemas of Kubernetes.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, model_validator
from pydantic.alias_generators import to_camel

Count = Annotated[StrictInt, Field(ge=0)]
Name = Annotated[StrictStr, Field(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=47)]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)


class Metadata(Part):
    name: Name


class AuthOptions(Part):
    mode: Literal["disabled", "token"]
    secret_name: StrictStr | None = None


class AutoscalerOptions(Part):
    version: Literal["v1", "v2"] | None = None
    idle_timeout_seconds: Count | None = None
    upscaling_mode: Literal["Conservative", "Default", "Aggressive"] | None = None
    security_context: dict[str, Any] | None = None


class Group(Part):
    ray_start_params: dict[StrictStr, StrictStr]
    template: dict[str, Any]


class WorkerGroup(Group):
    group_name: Name
    replicas: Count | None = None
    min_replicas: Count
    max_replicas: Count
    idle_timeout_seconds: Count | None = None

    @model_validator(mode="after")
    def _in_order(self) -> "WorkerGroup":
        if not self.min_replicas <= (self.replicas or self.min_replicas) <= self.max_replicas:
            raise ValueError("minReplicas <= replicas <= maxReplicas")
        return self


class RayClusterSpec(Part):
    ray_version: Annotated[StrictStr, Field(pattern=r"^\d+\.\d+\.\d+$")]
    auth_options: AuthOptions
    enable_in_tree_autoscaling: StrictBool = False
    autoscaler_options: AutoscalerOptions | None = None
    head_group_spec: Group
    worker_group_specs: list[WorkerGroup] = []

    @model_validator(mode="after")
    def _token_and_autoscaler(self) -> "RayClusterSpec":
        if self.auth_options.mode == "token" and self._version() < (2, 52):
            raise ValueError("tokens need Ray 2.52")
        groups = [self.head_group_spec, *self.worker_group_specs]
        policies = {group.template["spec"].get("restartPolicy", "Never") for group in groups}
        if self.enable_in_tree_autoscaling and policies != {"Never"}:
            raise ValueError("with autoscaler v2 restartPolicy is Never or unset")
        return self

    def _version(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.ray_version.split("."))


class RayJobSpec(Part):
    entrypoint: StrictStr
    submission_mode: Literal["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"] = (
        "K8sJobMode"
    )
    backoff_limit: Count = 0
    active_deadline_seconds: Annotated[StrictInt, Field(gt=0)] | None = None
    shutdown_after_job_finishes: StrictBool = False
    ttl_seconds_after_finished: Count = 0
    ray_cluster_spec: RayClusterSpec

    @model_validator(mode="after")
    def _ttl_needs_shutdown(self) -> "RayJobSpec":
        if self.ttl_seconds_after_finished and not self.shutdown_after_job_finishes:
            raise ValueError("ttlSecondsAfterFinished needs shutdownAfterJobFinishes")
        return self


class RayCluster(Part):
    api_version: Literal["ray.io/v1"]
    kind: Literal["RayCluster"]
    metadata: Metadata
    spec: RayClusterSpec


class RayJob(Part):
    api_version: Literal["ray.io/v1"]
    kind: Literal["RayJob"]
    metadata: Metadata
    spec: RayJobSpec


KINDS: dict[str, type[Part]] = {"RayCluster": RayCluster, "RayJob": RayJob}
