"""Counter 6: commands, logs, ports and resolvers of all nodes' pods. Every kubelet registers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

from podwire.api.status import ApiError
from podwire.client.counters import (
    ExecSession,
    LogOptions,
    Request,
    Resolver,
    Response,
    Stream,
    ToolResult,
)
from podwire.kubelet import forwarding, nodeshell, server
from podwire.kubelet.core import TERMINATED, WAITING
from podwire.kubelet.exec import start
from podwire.kubelet.launch import node_text
from podwire.kubelet.logs import ContainerLog
from podwire.kubelet.probes import dial_error
from podwire.kubelet.shutdown import POWER_OFF, shut_down
from podwire.kubelet.state import Kubelet
from podwire.kubelet.worker import PodWorker


class Streams:
    """The direct binding of KubeletStreams."""

    def __init__(self, reachable: Callable[[str], bool] = lambda _node: True) -> None:
        """``reachable``: whether the control plane's packets can arrive at a node."""
        self._kubelets: dict[str, Kubelet] = {}
        self._reachable = reachable

    def register(self, kubelet: Kubelet) -> None:
        """A kubelet serves its node from now on."""
        self._kubelets[kubelet.config.node] = kubelet

    def unregister(self, kubelet: Kubelet) -> None:
        """A kubelet stopped."""
        if self._kubelets.get(kubelet.config.node) is kubelet:
            del self._kubelets[kubelet.config.node]

    def _kubelet(self, node: str) -> Kubelet:
        kubelet = self._kubelets.get(node)
        if kubelet is None:
            raise ConnectionError(f"dial tcp {node}:10250: connect: connection refused")
        return kubelet

    def _dialed(self, node: str) -> None:
        """The API server dials the kubelet of a node. Raises ConnectionError."""
        kubelet = self._kubelet(node)
        if not self._reachable(node):
            raise ConnectionError(f"dial tcp {kubelet.info.address}:10250: i/o timeout")

    def _worker(self, node: str, namespace: str, pod: str) -> PodWorker:
        worker = self._kubelet(node).find(namespace, pod)
        if worker is None:
            raise ApiError("NotFound", f'pod "{pod}" does not exist on node "{node}"')
        return worker

    async def exec(
        self, node: str, namespace: str, pod: str, container: str, argv: Sequence[str], tty: bool
    ) -> ExecSession:
        """Start a command in a running container. Raises ApiError, ConnectionError."""
        self._dialed(node)
        worker = self._worker(node, namespace, pod)
        name = _container(worker, container)
        if not argv:
            raise ApiError("BadRequest", "you must specify at least 1 command for the container")
        instance = worker.instances.get(name)
        if instance is None:
            raise ApiError("NotFound", f'container not found ("{name}")')
        return start(worker.kubelet, instance, argv, tty)

    async def attach(
        self, node: str, namespace: str, pod: str, container: str, *, stdin: bool
    ) -> ExecSession:
        """Attach to a container's main program. Raises ApiError, ConnectionError."""
        self._dialed(node)
        worker = self._worker(node, namespace, pod)
        name = _container(worker, container)
        instance = worker.instances.get(name)
        if instance is None:
            raise ApiError("NotFound", f"container {name} not found in pod {pod}_{namespace}")
        return instance.process.stdio.attach(stdin=stdin)

    async def port_forward(self, node: str, namespace: str, pod: str, port: int) -> Stream:
        """Connect to a port of a pod from inside it. Raises ApiError, ConnectionError."""
        self._dialed(node)
        return await forwarding.connect(self._worker(node, namespace, pod), port)

    async def dial(self, node: str, address: str, port: int, timeout_s: float) -> Stream:
        """Connect from a node's own namespace. Raises ConnectionError in Go's words."""
        self._dialed(node)
        sockets = self._kubelet(node).ctx.sockets
        try:
            return await sockets.connect(node, "", address, port, timeout_s)
        except OSError as error:
            raise ConnectionError(dial_error(error, address, port)) from None

    async def http(self, node: str, request: Request) -> Response:
        """A request to kubelet's own port 10250. Raises ConnectionError."""
        self._dialed(node)
        return await server.answer(self._kubelet(node), self, request)

    async def run(self, node: str, argv: Sequence[str], stdin: bytes = b"") -> ToolResult:
        """Run a command on the node itself. Raises ConnectionError.

        ``systemctl poweroff`` returns when the kubelet lets the power go.
        """
        if tuple(argv) == POWER_OFF:
            await shut_down(self._kubelet(node))
            return ToolResult()
        return await nodeshell.run(self._kubelet(node), argv, stdin)

    async def logs(
        self, node: str, namespace: str, pod: str, container: str, options: LogOptions
    ) -> AsyncIterator[bytes]:
        """The log of a container instance. Raises ApiError, ConnectionError."""
        self._dialed(node)
        worker = self._worker(node, namespace, pod)
        log = _log(worker, _container(worker, container), previous=options.previous)
        return log.read(options)

    async def resolver(self, node: str, namespace: str, pod: str) -> Resolver:
        """How a pod, or the node itself (pod ""), resolves names."""
        kubelet = self._kubelet(node)
        if not pod:
            conf = await node_text(kubelet, "/etc/resolv.conf")
            hosts = await node_text(kubelet, "/etc/hosts")
            return Resolver(node, "", kubelet.info.address, conf, hosts)
        around = self._worker(node, namespace, pod).around
        if around is None:
            raise ApiError("BadRequest", f'pod "{pod}" has no network yet')
        return Resolver(
            node, around.sandbox.netns, around.pod_ips[0], around.files.resolv_conf,
            around.files.hosts,
        )  # fmt: skip


def _container(worker: PodWorker, name: str) -> str:
    spec, pod = worker.pod.spec, worker.pod.metadata.name
    mains = [c.name for c in spec.containers]
    if not name:
        if len(mains) > 1:
            raise ApiError(
                "BadRequest",
                f"a container name must be specified for pod {pod}, "
                f"choose one of: [{' '.join(mains)}]",
            )
        return mains[0]
    if name not in worker.records:
        raise ApiError("BadRequest", f"container {name} is not valid for pod {pod}")
    return name


_PULLING = {
    "ErrImagePull": "image can't be pulled",
    "ImagePullBackOff": "trying and failing to pull image",
}
"""Reasons for which kubelet has other words (pkg/kubelet/kubelet_pods.go)."""


def _log(worker: PodWorker, name: str, *, previous: bool) -> ContainerLog:
    kept, record = worker.logs.get(name, []), worker.records[name]
    pod = worker.pod.metadata.name
    if previous:
        # While a crash loop waits, the newest log is the one of the instance that crashed; one that
        # ended for good is the present one, not the previous.
        present = name in worker.instances or record.state == TERMINATED
        ended = kept[:-1] if present else kept
        if not ended:
            message = f'previous terminated container "{name}" in pod "{pod}" not found'
            raise ApiError("BadRequest", message)
        return ended[-1]
    if not kept:
        reason = record.reason if record.state == WAITING else "ContainerCreating"
        reason = _PULLING.get(reason, reason)
        raise ApiError(
            "BadRequest", f'container "{name}" in pod "{pod}" is waiting to start: {reason}'
        )
    return kept[-1]
