"""All objects of a kind as one proxy knows them, in a table that proxies of one process share.

An informer's cache would be this node's own: with a thousand nodes, a thousand times every key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from podwire.api.kinds import Kind
from podwire.api.views import Object
from podwire.client.api import Client
from podwire.client.ctx import Ctx
from podwire.client.informer import OnChange
from podwire.client.reflector import Reflector
from podwire.kube_proxy.core import Shared
from podwire.kube_proxy.table import NOTHING, Table

O = TypeVar("O", bound=Object)  # noqa: E741  reads as "object" beside Kind[O]


class Feed(Generic[O]):
    """A reflector's sink. ``begin`` is told the first whole state, ``changed`` all that follows:
    (None, new) for an addition, (old, new), (old, None) for a deletion.
    """

    def __init__(
        self,
        shared: Shared,
        kind: Kind[O],
        begin: Callable[[Table[O]], None],
        changed: OnChange[O],
    ) -> None:
        self.synced = asyncio.Event()
        self.table: Table[O] = NOTHING
        self._shared, self._kind = shared, kind
        self._begin, self._changed = begin, changed

    async def run(self, client: Client, ctx: Ctx) -> None:
        """Follow the API server until cancelled."""
        await Reflector(client, ctx, self._kind, self).run()

    def replace(self, items: list[O], resource_version: str) -> None:  # noqa: ARG002  of a Sink
        """A whole state. After the first one, what differs is told; in order of the keys, what is
        gone before the rest. A namesake with another uid is a deletion and an addition.
        """
        after = self._shared.adopt(self._kind.plural, items)
        if not self.synced.is_set():
            self.table = after
            self._begin(after)
            self.synced.set()
            return
        before = self.table
        for key in before:
            new = after.get(key)
            if new is None or new.metadata.uid != before[key].metadata.uid:
                self._store(key, before[key], None)
        for key in after:
            old, new = self.table.get(key), after[key]
            if old is None or old.metadata.resource_version != new.metadata.resource_version:
                self._store(key, old, new)
        self.table = after

    def apply(self, event_type: str, item: O) -> None:
        """One event."""
        key = item.key
        old = self.table.get(key)
        if event_type != "DELETED":
            self._store(key, old, item)
        elif old is not None:
            self._store(key, old, None)

    def progress(self, resource_version: str) -> None:
        """A bookmark tells nothing that a proxy acts on."""

    def _store(self, key: str, old: O | None, new: O | None) -> None:
        self.table = self._shared.moved(self._kind.plural, self.table, key, new)
        self._changed(old, new)
