"""Where a pod goes: filters, scores, and the words when it goes nowhere (pure).

Source: kube-scheduler's default plugins, their order, weights and messages. Not modelled:
preemption, pod (anti-)affinity, volumes, image locality; topologySpreadConstraints only as the
default soft spreading of one owner's pods over hosts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from podwire.api.views import Node, Pod, PodSpec, Taint
from podwire.client.placement import (
    HARD,
    NO_SCHEDULE,
    PREFER_NO_SCHEDULE,
    affinity_matches,
    tolerates,
    untolerated,
)
from podwire.runtime.ports import Rng
from podwire.scheduler.resources import CPU, MEMORY, Demand, NodeState

UNSCHEDULABLE_TAINT = Taint(key="node.kubernetes.io/unschedulable", effect=NO_SCHEDULE)
TAINT_WEIGHT, SPREAD_WEIGHT = 3, 2
"""Weights of TaintToleration and PodTopologySpread; the resource scores weigh 1."""
MAX_SCORE = 100


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one node refused. ``final``: taking pods off the node would not help."""

    reasons: tuple[str, ...]
    final: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """The chosen node ("" none) and, if none, upstream's message."""

    node: str
    message: str = ""


def decide(pod: Pod, wanted: Demand, nodes: Sequence[NodeState], rng: Rng) -> Decision:
    """Filter, score, and pick one of the best by the seed."""
    if not nodes:
        return Decision("", "no nodes available to schedule pods")
    fitting: list[NodeState] = []
    refusals: list[tuple[NodeState, Refusal]] = []
    only = pinned_to(pod.spec)
    for state in nodes:
        refusal = refuse(pod, wanted, state, only)
        if refusal is None:
            fitting.append(state)
        else:
            refusals.append((state, refusal))
    if not fitting:
        return Decision("", failure_message(pod, refusals))
    if len(fitting) == 1:
        return Decision(fitting[0].node.metadata.name)
    scores = score(pod, wanted, fitting)
    best = max(scores)
    leaders = [state for state, points in zip(fitting, scores, strict=True) if points == best]
    return Decision(rng.choice(leaders).node.metadata.name)


def not_modelled(spec: PodSpec) -> list[str]:
    """The wishes of a pod that are ignored here; whoever schedules it should say so."""
    found = []
    affinity = spec.affinity
    if affinity is not None and affinity.pod_affinity:
        found.append("spec.affinity.podAffinity")
    if affinity is not None and affinity.pod_anti_affinity:
        found.append("spec.affinity.podAntiAffinity")
    if spec.topology_spread_constraints:
        found.append("spec.topologySpreadConstraints")
    return found


# ---------------------------------------------------------------- filters


def pinned_to(spec: PodSpec) -> frozenset[str] | None:
    """The nodes that every required affinity term names by matchFields, if all do."""
    affinity = spec.affinity.node_affinity if spec.affinity else None
    required = affinity.required_during_scheduling_ignored_during_execution if affinity else None
    if required is None or not required.node_selector_terms:
        return None
    names: list[str] = []
    for term in required.node_selector_terms:
        fields = [f for f in term.match_fields if f.key == "metadata.name" and f.operator == "In"]
        if not fields:
            return None
        names += fields[0].values
    return frozenset(names)


def refuse(
    pod: Pod, wanted: Demand, state: NodeState, only: frozenset[str] | None
) -> Refusal | None:
    """The first filter that rejects the node, in upstream's plugin order."""
    node, spec = state.node, pod.spec
    if only is not None and node.metadata.name not in only:
        return Refusal(("node(s) didn't satisfy plugin(s) [NodeAffinity]",), True)
    if _unschedulable(node, spec):
        return Refusal(("node(s) were unschedulable",), True)
    if spec.node_name and spec.node_name != node.metadata.name:
        return Refusal(("node(s) didn't match the requested node name",), True)
    if untolerated(node.spec.taints, spec.tolerations, HARD) is not None:
        return Refusal(("node(s) had untolerated taint(s)",), True)
    if not affinity_matches(spec, node):
        return Refusal(("node(s) didn't match Pod's node affinity/selector",), True)
    if state.port_conflict(wanted):
        return Refusal(("node(s) didn't have free ports for the requested pod ports",), False)
    lacking = state.lacks(wanted)
    return Refusal(tuple(lacking), False) if lacking else None


