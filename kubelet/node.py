"""The Node object and its Lease: registration, heartbeats, conditions.

Behaviour of pkg/kubelet/nodestatus and pkg/kubelet (kubelet_node_status.go): status is posted
when it changed and at least every 5 minutes; the Lease is renewed every 10 s and lasts 40 s.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.api.times import format_time
from podwire.api.view import JSON
from podwire.api.views import Node
from podwire.client.api import STRATEGIC
from podwire.client.counters import KUBELET_ENDPOINT
from podwire.client.leases import LeaseHolder
from podwire.kubelet.profile import image_bytes, image_id
from podwire.kubelet.shutdown import NOT_READY as SHUTTING_DOWN
from podwire.kubelet.state import RUNTIME_VERSION, VERSION, Kubelet
from podwire.runtime.tasks import Event, first

LEASE_NAMESPACE = "kube-node-lease"
REPORT_S = 300.0
UPDATE_S = 10.0
"""nodeStatusUpdateFrequency."""
MAX_IMAGES = 50
"""nodeStatusMaxImages."""
RETRY_S = 1.0
KUBELET_PORT = 10250

NOT_READY = (
    "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady "
    "message:Network plugin returns error: cni plugin not initialized"
)

_PRESSURES = (
    ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
)


def _images(present: list[str]) -> list[JSON]:
    """status.images: the largest first, each by digest and by tag."""
    told = []
    for image in sorted(present, key=image_bytes, reverse=True)[:MAX_IMAGES]:
        names = dict.fromkeys((image_id(image), image))
        told.append({"names": list(names), "sizeBytes": image_bytes(image)})
    return told


class NodeAgent:
    """Keeps this node's Node object and Lease true."""

    def __init__(self, kubelet: Kubelet) -> None:
        self._kubelet = kubelet
        self._name = kubelet.config.node
        self._changed = Event()
        self._registered = Event()
        self._since: dict[str, tuple[str, str]] = {}
        self._later = False

    def kick(self) -> None:
        """Something that the status tells has changed: post it."""
        self._changed.set()

    def kick_later(self) -> None:
        """Something has changed that waits for the next look at the status (every 10 s)."""
        if not self._later:
            self._later = True
            self._kubelet.ctx.clock.call_later(UPDATE_S, self._look)

    def _look(self) -> None:
        self._later = False
        self.kick()

    def observe(self, _old: Node | None, new: Node | None) -> None:
        """The Node object changed: post again when someone else overwrote the Ready condition."""
        if new is None or not self._registered.is_set():
            return
        ready = next((c.status for c in new.status.conditions if c.type == "Ready"), "")
        if ready == "Unknown":
            self.kick()

    # ------------------------------------------------------------ status

    def _conditions(self) -> list[JSON]:
        now = format_time(self._kubelet.now_ns())
        ready = self._kubelet.network.ready.is_set()
        wanted = [(name, "False", reason, message) for name, reason, message in _PRESSURES]
        wanted.append(
            ("Ready", "True", "KubeletReady", "kubelet is posting ready status")
            if ready
            else ("Ready", "False", "KubeletNotReady", NOT_READY)
        )
        if self._kubelet.shutting_down:
            wanted[-1] = ("Ready", "False", "KubeletNotReady", SHUTTING_DOWN)
        conditions = []
        for name, status, reason, message in wanted:
            before = self._since.get(name)
            since = before[1] if before and before[0] == status else now
            self._since[name] = (status, since)
            conditions.append(
                {
                    "type": name,
                    "status": status,
                    "reason": reason,
                    "message": message,
                    "lastHeartbeatTime": now,
                    "lastTransitionTime": since,
                }
            )
        return conditions

    def _status(self) -> JSON:
        info, capacity = self._kubelet.info, self._kubelet.capacity
        return {
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": self._conditions(),
            "addresses": [
                *({"type": "InternalIP", "address": address} for address in info.addresses),
                {"type": "Hostname", "address": self._name},
            ],
            "images": _images(self._kubelet.images.list()),
            "daemonEndpoints": {"kubeletEndpoint": {"Port": KUBELET_PORT}},
            "nodeInfo": {
                "machineID": info.machine_id,
                "systemUUID": info.machine_id,
                "bootID": info.boot_id,
                "kernelVersion": info.kernel_version,
                "osImage": "podwire",
                "containerRuntimeVersion": RUNTIME_VERSION,
                "kubeletVersion": VERSION,
                "kubeProxyVersion": "",
                "operatingSystem": "linux",
                "architecture": "amd64",
            },
        }

    def _annotations(self) -> dict[str, str]:
        annotations = {"volumes.kubernetes.io/controller-managed-attach-detach": "true"}
        if self._kubelet.config.endpoint:
            annotations[KUBELET_ENDPOINT] = self._kubelet.config.endpoint
        return annotations

    def _body(self) -> JSON:
        labels = {
            "beta.kubernetes.io/arch": "amd64",
            "beta.kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            "kubernetes.io/hostname": self._name,
            "kubernetes.io/os": "linux",
            **self._kubelet.config.labels,
        }
        return {
            "metadata": {
                "name": self._name,
                "labels": labels,
                "annotations": self._annotations(),
            },
            "spec": {},
            "status": self._status(),
        }

    # ------------------------------------------------------------ tasks

    async def run(self) -> None:
        """Register, then post the status when it changed and every 5 minutes."""
        await self._retrying(self._register)
        self._registered.set()
        kubelet = self._kubelet
        while True:
            await first(self._changed.wait(), kubelet.ctx.clock.sleep(REPORT_S))
            if self._changed.is_set():
                await kubelet.spend(kubelet.profile.observe_s)
            self._changed.clear()
            await self._retrying(self._post)

    async def _register(self) -> None:
        kubelet = self._kubelet
        body = self._body()
        try:
            node = await kubelet.client.create(kinds.NODE, body)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            patch = {"metadata": {k: body["metadata"][k] for k in ("labels", "annotations")}}
            node = await kubelet.client.patch(kinds.NODE, self._name, patch)
            boot_id = node.status.node_info.get("bootID")
            if boot_id and boot_id != kubelet.info.boot_id:
                message = f"Node {self._name} has been rebooted, boot id: {kubelet.info.boot_id}"
                kubelet.recorder.emit(node, "Warning", "Rebooted", message)
            await self._post()
        else:
            kubelet.recorder.emit(node, "Normal", "Starting", "Starting kubelet.")
            if not node.status.conditions:
                await self._post()

    async def _post(self) -> None:
        was_ready = self._since.get("Ready", ("", ""))[0]
        status = self._status()
        # merged by type, two InternalIPs would become one: nodeutil.PatchNodeStatus does so too
        status["addresses"] = [*status["addresses"], {"$patch": "replace"}]
        node = await self._kubelet.client.patch(
            kinds.NODE, self._name, {"status": status},
            subresource="status", content_type=STRATEGIC,
        )  # fmt: skip
        is_ready = self._since["Ready"][0]
        if was_ready != is_ready:
            reason = "NodeReady" if is_ready == "True" else "NodeNotReady"
            message = f"Node {self._name} status is now: {reason}"
            self._kubelet.recorder.emit(node, "Normal", reason, message)

    async def hold_lease(self) -> None:
        """Hold this node's Lease until cancelled."""
        await self._registered.wait()
        kubelet = self._kubelet
        lease = LeaseHolder(
            kubelet.ctx,
            kubelet.client,
            self._name,
            namespace=LEASE_NAMESPACE,
            identity=self._name,
            owner=self._owner,
        )
        await lease.run()

    async def _owner(self) -> JSON:
        """The Node that the Lease belongs to. Raises ApiError: without it there is no Lease."""
        node = await self._kubelet.client.get(kinds.NODE, self._name)
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "name": self._name,
            "uid": node.metadata.uid,
        }

    async def _retrying(self, call: Callable[[], Awaitable[None]]) -> None:
        delay_s = RETRY_S
        while True:
            try:
                await call()
            except (ApiError, ConnectionError) as error:
                self._kubelet.ctx.log.warning("node not reported", error=str(error))
                await self._kubelet.ctx.clock.sleep(delay_s)
                delay_s = min(2 * delay_s, 7.0)
            else:
                return
