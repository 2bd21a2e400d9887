"""Cells of a Pod: the STATUS column is a story of its own.

Source: kubernetes pkg/printers/internalversion/printers.go, printPod.
"""

from __future__ import annotations

from typing import Any

from podwire.api.views import ContainerStatus, Pod
from podwire.apiserver.tables.words import NONE, since


def pod(view: Pod, now_ns: int) -> list[Any]:
    """Ready counts, the reason, restarts with the last one's age."""
    ready = sum(1 for c in view.status.container_statuses if c.ready and "running" in c.state)
    status = view.status
    return [
        view.metadata.name,
        f"{ready}/{len(view.spec.containers)}",
        reason(view),
        _restarts(view, now_ns),
        since(view.metadata.creation_timestamp, now_ns),
        status.pod_ip or NONE,
        view.spec.node_name or NONE,
        NONE,
        NONE,
    ]


def reason(view: Pod) -> str:
    """What STATUS prints."""
    status = view.status
    text = status.reason or status.phase
    scheduled = view.condition("PodScheduled")
    if scheduled is not None and scheduled.reason == "SchedulingGated":
        text = "SchedulingGated"
    waiting = _initializing(view)
    if waiting:
        text = waiting
    else:
        text, running = _containers(status.container_statuses, text)
        if text == "Completed" and running:
            text = "Running" if view.ready else "NotReady"
    if view.metadata.deletion_timestamp:
        if status.reason == "NodeLost":
            return "Unknown"
        if status.phase not in {"Succeeded", "Failed"}:
            return "Terminating"
    return text


def _initializing(view: Pod) -> str:
    """``Init:...`` while an init container holds the pod up, else ''."""
    total = len(view.spec.init_containers)
    sidecars = {c.name: None for c in view.spec.init_containers if c.restart_policy == "Always"}
    for i, status in enumerate(view.status.init_container_statuses):
        terminated = status.state.get("terminated")
        waiting = status.state.get("waiting")
        if terminated is not None and terminated.get("exitCode", 0) == 0:
            continue
        if status.name in sidecars and status.started:
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


def _restarts(view: Pod, now_ns: int) -> str:
    statuses = [*view.status.container_statuses]
    count = sum(status.restart_count for status in statuses)
    finished = max(
        (str(s.last_state.get("terminated", {}).get("finishedAt") or "") for s in statuses),
        default="",
    )
    return f"{count} ({since(finished, now_ns)} ago)" if count and finished else str(count)
