"""What an object uses of a ResourceQuota, and which quotas count it (pure).

Source: kubernetes pkg/quota/v1/evaluator/core. Amounts are in nano units.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from podwire.api import quantity
from podwire.api.kinds import Kind
from podwire.api.qos import qos_class
from podwire.api.times import NS, parse_time
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


def usage(kind: Kind[Any], obj: JSON, now_ns: int | None = None) -> Usage:
    """What one object uses, by the names that quotas have for it.

    A pod that should have been gone by ``now_ns`` (its node does not answer) uses no more than its
    place in the store.
    """
    found = {f"count/{kind.resource}": NANO}
    if kind.group:
        return found
    if kind.plural in _COUNTED:
        found[kind.plural] = NANO
    if kind.kind == "Pod":
        if not _ended(obj, now_ns):
            _pod(found, obj)
    elif kind.kind == "Service":
        _service(found, obj.get("spec") or {})
    elif kind.kind == "PersistentVolumeClaim":
        _claim(found, obj)
    return found


def _ended(pod: JSON, now_ns: int | None) -> bool:
    if (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}:
        return True
    meta = pod.get("metadata") or {}
    grace = meta.get("deletionGracePeriodSeconds")
    if now_ns is None or grace is None or not meta.get("deletionTimestamp"):
        return False
    return bool(now_ns > parse_time(meta["deletionTimestamp"]) + grace * NS)


def _pod(found: dict[str, int], pod: JSON) -> None:
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    found["pods"] = NANO
    for name, nano in pod_resources(spec, "requests", status).items():
        if name in _BARE or name.startswith("hugepages-"):
            found[name] = nano
        if name in found or "/" in name:
            found[f"requests.{name}"] = nano
    for name, nano in pod_resources(spec, "limits").items():
        if name in _BARE:
            found[f"limits.{name}"] = nano


def pod_resources(spec: JSON, group: str, status: JSON | None = None) -> dict[str, int]:
    """Requests or limits of a pod: of its containers together, or of its greediest init container.

    ``status`` tells what containers were given that are to be resized. Source: component-helpers
    resource.PodRequests.
    """
    given = {
        one.get("name"): one
        for key in ("containerStatuses", "initContainerStatuses")
        for one in (status or {}).get(key) or ()
    }
    total: dict[str, int] = {}
    for container in spec.get("containers") or ():
        _add(total, _amounts(container, group, given))
    sidecars: dict[str, int] = {}
    most: dict[str, int] = {}
    for container in spec.get("initContainers") or ():
        own = _amounts(container, group, given)
        if container.get("restartPolicy") == "Always":
            _add(total, own)
            _add(sidecars, own)
            own = dict(sidecars)
        else:
            _add(own, sidecars)
        most = {name: max(own.get(name, 0), most.get(name, 0)) for name in own.keys() | most.keys()}
    found = {n: max(total.get(n, 0), most.get(n, 0)) for n in sorted(total.keys() | most.keys())}
    for name, amount in ((spec.get("resources") or {}).get(group) or {}).items():
        found[name] = quantity.parse(amount).nano
    for name, amount in (spec.get("overhead") or {}).items():
        if group == "requests" or name in found:
            found[name] = found.get(name, 0) + quantity.parse(amount).nano
    return found


def _amounts(container: JSON, group: str, given: Mapping[Any, JSON]) -> dict[str, int]:
    found = _parsed((container.get("resources") or {}).get(group))
    held = given.get(container.get("name"))
    if held is not None:
        for more in (held.get("allocatedResources"), (held.get("resources") or {}).get(group)):
            for name, nano in _parsed(more).items():
                found[name] = max(nano, found.get(name, 0))
    return found


def _parsed(amounts: Mapping[str, str] | None) -> dict[str, int]:
    return {name: quantity.parse(amount).nano for name, amount in (amounts or {}).items()}


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


def _claim(found: dict[str, int], claim: JSON) -> None:
    spec = claim.get("spec") or {}
    asked = _parsed((spec.get("resources") or {}).get("requests")).get("storage")
    prefix = f"{spec.get('storageClassName')}.storageclass.storage.k8s.io"
    if spec.get("storageClassName"):
        found[f"{prefix}/persistentvolumeclaims"] = NANO
    if asked is not None:
        # what an expansion has got already counts, even if less is wanted by now
        got = _parsed((claim.get("status") or {}).get("allocatedResources")).get("storage", 0)
        found["requests.storage"] = -(-max(asked, got) // NANO) * NANO
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
