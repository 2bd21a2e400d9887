"""One collection, followed once for all components of a process that would each follow it.

A thousand nodes' agents that watch one API server from one process are told every event a thousand
times, by as many streams. Where nothing lies between them and the server (a live cluster in one
process), one of them reads for all. A simulation, whose nodes hear at times of their own,
and agents in processes of their own follow each for themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from podwire.api.kinds import Kind
from podwire.api.views import Object
from podwire.client.api import Client
from podwire.client.ctx import Ctx
from podwire.client.informer import Informer
from podwire.client.reflector import Reflector, Sink

O = TypeVar("O", bound=Object)  # noqa: E741  reads as "object" beside Kind[O]
T = TypeVar("T")


class Common(Generic[O]):
    """A collection as its sinks are told of it; whoever ends, the others hear on."""

    def __init__(
        self,
        kind: Kind[O],
        namespace: str = "",
        name: str = "",
        idle: Callable[[], object] | None = None,
    ) -> None:
        """``namespace``, ``name``: the one object that it is about; ``idle`` is called when nobody
        follows any more.
        """
        self._kind = kind
        self._idle = idle
        self._namespace = namespace
        self._fields = f"metadata.name={name}" if name else ""
        self._followers = 0
        self._sinks: list[Sink[O]] = []
        self._turn = asyncio.Lock()
        self._informer: Informer[O] | None = None
        self._items: dict[str, O] = {}
        self._version = ""
        """The revision of what is known; "" before the first whole state."""

    def informer(self, ctx: Ctx) -> Informer[O]:
        """The one informer of all who ask; empty and not synced while nobody follows."""
        if self._informer is None:
            self._informer = Informer(ctx, self._kind)
            self.join(self._informer)
        return self._informer

    async def follow(self, client: Client, ctx: Ctx, sink: Sink[O] | None = None) -> None:
        """Read, or stand by to read, until cancelled; tell ``sink`` of the collection, from what
        is known already on. All who follow must be allowed the same: the first one's client
        reads, then the next one's.
        """
        if sink is not None:
            self.join(sink)
        self._followers += 1
        try:
            async with self._turn:
                await Reflector(
                    client, ctx, self._kind, self,
                    namespace=self._namespace, field_selector=self._fields,
                ).run()  # fmt: skip
        finally:
            self._followers -= 1
            if sink is not None:
                self._sinks.remove(sink)
            if not self._followers:
                self._forget()

    def _forget(self) -> None:
        """Nobody follows: what is known grows old."""
        self._items, self._version = {}, ""
        if self._informer is not None:
            self._informer.replace([], "0")
            self._informer.synced.clear()
        if self._idle is not None:
            self._idle()

    def join(self, sink: Sink[O]) -> None:
        """Tell ``sink`` of the collection, from what is known already on, while anybody follows."""
        self._sinks.append(sink)
        if self._version:
            sink.replace(list(self._items.values()), self._version)

    # ------------------------------------------------------------ the reflector's sink

    def replace(self, items: list[O], resource_version: str) -> None:
        """A whole state, for all."""
        self._items = {item.key: item for item in items}
        self._version = resource_version
        for sink in tuple(self._sinks):
            sink.replace(items, resource_version)

    def apply(self, event_type: str, item: O) -> None:
        """One event, for all."""
        if event_type == "DELETED":
            self._items.pop(item.key, None)
        else:
            self._items[item.key] = item
        self._version = item.metadata.resource_version
        for sink in tuple(self._sinks):
            sink.apply(event_type, item)

    def progress(self, resource_version: str) -> None:
        """A bookmark, for all."""
        self._version = resource_version
        for sink in tuple(self._sinks):
            sink.progress(resource_version)


class Commons:
    """The collections that components of one process follow together, by kind, and what else they
    have together.
    """

    def __init__(self) -> None:
        self._of: dict[tuple[str, str, str], Common[Any]] = {}
        self._made: dict[type[Any], Any] = {}

    def one(self, type: type[T], make: Callable[[], T]) -> T:
        """The one object of a type: made for the first who asks."""
        found: T | None = self._made.get(type)
        if found is None:
            found = self._made[type] = make()
        return found

    def of(self, kind: Kind[O], namespace: str = "", name: str = "") -> Common[O]:
        """A kind's, or what has just this name."""
        key = (kind.resource, namespace, name)
        found = self._of.get(key)
        if found is None:
            idle = (lambda: self._of.pop(key, None)) if name else None
            found = self._of[key] = Common(kind, namespace, name, idle)
        return found
