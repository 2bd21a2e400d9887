"""Job's informers and queue.

Two sorts of keys: a Job's, and ``orphan <pod>`` for a pod that no Job will count any more but that
still has the finalizer.
"""

from __future__ import annotations

from podwire.api import kinds, selectors
from podwire.api.status import ApiError
from podwire.api.views import Job, Pod
from podwire.client.driver import Driver
from podwire.client.effects import Create, Delete, Effect
from podwire.controllers.common import owned_by_kind, owner_index
from podwire.controllers.job import core
from podwire.controllers.job.backoff import Backoff
from podwire.controllers.job.manage import BATCH_S
from podwire.controllers.job.pods import tracked, untrack
from podwire.controllers.owners import own_and_orphans, owner_key
from podwire.controllers.world import World

_ORPHAN = "orphan "
RETRY_S = (1.0, 60.0)
"""DefaultJobApiBackOff and MaxJobApiBackOff."""


class JobController:
    """Maps pods to their Jobs, and runs the core."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._jobs = world.informers.informer(kinds.JOB)
        self._pods = world.informers.informer(kinds.POD)
        self._pods.add_index("owner", owner_index)
        self._backoffs: dict[str, Backoff] = {}
        self._refused: dict[str, None] = {}
        self.driver = world.driver(
            "job",
            self._reconcile,
            expect=(self._pods, self._jobs),
            on_failure=self._failed,
            component="job-controller",
            workers=5,
            retry_s=RETRY_S,
        )
        self._jobs.on_change(self._job_changed)
        self._pods.on_change(self._pod_changed)

    def _job_changed(self, old: Job | None, new: Job | None) -> None:
        item = new if new is not None else old
        assert item is not None
        if new is None or new.finished is not None:
            self._backoffs.pop(item.key, None)
            for pod in own_and_orphans(self._pods, item):
                self._see_to_orphan(pod)
        if (
            new is not None
            and old is not None
            and new.metadata.generation == (old.metadata.generation)
        ):
            self.driver.add_after(item.key, BATCH_S)
        else:
            self.driver.add(item.key)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        owners = [owner_key(pod, self._jobs, kinds.JOB) for pod in (old, new)]
        for key in dict.fromkeys(key for key in owners if key):
            self.driver.add_after(key, BATCH_S)
        if new is None:
            return
        self._see_to_orphan(new)
        if new.metadata.controller() is None:
            for job in self._jobs.list(new.metadata.namespace):
                if selectors.compile(job.spec.selector).matches(new.metadata.labels):
                    self.driver.add_after(job.key, BATCH_S)

    def _see_to_orphan(self, pod: Pod) -> None:
        if tracked(pod) and not self._counted(pod):
            self.driver.add(_ORPHAN + pod.key)

    def _counted(self, pod: Pod) -> bool:
        """Whether somebody still sees to the pod's finalizer."""
        if pod.metadata.controller() is None:
            return False
        if owned_by_kind(pod, kinds.JOB) is None:
            return True
        job = self._jobs.by_key(owner_key(pod, self._jobs, kinds.JOB))
        if job is None:
            return False
        return job.finished is None or job.spec.managed_by not in {None, core.CONTROLLER}

    def _failed(self, key: str, effect: Effect, error: ApiError) -> None:
        if isinstance(effect, Create | Delete) and error.code not in {404, 409}:
            self._refused[key] = None

    def _reconcile(self, key: str) -> list[Effect]:
        if key.startswith(_ORPHAN):
            pod = self._pods.by_key(key.removeprefix(_ORPHAN))
            gone = pod is None or not tracked(pod) or self._counted(pod)
            return [] if pod is None or gone else [untrack(pod)]
        job = self._jobs.by_key(key)
        refused = self._refused.pop(key, "") is None
        if job is None:
            return []
        backoff = self._backoffs.get(key, Backoff())
        candidates = own_and_orphans(self._pods, job)
        outcome = core.reconcile(job, candidates, backoff, self._world.now_ns(), refused=refused)
        if outcome.backoff.failures:
            self._backoffs[key] = outcome.backoff
        else:
            self._backoffs.pop(key, None)
        return outcome.effects


def build(world: World) -> Driver:
    """The Job controller."""
    return JobController(world).driver
