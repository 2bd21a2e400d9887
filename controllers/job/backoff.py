"""How long a Job waits before it replaces failed pods (pure).

Source: kubernetes pkg/controller/job/backoff_utils.go: 10 s, doubling to 10 min.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from podwire.api.times import NS
from podwire.api.views import ContainerStatus, Pod
from podwire.controllers.common import since_epoch
from podwire.controllers.job.pods import all_failures

FIRST_S, MAX_S = 10, 600


@dataclass(frozen=True, slots=True)
class Backoff:
    """Failures since the last success, and when the last of them happened."""

    failures: int = 0
    last_ns: int = 0
    counted: tuple[str, ...] = ()
    """Uids of the pods that made this record out of ``before``."""
    before: Backoff | None = None

    def settled(self, fresh: Iterable[Pod]) -> Backoff:
        """The record to go on with: the older one when its pods turn up again, because the status
        that counted them was never written.
        """
        again = any(pod.metadata.uid in self.counted for pod in fresh)
        return self.before if again and self.before is not None else self

    def after(self, succeeded: Sequence[Pod], failed: Sequence[Pod]) -> Backoff:
        """The record once these pods have ended."""
        base = self.settled((*succeeded, *failed))
        if not succeeded and not failed:
            return base
        uids = tuple(pod.metadata.uid for pod in (*succeeded, *failed))
        plain = Backoff(base.failures, base.last_ns)
        times = [finished_ns(pod) for pod in failed]
        number = base.failures
        if succeeded:
            latest_ns = max(finished_ns(pod) for pod in succeeded)
            times = [ns for ns in times if ns > latest_ns]
            number = 0
        return Backoff(number + len(times), max(times, default=0), uids, plain)

    def remaining_s(self, now_ns: int) -> float:
        """Seconds until pods may be created."""
        return remaining_s(self.failures, self.last_ns, now_ns)


def remaining_s(failures: int, last_ns: int, now_ns: int) -> float:
    """Seconds left of the backoff after so many failures in a row."""
    if not failures:
        return 0.0
    backoff_s = min(FIRST_S << min(failures - 1, 16), MAX_S)
    return max(0.0, backoff_s - (now_ns - last_ns) / NS)


def index_remaining_s(failed: Pod | None, now_ns: int) -> float:
    """The same for one index, whose last failed pod is known."""
    if failed is None:
        return 0.0
    return remaining_s(all_failures(failed) + 1, finished_ns(failed), now_ns)


def finished_ns(pod: Pod) -> int:
    """When a pod ended: by its containers, its condition Ready, its deletion, or its creation."""
    sidecars = [c.name for c in pod.spec.init_containers if c.restart_policy == "Always"]
    statuses = [
        *pod.status.container_statuses,
        *(s for s in pod.status.init_container_statuses if s.name in sidecars),
    ]
    ends = [_ended_ns(status) for status in statuses]
    if ends and all(ends):
        return max(ends)
    ready = pod.condition("Ready")
    if ready is not None and ready.status == "False" and ready.last_transition_time:
        return since_epoch(ready.last_transition_time)
    meta = pod.metadata
    if meta.deletion_timestamp:
        return since_epoch(meta.deletion_timestamp) - (meta.deletion_grace_period_seconds or 0) * NS
    return since_epoch(meta.creation_timestamp)


def _ended_ns(status: ContainerStatus) -> int:
    terminated = status.state.get("terminated") or {}
    return since_epoch(terminated.get("finishedAt") or "")
