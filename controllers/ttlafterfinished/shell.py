"""The TTL controller's informer and queue."""

from __future__ import annotations

from podwire.api import kinds
from podwire.api.views import Job
from podwire.client.driver import Driver
from podwire.client.effects import Effect
from podwire.controllers.ttlafterfinished import core
from podwire.controllers.world import World


class TtlController:
    """Looks at Jobs that have finished."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._jobs = world.informers.informer(kinds.JOB)
        self.driver = world.driver("ttl-after-finished", self._reconcile)
        self._jobs.on_change(self._job_changed)

    def _job_changed(self, _: Job | None, new: Job | None) -> None:
        if new is not None and new.finished is not None:
            self.driver.add(new.key)

    def _reconcile(self, key: str) -> list[Effect]:
        job = self._jobs.by_key(key)
        return [] if job is None else core.reconcile(job, self._world.now_ns())


def build(world: World) -> Driver:
    """The TTL-after-finished controller."""
    return TtlController(world).driver
