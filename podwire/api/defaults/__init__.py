"""Defaulting per kind: what a cluster adds to an object before it is validated and stored.

``apply`` changes the (freshly decoded) object in place. It needs no cluster state: what admission,
allocation or a kind's strategy adds (tolerations, cluster IPs, uids) is the API server's business.
Source of the behaviour: kubernetes pkg/apis/*/v1/defaults.go and the declarative +default markers.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from podwire.api import kinds
from podwire.api.defaults import pod, service, workloads
from podwire.api.kinds import Kind
from podwire.api.view import JSON


def apply(kind: Kind[Any], obj: JSON) -> None:
    """Fill in the defaults of ``kind``, in place; applying twice changes nothing more."""
    default = _BY_KIND.get(kind)
    if default is not None:
        default(obj)


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


_RBAC = "rbac.authorization.k8s.io"


def _role_binding(obj: JSON) -> None:
    role = obj["roleRef"]
    role["apiGroup"] = role.get("apiGroup") or _RBAC
    for subject in obj.get("subjects") or ():
        if subject.get("kind") in {"User", "Group"}:
            subject.setdefault("apiGroup", _RBAC)


_BY_KIND: dict[Kind[Any], Callable[[JSON], None]] = {
    kinds.POD: pod.default_pod,
    kinds.SERVICE: service.default_service,
    kinds.DEPLOYMENT: workloads.default_deployment,
    kinds.REPLICA_SET: workloads.default_replica_set,
    kinds.STATEFUL_SET: workloads.default_stateful_set,
    kinds.DAEMON_SET: workloads.default_daemon_set,
    kinds.JOB: workloads.default_job,
    kinds.NAMESPACE: _namespace,
    kinds.NODE: _node,
    kinds.SECRET: _secret,
    kinds.ENDPOINTS: _endpoints,
    kinds.ENDPOINT_SLICE: _endpoint_slice,
    kinds.NETWORK_POLICY: _network_policy,
    kinds.ROLE_BINDING: _role_binding,
    kinds.CLUSTER_ROLE_BINDING: _role_binding,
}
