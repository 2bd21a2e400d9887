"""Filters and scores that look at one node only, remembered for all pods that ask alike (pure).

Source: kube-scheduler's plugins NodeName, NodeUnschedulable, TaintToleration, NodeAffinity,
NodePorts, NodeResourcesFit (LeastAllocated), NodeResourcesBalancedAllocation and ImageLocality.

A ``Plan`` holds its verdicts as sets of nodes. A node is judged when a decision first comes to it,
and again only when the cluster's log names it.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from podwire.api import selectors
from podwire.api.views import Node, PodSpec, Taint
from podwire.client.placement import (
    HARD,
    NO_SCHEDULE,
    PREFER_NO_SCHEDULE,
    affinity_matches,
    tolerates,
    untolerated,
)
from podwire.scheduler.bits import bits
from podwire.scheduler.cluster import Cluster
from podwire.scheduler.resources import CPU, MEMORY, Demand, NodeState
from podwire.scheduler.terms import PodInfo
from podwire.scheduler.verdicts import (
    CORDONED,
    FIT,
    OTHER_NODE,
    PORTS_TAKEN,
    TAINTED,
    UNLIKE,
    Refusal,
)

K = TypeVar("K")

UNSCHEDULABLE_TAINT = Taint(key="node.kubernetes.io/unschedulable", effect=NO_SCHEDULE)
MAX_SCORE = 100
_MIB = 1024 * 1024
_LEAST_IMAGES = 23 * _MIB
_MOST_IMAGE = 1000 * _MIB
"""Bounds of ImageLocality: sums below the first count nothing, the second is for one container."""


class _Static(NamedTuple):
    """What depends on the node alone."""

    version: int
    refusal: Refusal | None
    disliked: int
    """PreferNoSchedule taints that the pod does not tolerate."""
    liked: int
    """Weights of the preferred node affinity terms that match."""


class Verdict(NamedTuple):
    """What a plan says of one node."""

    refusal: Refusal | None
    rank: int
    static: _Static


class Plan:
    """The verdicts over all nodes for pods with one ``PodInfo.local``."""

    def __init__(self, cluster: Cluster, pod: PodInfo) -> None:
        self._cluster = cluster
        self._spec = pod.pod.spec
        self._demand = pod.demand
        self._images = [
            _normalized(c.image) for c in (*self._spec.init_containers, *self._spec.containers)
        ]
        self._forget()

    def _forget(self) -> None:
        self._layout = self._cluster.layout
        self._pictures = self._cluster.pictures
        self._read = self._cluster.logged + len(self._cluster.log)
        self._by_slot: dict[int, Verdict] = {}
        self.known = 0
        """The nodes judged so far."""
        self.fitting = 0
        """Those of them that take the pod."""
        self.refused: dict[Refusal, int] = {}
        self.ranks: dict[int, int] = {}
        """The fitting nodes by the sum of the scores that see one node only."""
        self.disliked: dict[int, int] = {}
        self.liked: dict[int, int] = {}
        """The fitting nodes by their raw counts for TaintToleration and NodeAffinity."""

    def refresh(self) -> None:
        """Judge again what changed since the last time."""
        cluster = self._cluster
        if (
            self._layout != cluster.layout
            or self._pictures != cluster.pictures
            or self._read < cluster.logged
        ):
            self._forget()
            return
        log = cluster.log
        behind = self._read - cluster.logged
        if behind == len(log):
            return
        self._read = cluster.logged + len(log)
        for slot in dict.fromkeys(log[behind:]):
            if slot in self._by_slot:
                self._update(slot)

    def learn(self, nodes: int) -> None:
        """Judge those of the nodes that were not judged yet."""
        for slot in bits(nodes & ~self.known):
            self._update(slot)

    def _update(self, slot: int) -> None:
        state = self._cluster.slots[slot]
        old = self._by_slot.get(slot)
        new = None if state is None else self._judge(state, old)
        if old == new:
            return
        bit = 1 << slot
        if old is not None:
            self._count(old, bit)
        if new is not None:
            self._count(new, bit)
            self._by_slot[slot] = new
            self.known |= bit
        elif old is not None:
            del self._by_slot[slot]
            self.known ^= bit

    def _count(self, verdict: Verdict, bit: int) -> None:
        """Put a node in, or take it out: both flip its bit."""
        if verdict.refusal is not None:
            _flip(self.refused, verdict.refusal, bit)
            return
        self.fitting ^= bit
        _flip(self.ranks, verdict.rank, bit)
        _flip(self.disliked, verdict.static.disliked, bit)
        _flip(self.liked, verdict.static.liked, bit)

    def _judge(self, state: NodeState, old: Verdict | None) -> Verdict:
        static = old.static if old is not None else None
        if static is None or static.version != state.version:
            static = self._look_at(state)
        refusal = static.refusal or crowded(self._demand, state)
        if refusal is not None:
            return Verdict(refusal, 0, static)
        rank = least_allocated(self._demand, state) + balanced(self._demand, state)
        if self._cluster.images:
            rank += image_locality(self._images, state, self._cluster)
        return Verdict(None, rank, static)

    def _look_at(self, state: NodeState) -> _Static:
        spec, node = self._spec, state.node
        return _Static(
            state.version,
            unwelcome(spec, node),
            disliked_taints(spec, node),
            preferred_weight(spec, node),
        )


def _flip(sets: dict[K, int], key: K, bit: int) -> None:
    left = sets.get(key, 0) ^ bit
    if left:
        sets[key] = left
    else:
        del sets[key]


# ---------------------------------------------------------------- filters


def unwelcome(spec: PodSpec, node: Node) -> Refusal | None:
    """The first filter that refuses the node whatever stands on it, in upstream's order."""
    if spec.node_name and spec.node_name != node.metadata.name:
        return OTHER_NODE
    if node.spec.unschedulable and not any(
        tolerates(t, UNSCHEDULABLE_TAINT) for t in spec.tolerations
    ):
        return CORDONED
    taints = node.spec.taints
    if taints and untolerated(taints, spec.tolerations, HARD) is not None:
        return TAINTED
    return None if affinity_matches(spec, node) else UNLIKE


