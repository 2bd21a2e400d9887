"""Writes pod statuses: the newest wins, one request per pod in flight, only what changed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from structlog.typing import FilteringBoundLogger

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.api.view import JSON
from podwire.api.views import Pod
from podwire.client.api import STRATEGIC, Client
from podwire.kubelet.podstatus import changes, stored
from podwire.runtime.ports import Clock
from podwire.runtime.tasks import Nursery

RETRY_FIRST_S = 0.5
RETRY_MAX_S = 10.0
"""Upstream's status sync period."""


@dataclass(slots=True)
class _Entry:
    namespace: str
    name: str
    uid: str
    wanted: JSON = field(default_factory=dict)
    sent: JSON = field(default_factory=dict)
    revision: int = 0
    """Of the object that the last write left."""
    delete: bool = False
    task: asyncio.Task[None] | None = None
    """What writes it, while it does."""
    target: str = ""
    """The uid of the API object: the pod's own, its mirror's, or "" while there is none."""


class StatusManager:
    """The one writer of the statuses of a node's pods."""

    def __init__(
        self, client: Client, clock: Clock, nursery: Nursery, log: FilteringBoundLogger
    ) -> None:
        self._client = client
        self._clock = clock
        self._nursery = nursery
        self._log = log
        self._entries: dict[str, _Entry] = {}

    def set(self, pod: Pod, status: JSON) -> None:
        """Want this status; calls within one turn of the loop become one request."""
        entry = self._entry(pod)
        entry.wanted = status
        self._kick(entry)

    def redirect(self, pod: Pod, mirror: Pod | None) -> None:
        """A static pod's status goes to its mirror; nowhere while there is none."""
        entry = self._entry(pod)
        target = mirror.metadata.uid if mirror is not None else ""
        if entry.target == target:
            return
        entry.target = target
        entry.sent = stored(mirror, mirror=True) if mirror is not None else {}
        if not entry.wanted:
            entry.wanted = entry.sent
        self._kick(entry)

    def observe(self, pod: Pod, uid: str = "") -> None:
        """The object as the API shows it: what somebody else changed of our conditions is ours.

        ``uid`` is that of the static pod whose mirror it is. Upstream: status_manager.go
        needsReconcile (the node controller marks pods of a node that it takes for dead; a kubelet
        that lives says otherwise).
        """
        entry = self._entries.get(uid or pod.metadata.uid)
        if entry is None or entry.task or int(pod.metadata.resource_version) <= entry.revision:
            return
        shown = {c.type: c.status for c in pod.status.conditions}
        ours = entry.sent.get("conditions", ())
        wrong = [c["type"] for c in ours if shown.get(c["type"], c["status"]) != c["status"]]
        if wrong:
            kept = [c for c in ours if c["type"] not in wrong]
            entry.sent = {**entry.sent, "conditions": kept}
            self._kick(entry)

    def delete(self, pod: Pod) -> None:
        """Want the pod object gone, after its last status was written."""
        entry = self._entry(pod)
        entry.delete = True
        self._kick(entry)

    def forget(self, pod: Pod) -> None:
        """The object is gone: nothing is left to write."""
        self._entries.pop(pod.metadata.uid, None)

    def _entry(self, pod: Pod) -> _Entry:
        meta = pod.metadata
        entry = self._entries.get(meta.uid)
        if entry is None:
            entry = _Entry(meta.namespace, meta.name, meta.uid, target=meta.uid)
            # Until the first write only what an earlier kubelet left matters: it would be merged.
            entry.wanted = entry.sent = stored(pod)
            self._entries[meta.uid] = entry
        return entry

    def _kick(self, entry: _Entry) -> None:
        if entry.task is None:
            name = f"status {entry.namespace}/{entry.name}"
            entry.task = self._nursery.start(self._sync(entry), name=name)

    async def flush(self) -> None:
        """Wait until everything that is wanted now was written."""
        for entry in list(self._entries.values()):
            if entry.task is not None:
                await asyncio.shield(entry.task)

    async def _sync(self, entry: _Entry) -> None:
        delay_s = RETRY_FIRST_S
        try:
            while self._entries.get(entry.uid) is entry:
                try:
                    if not await self._step(entry):
                        return
                    delay_s = RETRY_FIRST_S
                except (ApiError, ConnectionError) as error:
                    if isinstance(error, ApiError) and is_gone(error):
                        if entry.target == entry.uid or entry.delete:
                            self.forget_uid(entry.uid)
                        entry.target = ""
                        return
                    self._log.warning("pod status not written", pod=entry.name, error=str(error))
                    await self._clock.sleep(delay_s)
                    delay_s = min(2 * delay_s, RETRY_MAX_S)
        finally:
            entry.task = None

    def forget_uid(self, uid: str) -> None:
        """As ``forget``, by uid."""
        self._entries.pop(uid, None)

    async def _step(self, entry: _Entry) -> bool:
        """One request; False when nothing is left to do."""
        if not entry.target:
            if entry.delete:
                self.forget_uid(entry.uid)
            return False
        if entry.wanted is not entry.sent:
            wanted, target = entry.wanted, entry.target
            patch = changes(entry.sent, wanted)
            if patch:
                written = await self._client.patch(
                    kinds.POD,
                    entry.name,
                    {"metadata": {"uid": target}, "status": patch},
                    entry.namespace,
                    subresource="status",
                    content_type=STRATEGIC,
                )
                entry.revision = int(written.metadata.resource_version)
            if entry.target == target:  # else a new mirror knows nothing of it
                entry.sent = wanted
            return True
        if entry.delete:
            await self._client.delete(
                kinds.POD, entry.name, entry.namespace, uid=entry.target, grace_period_seconds=0
            )
            self.forget_uid(entry.uid)
        return False


def is_gone(error: ApiError) -> bool:
    """Whether the pod of our uid no longer exists (a namesake may have taken its place)."""
    return error.code == 404 or (error.code == 409 and "UID in precondition" in error.message)
