"""What the container runtime of a node knows, in the form of CRI's JSON.

Source of the form: k8s.io/cri-api pkg/apis/runtime/v1, as crictl prints it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING

from podwire.api.times import TimeError, parse_time
from podwire.api.view import JSON
from podwire.client.counters import ExecSession, LogOptions
from podwire.kubelet.core import RUNNING, Exit, Record
from podwire.kubelet.profile import image_bytes, image_digest, image_id, normalized
from podwire.kubelet.summary import summary, usage_of

if TYPE_CHECKING:
    from podwire.kubelet.state import Kubelet
    from podwire.kubelet.worker import PodWorker

_SCHEME = "containerd://"


class Runtime:
    """``programs.env.NodeTools`` of one kubelet."""

    def __init__(self, kubelet: Kubelet) -> None:
        self._kubelet = kubelet

    def pods(self) -> list[JSON]:
        """The pod sandboxes, newest first."""
        return [_sandbox(worker) for worker in self._workers() if worker.sandbox is not None]

    def containers(self) -> list[JSON]:
        """The containers, those of the newest pod first."""
        return [_container(w, *seen) for w in self._workers() for seen in _instances(w)]

    def images(self) -> list[JSON]:
        """The images on the node's disk."""
        found = []
        for image in sorted(self._kubelet.images.list()):
            digest, tagged = image_digest(image), "@" not in image
            found.append(
                {
                    "id": digest,
                    "repoTags": [normalized(image)] if tagged else [],
                    "repoDigests": [image_id(image)],
                    "size": str(image_bytes(image)),
                    "pinned": "/pause:" in image,
                }
            )
        return found

    def status(self, id: str) -> JSON:
        """``status`` and ``info`` of a container or sandbox. Raises KeyError."""
        for worker in self._workers():
            if worker.sandbox is not None and worker.sandbox.id == id:
                return {"status": _sandbox_status(worker), "info": {"pid": pid_of(id)}}
            for record, ended, own in _instances(worker):
                if own == id:
                    info = {"pid": 0 if ended else pid_of(id)}
                    return {"status": _status(worker, record, ended, own), "info": info}
        raise KeyError(id)

    def netns(self, pid: int) -> str | None:
        """The network namespace of a container's or sandbox's first process; None: no such."""
        if pid == 1:
            return ""
        for worker in self._workers():
            ids = [instance.id for instance in worker.instances.values()]
            if worker.sandbox is not None and pid in map(pid_of, [worker.sandbox.id, *ids]):
                return worker.sandbox.netns
        return None

    def usage(self, id: str) -> tuple[int, int] | None:
        """Cores in units of 1e-9 and bytes of a running container."""
        for worker in self._workers():
            for instance in worker.instances.values():
                if instance.id == id:
                    used = usage_of(worker, instance, self._kubelet.now_ns())
                    return (used.cpu_nano, used.memory_bytes) if used is not None else None
        return None

    def memory(self) -> tuple[int, int]:
        """Bytes of memory: all and used."""
        node = summary(self._kubelet)["node"]
        return self._kubelet.info.memory_bytes, node["memory"]["workingSetBytes"]

    def log(self, id: str, options: LogOptions) -> AsyncIterator[bytes]:
        """A container's log. Raises KeyError."""
        for worker in self._workers():
            for record, _, own in _instances(worker):
                kept = worker.logs.get(record.name, [])
                if own == id and kept:
                    newest = own == record.container_id.removeprefix(_SCHEME)
                    return kept[-1 if newest or len(kept) == 1 else -2].read(options)
        raise KeyError(id)

    def execute(self, id: str, argv: Sequence[str]) -> ExecSession:
        """Start a command in a running container. Raises KeyError."""
        from podwire.kubelet import exec  # noqa: A004, PLC0415  exec gives commands this view

        for worker in self._workers():
            for instance in worker.instances.values():
                if instance.id == id:
                    return exec.start(self._kubelet, instance, argv, tty=False)
        raise KeyError(id)

    def network_ready(self) -> bool:
        """Whether CNI is configured."""
        return self._kubelet.network.ready.is_set()

    def journal(self) -> list[tuple[int, str]]:
        """What kubelet logged."""
        return list(self._kubelet.journal.entries)

    def _workers(self) -> Iterator[PodWorker]:
        yield from reversed(self._kubelet.workers.values())


