"""Namespace's informers and queue.

What a namespace holds is asked live: a cache that lags behind could call it empty too early.
"""

from __future__ import annotations

from typing import Any

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.api.status import ApiError
from podwire.api.views import Namespace, Object
from podwire.client.driver import Driver
from podwire.client.effects import Effect, RequeueAfter
from podwire.controllers.namespace import core, extensions
from podwire.controllers.world import World

CONTENT = tuple(kind for kind in kinds.STORED if kind.namespaced and "list" in kind.verbs)

RETRY_S = 15.0
"""After this an extension server that failed is asked again (upstream: doubling to 60 s)."""
REMAINING_S = 1.0
"""After this an extension server is asked whether what was deleted is gone: nobody watches it."""


class NamespaceController:
    """Works on namespaces that are being deleted."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._namespaces = world.informers.informer(kinds.NAMESPACE)
        self.driver = world.driver("namespace", self._reconcile, workers=5)
        self._namespaces.on_change(self._namespace_changed)
        for kind in CONTENT:
            if kind is kinds.EVENT:
                continue  # too many to watch; see core.only_events
            world.informers.informer(kind).on_change(self._content_changed)
        world.custom.follow(self._kind_added, self._kind_gone)

    def _kind_added(self, kind: Kind[Any]) -> None:
        if kind.namespaced:
            self._world.informers.informer(kind).on_change(self._content_changed)

    def _kind_gone(self, _kind: Kind[Any]) -> None:
        """What a terminating namespace waits for may have gone with its definition."""
        for namespace in self._namespaces.list():
            self._namespace_changed(None, namespace)

    def _namespace_changed(self, _: Namespace | None, new: Namespace | None) -> None:
        if new is not None and new.metadata.deletion_timestamp:
            self.driver.add(new.key)

    def _content_changed(self, old: Object | None, new: Object | None) -> None:
        """The end of an object may be what a terminating namespace waits for."""
        if new is not None or old is None:
            return
        namespace = self._namespaces.by_key(old.metadata.namespace)
        if namespace is not None and namespace.metadata.deletion_timestamp:
            self.driver.add(namespace.key)

    async def _reconcile(self, key: str) -> list[Effect]:
        namespace = self._namespaces.by_key(key)
        if namespace is None or not namespace.metadata.deletion_timestamp:
            return []
        contents = []
        for kind in (*CONTENT, *(k for k in self._world.custom.all() if k.namespaced)):
            try:
                listed = await self._world.client.list(kind, key)
            except ApiError as error:
                if error.code == 404 and kind not in CONTENT:
                    continue  # its definition went meanwhile
                raise
            if listed.items:
                contents.append(core.Content(kind, listed.items))
        theirs, failures = await self._extensions(key)
        now_ns = self._world.now_ns()
        stage = core.stage([*contents, *theirs])
        report = core.report(namespace, stage, now_ns, failures)
        done = [] if stage or failures else core.finalize(namespace)
        wait_s = core.overdue_s(namespace, stage, now_ns)
        again = [RequeueAfter(wait_s)] if wait_s else []
        if core.only_events(stage):
            again = [RequeueAfter(0)]
        elif theirs and wait_s is None:
            again = [RequeueAfter(REMAINING_S)]
        elif failures:
            again = [RequeueAfter(RETRY_S)]
        ours = core.deletions([found for found in stage if found in contents])
        # What extension servers refuse must not keep what is known from being told.
        last = core.deletions([found for found in stage if found in theirs])
        return [*ours, *report, *done, *again, *last]

    async def _extensions(self, namespace: str) -> tuple[list[core.Content], core.Failures]:
        """What extension servers hold of a namespace, and what they do not tell."""
        client = self._world.client
        found = await extensions.discovered(client)
        contents, failed = [], []
        for kind in found.kinds:
            try:
                items = await extensions.held(client, kind, namespace)
            except (ApiError, ConnectionError, ValueError) as error:
                failed.append(str(error))
                continue
            if items:
                contents.append(core.Content(kind, items))
        return contents, core.Failures(found.failing, failed)


def build(world: World) -> Driver:
    """The namespace controller."""
    return NamespaceController(world).driver
