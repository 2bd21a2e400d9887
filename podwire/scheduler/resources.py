"""What pods ask for and what nodes have left (pure).

Source: component-helpers resource.PodRequests, scheduler framework NodeInfo and NonMissing
requests (100m CPU and 200 MB for containers that ask for nothing, in scores only).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from podwire.api import quantity
from podwire.api.views import Container, Node, Pod

CPU, MEMORY, PODS = "cpu", "memory", "pods"
DEFAULT_CPU_MILLI = 100
DEFAULT_MEMORY_BYTES = 200 * 1024 * 1024
_ANY = "0.0.0.0"

Amounts = dict[str, int]
"""Resource name -> amount: milli for cpu, whole units for the others."""
HostPort = tuple[str, str, int]
"""(hostIP, protocol, port)."""


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
        total[name] = max(total.get(name, 0), amount)


@dataclass(frozen=True, slots=True)
class Demand:
    """What one pod takes from its node."""

    requests: Amounts
    scored: tuple[int, int]
    """(cpu milli, memory bytes) with defaults for containers that ask for nothing."""
    ports: tuple[HostPort, ...]


def demand(pod: Pod) -> Demand:
    """Sum of the containers, or the largest init container if that is more."""
    spec = pod.spec
    total: Amounts = {}
    cpu = memory = 0
    sidecars = [c for c in spec.init_containers if c.restart_policy == "Always"]
    for container in (*spec.containers, *sidecars):
        asked = amounts(container.resources.requests)
        _add(total, asked)
        cpu += asked.get(CPU, DEFAULT_CPU_MILLI)
        memory += asked.get(MEMORY, DEFAULT_MEMORY_BYTES)
    beside: Amounts = {}
    for container in spec.init_containers:
        asked = amounts(container.resources.requests)
        if container.restart_policy == "Always":
            _add(beside, asked)
            continue
        _at_least(total, {n: a + beside.get(n, 0) for n, a in asked.items()})
        cpu = max(cpu, asked.get(CPU, 0))
        memory = max(memory, asked.get(MEMORY, 0))
    ports = tuple(port for c in (*spec.containers, *sidecars) for port in _ports(c))
    return Demand(total, (cpu, memory), ports)


def _ports(container: Container) -> list[HostPort]:
    return [(p.host_ip or _ANY, p.protocol, p.host_port) for p in container.ports if p.host_port]


@dataclass(slots=True)
class NodeState:
    """A node and what stands on it; bound and assumed pods alike."""

    node: Node
    allocatable: Amounts = field(default_factory=dict)
    pods: dict[str, tuple[Pod, Demand]] = field(default_factory=dict)
    """By pod uid."""
    requested: Amounts = field(default_factory=dict)
    scored_cpu: int = 0
    scored_memory: int = 0

    def add(self, pod: Pod, taken: Demand) -> None:
        """Count a pod in."""
        self.pods[pod.metadata.uid] = (pod, taken)
        _add(self.requested, taken.requests)
        self.scored_cpu += taken.scored[0]
        self.scored_memory += taken.scored[1]

    def remove(self, uid: str) -> None:
        """Count a pod out; harmless when it is not counted."""
        found = self.pods.pop(uid, None)
        if found is None:
            return
        taken = found[1]
        _add(self.requested, {name: -amount for name, amount in taken.requests.items()})
        self.scored_cpu -= taken.scored[0]
        self.scored_memory -= taken.scored[1]

    def lacks(self, wanted: Demand) -> list[str]:
        """Upstream's reasons why the pod does not fit, in its order."""
        reasons = []
        if len(self.pods) + 1 > self.allocatable.get(PODS, 0):
            reasons.append("Too many pods")
        for name, amount in wanted.requests.items():
            free = self.allocatable.get(name, 0) - self.requested.get(name, 0)
            if amount > 0 and amount > free:
                reasons.append(f"Insufficient {name}")
        return reasons

    def port_conflict(self, wanted: Demand) -> bool:
        """Whether a host port is taken (0.0.0.0 conflicts with every address)."""
        if not wanted.ports:
            return False
        used = [port for _, taken in self.pods.values() for port in taken.ports]
        return any(_same_port(mine, theirs) for mine in wanted.ports for theirs in used)


def _same_port(a: HostPort, b: HostPort) -> bool:
    return a[1:] == b[1:] and (a[0] == b[0] or _ANY in {a[0], b[0]})


class Cluster:
    """All nodes with their pods: what one scheduling decision looks at."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeState] = {}
        self._where: dict[str, str] = {}
        self._homeless: dict[str, dict[str, tuple[Pod, Demand]]] = {}
        """Pods bound to nodes that are not (or no longer) known."""

    def set_node(self, node: Node) -> None:
        """A node appeared or changed."""
        name = node.metadata.name
        state = self.nodes.get(name)
        if state is None:
            state = self.nodes[name] = NodeState(node)
            for pod, taken in self._homeless.pop(name, {}).values():
                state.add(pod, taken)
        state.node = node
        state.allocatable = amounts(node.status.allocatable)

    def remove_node(self, name: str) -> None:
        """A node is gone; its pods may still be deleted one by one."""
        state = self.nodes.pop(name, None)
        if state is not None and state.pods:
            self._homeless[name] = state.pods

    def set_pod(self, pod: Pod, node: str) -> None:
        """A pod stands on (or is assumed to be on) a node."""
        uid = pod.metadata.uid
        before = self.nodes.get(self._where.get(uid, ""))
        known = before.pods.get(uid) if before is not None else None
        taken = known[1] if known is not None else demand(pod)
        self.remove_pod(uid)
        self._where[uid] = node
        state = self.nodes.get(node)
        if state is not None:
            state.add(pod, taken)
        else:
            self._homeless.setdefault(node, {})[uid] = (pod, taken)

    def remove_pod(self, uid: str) -> None:
        """A pod is gone, finished, or was not bound after all."""
        name = self._where.pop(uid, "")
        state = self.nodes.get(name)
        if state is not None:
            state.remove(uid)
        elif name in self._homeless:
            self._homeless[name].pop(uid, None)
            if not self._homeless[name]:
                del self._homeless[name]

    def ordered(self) -> list[NodeState]:
        """Nodes by name."""
        return [self.nodes[name] for name in sorted(self.nodes)]
