"""Keeps a local picture of one collection true: initial state, then every event, forever.

Behaviour of client-go tools/cache/reflector.go: WatchList first (the state arrives as events up to
a bookmark), LIST and WATCH when the server refuses that; a lost stream resumes at the last seen
resourceVersion; 410 Gone starts over.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import Generic, Protocol, TypeVar

import msgspec

from podwire.api.kinds import Kind
from podwire.api.status import ApiError
from podwire.api.views import Object
from podwire.client.api import Client, WatchEvent
from podwire.client.ctx import Ctx
from podwire.runtime.tasks import first

O = TypeVar("O", bound=Object)  # noqa: E741  reads as "object" beside Kind[O]

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
BACKOFF_FIRST_S = 0.8
BACKOFF_MAX_S = 30.0
BACKOFF_RESET_S = 120.0


class Sink(Protocol[O]):
    """Who is told what the reflector sees."""

    def replace(self, items: list[O], resource_version: str) -> None:
        """The whole state at a revision (first, and again after a relist)."""

    def apply(self, event_type: str, item: O) -> None:
        """One ADDED, MODIFIED or DELETED event."""

    def progress(self, resource_version: str) -> None:
        """Nothing else happened up to this revision (a bookmark)."""


class Backoff:
    """Delays 0.8 s .. 30 s, doubling, with jitter up to 100 %; starts over after 2 calm minutes."""

    def __init__(self, ctx: Ctx, name: str) -> None:
        self._clock = ctx.clock
        self._rng = ctx.rng.child(f"backoff {name}")
        self._delay_s = BACKOFF_FIRST_S
        self._last_ns = ctx.clock.monotonic_ns()

    async def wait(self) -> None:
        """Sleep the next delay."""
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._last_ns > BACKOFF_RESET_S * 1e9:
            self._delay_s = BACKOFF_FIRST_S
        self._last_ns = now_ns
        delay_s = self._delay_s
        self._delay_s = min(delay_s * 2, BACKOFF_MAX_S)
        await self._clock.sleep(delay_s * (1 + self._rng.random()))


class Reflector(Generic[O]):
    """Feeds a Sink from list and watch until cancelled."""

    def __init__(
        self,
        client: Client,
        ctx: Ctx,
        kind: Kind[O],
        sink: Sink[O],
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> None:
        self._client = client
        self._kind = kind
        self._sink = sink
        self._namespace = namespace
        self._labels = label_selector
        self._fields = field_selector
        self._log = ctx.log.bind(reflector=kind.resource)
        self._backoff = Backoff(ctx, f"{kind.resource} {namespace} {label_selector}")
        self._version = ""
        self._watch_list = True
        self._heard = 0

    async def run(self) -> None:
        """List and watch until cancelled; every failure is logged, waited out and retried."""
        while True:
            heard = self._heard
            try:
                if self._version:
                    await self._watch()
                elif self._watch_list:
                    await self._watch_from_initial_events()
                else:
                    await self._list()
                    continue
            except ConnectionError as error:
                self._log.info("watch lost", error=str(error), resource_version=self._version)
            except ApiError as error:
                if self._recover(error):
                    continue
            except msgspec.DecodeError as error:
                # An object that the view cannot hold is the server's or the view's bug.
                self._log.error("object not understood, retrying", error=str(error))
            else:
                if self._heard > heard:
                    continue  # a served stream that ended: resume at once
            # A server that was away is asked again as soon as it is back.
            await first(self._backoff.wait(), self._client.api.restored())

    def _recover(self, error: ApiError) -> bool:
        """Decide where to go on after a refusal; whether that needs no waiting."""
        if error.code == 410 and self._version:
            self._log.info("watch expired, listing again", resource_version=self._version)
            self._version = ""
            return True
        if error.code == 504 and self._version:
            # "Too large resource version": the server lost its history (a restart in memory).
            self._log.info("revision unknown to the server, listing again")
            self._version = ""
            return False
        if error.code == 422 and not self._version and self._watch_list:
            self._log.info("server refuses sendInitialEvents, using list and watch")
            self._watch_list = False
            return True
        self._log.warning("list or watch refused", code=error.code, error=error.message)
        return False

    async def _list(self) -> None:
        listed = await self._client.list(
            self._kind,
            self._namespace,
            label_selector=self._labels,
            field_selector=self._fields,
        )
        self._sink.replace(listed.items, listed.resource_version)
        self._version = listed.resource_version
        self._heard += 1

    async def _watch(self) -> None:
        events = self._client.watch(
            self._kind,
            self._namespace,
            resource_version=self._version,
            label_selector=self._labels,
            field_selector=self._fields,
        )
        async with aclosing(events):
            async for event in events:
                self._take(event)

    async def _watch_from_initial_events(self) -> None:
        """WatchList: nothing is shown to the sink until the initial state is complete."""
        events = self._client.watch(
            self._kind,
            self._namespace,
            label_selector=self._labels,
            field_selector=self._fields,
            initial_events=True,
        )
        initial: list[O] | None = []
        async with aclosing(events):
            async for event in events:
                if initial is None:
                    self._take(event)
                elif event.type != "BOOKMARK":
                    _collect(initial, event)
                elif event.object.metadata.annotations.get(INITIAL_EVENTS_END) == "true":
                    version = event.object.metadata.resource_version
                    self._sink.replace(initial, version)
                    self._version = version
                    self._heard += 1
                    initial = None

    def _take(self, event: WatchEvent[O]) -> None:
        self._heard += 1
        version = event.object.metadata.resource_version
        if event.type == "BOOKMARK":
            self._sink.progress(version)
        else:
            self._sink.apply(event.type, event.object)
        self._version = version


def _collect(initial: list[O], event: WatchEvent[O]) -> None:
    """Take in an event of the initial state. It is a list because a thousand nodes may read it at
    the same time; all but its first events are rare.
    """
    if event.type != "ADDED":
        initial[:] = [item for item in initial if item.key != event.object.key]
    if event.type != "DELETED":
        initial.append(event.object)
