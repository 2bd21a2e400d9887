"""CronJob's informers and queue."""

from __future__ import annotations

from podwire.api import kinds
from podwire.api.views import CronJob, Job
from podwire.client.driver import Driver
from podwire.client.effects import Effect
from podwire.controllers.common import owner_index
from podwire.controllers.cronjob import core
from podwire.controllers.owners import owner_key
from podwire.controllers.world import World


class CronJobController:
    """Maps Jobs to the CronJobs that made them, and runs the core when the clock says so."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._cron_jobs = world.informers.informer(kinds.CRON_JOB)
        self._jobs = world.informers.informer(kinds.JOB)
        self._jobs.add_index("owner", owner_index)
        self.driver = world.driver(
            "cronjob",
            self._reconcile,
            expect=(self._cron_jobs, self._jobs),
            component="cronjob-controller",
            workers=5,
        )
        self._cron_jobs.on_change(self._cron_job_changed)
        self._jobs.on_change(self._job_changed)

    def _cron_job_changed(self, _: CronJob | None, new: CronJob | None) -> None:
        if new is not None:
            self.driver.add(new.key)

    def _job_changed(self, old: Job | None, new: Job | None) -> None:
        owners = [owner_key(job, self._cron_jobs, kinds.CRON_JOB) for job in (old, new)]
        for key in dict.fromkeys(key for key in owners if key):
            self.driver.add(key)

    def _reconcile(self, key: str) -> list[Effect]:
        item = self._cron_jobs.by_key(key)
        if item is None:
            return []
        jobs = self._jobs.by_index("owner", item.metadata.uid)
        return core.reconcile(item, jobs, self._world.now_ns())


def build(world: World) -> Driver:
    """The CronJob controller."""
    return CronJobController(world).driver
