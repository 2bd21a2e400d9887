"""The time of the change that an endpoints write reflects (pure).

Source: kubernetes staging endpointslice/trigger_time_tracker.go: the earliest of the changes since
the last pass, or nothing when no pod and no Service changed.
"""

from __future__ import annotations

from collections.abc import Sequence

from podwire.api.times import format_time
from podwire.api.views import Pod, Service
from podwire.controllers.common import since_epoch


class TriggerTimes:
    """The times seen at the last pass, per Service key."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, dict[str, int]]] = {}

    def compute(self, service: Service, pods: Sequence[Pod]) -> str:
        """The trigger time of this pass, "" when nothing new happened."""
        now = (
            since_epoch(service.metadata.creation_timestamp),
            {pod.key: _pod_time(pod) for pod in pods},
        )
        before = self._seen.get(service.key)
        self._seen[service.key] = now
        service_ns, pod_times = before if before is not None else (0, {})
        changes = [ns for key, ns in now[1].items() if ns > pod_times.get(key, 0)]
        if now[0] > service_ns:
            changes.append(now[0])
        changes = [ns for ns in changes if ns]
        return format_time(min(changes)) if changes else ""

    def forget(self, key: str) -> None:
        """The Service is gone."""
        self._seen.pop(key, None)


def _pod_time(pod: Pod) -> int:
    ready = pod.condition("Ready")
    return since_epoch(ready.last_transition_time) if ready is not None else 0
