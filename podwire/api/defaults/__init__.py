"""Defaulting per kind: what a cluster adds to an object before it is validated and stored.

``apply`` changes the (freshly decoded) object in place. It needs no cluster state: what admission,
allocation or a kind's strategy adds (tolerations, cluster IPs, uids) is the API server's business.
Source of the behaviour: kubernetes pkg/apis/*/v1/defaults.go and the declarative +default markers.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import cache
from typing import Any

from podwire.api.crd import definitions
from podwire.api.defaults import (
    autoscaling,
    batch,
    cluster,
    extension,
    pod,
    service,
    storage,
    workloads,
)
from podwire.api.kinds import Kind
from podwire.api.view import JSON

_ADMISSION = "admissionregistration.k8s.io/v1"


def apply(kind: Kind[Any], obj: JSON) -> None:
    """Fill in the defaults of ``kind``, in place; applying twice changes nothing more."""
    default = _default_of(kind)
    if default is not None:
        default(obj)


@cache
def _default_of(kind: Kind[Any]) -> Callable[[JSON], None] | None:
    return _BY_TYPE.get(f"{kind.api_version}/{kind.kind}")


def _namespace(obj: JSON) -> None:
    """The label kubernetes.io/metadata.name makes namespaces selectable by name."""
    meta = obj["metadata"]
    if meta.get("name"):
        meta.setdefault("labels", {})["kubernetes.io/metadata.name"] = meta["name"]
    obj["status"].setdefault("phase", "Active")


def _node(obj: JSON) -> None:
    spec, status = obj["spec"], obj["status"]
    if "capacity" in status and "allocatable" not in status:
        status["allocatable"] = dict(status["capacity"])
    if spec.get("podCIDR") and not spec.get("podCIDRs"):
        spec["podCIDRs"] = [spec["podCIDR"]]
    elif spec.get("podCIDR") and spec["podCIDR"] != spec["podCIDRs"][0]:
        spec["podCIDRs"] = [spec["podCIDR"], *spec["podCIDRs"][1:]]  # conversion lets it win
    elif spec.get("podCIDRs") and not spec.get("podCIDR"):
        spec["podCIDR"] = spec["podCIDRs"][0]


def _secret(obj: JSON) -> None:
    """What was written as stringData is never read back: it ends up in data."""
    obj.setdefault("type", "Opaque")
    for key, text in (obj.pop("stringData", None) or {}).items():
        obj.setdefault("data", {})[key] = base64.b64encode(text.encode()).decode()


def _endpoints(obj: JSON) -> None:
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            port.setdefault("protocol", "TCP")


def _endpoint_slice(obj: JSON) -> None:
    for port in obj.get("ports") or ():
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def _network_policy(obj: JSON) -> None:
    """Policies without policyTypes isolate for ingress, and for egress if they have egress rules.

    The REST layer cannot tell ``egress: []`` from absence, upstream neither.
    """
    spec = obj["spec"]
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    for rule in (*(spec.get("ingress") or ()), *(spec.get("egress") or ())):
        for port in rule.get("ports") or ():
            port.setdefault("protocol", "TCP")


_BY_TYPE: dict[str, Callable[[JSON], None]] = {
    "v1/Pod": pod.default_pod,
    "v1/PodTemplate": workloads.default_pod_template,
    "v1/ReplicationController": workloads.default_replication_controller,
    "v1/Service": service.default_service,
    "v1/Namespace": _namespace,
    "v1/Node": _node,
    "v1/Secret": _secret,
    "v1/Endpoints": _endpoints,
    "v1/LimitRange": cluster.default_limit_range,
    "v1/PersistentVolume": storage.default_persistent_volume,
    "v1/PersistentVolumeClaim": storage.default_persistent_volume_claim,
    "apps/v1/Deployment": workloads.default_deployment,
    "apps/v1/ReplicaSet": workloads.default_replica_set,
    "apps/v1/StatefulSet": workloads.default_stateful_set,
    "apps/v1/DaemonSet": workloads.default_daemon_set,
    "batch/v1/Job": batch.default_job,
    "batch/v1/CronJob": batch.default_cron_job,
    "autoscaling/v1/HorizontalPodAutoscaler": autoscaling.default_autoscaler_v1,
    "autoscaling/v2/HorizontalPodAutoscaler": autoscaling.default_autoscaler,
    "discovery.k8s.io/v1/EndpointSlice": _endpoint_slice,
    "networking.k8s.io/v1/NetworkPolicy": _network_policy,
    "networking.k8s.io/v1/IngressClass": cluster.default_ingress_class,
    "rbac.authorization.k8s.io/v1/RoleBinding": cluster.default_role_binding,
    "rbac.authorization.k8s.io/v1/ClusterRoleBinding": cluster.default_role_binding,
    "scheduling.k8s.io/v1/PriorityClass": cluster.default_priority_class,
    "storage.k8s.io/v1/StorageClass": storage.default_storage_class,
    "storage.k8s.io/v1/CSIDriver": storage.default_csi_driver,
    "storage.k8s.io/v1/VolumeAttachment": storage.default_volume_attachment,
    "resource.k8s.io/v1/ResourceClaim": cluster.default_resource_claim,
    "resource.k8s.io/v1/ResourceClaimTemplate": cluster.default_resource_claim_template,
    f"{_ADMISSION}/ValidatingWebhookConfiguration": extension.default_validating_webhooks,
    f"{_ADMISSION}/MutatingWebhookConfiguration": extension.default_mutating_webhooks,
    f"{_ADMISSION}/ValidatingAdmissionPolicy": extension.default_admission_policy,
    f"{_ADMISSION}/ValidatingAdmissionPolicyBinding": extension.default_policy_binding,
    f"{_ADMISSION}/MutatingAdmissionPolicy": extension.default_admission_policy,
    f"{_ADMISSION}/MutatingAdmissionPolicyBinding": extension.default_policy_binding,
    "apiextensions.k8s.io/v1/CustomResourceDefinition": definitions.default,
    "apiregistration.k8s.io/v1/APIService": extension.default_api_service,
    "flowcontrol.apiserver.k8s.io/v1/FlowSchema": extension.default_flow_schema,
    "flowcontrol.apiserver.k8s.io/v1/PriorityLevelConfiguration": extension.default_priority_level,
}
"""By apiVersion/kind. Kinds that are not here have no defaults upstream either."""
