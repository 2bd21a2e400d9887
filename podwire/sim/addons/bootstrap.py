"""What an API server makes by itself when it starts: priority classes, flow schemas and priority
levels, the default ServiceCIDR, and an APIService for each group version that it serves.

Source: kubernetes pkg/apis/scheduling (helpers.go),
pkg/controlplane/controller/defaultservicecidr and pkg/controlplane/apiserver/aggregator.go.
"""

from __future__ import annotations

from typing import Any

from podwire.api import kinds
from podwire.api.view import JSON
from podwire.apiserver.flowcontrol import bootstrap as flowcontrol
from podwire.sim.settings import ClusterSettings

_GROUPS: dict[str, int] = {
    "": 18000, "apps": 17800, "events.k8s.io": 17750, "authentication.k8s.io": 17700,
    "authorization.k8s.io": 17600, "autoscaling": 17500, "batch": 17400,
    "certificates.k8s.io": 17300, "networking.k8s.io": 17200, "policy": 17100,
    "rbac.authorization.k8s.io": 17000, "storage.k8s.io": 16800, "apiextensions.k8s.io": 16700,
    "admissionregistration.k8s.io": 16700, "scheduling.k8s.io": 16600,
    "coordination.k8s.io": 16500, "node.k8s.io": 16300, "discovery.k8s.io": 16200,
    "flowcontrol.apiserver.k8s.io": 16100, "resource.k8s.io": 15900,
    "storagemigration.k8s.io": 15800,
}  # fmt: skip
"""groupPriorityMinimum of the groups that register themselves."""
_VERSIONS = {("", "v1"): 1, ("autoscaling", "v2"): 30, ("flowcontrol.apiserver.k8s.io", "v1"): 21}
"""versionPriority where it is not 15."""


def objects(settings: ClusterSettings) -> list[JSON]:
    """In the order in which they are made."""
    return [
        *_priority_classes(),
        _service_cidr(settings),
        *flowcontrol.objects(),
        *_api_services(),
    ]


def _object(api_version: str, kind: str, name: str, **fields: Any) -> JSON:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **fields}


def _priority_classes() -> list[JSON]:
    api_version = "scheduling.k8s.io/v1"
    return [
        _object(
            api_version, "PriorityClass", name, value=value, globalDefault=False,
            preemptionPolicy="PreemptLowerPriority",
            description=f"Used for system critical pods that must {words}.",
        )
        for name, value, words in (
            ("system-node-critical", 2_000_001_000, "not be moved from their current node"),
            ("system-cluster-critical", 2_000_000_000,
             "run in the cluster, but can be moved to another node if necessary"),
        )
    ]  # fmt: skip


def _service_cidr(settings: ClusterSettings) -> JSON:
    ready = {
        "type": "Ready", "status": "True", "reason": "",
        "message": "Kubernetes default Service CIDR is ready",
    }  # fmt: skip
    return _object(
        "networking.k8s.io/v1", "ServiceCIDR", "kubernetes",
        spec={"cidrs": settings.service_cidrs.split(",")}, status={"conditions": [ready]},
    )  # fmt: skip


def _api_services() -> list[JSON]:
    """Of the groups this server serves, but for that of APIServices themselves."""
    served = dict.fromkeys((kind.group, kind.version) for kind in kinds.ALL)
    made: list[JSON] = []
    for group, version in served:
        if group not in _GROUPS:
            continue
        spec: JSON = {
            "group": group,
            "version": version,
            "groupPriorityMinimum": _GROUPS[group],
            "versionPriority": _VERSIONS.get((group, version), 15),
        }
        if not group:
            del spec["group"]
        service = _object(
            "apiregistration.k8s.io/v1", "APIService", f"{version}.{group}", spec=spec
        )
        service["metadata"]["labels"] = {"kube-aggregator.kubernetes.io/automanaged": "onstart"}
        made.append(service)
    return made