def crowded(wanted: Demand, state: NodeState) -> Refusal | None:
    """NodePorts and NodeResourcesFit: what stands on the node leaves no place."""
    if wanted.ports and state.ports and state.port_taken(wanted.ports):
        return PORTS_TAKEN
    reasons, hopeless = state.lacks(wanted)
    return Refusal(FIT, reasons, hopeless) if reasons else None


# ---------------------------------------------------------------- scores


def least_allocated(wanted: Demand, state: NodeState) -> int:
    """The mean share of cpu and memory that stays free, in percent."""
    total = parts = 0
    cpu, memory = state.cpu, state.memory
    if cpu:
        parts += 1
        free = cpu - state.scored_cpu - wanted.scored[0]
        if free > 0:
            total += free * MAX_SCORE // cpu
    if memory:
        parts += 1
        free = memory - state.scored_memory - wanted.scored[1]
        if free > 0:
            total += free * MAX_SCORE // memory
    return total // parts if parts else 0


def balanced(wanted: Demand, state: NodeState) -> int:
    """How much evener the pod makes the shares of cpu and memory: 50 to 100, 75 for no change.

    Nothing for pods that ask for neither.
    """
    if not wanted.cpu and not wanted.memory:
        return 0
    used_cpu, used_memory = state.requested.get(CPU, 0), state.requested.get(MEMORY, 0)
    after = _evenness(used_cpu + wanted.cpu, used_memory + wanted.memory, state)
    before = _evenness(used_cpu, used_memory, state)
    half = MAX_SCORE // 2
    return half + (half + after - before) // 2


def _evenness(cpu: int, memory: int, state: NodeState) -> int:
    if not state.cpu or not state.memory:
        return MAX_SCORE
    one = min(1.0, cpu / state.cpu)
    other = min(1.0, memory / state.memory)
    return int((1 - abs((one - other) / 2)) * MAX_SCORE)


def image_locality(images: list[str], state: NodeState, cluster: Cluster) -> int:
    """How much of the pod's images is there already; what few nodes have counts less."""
    total = 0
    for image in images:
        size = state.images.get(image)
        if size:
            total += int(size * (cluster.images[image] / len(cluster.nodes)))
    most = _MOST_IMAGE * len(images)
    clamped = max(_LEAST_IMAGES, min(total, most))
    return MAX_SCORE * (clamped - _LEAST_IMAGES) // (most - _LEAST_IMAGES)


def _normalized(image: str) -> str:
    return image if image.rfind(":") > image.rfind("/") else f"{image}:latest"


def disliked_taints(spec: PodSpec, node: Node) -> int:
    """PreferNoSchedule taints that the pod does not tolerate."""
    return sum(
        taint.effect == PREFER_NO_SCHEDULE
        and not any(tolerates(t, taint) for t in spec.tolerations)
        for taint in node.spec.taints
    )


def preferred_weight(spec: PodSpec, node: Node) -> int:
    """The sum of the weights of preferred node affinity terms that match."""
    affinity = spec.affinity.node_affinity if spec.affinity else None
    if affinity is None:
        return 0
    fields = {"metadata.name": node.metadata.name}
    return sum(
        wish.weight
        for wish in affinity.preferred_during_scheduling_ignored_during_execution
        if selectors.node_term_matches(wish.preference, node.metadata.labels, fields)
    )
