"""Why nodes refuse a pod, and the words about it (pure).

Source: kube-scheduler framework (Status, Diagnosis, FitError) and the plugins' error reasons.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

NODE_NAME = "NodeName"
NODE_UNSCHEDULABLE = "NodeUnschedulable"
TAINT_TOLERATION = "TaintToleration"
NODE_AFFINITY = "NodeAffinity"
NODE_PORTS = "NodePorts"
FIT = "NodeResourcesFit"
VOLUME_BINDING = "VolumeBinding"
SPREAD = "PodTopologySpread"
INTER_POD = "InterPodAffinity"
GATES = "SchedulingGates"


class Refusal(NamedTuple):
    """Why a node was refused. ``final``: taking pods off the node would not help."""

    plugin: str
    reasons: tuple[str, ...]
    final: bool


OTHER_NODE = Refusal(NODE_NAME, ("node(s) didn't match the requested node name",), True)
CORDONED = Refusal(NODE_UNSCHEDULABLE, ("node(s) were unschedulable",), True)
TAINTED = Refusal(TAINT_TOLERATION, ("node(s) had untolerated taint(s)",), True)
UNLIKE = Refusal(NODE_AFFINITY, ("node(s) didn't match Pod's node affinity/selector",), True)
NOT_PINNED = Refusal(NODE_AFFINITY, ("node(s) didn't satisfy plugin(s) [NodeAffinity]",), True)
PORTS_TAKEN = Refusal(
    NODE_PORTS, ("node(s) didn't have free ports for the requested pod ports",), False
)
OTHER_VOLUME_NODE = Refusal(
    VOLUME_BINDING, ("node(s) didn't match PersistentVolume's node affinity",), True
)
NO_MATCH = Refusal(
    VOLUME_BINDING, ("node(s) didn't find available persistent volumes to bind",), True
)
NO_VOLUME = Refusal(
    VOLUME_BINDING, ("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)",),
    True,
)  # fmt: skip
NO_TOPOLOGY = Refusal(
    SPREAD,
    ("node(s) didn't match pod topology spread constraints (missing required label)",),
    True,
)
SKEWED = Refusal(SPREAD, ("node(s) didn't match pod topology spread constraints",), False)
NOT_NEAR = Refusal(INTER_POD, ("node(s) didn't match pod affinity rules",), True)
NOT_APART = Refusal(INTER_POD, ("node(s) didn't match pod anti-affinity rules",), False)
REPELLED = Refusal(INTER_POD, ("node(s) didn't satisfy existing pods anti-affinity rules",), False)
HOPELESS = "Preemption is not helpful for scheduling"
NO_VICTIMS = Refusal("", ("No preemption victims found for incoming pod",), True)

CONFLICTING_NAMES = "pod affinity terms conflict"
NO_NODES = "no nodes available to schedule pods"


def histogram(reasons: Iterable[tuple[str, int]]) -> str:
    """``1 this, 2 that``, in upstream's order: by the texts with their counts in front."""
    counts: dict[str, int] = {}
    for reason, count in reasons:
        counts[reason] = counts.get(reason, 0) + count
    return ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items()))


def unavailable(total: int, why: str) -> str:
    """``0/3 nodes are available: <why>.``."""
    return f"0/{total} nodes are available: {why}." if why else f"0/{total} nodes are available:"