def _unschedulable(node: Node, spec: PodSpec) -> bool:
    return node.spec.unschedulable and not any(
        tolerates(t, UNSCHEDULABLE_TAINT) for t in spec.tolerations
    )


def failure_message(pod: Pod, refusals: Sequence[tuple[NodeState, Refusal]]) -> str:
    """``0/3 nodes are available: 1 ..., 2 .... preemption: 0/3 nodes are available: ...``."""
    total = len(refusals)
    reasons = _histogram([reason for _, refusal in refusals for reason in refusal.reasons])
    verdicts = _histogram([_preemption(pod, state, refusal) for state, refusal in refusals])
    head = f"0/{total} nodes are available:"
    return f"{head} {reasons}. preemption: {head} {verdicts}."


def _preemption(pod: Pod, state: NodeState, refusal: Refusal) -> str:
    if refusal.final:
        return "Preemption is not helpful for scheduling"
    if any(other.spec.priority < pod.spec.priority for other, _ in state.pods.values()):
        return "Preemption is not modelled"
    return "No preemption victims found for incoming pod"


def _histogram(words: Sequence[str]) -> str:
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return ", ".join(sorted(f"{count} {word}" for word, count in counts.items()))


# ---------------------------------------------------------------- scores


def score(pod: Pod, wanted: Demand, nodes: Sequence[NodeState]) -> list[int]:
    """The weighted sum of upstream's scores, per node."""
    taints = _inverted([_soft_taints(pod.spec, state.node) for state in nodes])
    spread = _spread([_siblings(pod, state) for state in nodes])
    return [
        _least_allocated(wanted, state)
        + _balanced(wanted, state)
        + TAINT_WEIGHT * taint
        + SPREAD_WEIGHT * apart
        for state, taint, apart in zip(nodes, taints, spread, strict=True)
    ]


def _fractions(wanted: Demand, state: NodeState) -> list[tuple[int, int]]:
    """(requested with this pod, allocatable) of cpu and memory."""
    cpu, memory = wanted.scored
    pairs = [
        (state.scored_cpu + cpu, state.allocatable.get(CPU, 0)),
        (state.scored_memory + memory, state.allocatable.get(MEMORY, 0)),
    ]
    return [pair for pair in pairs if pair[1] > 0]


def _least_allocated(wanted: Demand, state: NodeState) -> int:
    pairs = _fractions(wanted, state)
    if not pairs:
        return 0
    parts = [max(0, have - used) * MAX_SCORE // have for used, have in pairs]
    return sum(parts) // len(parts)


def _balanced(wanted: Demand, state: NodeState) -> int:
    shares = [min(1.0, used / have) for used, have in _fractions(wanted, state)]
    deviation = abs(shares[0] - shares[1]) / 2 if len(shares) == 2 else 0.0
    return int((1 - deviation) * MAX_SCORE)


def _soft_taints(spec: PodSpec, node: Node) -> int:
    return sum(
        taint.effect == PREFER_NO_SCHEDULE
        and not any(tolerates(t, taint) for t in spec.tolerations)
        for taint in node.spec.taints
    )


def _inverted(counts: Sequence[int]) -> list[int]:
    """Most is worst: 100 for none, 0 for the largest count."""
    most = max(counts)
    if not most:
        return [MAX_SCORE] * len(counts)
    return [MAX_SCORE - MAX_SCORE * count // most for count in counts]


def _siblings(pod: Pod, state: NodeState) -> int:
    """Pods of the same owner on the node."""
    owner = pod.metadata.controller()
    if owner is None:
        return 0
    total = 0
    for other, _ in state.pods.values():
        reference = other.metadata.controller()
        total += (
            reference is not None
            and reference.uid == owner.uid
            and not other.metadata.deletion_timestamp
        )
    return total


def _spread(counts: Sequence[int]) -> list[int]:
    """PodTopologySpread's normalization: fewest siblings get 100."""
    most, fewest = max(counts), min(counts)
    if not most:
        return [MAX_SCORE] * len(counts)
    return [MAX_SCORE * (most + fewest - count) // most for count in counts]