def pid_of(id: str) -> int:
    """The process id, on the node, of the first process of a container or sandbox."""
    return 1000 + int(id[:8], 16) % 4_000_000


def _instances(worker: PodWorker) -> list[tuple[Record, Exit | None, str]]:
    """(record, how it ended, id) of each run of a container that is remembered, newest first."""
    found = []
    for record in worker.records.values():
        present = record.container_id.removeprefix(_SCHEME)
        ends = {e.container_id.removeprefix(_SCHEME): e for e in (record.exit, record.last) if e}
        if present:
            ended = None if record.state == RUNNING else ends.get(present)
            found.append((record, ended, present))
        found += [(record, e, own) for own, e in ends.items() if own and own != present]
    return found


def _nanos(time: str) -> int:
    try:
        return parse_time(time) if time else 0
    except TimeError:
        return 0


def _labels(worker: PodWorker) -> dict[str, str]:
    meta = worker.pod.metadata
    return {
        "io.kubernetes.pod.name": meta.name,
        "io.kubernetes.pod.namespace": meta.namespace,
        "io.kubernetes.pod.uid": meta.uid,
    }


def _sandbox(worker: PodWorker) -> JSON:
    meta = worker.pod.metadata
    assert worker.sandbox is not None, "only sandboxes that exist are told"
    return {
        "id": worker.sandbox.id,
        "metadata": {"name": meta.name, "uid": meta.uid, "namespace": meta.namespace, "attempt": 0},
        "state": "SANDBOX_READY" if worker.facts.sandbox_ready else "SANDBOX_NOTREADY",
        "createdAt": str(_nanos(worker.facts.start_time)),
        "labels": {**meta.labels, **_labels(worker)},
        "annotations": dict(meta.annotations),
        "runtimeHandler": "",
    }


def _sandbox_status(worker: PodWorker) -> JSON:
    assert worker.sandbox is not None, "only sandboxes that exist are told"
    ips = [] if worker.pod.spec.host_network else list(worker.facts.pod_ips)
    network = {"additionalIps": [{"ip": ip} for ip in ips[1:]], "ip": ips[0] if ips else ""}
    mode = "NODE" if worker.pod.spec.host_network else "POD"
    options = {
        "ipc": mode,
        "network": mode,
        "pid": "CONTAINER",
        "targetId": "",
    }
    return {
        **_sandbox(worker),
        "linux": {"namespaces": {"options": options}},
        "network": network,
    }


def _container(worker: PodWorker, record: Record, ended: Exit | None, id: str) -> JSON:
    digest, running = image_digest(record.image), record.state == RUNNING and ended is None
    attempt = record.restart_count
    if id != record.container_id.removeprefix(_SCHEME):
        attempt = max(attempt - 1, 0)
    labels = {"io.kubernetes.container.name": record.name, **_labels(worker)}
    return {
        "id": id,
        "podSandboxId": worker.sandbox.id if worker.sandbox else "",
        "metadata": {"name": record.name, "attempt": attempt},
        "image": {"image": digest, "annotations": {}, "userSpecifiedImage": record.image},
        "imageRef": digest,
        "state": "CONTAINER_RUNNING" if running else "CONTAINER_EXITED",
        "createdAt": str(_nanos(ended.started_at if ended else record.started_at)),
        "labels": labels,
        "annotations": {"io.kubernetes.container.restartCount": str(attempt)},
    }


def _status(worker: PodWorker, record: Record, ended: Exit | None, id: str) -> JSON:
    shown, meta = _container(worker, record, ended, id), worker.pod.metadata
    began = ended.started_at if ended else record.started_at
    attempt = shown["metadata"]["attempt"]
    folder = f"{meta.namespace}_{meta.name}_{meta.uid}"
    return {
        "annotations": shown["annotations"],
        "createdAt": began,
        "exitCode": ended.exit_code if ended else 0,
        "finishedAt": ended.finished_at if ended else "0001-01-01T00:00:00Z",
        "id": id,
        "image": shown["image"],
        "imageId": shown["imageRef"],
        "imageRef": image_id(record.image),
        "labels": shown["labels"],
        "logPath": f"/var/log/pods/{folder}/{record.name}/{attempt}.log",
        "message": ended.message if ended else "",
        "metadata": shown["metadata"],
        "mounts": [],
        "reason": ended.reason if ended else "",
        "startedAt": began,
        "state": shown["state"],
    }
