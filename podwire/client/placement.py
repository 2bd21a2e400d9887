"""May this pod stand on that node: taints, node selectors, node affinity (pure).

Shared by the scheduler and the DaemonSet controller, as component-helpers/scheduling is upstream.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from podwire.api import selectors
from podwire.api.views import Node, PodSpec, Taint, Toleration

NO_SCHEDULE = "NoSchedule"
PREFER_NO_SCHEDULE = "PreferNoSchedule"
NO_EXECUTE = "NoExecute"
HARD = (NO_SCHEDULE, NO_EXECUTE)
"""Effects that keep a pod off a node."""


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    """Whether one toleration covers one taint.

    Operators Lt and Gt compare integers (1.35 and later); an empty key with Exists covers all.
    """
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    operator = toleration.operator or "Equal"
    if operator == "Exists":
        return True
    if operator in {"Lt", "Gt"}:
        return _compares(operator, toleration.value, taint.value)
    return toleration.value == taint.value


def _compares(operator: str, limit: str, value: str) -> bool:
    if not (limit.lstrip("-").isdigit() and value.lstrip("-").isdigit()):
        return False
    return int(value) < int(limit) if operator == "Lt" else int(value) > int(limit)


def untolerated(
    taints: Iterable[Taint], tolerations: Sequence[Toleration], effects: Collection[str]
) -> Taint | None:
    """The first taint with one of the effects that no toleration covers."""
    for taint in taints:
        if taint.effect in effects and not any(tolerates(t, taint) for t in tolerations):
            return taint
    return None


def affinity_matches(spec: PodSpec, node: Node) -> bool:
    """Whether nodeSelector and required node affinity accept the node."""
    labels = node.metadata.labels
    if not spec.node_selector.items() <= labels.items():
        return False
    affinity = spec.affinity.node_affinity if spec.affinity else None
    required = affinity.required_during_scheduling_ignored_during_execution if affinity else None
    if required is None:
        return True
    return selectors.node_selector_matches(required, labels, {"metadata.name": node.metadata.name})


def target_node(spec: PodSpec) -> str:
    """The node a pod is on or (a DaemonSet's pod) is meant for by matchFields; "" if any."""
    if spec.node_name or spec.affinity is None or spec.affinity.node_affinity is None:
        return spec.node_name
    required = spec.affinity.node_affinity.required_during_scheduling_ignored_during_execution
    for term in required.node_selector_terms if required else ():
        for field in term.match_fields:
            if field.key == "metadata.name" and field.operator == "In" and len(field.values) == 1:
                return field.values[0]
    return ""
