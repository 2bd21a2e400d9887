"""Port-forward: a connection to ``localhost`` in a pod's network namespace, carried by packets.

Source of behaviour and words: containerd pkg/cri (sandbox_portforward_linux.go) and kubelet's
streaming/portforward.
"""

from __future__ import annotations

from podwire.api.status import ApiError
from podwire.client.counters import Stream
from podwire.kubelet.network import NETNS_DIR
from podwire.kubelet.probes import dial_error
from podwire.kubelet.worker import PodWorker

LOCALHOST = "127.0.0.1"
CONNECT_TIMEOUT_S = 30.0


async def connect(worker: PodWorker, port: int) -> Stream:
    """Connect to a port of the pod. Raises ApiError with the text of the error stream."""
    sandbox, node = worker.sandbox, worker.kubelet.config.node
    if sandbox is None or not worker.facts.sandbox_ready:
        name = worker.pod.metadata.name
        raise ApiError("InternalError", f"error forwarding port {port} to pod {name}, uid : "
                       f"pod {name} has no sandbox that is running")  # fmt: skip
    sockets = worker.kubelet.ctx.sockets
    try:
        return await sockets.connect(node, sandbox.netns, LOCALHOST, port, CONNECT_TIMEOUT_S)
    except OSError as error:
        place = NETNS_DIR + sandbox.netns if sandbox.netns else "host"
        why = dial_error(error, LOCALHOST, port).replace("dial tcp", "dial tcp4", 1)
        # A modelled name server has no IPv6 localhost: containerd's second attempt fails so.
        raise ApiError(
            "InternalError",
            f"error forwarding port {port} to pod {sandbox.id}, uid : failed to execute "
            f'portforward in network namespace "{place}": failed to connect to localhost:{port} '
            f'inside namespace "{sandbox.id}", IPv4: {why} IPv6 dial tcp6: address localhost: no '
            "suitable address found ",
        ) from None
