"""Cells of the kinds that make pods, and of ControllerRevisions."""

from __future__ import annotations

from typing import Any

from podwire.api.times import parse_time
from podwire.api.views import ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet
from podwire.apiserver.tables.words import (
    NONE,
    UNSET,
    age,
    containers,
    human_duration,
    json_selector,
    labels,
    selector,
    since,
)


def deployment(view: Deployment, now_ns: int) -> list[Any]:
    """Ready of desired, updated, available."""
    status = view.status
    return [
        view.metadata.name,
        f"{status.ready_replicas}/{view.spec.replicas}",
        status.updated_replicas,
        status.available_replicas,
        since(view.metadata.creation_timestamp, now_ns),
        *containers(view.spec.template.spec),
        selector(view.spec.selector),
    ]


def replica_set(view: ReplicaSet, now_ns: int) -> list[Any]:
    """Desired, current, ready."""
    return [
        view.metadata.name,
        view.spec.replicas,
        view.status.replicas,
        view.status.ready_replicas,
        since(view.metadata.creation_timestamp, now_ns),
        *containers(view.spec.template.spec),
        selector(view.spec.selector),
    ]


def stateful_set(view: StatefulSet, now_ns: int) -> list[Any]:
    """Ready of desired."""
    return [
        view.metadata.name,
        f"{view.status.ready_replicas}/{view.spec.replicas}",
        since(view.metadata.creation_timestamp, now_ns),
        *containers(view.spec.template.spec),
    ]


def daemon_set(view: DaemonSet, now_ns: int) -> list[Any]:
    """Desired, current, ready, up-to-date, available."""
    status = view.status
    return [
        view.metadata.name,
        status.desired_number_scheduled,
        status.current_number_scheduled,
        status.number_ready,
        status.updated_number_scheduled,
        status.number_available,
        labels(view.spec.template.spec.get("nodeSelector") or {}),
        since(view.metadata.creation_timestamp, now_ns),
        *containers(view.spec.template.spec),
        selector(view.spec.selector),
    ]


def controller_revision(view: ControllerRevision, now_ns: int) -> list[Any]:
    """The controller is printed as resource/name."""
    owner = view.metadata.controller()
    named = NONE
    if owner is not None:
        group = owner.api_version.partition("/")[0]
        named = f"{owner.kind.lower()}.{group}/{owner.name}"
    old = since(view.metadata.creation_timestamp, now_ns)
    return [view.metadata.name, named, view.revision, old]


def job(body: dict[str, Any], now_ns: int) -> list[Any]:
    """Its state, completions and duration."""
    spec, status, meta = body.get("spec", {}), body.get("status", {}), body["metadata"]
    return [
        meta["name"],
        _job_state(body),
        _completions(spec, status.get("succeeded", 0)),
        _duration(status, now_ns),
        age(body, now_ns),
        *containers(spec.get("template", {}).get("spec", {})),
        json_selector(spec.get("selector")),
    ]


def _job_state(body: dict[str, Any]) -> str:
    conditions = body.get("status", {}).get("conditions") or []
    true = [c.get("type") for c in conditions if c.get("status") == "True"]
    for state in ("Complete", "Failed"):
        if state in true:
            return state
    if body["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return next((state for state in ("Suspended", "FailureTarget") if state in true), "Running")


def _completions(spec: dict[str, Any], succeeded: int) -> str:
    if "completions" in spec:
        return f"{succeeded}/{spec['completions']}"
    parallel = spec.get("parallelism", 0)
    return f"{succeeded}/1 of {parallel}" if parallel > 1 else f"{succeeded}/1"


def _duration(status: dict[str, Any], now_ns: int) -> str:
    start, end = status.get("startTime"), status.get("completionTime")
    if not start:
        return ""
    end_ns = parse_time(end) if end else now_ns
    return human_duration((end_ns - parse_time(start)) // 10**9)


def cron_job(body: dict[str, Any], now_ns: int) -> list[Any]:
    """The schedule, and when it last came about."""
    spec, status = body.get("spec", {}), body.get("status", {})
    last = status.get("lastScheduleTime")
    suspend = spec.get("suspend")
    template = spec.get("jobTemplate", {}).get("spec", {})
    return [
        body["metadata"]["name"],
        spec.get("schedule", ""),
        spec.get("timeZone", NONE),
        UNSET if suspend is None else str(suspend),
        len(status.get("active") or []),
        since(last, now_ns) if last else NONE,
        age(body, now_ns),
        *containers(template.get("template", {}).get("spec", {})),
        json_selector(template.get("selector")),
    ]


def replication_controller(body: dict[str, Any], now_ns: int) -> list[Any]:
    """Desired, current, ready."""
    spec, status = body.get("spec", {}), body.get("status", {})
    return [
        body["metadata"]["name"],
        spec.get("replicas", 0),
        status.get("replicas", 0),
        status.get("readyReplicas", 0),
        age(body, now_ns),
        *containers((spec.get("template") or {}).get("spec", {})),
        labels(spec.get("selector") or {}),
    ]


def pod_template(body: dict[str, Any], _now_ns: int) -> list[Any]:
    """Containers, images and labels."""
    template = body.get("template", {})
    shown = labels(template.get("metadata", {}).get("labels") or {})
    return [body["metadata"]["name"], *containers(template.get("spec", {})), shown]
