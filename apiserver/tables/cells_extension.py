"""Cells of webhooks, policies, fairness, scaling, certificates, devices and small kinds."""

from __future__ import annotations

from typing import Any

from podwire.api import selectors
from podwire.api.status import ApiError
from podwire.apiserver.tables.words import NONE, UNKNOWN, UNSET, age, human_duration

JSON = dict[str, Any]


def webhooks(body: JSON, now_ns: int) -> list[Any]:
    """How many webhooks a configuration has."""
    return [body["metadata"]["name"], len(body.get("webhooks") or []), age(body, now_ns)]


def admission_policy(body: JSON, now_ns: int) -> list[Any]:
    """Validations (or mutations), and the kind of its parameters."""
    spec = body.get("spec", {})
    kind = spec.get("paramKind")
    shown = f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}" if kind else UNSET
    count = len(spec.get("validations") or spec.get("mutations") or [])
    return [body["metadata"]["name"], count, shown, age(body, now_ns)]


def policy_binding(body: JSON, now_ns: int) -> list[Any]:
    """The policy, and the object its parameters come from."""
    spec = body.get("spec", {})
    reference, shown = spec.get("paramRef"), UNSET
    if reference and reference.get("name"):
        shown = f"{reference.get('namespace') or '*'}/{reference['name']}"
    elif reference and reference.get("selector") is not None:
        shown = _selector(reference["selector"])
    return [body["metadata"]["name"], spec.get("policyName", ""), shown, age(body, now_ns)]


def _selector(selector: JSON) -> str:
    try:
        return str(selectors.from_json(selector))
    except ApiError:
        return "<invalid>"


def flow_schema(body: JSON, now_ns: int) -> list[Any]:
    """Where requests go, in which order they are matched."""
    spec = body.get("spec", {})
    conditions = body.get("status", {}).get("conditions") or []
    dangling = next((c.get("status", "") for c in conditions if c.get("type") == "Dangling"), "?")
    return [
        body["metadata"]["name"],
        spec.get("priorityLevelConfiguration", {}).get("name", ""),
        spec.get("matchingPrecedence", 0),
        (spec.get("distinguisherMethod") or {}).get("type", NONE),
        age(body, now_ns),
        dangling,
    ]


def priority_level(body: JSON, now_ns: int) -> list[Any]:
    """Shares and queues."""
    spec = body.get("spec", {})
    limited = spec.get("limited")
    queuing = ((limited or {}).get("limitResponse") or {}).get("queuing")
    shares = limited.get("nominalConcurrencyShares", 0) if limited is not None else NONE
    queues = [
        NONE if queuing is None else queuing.get(name, 0)
        for name in ("queues", "handSize", "queueLengthLimit")
    ]
    return [body["metadata"]["name"], spec.get("type", ""), shares, *queues, age(body, now_ns)]


def autoscaler(body: JSON, now_ns: int) -> list[Any]:
    """What is scaled, by what, between which bounds (v2)."""
    spec, status = body.get("spec", {}), body.get("status", {})
    target, least = spec.get("scaleTargetRef", {}), spec.get("minReplicas")
    return [
        body["metadata"]["name"],
        f"{target.get('kind', '')}/{target.get('name', '')}",
        _metrics(spec.get("metrics") or [], status.get("currentMetrics") or []),
        UNSET if least is None else str(least),
        spec.get("maxReplicas", 0),
        status.get("currentReplicas", 0),
        age(body, now_ns),
    ]


def autoscaler_v1(body: JSON, now_ns: int) -> list[Any]:
    """The same of v1, which knows CPU only."""
    spec, status = body.get("spec", {}), body.get("status", {})
    wanted = spec.get("targetCPUUtilizationPercentage")
    current = status.get("currentCPUUtilizationPercentage")
    shown = [] if wanted is None else [_cpu(wanted)]
    known = [] if current is None else [{"resource": {"current": {"averageUtilization": current}}}]
    as_v2 = {**spec, "metrics": shown}
    return autoscaler(
        {**body, "spec": as_v2, "status": {**status, "currentMetrics": known}}, now_ns
    )


def scale(body: JSON, now_ns: int) -> list[Any]:
    """Replicas that are wanted, and that are there."""
    wanted, there = body["spec"].get("replicas", 0), body["status"].get("replicas", 0)
    return [body["metadata"]["name"], wanted, there, age(body, now_ns)]


def _cpu(percent: int) -> JSON:
    target = {"type": "Utilization", "averageUtilization": percent}
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


def _metrics(metrics: list[JSON], statuses: list[JSON]) -> str:
    """``cpu: 20%/80%``; two are shown."""
    shown = [
        _metric(metric, statuses[i] if i < len(statuses) else {})
        for i, metric in enumerate(metrics)
    ]
    more = len(shown) - 2
    text = ", ".join(shown[:2])
    return (f"{text} + {more} more..." if more > 0 else text) or NONE


