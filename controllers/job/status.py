"""A Job's status while a pass works on it, and the patches that write it (pure)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from podwire.api import kinds
from podwire.api.times import format_time
from podwire.api.view import JSON
from podwire.api.views import Job
from podwire.client.effects import Patch
from podwire.controllers.common import conditions_json

_ALWAYS = ("ready", "terminating", "failedIndexes", "uncountedTerminatedPods")
"""Pointers in Go: written when they are zero too."""


@dataclass(slots=True)
class Counters:
    """status of one Job."""

    start_time: str
    completion_time: str
    active: int
    ready: int | None
    terminating: int | None
    succeeded: int
    failed: int
    completed_indexes: str
    failed_indexes: str | None
    uncounted_succeeded: list[str]
    uncounted_failed: list[str]
    conditions: list[JSON]
    tracked: bool = True
    written: JSON = field(default_factory=dict)
    """What the server has, or will have once the patches so far are done."""

    @classmethod
    def of(cls, job: Job) -> Counters:
        """As the server has it."""
        status = job.status
        uncounted = status.uncounted_terminated_pods
        made = cls(
            status.start_time,
            status.completion_time,
            status.active,
            status.ready,
            status.terminating,
            status.succeeded,
            status.failed,
            status.completed_indexes,
            status.failed_indexes,
            list(uncounted.succeeded) if uncounted else [],
            list(uncounted.failed) if uncounted else [],
            conditions_json(status.conditions),
            tracked=uncounted is not None,
        )
        made.written = made.json()
        made.tracked = True
        return made

    @property
    def uncounted(self) -> int:
        """How many finished pods are not in the counters."""
        return len(self.uncounted_succeeded) + len(self.uncounted_failed)

    def json(self) -> JSON:
        """The status with None for what is absent."""
        fields: dict[str, Any] = {
            "startTime": self.start_time,
            "completionTime": self.completion_time,
            "active": self.active,
            "ready": self.ready,
            "terminating": self.terminating,
            "succeeded": self.succeeded,
            "failed": self.failed,
            "completedIndexes": self.completed_indexes,
            "failedIndexes": self.failed_indexes,
            "uncountedTerminatedPods": self._uncounted_json() if self.tracked else None,
            "conditions": [dict(condition) for condition in self.conditions],
        }
        return {k: v if v or (k in _ALWAYS and v is not None) else None for k, v in fields.items()}

    def _uncounted_json(self) -> JSON:
        return {
            "succeeded": list(self.uncounted_succeeded) or None,
            "failed": list(self.uncounted_failed) or None,
        }

    def patch(self, job: Job) -> list[Patch]:
        """What has to be written by now."""
        wanted = self.json()
        changed = {name: value for name, value in wanted.items() if self.written[name] != value}
        if not changed:
            return []
        self.written = wanted
        meta = job.metadata
        body = {"metadata": {"uid": meta.uid}, "status": changed}
        return [Patch(kinds.JOB, meta.name, body, meta.namespace, "status", missing_ok=True)]

    # -------------------------------------------------------- conditions

    def put(self, type: str, status: str, reason: str, message: str, now_ns: int) -> bool:
        """Put a condition; whether anything changed. Nothing is never made False."""
        for i, old in enumerate(self.conditions):
            if old["type"] == type:
                same = (old["status"], old.get("reason"), old.get("message"))
                if same == (status, reason, message):
                    return False
                self.conditions[i] = _condition(type, status, reason, message, now_ns)
                return True
        if status == "False":
            return False
        self.conditions.append(_condition(type, status, reason, message, now_ns))
        return True

    def count(self, tracked: dict[str, None]) -> None:
        """Move uncounted pods that are no longer tracked into the counters."""
        left = [uid for uid in self.uncounted_succeeded if uid in tracked]
        self.succeeded += len(self.uncounted_succeeded) - len(left)
        self.uncounted_succeeded = left
        left = [uid for uid in self.uncounted_failed if uid in tracked]
        self.failed += len(self.uncounted_failed) - len(left)
        self.uncounted_failed = left


def _condition(type: str, status: str, reason: str, message: str, now_ns: int) -> JSON:
    now = format_time(now_ns)
    return {
        "type": type,
        "status": status,
        "lastProbeTime": now,
        "lastTransitionTime": now,
        "reason": reason,
        "message": message,
    }
