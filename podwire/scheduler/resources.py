"""What pods ask for and what a node has left (pure).

Source: component-helpers resource.PodRequests (init containers, sidecars, pod-level resources,
overhead), the scheduler's NodeInfo, and its requests for containers that ask for nothing (100m CPU
and 200 MB, in scores only). Not modelled: resources being resized in place, devices of DRA.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from podwire.api import quantity
from podwire.api.views import Container, Node, Pod

CPU, MEMORY, STORAGE, PODS = "cpu", "memory", "ephemeral-storage", "pods"
DEFAULT_CPU_MILLI = 100
DEFAULT_MEMORY_BYTES = 200 * 1024 * 1024
_POD_LEVEL = (CPU, MEMORY)
"""What ``spec.resources`` of a pod may set (beside huge pages) instead of its containers."""
_HUGE_PAGES = "hugepages-"
_ANY = "0.0.0.0"

Amounts = dict[str, int]
"""Resource name -> amount: milli for cpu, whole units for the others."""


class HostPort(NamedTuple):
    """A port of the node that a container claims."""

    ip: str
    protocol: str
    port: int


def amounts(texts: Mapping[str, str]) -> Amounts:
    """Quantities as integers."""
    return {
        name: quantity.milli(text) if name == CPU else quantity.value(text)
        for name, text in texts.items()
    }


def _add(total: Amounts, more: Mapping[str, int]) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, 0) + amount


def _at_least(total: Amounts, least: Mapping[str, int]) -> None:
    for name, amount in least.items():
        if amount > total.get(name, 0):
            total[name] = amount


@dataclass(frozen=True, slots=True)
class Demand:
    """What one pod takes from its node."""

    requests: Amounts
    cpu: int
    memory: int
    """Its requests of the two again: most pods ask for nothing else."""
    others: tuple[tuple[str, int], ...]
    """Its further requests, none of them zero."""
    scored: tuple[int, int]
    """(cpu milli, memory bytes) with defaults for containers that ask for nothing."""
    ports: tuple[HostPort, ...]


def demand(pod: Pod) -> Demand:
    """What the pod takes. Raises QuantityError for what the API server would have refused."""
    total = _requests(pod, {})
    scored = _requests(pod, {CPU: DEFAULT_CPU_MILLI, MEMORY: DEFAULT_MEMORY_BYTES})
    others = tuple(
        (name, amount) for name, amount in total.items() if amount and name not in (CPU, MEMORY)
    )
    return Demand(
        total,
        total.get(CPU, 0),
        total.get(MEMORY, 0),
        others,
        (scored.get(CPU, 0), scored.get(MEMORY, 0)),
        host_ports(pod),
    )


def _requests(pod: Pod, missing: Amounts) -> Amounts:
    """Sum of containers and sidecars, or what the greediest init container needs beside these."""
    spec = pod.spec
    total: Amounts = {}
    for container in spec.containers:
        _add(total, {**missing, **amounts(container.resources.requests)})
    if spec.init_containers:
        beside: Amounts = {}
        peak: Amounts = {}
        for container in spec.init_containers:
            asked = {**missing, **amounts(container.resources.requests)}
            if _sidecar(container):
                _add(total, asked)
                _add(beside, asked)
                asked = beside
            else:
                _add(asked, beside)
            _at_least(peak, asked)
        _at_least(total, peak)
    if spec.resources.requests:
        whole = amounts(spec.resources.requests)
        total.update(
            (name, amount)
            for name, amount in whole.items()
            if name in _POD_LEVEL or name.startswith(_HUGE_PAGES)
        )
    if spec.overhead:
        _add(total, amounts(spec.overhead))
    return total


def _sidecar(container: Container) -> bool:
    return container.restart_policy == "Always"


def host_ports(pod: Pod) -> tuple[HostPort, ...]:
    """The host ports of containers and sidecars; an init container's are not held."""
    spec = pod.spec
    return tuple(
        HostPort(port.host_ip or _ANY, port.protocol or "TCP", port.host_port)
        for containers in (spec.containers, [c for c in spec.init_containers if _sidecar(c)])
        for container in containers
        for port in container.ports
        if port.host_port > 0
    )


def conflict(one: HostPort, other: HostPort) -> bool:
    """Whether two claims exclude each other (0.0.0.0 conflicts with every address)."""
    return (
        one.port == other.port
        and one.protocol == other.protocol
        and (one.ip == other.ip or _ANY in (one.ip, other.ip))
    )


@dataclass(slots=True)
class NodeState:
    """A node and what stands on it; bound and assumed pods alike."""

    node: Node
    slot: int
    version: int = 0
    """Counts the changes of what filters and scores read of the node itself."""
    allocatable: Amounts = field(default_factory=dict)
    cpu: int = 0
    memory: int = 0
    room: int = 0
    """Allocatable cpu, memory and pods again."""
    images: dict[str, int] = field(default_factory=dict)
    """Sizes in bytes of what the node says it has, by name."""
    pods: dict[str, Demand] = field(default_factory=dict)
    """By pod uid, in the order in which they came."""
    requested: Amounts = field(default_factory=dict)
    scored_cpu: int = 0
    scored_memory: int = 0
    ports: dict[HostPort, int] = field(default_factory=dict)
    """Claimed host ports with how many pods claim them."""

    def set_node(self, node: Node) -> None:
        """Take over what the API says of the node."""
        self.node = node
        self.version += 1
        self.allocatable = amounts(node.status.allocatable)
        self.cpu = self.allocatable.get(CPU, 0)
        self.memory = self.allocatable.get(MEMORY, 0)
        self.room = self.allocatable.get(PODS, 0)
        self.images = {
            name: image.size_bytes for image in node.status.images for name in image.names
        }

    def add(self, uid: str, taken: Demand) -> None:
        """Count a pod in."""
        self.pods[uid] = taken
        _add(self.requested, taken.requests)
        self.scored_cpu += taken.scored[0]
        self.scored_memory += taken.scored[1]
        for port in taken.ports:
            self.ports[port] = self.ports.get(port, 0) + 1

    def remove(self, uid: str) -> None:
        """Count a pod out; harmless when it is not counted."""
        taken = self.pods.pop(uid, None)
        if taken is None:
            return
        for name, amount in taken.requests.items():
            self.requested[name] -= amount
        self.scored_cpu -= taken.scored[0]
        self.scored_memory -= taken.scored[1]
        for port in taken.ports:
            if self.ports[port] == 1:
                del self.ports[port]
            else:
                self.ports[port] -= 1

    def lacks(self, wanted: Demand) -> tuple[tuple[str, ...], bool]:
        """Upstream's reasons why the pod does not fit, and whether no pod's going could help."""
        reasons: tuple[str, ...] = ()
        hopeless = False
        if len(self.pods) >= self.room:
            reasons = ("Too many pods",)
        used = self.requested
        if wanted.cpu and wanted.cpu > self.cpu - used.get(CPU, 0):
            reasons += ("Insufficient cpu",)
            hopeless = wanted.cpu > self.cpu
        if wanted.memory and wanted.memory > self.memory - used.get(MEMORY, 0):
            reasons += ("Insufficient memory",)
            hopeless |= wanted.memory > self.memory
        for name, amount in wanted.others:
            whole = self.allocatable.get(name, 0)
            if amount > whole - used.get(name, 0):
                reasons += (f"Insufficient {name}",)
                hopeless |= amount > whole
        return reasons, hopeless

    def port_taken(self, wanted: tuple[HostPort, ...]) -> bool:
        """Whether one of the host ports is claimed already."""
        return any(conflict(mine, theirs) for mine in wanted for theirs in self.ports)
