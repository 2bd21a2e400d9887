"""What the parts of one kubelet share, and the settings it is started with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from podwire.api.views import ConfigMap, Node, Pod, Secret, Service
from podwire.client.api import Client
from podwire.client.common import Commons
from podwire.client.counters import Container, NodeInfo
from podwire.client.ctx import Ctx
from podwire.client.informer import Informer
from podwire.client.recorder import Recorder
from podwire.kubelet import telling
from podwire.kubelet.core import Backoff
from podwire.kubelet.disk import NodeDisk
from podwire.kubelet.env import Links, Lookups
from podwire.kubelet.images import Images
from podwire.kubelet.journal import Journal
from podwire.kubelet.network import NodeNetwork
from podwire.kubelet.pids import PidNamespace, system
from podwire.kubelet.process import ContainerProcess
from podwire.kubelet.profile import PROFILES, Profile
from podwire.kubelet.sources import Sources
from podwire.kubelet.status import StatusManager
from podwire.runtime.ports import Rng
from podwire.runtime.tasks import Nursery

if TYPE_CHECKING:
    from podwire.kubelet.streams import Streams
    from podwire.kubelet.worker import PodWorker

VERSION = "v1.37.1"
RUNTIME_VERSION = "containerd://2.1.4"

NODE_IMAGE = (
    "registry.k8s.io/pause:3.10.1",
    "registry.k8s.io/kube-proxy:v1.37.1",
    "registry.k8s.io/coredns/coredns:v1.14.7",
    "ghcr.io/flannel-io/flannel:v0.28.9",
    "quay.io/calico/node:v3.32.0",
)
"""What a fresh node's disk image already holds, as kind's node image does."""

NODE_PROCESSES = (
    "/sbin/init",
    "/usr/local/bin/containerd",
    "/usr/bin/kubelet --config=/var/lib/kubelet/config.yaml",
)


@dataclass(frozen=True, slots=True)
class KubeletConfig:
    """The settings of one kubelet; names as in KubeletConfiguration where it has them."""

    node: str
    time_profile: str = "typical"
    shutdown_grace_period_s: int = 30
    """How long the node's shutdown waits for its pods in all; upstream's default is not to."""
    shutdown_grace_period_critical_s: int = 10
    """The part of it that is kept for critical pods (shutdownGracePeriodCriticalPods)."""
    cluster_dns: tuple[str, ...] = ("10.96.0.10",)
    cluster_domain: str = "cluster.local"
    max_pods: int = 110
    labels: Mapping[str, str] = field(default_factory=dict)
    """More labels for the Node object (a zone, a role)."""
    preloaded_images: tuple[str, ...] = NODE_IMAGE
    endpoint: str = ""
    """Where the API server finds this kubelet (``host:port``); "" in the same process."""
    streams: Streams | None = None
    """Where exec and logs of all nodes meet (counter 6); None: this kubelet serves none."""
    commons: Commons | None = None
    """What kubelets of one process follow together; None: this one follows all for itself."""

    @property
    def profile(self) -> Profile:
        """The modelled durations. Raises KeyError for an unknown profile."""
        return PROFILES[self.time_profile]


@dataclass(slots=True)
class Instance:
    """One run of a container, from its start to its exit."""

    name: str
    id: str
    process: ContainerProcess
    container: Container
    started_ns: int
    tasks: Nursery
    """Probes and commands inside the container: they end with it."""
    stopping: bool = False
    starved: bool = False
    """Killed for the memory that it wanted beyond its limit."""


@dataclass(slots=True)
class Kubelet:
    """One node's kubelet."""

    ctx: Ctx
    config: KubeletConfig
    profile: Profile
    client: Client
    info: NodeInfo
    rng: Rng
    nursery: Nursery
    recorder: Recorder
    statuses: StatusManager
    images: Images
    disk: NodeDisk
    network: NodeNetwork
    services: Informer[Service]
    config_maps: Sources[ConfigMap]
    secrets: Sources[Secret]
    journal: Journal
    backoff: Backoff = field(default_factory=Backoff)
    pids: PidNamespace = field(default_factory=lambda: PidNamespace(map(system, NODE_PROCESSES)))
    """All processes of the node."""
    shutting_down: bool = False
    node: Callable[[], Node | None] = lambda: None
    """The Node object, as far as it is known."""
    report: Callable[[], None] = lambda: None
    """Post the node's status: something has changed."""
    workers: dict[str, PodWorker] = field(default_factory=dict)
    """By pod uid."""
    links: dict[tuple[str, bool], Links] = field(default_factory=dict)
    """By namespace, and whether its own Services are among them."""
    rejected: dict[str, None] = field(default_factory=dict)
    """Uids of pods that the node did not take."""

    @property
    def lookups(self) -> Lookups:
        """Where environment variables and volumes find ConfigMaps and Secrets."""
        return Lookups(self.config_maps.get, self.secrets.get)

    @property
    def capacity(self) -> dict[str, str]:
        """What the node has of each resource."""
        return {
            "cpu": str(self.info.cpus),
            "ephemeral-storage": "98831908Ki",
            "hugepages-1Gi": "0",
            "hugepages-2Mi": "0",
            "memory": f"{self.info.memory_bytes // 1024}Ki",
            "pods": str(self.config.max_pods),
        }

    def now_ns(self) -> int:
        """Wall time."""
        return self.ctx.clock.now_ns()

    async def spend(self, duration_s: float) -> None:
        """Let a modelled duration pass."""
        await self.ctx.clock.sleep(self.profile.take(duration_s, self.rng))

    def event(self, pod: Pod, type: str, reason: str, message: str, container: str = "") -> None:
        """Record an event about a pod or one of its containers."""
        path = ""
        if container:
            field, spec = "containers", pod.spec
            if any(c.name == container for c in spec.init_containers):
                field = "initContainers"
            elif any(c.name == container for c in spec.ephemeral_containers):
                field = "ephemeralContainers"
            path = f"spec.{field}{{{container}}}"
        self.recorder.emit(pod, type, reason, message, path)
        telling.event(self.journal, pod, reason, message, container)

    def find(self, namespace: str, name: str) -> PodWorker | None:
        """The worker of a pod by name (the newest, when a namesake is still ending)."""
        found = None
        for worker in self.workers.values():
            meta = worker.pod.metadata
            if meta.name == name and meta.namespace == namespace:
                found = worker
        return found
