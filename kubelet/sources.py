"""ConfigMaps and Secrets: a watch of each one that a pod of this node refers to, and of no other.

A node may read nothing else (the node authorizer). Source: kubernetes pkg/kubelet/util/manager
(watch_based_manager.go). Kubelets of one process watch together what they may each watch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from podwire.api.kinds import Kind
from podwire.api.podrefs import MIRROR
from podwire.api.views import Object, Pod
from podwire.client.api import Client
from podwire.client.common import Commons
from podwire.client.ctx import Ctx
from podwire.client.informer import Informer, OnChange
from podwire.client.reflector import Reflector
from podwire.runtime.tasks import Nursery

O = TypeVar("O", bound=Object)  # noqa: E741  reads as "object" beside Kind[O]

SYNC_TIMEOUT_S = 1.0
"""How long a pod's start waits for what it refers to; then that is as if it were not there."""


@dataclass(slots=True)
class _Watched(Generic[O]):
    """One object, and the pods (by uid) that refer to it."""

    informer: Informer[O]
    task: asyncio.Task[None]
    pods: dict[str, None] = field(default_factory=dict)


class Sources(Generic[O]):
    """The objects of one kind that pods refer to; ``names`` tells which those are."""

    def __init__(
        self,
        client: Client,
        ctx: Ctx,
        nursery: Nursery,
        kind: Kind[O],
        names: Callable[[Pod], Sequence[str]],
        commons: Commons | None = None,
    ) -> None:
        self._commons = commons
        self._client, self._ctx, self._nursery = client, ctx, nursery
        self._kind = kind
        self._names = names
        self._watched: dict[tuple[str, str], _Watched[O]] = {}
        self._held: dict[str, tuple[str, ...]] = {}
        """What each pod (by uid) refers to."""
        self._handlers: list[OnChange[O]] = []

    def get(self, namespace: str, name: str) -> O | None:
        """The object as it was last seen, if a pod refers to it."""
        watched = self._watched.get((namespace, name))
        return watched.informer.get(namespace, name) if watched is not None else None

    def on_change(self, handler: OnChange[O]) -> None:
        """Call ``handler`` for every change of a watched object. Add it before the first pod."""
        self._handlers.append(handler)

    def refer(self, old: Pod | None, new: Pod | None) -> None:
        """A pod came, changed or went: watch what it refers to now, and no longer what it did."""
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            self._hold(old, ())
        if new is None:
            return
        if old is None or old.metadata.generation != new.metadata.generation:
            self._hold(new, tuple(dict.fromkeys(self._of(new))))

    def _hold(self, pod: Pod, wanted: tuple[str, ...]) -> None:
        uid, namespace = pod.metadata.uid, pod.metadata.namespace
        before = self._held.pop(uid, ())
        if wanted:
            self._held[uid] = wanted
        for name in wanted:
            self._watch(namespace, name).pods[uid] = None
        for name in before:
            if name not in wanted:
                self._release(namespace, name, uid)

    def _of(self, pod: Pod | None) -> Sequence[str]:
        if pod is None or MIRROR in pod.metadata.annotations:
            return ()
        return self._names(pod)

    def _watch(self, namespace: str, name: str) -> _Watched[O]:
        watched = self._watched.get((namespace, name))
        if watched is None:
            informer, following = self._reader(namespace, name)
            for handler in self._handlers:
                informer.on_change(handler)
            what = f"reflector {self._kind.resource} {namespace}/{name}"
            task = self._nursery.start(following, name=what)
            watched = self._watched[namespace, name] = _Watched(informer, task)
        return watched

    def _reader(self, namespace: str, name: str) -> tuple[Informer[O], Coroutine[Any, Any, None]]:
        if self._commons is not None:
            common = self._commons.of(self._kind, namespace, name)
            return common.informer(self._ctx), common.follow(self._client, self._ctx)
        informer: Informer[O] = Informer(self._ctx, self._kind)
        reflector: Reflector[Any] = Reflector(
            self._client, self._ctx, self._kind, informer,
            namespace=namespace, field_selector=f"metadata.name={name}",
        )  # fmt: skip
        return informer, reflector.run()

    def _release(self, namespace: str, name: str, uid: str) -> None:
        watched = self._watched.get((namespace, name))
        if watched is None:
            return
        watched.pods.pop(uid, None)
        if not watched.pods:
            del self._watched[namespace, name]
            watched.task.cancel()
            for handler in self._handlers:
                watched.informer.off_change(handler)

    async def synced(self, pod: Pod) -> None:
        """Wait until what a pod refers to was looked at, not for longer than SYNC_TIMEOUT_S."""
        waited = [self._watched.get((pod.metadata.namespace, name)) for name in self._of(pod)]
        try:
            async with asyncio.timeout(SYNC_TIMEOUT_S):
                for watched in waited:
                    if watched is not None:
                        await watched.informer.synced.wait()
        except TimeoutError:
            self._ctx.log.info("not synced in time", kind=self._kind.resource, pod=pod.key)
