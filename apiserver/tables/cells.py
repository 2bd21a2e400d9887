"""Cells of nodes, namespaces, configuration, identities and events."""

from __future__ import annotations

from typing import Any

from podwire.api.views import (
    ConfigMap,
    Lease,
    Namespace,
    Node,
    Object,
    Secret,
    ServiceAccount,
)
from podwire.apiserver.tables.words import NONE, UNKNOWN, since

_ROLE = "node-role.kubernetes.io/"


def default(view: Object, now_ns: int) -> list[Any]:
    """Name, Age."""
    return [view.metadata.name, since(view.metadata.creation_timestamp, now_ns)]


def created_at(view: Object, now_ns: int) -> list[Any]:
    """Name, Created At."""
    del now_ns
    return [view.metadata.name, view.metadata.creation_timestamp]


def node(view: Node, now_ns: int) -> list[Any]:
    """Status joins readiness and SchedulingDisabled; roles come from labels."""
    status = "Ready" if view.ready else "NotReady"
    if not any(c.type == "Ready" for c in view.status.conditions):
        status = "Unknown"
    if view.spec.unschedulable:
        status += ",SchedulingDisabled"
    found = {key.removeprefix(_ROLE): None for key in view.metadata.labels if key.startswith(_ROLE)}
    if view.metadata.labels.get("kubernetes.io/role"):
        found[view.metadata.labels["kubernetes.io/role"]] = None
    info = view.status.node_info
    addresses = {a.type: a.address for a in reversed(view.status.addresses)}
    return [
        view.metadata.name,
        status,
        ",".join(sorted(role for role in found if role)) or NONE,
        since(view.metadata.creation_timestamp, now_ns),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP", NONE),
        addresses.get("ExternalIP", NONE),
        info.get("osImage") or UNKNOWN,
        info.get("kernelVersion") or UNKNOWN,
        info.get("containerRuntimeVersion") or UNKNOWN,
    ]


def namespace(view: Namespace, now_ns: int) -> list[Any]:
    """Name, Status, Age."""
    meta = view.metadata
    return [meta.name, view.status.phase, since(meta.creation_timestamp, now_ns)]


def config_map(view: ConfigMap, now_ns: int) -> list[Any]:
    """Data counts both kinds of data."""
    meta = view.metadata
    count = len(view.data) + len(view.binary_data)
    return [meta.name, count, since(meta.creation_timestamp, now_ns)]


def secret(view: Secret, now_ns: int) -> list[Any]:
    """Name, Type, Data, Age."""
    meta = view.metadata
    return [meta.name, view.type, len(view.data), since(meta.creation_timestamp, now_ns)]


def service_account(view: ServiceAccount, now_ns: int) -> list[Any]:
    """Name, Secrets, Age."""
    meta = view.metadata
    return [meta.name, len(view.secrets), since(meta.creation_timestamp, now_ns)]


def lease(view: Lease, now_ns: int) -> list[Any]:
    """Name, Holder, Age."""
    meta = view.metadata
    return [meta.name, view.spec.holder_identity, since(meta.creation_timestamp, now_ns)]


def event(body: dict[str, Any], now_ns: int) -> list[Any]:
    """The first and last time, who and what; of both APIs for events."""
    about = body.get("involvedObject") or body.get("regarding") or {}
    kind, name = about.get("kind", "").lower(), about.get("name", "")
    source = body.get("source") or body.get("deprecatedSource") or {}
    component = source.get("component") or body.get("reportingComponent", "")
    component = component or body.get("reportingController", "")
    host = source.get("host") or body.get("reportingInstance", "")
    first = body.get("firstTimestamp") or body.get("deprecatedFirstTimestamp")
    first = since(first or body.get("eventTime") or "", now_ns)
    last_seen = body.get("lastTimestamp") or body.get("deprecatedLastTimestamp")
    last = since(last_seen, now_ns) if last_seen else first
    count = body.get("count") or body.get("deprecatedCount") or 1
    series = body.get("series")
    if series:
        last = since(series.get("lastObservedTime") or "", now_ns)
        count = series.get("count", 0)
    return [
        last,
        body.get("type", ""),
        body.get("reason", ""),
        f"{kind}/{name}" if name else kind,
        about.get("fieldPath", ""),
        f"{component}, {host}" if host else component,
        (body.get("message") or body.get("note") or "").strip(),
        first,
        count,
        body["metadata"]["name"],
    ]


def pod_disruption_budget(body: dict[str, Any], now_ns: int) -> list[Any]:
    """N/A where a bound is not set."""
    spec, meta = body.get("spec", {}), body["metadata"]
    return [
        meta["name"],
        str(spec.get("minAvailable", "N/A")),
        str(spec.get("maxUnavailable", "N/A")),
        body.get("status", {}).get("disruptionsAllowed", 0),
        since(meta["creationTimestamp"], now_ns),
    ]


def role_binding(body: dict[str, Any], now_ns: int) -> list[Any]:
    """Subjects are listed by kind."""
    meta, role = body["metadata"], body.get("roleRef", {})
    subjects = body.get("subjects") or []

    def named(kind: str) -> str:
        return ", ".join(
            f"{s['namespace']}/{s['name']}" if s.get("namespace") else s["name"]
            for s in subjects
            if s.get("kind") == kind
        )

    return [
        meta["name"],
        f"{role.get('kind', '')}/{role.get('name', '')}",
        since(meta["creationTimestamp"], now_ns),
        named("User"),
        named("Group"),
        named("ServiceAccount"),
    ]
