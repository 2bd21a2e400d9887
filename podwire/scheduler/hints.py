"""Which changes of the cluster may help a refused pod, by the plugin that refused it (pure).

Source: kube-scheduler's queueing hints (EventsToRegister and the isSchedulableAfter... functions of
each plugin). A change that no hint takes up leaves the pod where it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from podwire.api.views import Node, Object, Pod
from podwire.client.placement import HARD, affinity_matches, tolerates, untolerated
from podwire.scheduler.local import UNSCHEDULABLE_TAINT
from podwire.scheduler.resources import NodeState, conflict, host_ports
from podwire.scheduler.terms import (
    Constraint,
    Namespaces,
    PodInfo,
    PodSelector,
    Term,
    info,
    matches,
)
from podwire.scheduler.verdicts import (
    FIT,
    INTER_POD,
    NODE_AFFINITY,
    NODE_NAME,
    NODE_PORTS,
    NODE_UNSCHEDULABLE,
    SPREAD,
    TAINT_TOLERATION,
    VOLUME_BINDING,
)


class What(Enum):
    """The kinds of changes."""

    NODE_ADDED = "NodeAdd"
    NODE_CHANGED = "NodeUpdate"
    NODE_GONE = "NodeDelete"
    POD_PLACED = "AssignedPodAdd"
    POD_CHANGED = "AssignedPodUpdate"
    POD_GONE = "AssignedPodDelete"
    ITSELF = "TargetPodUpdate"
    """The waiting pod changed."""
    STORAGE = "StorageChange"
    """A claim, a volume or a storage class appeared or changed."""


@dataclass(frozen=True, slots=True)
class Change:
    """What happened: a node, a placed pod, or the waiting pod, before and after."""

    what: What
    old: Object | None = None
    new: Object | None = None
    namespaces: Namespaces | None = None

    @property
    def nodes(self) -> tuple[Node | None, Node | None]:
        """Before and after, of a node."""
        old, new = self.old, self.new
        assert old is None or isinstance(old, Node), "a change of a node"
        assert new is None or isinstance(new, Node), "a change of a node"
        return old, new

    @property
    def pods(self) -> tuple[Pod | None, Pod | None]:
        """Before and after, of a pod."""
        old, new = self.old, self.new
        assert old is None or isinstance(old, Pod), "a change of a pod"
        assert new is None or isinstance(new, Pod), "a change of a pod"
        return old, new


Hint = Callable[[PodInfo, Change], bool]


def _always(_pod: PodInfo, _change: Change) -> bool:
    return True


# ---------------------------------------------------------------- one node


def _cordon_lifted(_pod: PodInfo, change: Change) -> bool:
    old, new = change.nodes
    return new is not None and not new.spec.unschedulable and (
        old is None or old.spec.unschedulable
    )  # fmt: skip


def _cordon_tolerated(_pod: PodInfo, change: Change) -> bool:
    old, new = change.pods
    return _tolerations_grew(old, new) and new is not None and any(
        tolerates(t, UNSCHEDULABLE_TAINT) for t in new.spec.tolerations
    )  # fmt: skip


def _tolerations_grew(old: Pod | None, new: Pod | None) -> bool:
    return (
        old is not None
        and new is not None
        and len(old.spec.tolerations) != len(new.spec.tolerations)
    )


def _taints_lifted(pod: PodInfo, change: Change) -> bool:
    old, new = change.nodes
    tolerations = pod.pod.spec.tolerations

    def kept_off(node: Node) -> bool:
        return untolerated(node.spec.taints, tolerations, HARD) is not None

    return new is not None and not kept_off(new) and (old is None or kept_off(old))


def _more_tolerated(_pod: PodInfo, change: Change) -> bool:
    return _tolerations_grew(*change.pods)


def _affinity_met(pod: PodInfo, change: Change) -> bool:
    old, new = change.nodes
    spec = pod.pod.spec
    return new is not None and affinity_matches(spec, new) and (
        old is None or not affinity_matches(spec, old)
    )  # fmt: skip


def _ports_freed(pod: PodInfo, change: Change) -> bool:
    gone, _ = change.pods
    return gone is not None and any(
        conflict(mine, theirs) for theirs in host_ports(gone) for mine in pod.demand.ports
    )


def _room_grew(pod: PodInfo, change: Change) -> bool:
    old, new = change.nodes
    if new is None:
        return False
    after = NodeState(new, 0)
    after.set_node(new)
    if after.lacks(pod.demand)[0]:
        return False
    if old is None:
        return True
    before = NodeState(old, 0)
    before.set_node(old)
    return after.room > before.room or any(
        amount and after.allocatable.get(name, 0) > before.allocatable.get(name, 0)
        for name, amount in pod.demand.requests.items()
    )


def _labels_changed(_pod: PodInfo, change: Change) -> bool:
    old, new = change.nodes
    return old is not None and new is not None and old.metadata.labels != new.metadata.labels


# ---------------------------------------------------------------- topology spread


def _counted(constraints: tuple[Constraint, ...], pod: Pod) -> list[bool]:
    return [c.pods.selector.matches(pod.metadata.labels) for c in constraints]


def _spread_by_pod(pod: PodInfo, change: Change) -> bool:
    old, new = change.pods
    one = old or new
    assert one is not None, "a change has a before or an after"
    if one.metadata.namespace != pod.pod.metadata.namespace:
        return False
    if old is not None and new is not None:
        return _counted(pod.hard, old) != _counted(pod.hard, new)
    return any(_counted(pod.hard, one))


def _spread_by_itself(pod: PodInfo, change: Change) -> bool:
    old, new = change.pods
    if _tolerations_grew(old, new) and any(c.honor_taints for c in pod.hard):
        return True
    assert old is not None and new is not None, "a waiting pod changed"  # noqa: PT018  one thought
    return _counted(pod.hard, old) != _counted(pod.hard, new)


def _spread_by_node(pod: PodInfo, change: Change) -> bool:
    old, new = change.nodes
    keys = [constraint.key for constraint in pod.hard]

    def complete(node: Node) -> bool:
        return all(key in node.metadata.labels for key in keys)

    if old is None or new is None:
        one = old or new
        return one is not None and complete(one)
    if complete(old) != complete(new):
        return True
    moved = any(old.metadata.labels.get(k) != new.metadata.labels.get(k) for k in keys)
    return complete(new) and (moved or old.spec.taints != new.spec.taints)


# ---------------------------------------------------------------- pod affinity


def _meant(wanted: PodSelector, pod: Pod, spaces: Namespaces | None) -> bool:
    meta = pod.metadata
    return matches(wanted, meta.namespace, tuple(meta.labels.items()), spaces or {})


def _all_meant(terms: tuple[Term, ...], pod: Pod, spaces: Namespaces | None) -> bool:
    return bool(terms) and all(_meant(term.pods, pod, spaces) for term in terms)


def _any_meant(terms: tuple[Term, ...], pod: Pod, spaces: Namespaces | None) -> bool:
    return any(_meant(term.pods, pod, spaces) for term in terms)


def _affinity_by_pod(pod: PodInfo, change: Change) -> bool:
    old, new = change.pods
    near, apart, spaces = pod.terms.affinity, pod.terms.anti, change.namespaces
    if new is None:
        assert old is not None, "a change has a before or an after"
        return _any_meant(apart, old, spaces) or _any_meant(info(old).terms.anti, pod.pod, spaces)
    if old is None:
        return _all_meant(near, new, spaces)
    came_near = _all_meant(near, new, spaces) and not _all_meant(near, old, spaces)
    return came_near or (_any_meant(apart, old, spaces) and not _any_meant(apart, new, spaces))


def _affinity_by_itself(_pod: PodInfo, change: Change) -> bool:
    old, new = change.pods
    return old is not None and new is not None and old.metadata.labels != new.metadata.labels


def _affinity_by_node(pod: PodInfo, change: Change) -> bool:
    old, new = change.nodes
    if new is None:
        return False
    labels = new.metadata.labels
    if old is None:
        return bool(pod.terms.anti) or any(t.key in labels for t in pod.terms.affinity)
    before = old.metadata.labels
    return any(
        t.key in labels and before.get(t.key) != labels[t.key] for t in pod.terms.affinity
    ) or any(t.key in before and labels.get(t.key) != before[t.key] for t in pod.terms.anti)


HINTS: dict[str, dict[What, Hint]] = {
    NODE_NAME: {What.NODE_ADDED: _always},
    NODE_UNSCHEDULABLE: {
        What.NODE_ADDED: _cordon_lifted,
        What.NODE_CHANGED: _cordon_lifted,
        What.ITSELF: _cordon_tolerated,
    },
    TAINT_TOLERATION: {
        What.NODE_ADDED: _taints_lifted,
        What.NODE_CHANGED: _taints_lifted,
        What.ITSELF: _more_tolerated,
    },
    NODE_AFFINITY: {What.NODE_ADDED: _affinity_met, What.NODE_CHANGED: _affinity_met},
    NODE_PORTS: {What.NODE_ADDED: _always, What.POD_GONE: _ports_freed},
    FIT: {
        What.NODE_ADDED: _room_grew,
        What.NODE_CHANGED: _room_grew,
        What.POD_GONE: _always,
    },
    VOLUME_BINDING: {
        What.STORAGE: _always,
        What.NODE_ADDED: _always,
        What.NODE_CHANGED: _labels_changed,
    },
    SPREAD: {
        What.POD_PLACED: _spread_by_pod,
        What.POD_CHANGED: _spread_by_pod,
        What.POD_GONE: _spread_by_pod,
        What.NODE_ADDED: _spread_by_node,
        What.NODE_CHANGED: _spread_by_node,
        What.NODE_GONE: _spread_by_node,
        What.ITSELF: _spread_by_itself,
    },
    INTER_POD: {
        What.POD_PLACED: _affinity_by_pod,
        What.POD_CHANGED: _affinity_by_pod,
        What.POD_GONE: _affinity_by_pod,
        What.NODE_ADDED: _affinity_by_node,
        What.NODE_CHANGED: _affinity_by_node,
        What.ITSELF: _affinity_by_itself,
    },
}
"""What each plugin wants to hear of, and whether it matters."""


def helps(plugin: str, pod: PodInfo, change: Change) -> bool:
    """Whether the change may make the plugin accept a node for the pod."""
    hint = HINTS.get(plugin, {}).get(change.what)
    return hint is not None and hint(pod, change)
