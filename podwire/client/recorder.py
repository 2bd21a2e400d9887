"""Records v1 Events about objects, as client-go tools/record does.

``correlator`` decides which of them are written: one again, many alike, too many.
"""

from __future__ import annotations

from collections import deque

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.api.times import format_time
from podwire.api.view import JSON
from podwire.api.views import Object
from podwire.client.api import Client
from podwire.client.correlator import Correlator, Seen
from podwire.client.ctx import Ctx
from podwire.runtime.tasks import Event

TRIES, RETRY_S = 12, 10.0
"""How often, and after how many seconds, an unreachable server is asked again."""
MAX_QUEUED = 1000
"""Events waiting to be written; more are dropped."""

_BY_VIEW = {kind.view: kind for kind in kinds.ALL if kind.view is not Object}


def reference(about: Object) -> JSON:
    """The ObjectReference of an object (list items carry no kind: the view tells it)."""
    kind = _BY_VIEW.get(type(about))
    meta = about.metadata
    fields = {
        "kind": about.kind or (kind.kind if kind else ""),
        "namespace": meta.namespace,
        "name": meta.name,
        "uid": meta.uid,
        "apiVersion": about.api_version or (kind.api_version if kind else ""),
        "resourceVersion": meta.resource_version,
    }
    return {name: value for name, value in fields.items() if value}


class Recorder:
    """Writes events in the background, in the order they were recorded."""

    def __init__(
        self, ctx: Ctx, client: Client, component: str, host: str = "", *, folds: bool = True
    ) -> None:
        """``folds``: as tools/record does; tools/events (the scheduler's) only counts."""
        self._ctx = ctx
        self._client = client
        self._source = {"component": component, **({"host": host} if host else {})}
        self._log = ctx.log.bind(recorder=component)
        self._rng = ctx.rng.child(f"events {component} {host}")
        self._queue: deque[JSON] = deque()
        self._more = Event()
        self._correlator = Correlator(ctx.clock, folds=folds)
        self._last_ns = 0

    def emit(
        self, about: Object, type: str, reason: str, message: str, field_path: str = ""
    ) -> None:
        """Record an event; it is written as soon as ``run`` gets to it."""
        involved = reference(about)
        if field_path:
            involved["fieldPath"] = field_path
        self.emit_reference(involved, type, reason, message)

    def emit_reference(self, involved: JSON, type: str, reason: str, message: str) -> None:
        """Record an event about an object known only by its reference."""
        if len(self._queue) >= MAX_QUEUED:
            self._log.warning("event dropped", reason=reason, error="too many events wait")
            return
        now = format_time(self._ctx.clock.now_ns())
        self._queue.append(
            {
                "involvedObject": involved,
                "reason": reason,
                "message": message,
                "source": self._source,
                "firstTimestamp": now,
                "lastTimestamp": now,
                "type": type,
                "eventTime": None,
                "reportingComponent": self._source["component"],
                "reportingInstance": self._source.get("host", ""),
            }
        )
        self._more.set()

    async def run(self) -> None:
        """Write events until cancelled; one that cannot be written is logged and dropped."""
        while True:
            while self._queue:
                observed = self._correlator.observe(self._queue.popleft())
                if observed is not None:
                    await self._deliver(*observed)
            self._more.clear()
            await self._more.wait()

    async def _deliver(self, event: JSON, seen: Seen) -> None:
        """Write one event; an unreachable server is asked again, a refusal is final."""
        error: Exception | None = None
        for attempt in range(TRIES):
            try:
                await self._write(event, seen)
            except ConnectionError as lost:
                error = lost
                # The first wait is random, so that not all recorders come back at once.
                await self._ctx.clock.sleep(RETRY_S * (1 if attempt else self._rng.random()))
            except ApiError as refused:
                error = refused
                break
            else:
                return
        self._log.warning("event dropped", reason=event["reason"], error=str(error))

    async def _write(self, event: JSON, seen: Seen) -> None:
        namespace = event["involvedObject"].get("namespace") or "default"
        if seen.name:
            patch = {name: event[name] for name in ("lastTimestamp", "message")}
            patch["count"] = seen.count
            try:
                await self._client.patch(kinds.EVENT, seen.name, patch, namespace)
            except ApiError as error:
                if error.code != 404:
                    raise
            else:
                return
        counted = {**event, "firstTimestamp": seen.first_timestamp, "count": seen.count}
        seen.name = await self._create(counted, namespace)

    async def _create(self, event: JSON, namespace: str) -> str:
        """Create the event under ``<object>.<nanoseconds in hex>``; the name it got."""
        # Virtual time may stand still between two events: their names must differ all the same.
        ns = max(self._ctx.clock.now_ns(), self._last_ns + 1)
        while True:
            self._last_ns = ns
            name = f"{event['involvedObject'].get('name', '')}.{ns:x}"
            body = {"metadata": {"name": name, "namespace": namespace}, **event}
            try:
                await self._client.create(kinds.EVENT, body, namespace)
            except ApiError as error:
                if error.reason != "AlreadyExists":
                    raise
                ns += 1  # another recorder had the same nanosecond
            else:
                return name
