"""Cells of a Pod: the STATUS column is a story of its own.

Source: kubernetes pkg/printers/internalversion/printers.go, printPod.
"""

from __future__ import annotations

from typing import Any

from podwire.api.views import ContainerStatus, Pod
from podwire.apiserver.tables.words import NONE, since


def pod(view: Pod, now_ns: int) -> list[Any]:
    """Ready counts, the reason, restarts with the last one's age."""
    status = view.status
    sidecars = {c.name: None for c in view.spec.init_containers if c.restart_policy == "Always"}
    waiting = _initializing(view, sidecars)
    started = not waiting or _initialized(view)
    ready = sum(1 for s in status.init_container_statuses if _up(s, sidecars) and s.ready)
    if started:
        ready += sum(1 for c in status.container_statuses if c.ready and "running" in c.state)
    return [
        view.metadata.name,
        f"{ready}/{len(view.spec.containers) + len(sidecars)}",
        _reason(view, waiting, started=started),
        _restarts(view, sidecars, now_ns, started=started),
        since(view.metadata.creation_timestamp, now_ns),
        (status.pod_ips[0].ip if status.pod_ips else status.pod_ip) or NONE,
        view.spec.node_name or NONE,
        status.nominated_node_name or NONE,
        _gates(view),
    ]


def conditions(view: Pod) -> list[dict[str, str]]:
    """A row of a pod that has ended says so: kubectl hides or greys it."""
    message = _ENDED.get(view.status.phase)
    if message is None:
        return []
    phase = view.status.phase
    return [{"type": "Completed", "status": "True", "reason": phase, "message": message}]


_ENDED = {"Succeeded": "The pod has completed successfully.", "Failed": "The pod failed."}


def _gates(view: Pod) -> str:
    gates = view.spec.readiness_gates
    if not gates:
        return NONE
    true = [c.type for c in view.status.conditions if c.status == "True"]
    return f"{sum(1 for gate in gates if gate.get('conditionType') in true)}/{len(gates)}"


def _initialized(view: Pod) -> bool:
    condition = view.condition("Initialized")
    return condition is not None and condition.status == "True"


def _up(status: ContainerStatus, sidecars: dict[str, None]) -> bool:
    return status.name in sidecars and bool(status.started)


def reason(view: Pod) -> str:
    """What STATUS prints."""
    sidecars = {c.name: None for c in view.spec.init_containers if c.restart_policy == "Always"}
    waiting = _initializing(view, sidecars)
    return _reason(view, waiting, started=not waiting or _initialized(view))


def _reason(view: Pod, waiting: str, *, started: bool) -> str:
    status = view.status
    text = status.reason or status.phase
    scheduled = view.condition("PodScheduled")
    if scheduled is not None and scheduled.reason == "SchedulingGated":
        text = "SchedulingGated"
    text = waiting or text
    if started:
        text, running = _containers(status.container_statuses, text)
        if text == "Completed" and running:
            text = "Running" if view.ready else "NotReady"
    if view.metadata.deletion_timestamp:
        if status.reason == "NodeLost":
            return "Unknown"
        if status.phase not in {"Succeeded", "Failed"}:
            return "Terminating"
    return text


def _initializing(view: Pod, sidecars: dict[str, None]) -> str:
    """``Init:...`` while an init container holds the pod up, else ''."""
    total = len(view.spec.init_containers)
    for i, status in enumerate(view.status.init_container_statuses):
        terminated = status.state.get("terminated")
        waiting = status.state.get("waiting")
        if terminated is not None and terminated.get("exitCode", 0) == 0:
            continue
        if _up(status, sidecars):
            continue
        if terminated is not None:
            return f"Init:{_ended(terminated)}"
        if waiting is not None and waiting.get("reason") not in {None, "", "PodInitializing"}:
            return f"Init:{waiting['reason']}"
        return f"Init:{i}/{total}"
    return ""


def _containers(statuses: list[ContainerStatus], text: str) -> tuple[str, bool]:
    """The first container's trouble wins; and whether any container runs and is ready."""
    running = False
    for status in reversed(statuses):
        waiting, terminated = status.state.get("waiting"), status.state.get("terminated")
        if waiting is not None and waiting.get("reason"):
            text = str(waiting["reason"])
        elif terminated is not None:
            text = _ended(terminated)
        elif status.ready and "running" in status.state:
            running = True
    return text, running


def _ended(terminated: dict[str, Any]) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _restarts(view: Pod, sidecars: dict[str, None], now_ns: int, *, started: bool) -> str:
    """Of init containers while they run, then of sidecars and containers."""
    first = view.status.init_container_statuses
    if started:
        first = [status for status in first if status.name in sidecars]
    statuses = [*first, *(view.status.container_statuses if started else ())]
    count = sum(status.restart_count for status in statuses)
    finished = max(
        (str(s.last_state.get("terminated", {}).get("finishedAt") or "") for s in statuses),
        default="",
    )
    return f"{count} ({since(finished, now_ns)} ago)" if count and finished else str(count)
