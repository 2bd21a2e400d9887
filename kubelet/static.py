"""Static pods: manifests on the node's disk, run without anybody's leave, mirrored in the API.

Behaviour of pkg/kubelet (config/file.go, pod/mirror_client.go, pod workers' order of static pods).
A manifest that cannot be read counts as absent, so that its pod stops: upstream's next look at the
folder (every 20 s) has that effect; here it comes at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.api.times import format_time
from podwire.api.view import JSON
from podwire.api.views import Node, Pod
from podwire.kubelet import manifests
from podwire.kubelet.status import is_gone
from podwire.kubelet.worker import PodWorker
from podwire.runtime.tasks import Event, first

if TYPE_CHECKING:
    from podwire.kubelet.state import Kubelet

FOLDER = "/etc/kubernetes/manifests"
"""staticPodPath."""
RETRY_FIRST_S = 1.0
RETRY_MAX_S = 60.0
"""Upstream's sync of a pod."""


def is_mirror(pod: Pod) -> bool:
    """Whether an object only shows a static pod."""
    return manifests.MIRROR in pod.metadata.annotations


class StaticPods:
    """The static pods of one node."""

    def __init__(self, kubelet: Kubelet) -> None:
        self._kubelet = kubelet
        self._files: dict[str, JSON] = {}
        """Pods by path of their manifest."""
        self._wanted: dict[str, JSON] = {}
        """Pods by namespace/name: of namesakes, the one of the last path."""
        self._workers: dict[str, PodWorker] = {}
        self._living: dict[str, None] = {}
        """Keys whose pods have a task."""
        self._mirrors: dict[str, Pod] = {}
        self._due: dict[str, Event] = {}
        """Keys whose mirrors are being brought in line: set when there is something to look at."""

    # ------------------------------------------------------------ the disk

    async def run(self) -> None:
        """Follow the folder until cancelled."""
        kubelet = self._kubelet
        async for path in kubelet.ctx.fabric.watch_files(kubelet.config.node, f"{FOLDER}/"):
            await self._changed(path)

    async def load(self) -> None:
        """Take in what is there already."""
        kubelet = self._kubelet
        for path in await kubelet.ctx.fabric.list_files(kubelet.config.node, f"{FOLDER}/"):
            await self._changed(path)

    async def _changed(self, path: str) -> None:
        name = path.removeprefix(f"{FOLDER}/")
        if not name or name.startswith("."):
            return
        kubelet = self._kubelet
        if "/" in name:
            kubelet.journal.error_s(
                "file.go:170",
                "Provided manifest path is a directory, not recursing into manifest path",
                path=f"{FOLDER}/{name.partition('/')[0]}",
            )
            return
        found = self._files.pop(path, None)
        try:
            data = await kubelet.ctx.fabric.read_file(kubelet.config.node, path)
            read = manifests.read(path, data, kubelet.config.node)
        except FileNotFoundError:
            read = None
        except manifests.ManifestError as error:
            read = None
            kubelet.journal.error_s(
                "file.go:187", "Could not process manifest file", err=str(error), path=path
            )
            kubelet.ctx.log.warning(
                "could not process manifest file",
                node=kubelet.config.node, path=path, error=str(error),
            )  # fmt: skip
        if read is not None:
            self._files[path] = read
        for key in dict.fromkeys(_key(pod) for pod in (found, read) if pod is not None):
            self._want(key)

    def _want(self, key: str) -> None:
        """Bring a pod in line with the manifests that name it."""
        pods = [self._files[path] for path in sorted(self._files)]
        wanted = next((pod for pod in reversed(pods) if _key(pod) == key), None)
        if wanted is None:
            self._wanted.pop(key, None)
        else:
            self._wanted[key] = wanted
        worker = self._workers.get(key)
        if worker is not None and (
            wanted is None or wanted["metadata"]["uid"] != worker.pod.metadata.uid
        ):
            worker.end()
        if wanted is not None and key not in self._living:
            self._living[key] = None
            self._kubelet.nursery.start(self._live(key), name=f"static pod {key}")

    async def _live(self, key: str) -> None:
        """Run the pods of one name, each after the end of the one before."""
        kubelet = self._kubelet
        while (wanted := self._wanted.get(key)) is not None:
            seen = format_time(kubelet.now_ns())
            wanted["metadata"]["annotations"].setdefault(manifests.SEEN, seen)
            pod = msgspec.convert(wanted, Pod)
            worker = self._workers[key] = PodWorker(kubelet, pod)
            kubelet.workers[pod.metadata.uid] = worker
            self._kick(key)
            try:
                await worker.run()
            finally:
                worker.done = True
                del self._workers[key]
                kubelet.workers.pop(pod.metadata.uid, None)  # two manifests may share a uid
        del self._living[key]

    # ------------------------------------------------------------ the mirrors

    def mirror_changed(self, old: Pod | None, new: Pod | None) -> None:
        """A mirror pod of this node appeared, changed or vanished."""
        about = new or old
        assert about is not None, "a change has a before or an after"
        if new is None:
            self._mirrors.pop(about.key, None)
        else:
            self._mirrors[about.key] = new
        self._kick(about.key)
        worker = self._workers.get(about.key)
        if new is not None and worker is not None:
            self._kubelet.statuses.observe(new, worker.pod.metadata.uid)

    def node_changed(self, old: Node | None, new: Node | None) -> None:
        """The Node object appeared: it can own mirrors now."""
        if new is not None and (old is None or old.metadata.uid != new.metadata.uid):
            for key in list(self._workers):
                self._kick(key)

    def _kick(self, key: str) -> None:
        worker, mirror = self._workers.get(key), self._mirrors.get(key)
        if worker is not None:
            good = mirror if mirror is not None and _shows(mirror, worker.pod) else None
            if good is not None:
                worker.inherit(good)
            self._kubelet.statuses.redirect(worker.pod, good)
        due = self._due.get(key)
        if due is None:
            due = self._due[key] = Event()
            self._kubelet.nursery.start(self._reconcile(key, due), name=f"mirror pod {key}")
        due.set()

    async def _reconcile(self, key: str, due: Event) -> None:
        """Create or delete a mirror pod until there is nothing to do; the watch tells the rest."""
        delay_s = RETRY_FIRST_S
        while True:
            due.clear()
            try:
                await self._step(key)
            except (ApiError, ConnectionError) as error:
                what = "deleting" if key in self._mirrors else "creating"
                self._kubelet.journal.error_s(
                    "kubelet.go:3311", f"Failed {what} a mirror pod", err=str(error), pod=key
                )
                await first(due.wait(), self._kubelet.ctx.clock.sleep(delay_s))
                delay_s = min(2 * delay_s, RETRY_MAX_S)
            else:
                delay_s = RETRY_FIRST_S
                if not due.is_set():
                    break
        del self._due[key]

    async def _step(self, key: str) -> None:
        worker, mirror = self._workers.get(key), self._mirrors.get(key)
        client = self._kubelet.client
        if mirror is not None:
            if worker is None and key in self._wanted:
                return  # it is about to start, and looks again then
            if worker is not None and _shows(mirror, worker.pod):
                return
            meta = mirror.metadata
            try:
                await client.delete(
                    kinds.POD, meta.name, meta.namespace, uid=meta.uid, grace_period_seconds=0
                )
            except ApiError as error:
                if not is_gone(error):
                    raise
        elif worker is not None and not worker.ending.is_set():
            node, wanted = self._kubelet.node(), self._wanted.get(key)
            if node is None or wanted is None:
                return
            owner = {
                "apiVersion": "v1", "kind": "Node", "name": node.metadata.name,
                "uid": node.metadata.uid, "controller": True,
            }  # fmt: skip
            body = manifests.mirror(wanted, owner)
            await client.create(kinds.POD, body, worker.pod.metadata.namespace)


def _key(pod: JSON) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def _shows(mirror: Pod, pod: Pod) -> bool:
    """Whether a mirror is this static pod's, and stays."""
    hashed = mirror.metadata.annotations[manifests.MIRROR]
    return hashed == pod.metadata.uid and not mirror.metadata.deletion_timestamp
