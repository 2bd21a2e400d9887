"""What an object uses of a ResourceQuota, and which quotas count it (pure).

Source: kubernetes pkg/quota/v1/evaluator/core. Amounts are in nano units.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from podwire.api import quantity
from podwire.api.kinds import Kind
from podwire.api.qos import qos_class
from podwire.api.view import JSON

NANO = 10**9
_COUNTED = (
    "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps",
    "persistentvolumeclaims",
)  # fmt: skip
_BINARY = ("memory", "storage", "hugepages-")
_BARE = ("cpu", "memory", "ephemeral-storage")
_POD_SCOPES = (
    "Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "PriorityClass",
    "CrossNamespacePodAffinity",
)  # fmt: skip

Usage = Mapping[str, int]


def usage(kind: Kind[Any], obj: JSON) -> Usage:
    """What one object uses, by the names that quotas have for it."""
    found = {f"count/{kind.resource}": NANO}
    if kind.group:
        return found
    if kind.plural in _COUNTED:
        found[kind.plural] = NANO
    if kind.kind == "Pod":
        _pod(found, obj)
    elif kind.kind == "Service":
        _service(found, obj.get("spec") or {})
    elif kind.kind == "PersistentVolumeClaim":
        _claim(found, obj.get("spec") or {})
    return found


def _pod(found: dict[str, int], pod: JSON) -> None:
    if (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}:
        return  # what has ended uses nothing but its place in the store
    spec = pod.get("spec") or {}
    found["pods"] = NANO
    for name, nano in pod_resources(spec, "requests").items():
        found[f"requests.{name}"] = nano
        if name in _BARE or name.startswith("hugepages-"):
            found[name] = nano
    for name, nano in pod_resources(spec, "limits").items():
        found[f"limits.{name}"] = nano


def pod_resources(spec: JSON, group: str) -> dict[str, int]:
    """Requests or limits of a pod: of its containers together, or of its greediest init container.

    Source: component-helpers resource.PodRequests.
    """
    total: dict[str, int] = {}
    for container in spec.get("containers") or ():
        _add(total, _amounts(container, group))
    sidecars: dict[str, int] = {}
    most: dict[str, int] = {}
    for container in spec.get("initContainers") or ():
        own = _amounts(container, group)
        if container.get("restartPolicy") == "Always":
            _add(total, own)
            _add(sidecars, own)
            own = dict(sidecars)
        else:
            _add(own, sidecars)
        most = {name: max(own.get(name, 0), most.get(name, 0)) for name in own.keys() | most.keys()}
    found = {n: max(total.get(n, 0), most.get(n, 0)) for n in sorted(total.keys() | most.keys())}
    for name, amount in (spec.get("overhead") or {}).items():
        if group == "requests" or name in found:
            found[name] = found.get(name, 0) + quantity.parse(amount).nano
    return found


def _amounts(container: JSON, group: str) -> dict[str, int]:
    given = (container.get("resources") or {}).get(group) or {}
    return {name: quantity.parse(amount).nano for name, amount in given.items()}


def _add(total: dict[str, int], more: Mapping[str, int]) -> None:
    for name, nano in more.items():
        total[name] = total.get(name, 0) + nano


def _service(found: dict[str, int], spec: JSON) -> None:
    kind, ports = spec.get("type"), spec.get("ports") or ()
    if kind == "LoadBalancer":
        found["services.loadbalancers"] = NANO
        if spec.get("allocateLoadBalancerNodePorts") is False:
            ports = [port for port in ports if port.get("nodePort")]
    if kind in {"NodePort", "LoadBalancer"} and ports:
        found["services.nodeports"] = len(ports) * NANO


def _claim(found: dict[str, int], spec: JSON) -> None:
    size = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    prefix = f"{spec.get('storageClassName')}.storageclass.storage.k8s.io"
    if spec.get("storageClassName"):
        found[f"{prefix}/persistentvolumeclaims"] = NANO
    if size is not None:
        found["requests.storage"] = quantity.parse(size).nano
        if spec.get("storageClassName"):
            found[f"{prefix}/requests.storage"] = found["requests.storage"]


def counts(quota: JSON, kind: Kind[Any], obj: JSON) -> bool:
    """Whether the scopes of a ResourceQuota let it count an object."""
    spec = quota.get("spec") or {}
    needs: list[tuple[str, str, list[str]]] = [
        (scope, "Exists", []) for scope in spec.get("scopes") or ()
    ]
    needs += [
        (need.get("scopeName", ""), need.get("operator", ""), need.get("values") or [])
        for need in (spec.get("scopeSelector") or {}).get("matchExpressions") or ()
    ]
    return all(_in_scope(*need, kind, obj) for need in needs)


def _in_scope(scope: str, operator: str, values: list[str], kind: Kind[Any], obj: JSON) -> bool:
    spec = obj.get("spec") or {}
    if scope == "VolumeAttributesClass" and kind.kind == "PersistentVolumeClaim":
        return _chosen(spec.get("volumeAttributesClassName"), operator, values)
    if kind.kind != "Pod" or scope not in _POD_SCOPES:
        return False
    if scope == "PriorityClass":
        return _chosen(spec.get("priorityClassName"), operator, values)
    if scope == "CrossNamespacePodAffinity":
        return _reaches_out(spec)
    if scope in {"Terminating", "NotTerminating"}:
        return ("activeDeadlineSeconds" in spec) == (scope == "Terminating")
    return (qos_class(spec) == "BestEffort") == (scope == "BestEffort")


def _chosen(value: str | None, operator: str, values: list[str]) -> bool:
    if operator == "In":
        return value in values
    if operator == "NotIn":
        return value not in values
    return bool(value) == (operator != "DoesNotExist")


def _reaches_out(spec: JSON) -> bool:
    affinity = spec.get("affinity") or {}
    for kind in ("podAffinity", "podAntiAffinity"):
        terms = affinity.get(kind) or {}
        found = list(terms.get("requiredDuringSchedulingIgnoredDuringExecution") or ())
        found += [
            term.get("podAffinityTerm") or {}
            for term in terms.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        ]
        if any(term.get("namespaces") or "namespaceSelector" in term for term in found):
            return True
    return False


def show(name: str, nano: int) -> str:
    """An amount as quotas print it."""
    if nano % NANO == 0:
        return quantity.from_value(nano // NANO, binary=any(part in name for part in _BINARY))
    return quantity.from_milli(-(-nano // 10**6))
