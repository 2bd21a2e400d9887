"""Definitions in the watch cache become kinds that the server serves; their status says so.

The kinds follow the cache at once: whoever was told that a definition is established finds its
objects, its discovery and its OpenAPI. Status is written by a task that exists only while there is
something to write.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from podwire.api import conversion, kinds
from podwire.api.crd import naming, served
from podwire.api.crd.served import Definition, is_true
from podwire.api.kinds import Kind
from podwire.api.status import ApiError
from podwire.api.view import JSON
from podwire.apiserver import loopback, storage
from podwire.apiserver.cache.entry import Entry
from podwire.apiserver.extensions import discovery
from podwire.apiserver.extensions.conversion import Follower, converted, refresh
from podwire.apiserver.registry import apiservices, meta
from podwire.apiserver.registry.delete import Options, delete
from podwire.apiserver.storage import Extra
from podwire.store import StoreError

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

CRD = kinds.CUSTOM_RESOURCE_DEFINITION
_RETRY_S = 1.0


class _Known:
    """A definition as it was last seen."""

    __slots__ = ("entry", "made", "source")

    def __init__(self) -> None:
        self.entry: Entry | None = None
        self.source: Any = None
        """What its kinds were made of."""
        self.made: Definition | None = None


class Definitions:
    """The server's CustomResourceDefinitions."""

    def __init__(self, server: Apiserver) -> None:
        self._server = server
        self._known: dict[str, _Known] = {}
        self._followers: dict[Kind[Any], Follower] = {}
        self._waiting: dict[str, None] = {}
        self._pumping: dict[Kind[Any], None] = {}
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        server.caches.tell(CRD, self._changed)

    def stop(self) -> None:
        """Write nothing any more."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()

    # ------------------------------------------------------------ serving

    def _changed(self) -> None:
        """The cache has other definitions than before: serve what they say."""
        server = self._server
        entries = {entry.name: entry for entry in server.caches.of(CRD).entries()}
        changed = [name for name, e in entries.items() if not self._is_known(name, e)]
        gone = [name for name in self._known if name not in entries]
        if not changed and not gone:
            return
        regrouped: dict[str, None] = {}
        for name in gone:
            known = self._known.pop(name)
            self._drop(known)
            regrouped[name.partition(".")[2]] = None
        for name in changed:
            self._see(self._known.setdefault(name, _Known()), entries[name])
            self._schedule(name)
        for group in regrouped:  # names are free now
            for name in entries:
                if name.partition(".")[2] == group:
                    self._schedule(name)
        made = [known.made for known in self._known.values() if known.made is not None]
        made.sort(key=lambda definition: (definition.group, definition.plural))
        server.kinds.replace(_in_order(made))
        self.reroute()

    def reroute(self) -> None:
        """Serve the discovery of all groups that come and go."""
        server = self._server
        server.routes.replace(discovery.routes(server.kinds, server.aggregator.remotes()))

    def _is_known(self, name: str, entry: Entry) -> bool:
        known = self._known.get(name)
        return known is not None and known.entry is entry

    def _see(self, known: _Known, entry: Entry) -> None:
        known.entry = entry
        obj = msgspec.json.decode(entry.value)
        if not (is_true(obj, "NamesAccepted") or is_true(obj, "Established")):
            self._drop(known)
            return
        source = (obj["metadata"]["uid"], obj["spec"], obj["status"]["acceptedNames"])
        if known.made is not None and known.source == source:
            known.made.terminating = _is_terminating(obj)
            known.made.established = is_true(obj, "Established")
            return
        self._unfollow(known)
        known.source = source
        known.made = Definition(obj)
        self._server.caches.adopt(known.made.stored)
        self._server.caches.tell(known.made.stored, lambda: self._objects_changed(known))

    def _drop(self, known: _Known) -> None:
        self._unfollow(known)
        if known.made is not None:
            self._server.caches.tell(known.made.stored, None)
            self._server.caches.release(known.made.stored)
        known.made = known.source = None

    # ------------------------------------------------------------ versions

    async def prepare(self, kind: Kind[Any]) -> None:
        """See to it that the cache of a custom kind can be read. Raises ApiError."""
        if kind.custom is None or not kind.custom.by_webhook:
            return
        stored = self._server.caches.of(kind.custom.stored)
        await refresh(self._server, stored)
        if kind is not kind.custom.stored:
            follower = self._followers.get(kind)
            if follower is None:
                follower = self._followers[kind] = Follower(self._server, kind, stored)
                self._server.caches.follow(follower.cache)
            await follower.catch_up()

    async def write(
        self, kind: Kind[Any], obj: JSON, old: Entry | None, extra: Extra, *, dry_run: bool
    ) -> Entry:
        """``storage.write`` of an object in another version than the stored one."""
        assert kind.custom is not None, f"{kind} is custom"
        stored = kind.custom.stored
        if not kind.custom.by_webhook:
            made = conversion.to_stored(kind, obj)
            return await storage.write(self._server, stored, made, old, extra, dry_run=dry_run)
        (made,) = await converted(self._server, stored, [obj])
        made = served.shown(stored, made)
        await self.prepare(kind)
        follower = self._followers[kind]
        await follower.learn([storage.encode(stored, made)])
        entry = await storage.write(self._server, stored, made, old, extra, dry_run=dry_run)
        await follower.catch_up()
        return entry

    def _objects_changed(self, known: _Known) -> None:
        """Objects came or went: a definition may be waiting for that, or somebody is watching."""
        made = known.made
        if made is None:
            return
        if made.terminating:
            self._schedule(made.name)
        for kind in made.kinds.values():
            follower = self._followers.get(kind)
            if follower is not None and follower.cache.watchers():
                self._pumping[kind] = None
                self._schedule("")

    def _unfollow(self, known: _Known) -> None:
        for kind in known.made.kinds.values() if known.made is not None else ():
            follower = self._followers.pop(kind, None)
            if follower is not None:
                self._server.caches.unfollow(follower.cache)

    async def _pump(self) -> None:
        """Let those who watch a converted version see what happened."""
        while self._pumping:
            kind = next(iter(self._pumping))
            del self._pumping[kind]
            follower = self._followers.get(kind)
            if follower is not None:
                try:
                    await follower.catch_up()
                except ApiError:
                    follower.cache.end_watches()  # to be asked for again, and refused
                    raise

    # ------------------------------------------------------------ status

    def _schedule(self, name: str) -> None:
        if self._stopped:
            return
        self._waiting[name] = None
        if self._task is None:
            loop = asyncio.get_running_loop()
            self._task = loop.create_task(self._work(), name="custom resource definitions")

    async def _work(self) -> None:
        try:
            while self._waiting:
                name = next(iter(self._waiting))
                del self._waiting[name]
                try:
                    await self._settle(name)
                except (ApiError, StoreError) as error:
                    self._server.world.log.info("definition waits", name=name, error=str(error))
                    self._server.world.clock.call_later(_RETRY_S, self._schedule, name)
                if not self._waiting:
                    await self._register()
        finally:
            self._task = None

    async def _settle(self, name: str) -> None:
        """Write the status that a definition should have; see to its end."""
        server = self._server
        await self._pump()
        entry = server.caches.of(CRD).get("", name)
        if entry is None:
            return
        obj = entry.json()
        if obj["metadata"].get("deletionTimestamp"):
            if naming.CLEANUP in (obj["metadata"].get("finalizers") or ()):
                await self._finish(entry, obj)
            return
        group = obj["spec"]["group"]
        others = [
            msgspec.json.decode(e.value)
            for e in server.caches.of(CRD).entries()
            if e.name != name and e.name.partition(".")[2] == group
        ]
        status = naming.settled(obj, others, meta.now(server))
        if status is not None:
            await self._patch(entry, {"status": status})

    async def _register(self) -> None:
        """Keep an APIService for each group version that definitions serve."""
        wanted = {f"{k.version}.{k.group}": k for k in self._server.kinds.own}
        found = [
            entry.name
            for entry in self._server.caches.of(apiservices.KIND).entries()
            if entry.view.metadata.labels.get(apiservices.AUTOMANAGED) == "true"
        ]
        for name, kind in wanted.items():
            if name not in found:
                body = apiservices.for_group(kind.group, kind.version)
                await loopback.send(self._server, "POST", apiservices.KIND.path(), body)
        for name in found:
            if name not in wanted:
                await loopback.send(self._server, "DELETE", apiservices.KIND.path("", name))

    async def _finish(self, entry: Entry, obj: JSON) -> None:
        """Delete the objects of a definition; without any left let it go."""
        server = self._server
        known = self._known.get(entry.name)
        left = 0
        if known is not None and known.made is not None and is_true(obj, "Established"):
            kind = known.made.stored
            cache = server.caches.of(kind)
            for instance in list(cache.entries()):
                if not instance.view.metadata.deletion_timestamp:
                    await _delete(server, kind, instance)
            left = len(server.caches.of(kind))
        patch = naming.ending(obj, left, meta.now(server))
        if left and patch["status"]["conditions"] == obj["status"].get("conditions"):
            return
        await self._patch(entry, patch)

    async def _patch(self, entry: Entry, patch: JSON) -> None:
        """Change a definition's status as the API server's own controllers do."""
        metadata = {**patch.get("metadata", {}), "resourceVersion": str(entry.revision)}
        path = CRD.path("", entry.name, "status")
        await loopback.send(self._server, "PATCH", path, {**patch, "metadata": metadata})


def _is_terminating(obj: JSON) -> bool:
    return is_true(obj, "Terminating") or bool(obj["metadata"].get("deletionTimestamp"))


def _in_order(made: list[Definition]) -> list[Kind[Any]]:
    """Kinds in discovery's order: group by group, the preferred version first."""
    found = [kind for definition in made for kind in definition.served]
    return sorted(found, key=discovery.order)


async def _delete(server: Apiserver, kind: Kind[Any], instance: Entry) -> None:
    try:
        await delete(server, None, kind, instance.namespace, instance.name, Options())
    except ApiError as error:
        if error.reason != "NotFound":
            raise
