"""The one driver of all controllers: queue, effects, retries, events.

``reconcile(key) -> list[Effect]`` is plain synchronous code over informer caches (a coroutine where
upstream asks the API server live: garbage collector, namespaces). The driver
performs the effects in order; the first that fails ends the pass and the key comes back after its
backoff (5 ms .. 1000 s unless told otherwise, as client-go's default controller rate limiter
without its token bucket).
A conflict or a missing object is the cache lagging behind, not an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from podwire.api.status import ApiError
from podwire.client.api import MERGE, STRATEGIC, Client
from podwire.client.ctx import Ctx
from podwire.client.effects import (
    Announce,
    Create,
    Delete,
    Effect,
    Emit,
    Patch,
    Replace,
    RequeueAfter,
    Run,
    Together,
)
from podwire.client.expectations import Expectations
from podwire.client.informer import Informer
from podwire.client.recorder import Recorder
from podwire.client.workqueue import FIRST_RETRY_S, MAX_RETRY_S, WorkQueue
from podwire.dataplane.commands import CommandError
from podwire.runtime.tasks import Nursery

NAMESPACE_TERMINATING = "NamespaceTerminating"
"""The Status cause of a create in a namespace that is being deleted."""

Reconcile = Callable[[str], Sequence[Effect] | Awaitable[Sequence[Effect]]]
OnFailure = Callable[[str, Effect, ApiError], None]


class Driver:
    """Runs one controller.

    ``expect``: informers whose caches must show this driver's own writes before a key is
    reconciled again. Each then adds its key; with ``hears_itself`` only the controller's handlers
    do. ``on_failure(key, effect, error)`` hears of refused effects (the next pass may put them
    into a status). ``component`` is the source of its events.
    """

    def __init__(
        self,
        ctx: Ctx,
        client: Client,
        name: str,
        reconcile: Reconcile,
        workers: int = 1,
        *,
        expect: Sequence[Informer[Any]] = (),
        hears_itself: bool = False,
        on_failure: OnFailure | None = None,
        component: str = "",
        host: str = "",
        retry_s: tuple[float, float] = (FIRST_RETRY_S, MAX_RETRY_S),
    ) -> None:
        self.name = name
        self.recorder = Recorder(ctx, client, component or name, host)
        self._ctx = ctx
        self._client = client
        self._reconcile = reconcile
        self._workers = workers
        self._on_failure = on_failure
        self._log = ctx.log.bind(controller=name)
        self._queue = WorkQueue(ctx.clock, retry_s)
        self._expectations = Expectations(expect, self._queue.add, unasked=not hears_itself)

    def add(self, key: str) -> None:
        """Reconcile a key soon."""
        self._queue.add(key)

    def add_after(self, key: str, delay_s: float) -> None:
        """Reconcile a key after a delay (the earliest of several counts)."""
        self._queue.add_after(key, delay_s)

    async def run(self) -> None:
        """Work until cancelled. Start it once the informers are synced."""
        try:
            async with Nursery() as nursery:
                nursery.start(self.recorder.run(), name=f"{self.name} events")
                for number in range(self._workers):
                    nursery.start(self._work(), name=f"{self.name} worker {number}")
        finally:
            self._queue.stop()

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            try:
                if not self._expectations.pending(key):  # else it comes back once satisfied
                    await self._process(key)
            finally:
                self._queue.done(key)

    async def _process(self, key: str) -> None:
        try:
            effects = self._reconcile(key)
            if isinstance(effects, Awaitable):
                effects = await effects
            for effect in effects:
                await self._perform(key, effect)
        except ApiError as error:
            lagging = error.code in {404, 409}
            tell = self._log.debug if lagging else self._log.warning
            delay_s = self._queue.add_rate_limited(key)
            tell("will retry", key=key, error=error.message, retry_after_s=delay_s)
        except (ConnectionError, CommandError) as error:
            delay_s = self._queue.add_rate_limited(key)
            self._log.warning("will retry", key=key, error=str(error), retry_after_s=delay_s)
        except Exception:  # noqa: BLE001  told with its traceback
            # A bug met by one object: that key backs off, the others go on.
            delay_s = self._queue.add_rate_limited(key)
            self._log.exception("reconcile failed", key=key, retry_after_s=delay_s)
        else:
            self._queue.forget(key)

    async def _perform(self, key: str, effect: Effect) -> None:
        match effect:
            case Create() | Delete() | Patch() | Replace():
                await self._write(key, effect)
            case Emit():
                self.recorder.emit(
                    effect.about, effect.type, effect.reason, effect.message, effect.field_path
                )
            case RequeueAfter():
                self._queue.add_after(key, effect.delay_s)
            case Run():
                await self._ctx.fabric.execute(effect.node, effect.commands)
            case Together():
                await self._together(key, effect)

    async def _together(self, key: str, group: Together) -> None:
        rest = group.effects
        size = 1 if group.slow_start else len(rest)
        while rest:
            batch, rest = rest[:size], rest[size:]
            answers = await asyncio.gather(
                *(self._write(key, effect) for effect in batch), return_exceptions=True
            )
            for answer in answers:
                if answer is not None:
                    raise answer
            size *= 2

    async def _write(self, key: str, effect: Create | Delete | Patch | Replace) -> None:
        try:
            match effect:
                case Create():
                    await self._create(key, effect)
                case Delete():
                    await self._delete(key, effect)
                case Patch():
                    await self._patch(key, effect)
                case Replace():
                    await self._replace(effect)
        except ApiError as error:
            if self._on_failure is not None:
                self._on_failure(key, effect, error)
            raise

    async def _create(self, key: str, effect: Create) -> None:
        try:
            made = await self._client.create(effect.kind, effect.body, effect.namespace)
        except ApiError as error:
            if effect.exists_ok and error.reason == "AlreadyExists":
                return
            if any(cause.reason == NAMESPACE_TERMINATING for cause in error.causes):
                return  # whatever is created there goes away anyway
            name = effect.body.get("metadata", {}).get("name", "")
            self._announce(effect.announce, name, error)
            raise
        self._expectations.written(key, effect.kind, made)
        self._announce(effect.announce, made.metadata.name)

    async def _delete(self, key: str, effect: Delete) -> None:
        try:
            await self._client.delete(
                effect.kind,
                effect.name,
                effect.namespace,
                uid=effect.uid,
                grace_period_seconds=effect.grace_period_seconds,
                propagation_policy=effect.propagation_policy,
            )
        except ApiError as error:
            # 409 on a uid precondition: a namesake took its place, so ours is gone.
            gone = error.code == 404 or (error.code == 409 and effect.uid)
            if not gone:
                self._announce(effect.announce, effect.name, error)
                raise
        else:
            self._announce(effect.announce, effect.name)
        if effect.uid:
            self._expectations.deleted(key, effect.kind, effect.namespace, effect.name, effect.uid)

    async def _patch(self, key: str, effect: Patch) -> None:
        try:
            made = await self._client.patch(
                effect.kind,
                effect.name,
                effect.patch,
                effect.namespace,
                subresource=effect.subresource,
                content_type=STRATEGIC if effect.strategic else MERGE,
            )
        except ApiError as error:
            if not (effect.missing_ok and error.code == 404):
                raise
        else:
            self._expectations.written(key, effect.kind, made)

    async def _replace(self, effect: Replace) -> None:
        try:
            await self._client.update(effect.kind, effect.body, effect.subresource)
        except ApiError as error:
            if not (effect.missing_ok and error.code == 404):
                raise

    def _announce(
        self, announce: Announce | None, name: str, error: ApiError | None = None
    ) -> None:
        if announce is None:
            return
        type_, (reason, message) = (
            ("Normal", announce.done) if error is None else ("Warning", announce.failed)
        )
        if not reason:
            return
        text = message.replace("{name}", name)
        if error is not None:
            text = text.replace("{error}", error.message)
        self.recorder.emit(announce.about, type_, reason, text)


def split_key(key: str) -> tuple[str, str]:
    """Namespace ("" for cluster-scoped) and name of a queue key."""
    namespace, _, name = key.rpartition("/")
    return namespace, name