def _metric(metric: JSON, status: JSON) -> str:
    kind = metric.get("type", "")
    field = f"{kind[:1].lower()}{kind[1:]}"
    source = metric.get(field)
    if source is None:
        return "<unknown type>"
    target = source.get("target", {})
    current = (status.get(field) or {}).get("current") or {}
    average = target.get("averageValue")
    if kind in {"Resource", "ContainerResource"}:
        name = source.get("name", "")
        if average is not None:
            return f"{name}: {current.get('averageValue', UNKNOWN)}/{average}"
        now, wanted = current.get("averageUtilization"), target.get("averageUtilization")
        shown = UNKNOWN if now is None else f"{now}%"
        return f"{name}: {shown}/{'<auto>' if wanted is None else f'{wanted}%'}"
    if kind == "Pods":
        return f"{current.get('averageValue', UNKNOWN)}/{average}"
    if average is not None:
        return f"{current.get('averageValue', UNKNOWN)}/{average} (avg)"
    return f"{current.get('value', UNKNOWN)}/{target.get('value')}"


def certificate_request(body: JSON, now_ns: int) -> list[Any]:
    """Who asked whom, and what became of it."""
    spec, status = body.get("spec", {}), body.get("status", {})
    kinds = [c.get("type") for c in status.get("conditions") or ()]
    condition = "Denied" if "Denied" in kinds else "Approved" if "Approved" in kinds else "Pending"
    condition += ",Failed" if "Failed" in kinds else ""
    condition += ",Issued" if status.get("certificate") else ""
    seconds = spec.get("expirationSeconds")
    return [
        body["metadata"]["name"],
        age(body, now_ns),
        spec.get("signerName") or NONE,
        spec.get("username", ""),
        NONE if seconds is None else human_duration(seconds),
        condition,
    ]


def trust_bundle(body: JSON, _now_ns: int) -> list[Any]:
    """Name, SignerName."""
    return [body["metadata"]["name"], body.get("spec", {}).get("signerName") or NONE]


def resource_quota(body: JSON, now_ns: int) -> list[Any]:
    """``pods: 1/10``: limits apart from requests."""
    status = body.get("status", {})
    hard, used = status.get("hard") or {}, status.get("used") or {}
    shown = {name: f"{name}: {used.get(name, '0')}/{hard[name]}" for name in sorted(hard)}
    requests = ", ".join(text for name, text in shown.items() if not name.startswith("limits."))
    limits = ", ".join(text for name, text in shown.items() if name.startswith("limits."))
    return [body["metadata"]["name"], requests, limits, age(body, now_ns)]


def priority_class(body: JSON, now_ns: int) -> list[Any]:
    """Value, whether it is everybody's, and whether it preempts."""
    return [
        body["metadata"]["name"],
        body.get("value", 0),
        body.get("globalDefault", False),
        age(body, now_ns),
        body.get("preemptionPolicy", ""),
    ]


def runtime_class(body: JSON, now_ns: int) -> list[Any]:
    """Name, Handler, Age."""
    return [body["metadata"]["name"], body.get("handler", ""), age(body, now_ns)]


def component_status(body: JSON, _now_ns: int) -> list[Any]:
    """Whether a component says it is well."""
    healthy = next((c for c in body.get("conditions") or () if c.get("type") == "Healthy"), None)
    if healthy is None:
        return [body["metadata"]["name"], "Unknown", "", ""]
    state = "Healthy" if healthy.get("status") == "True" else "Unhealthy"
    message, error = healthy.get("message", ""), healthy.get("error", "")
    return [body["metadata"]["name"], state, message, error]


def api_service(body: JSON, now_ns: int) -> list[Any]:
    """Who serves a group version, and whether it can be reached (kube-aggregator's printer)."""
    service = (body.get("spec") or {}).get("service")
    served_by = f"{service.get('namespace')}/{service.get('name')}" if service else "Local"
    conditions = (body.get("status") or {}).get("conditions") or ()
    found: JSON = next((c for c in conditions if c.get("type") == "Available"), {})
    state = found.get("status") or "Unknown"
    if state != "True" and found.get("reason"):
        state = f"{state} ({found['reason']})"
    return [body["metadata"]["name"], served_by, state, age(body, now_ns)]


def resource_claim(body: JSON, now_ns: int) -> list[Any]:
    """pending, or allocated and perhaps reserved."""
    dying, status = bool(body["metadata"].get("deletionTimestamp")), body.get("status", {})
    states = ["deleted"] if dying else []
    if status.get("allocation") is None:
        states += [] if dying else ["pending"]
    else:
        states.append("allocated")
        if status.get("reservedFor"):
            states.append("reserved")
    return [body["metadata"]["name"], ",".join(states), age(body, now_ns)]


def resource_slice(body: JSON, now_ns: int) -> list[Any]:
    """Whose devices are where."""
    spec = body.get("spec", {})
    return [
        body["metadata"]["name"],
        spec.get("nodeName", UNSET),
        spec.get("driver", ""),
        (spec.get("pool") or {}).get("name", ""),
        age(body, now_ns),
    ]


def storage_migration(body: JSON, _now_ns: int) -> list[Any]:
    """The resource to migrate, qualified."""
    resource = body.get("spec", {}).get("resource") or {}
    parts = (resource.get("resource", ""), resource.get("version", ""), resource.get("group", ""))
    return [body["metadata"]["name"], ".".join(part for part in parts if part)]
