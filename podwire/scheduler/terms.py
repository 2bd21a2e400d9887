"""What a pod says about other pods, and its own facts, made ready to compare (pure).

Source: kube-scheduler framework (AffinityTerm, PodInfo, the pod signature) and podtopologyspread
(filterTopologySpreadConstraints). ``matchLabelKeys`` of affinity terms are no matter of the
scheduler: the API server writes them into the terms' selectors.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import msgspec

from podwire.api import selectors
from podwire.api.selectors import IN, NOTHING, Requirement, Selector
from podwire.api.views import (
    LabelSelector,
    Pod,
    PodAffinity,
    PodAffinityTerm,
    TopologySpreadConstraint,
)
from podwire.scheduler.resources import Demand, demand

HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
HARD_AFFINITY_WEIGHT = 1
"""What a required affinity of a pod that is there counts in the score of the pod it asks for."""

LabelSet = tuple[tuple[str, str], ...]
"""Labels in the order of their keys."""


class PodSelector(NamedTuple):
    """Pods of some namespaces by their labels."""

    namespaces: tuple[str, ...]
    """By name, sorted; those that ``namespace_selector`` matches come on top."""
    namespace_selector: Selector
    selector: Selector
    alive: bool = False
    """Terminating pods do not count."""


class Term(NamedTuple):
    """A pod (anti-)affinity term."""

    pods: PodSelector
    key: str
    weight: int = 0


class Constraint(NamedTuple):
    """A topology spread constraint."""

    pods: PodSelector
    key: str
    max_skew: int
    own: bool = True
    """Whether the pod itself is one of those that are counted."""
    min_domains: int = 1
    honor_affinity: bool = True
    honor_taints: bool = False


class Terms(NamedTuple):
    """All that a pod says of others by its affinity."""

    affinity: tuple[Term, ...] = ()
    anti: tuple[Term, ...] = ()
    liked: tuple[Term, ...] = ()
    """Preferred terms; those of anti-affinity have negative weights."""


NO_TERMS = Terms()


@dataclass(slots=True)
class PodInfo:
    """A pod with what scheduling needs of it."""

    pod: Pod
    demand: Demand
    labels: LabelSet
    terms: Terms
    local: bytes
    """Pods that agree in this are judged alike by filters and scores that see one node only."""
    hard: tuple[Constraint, ...] = ()
    soft: tuple[Constraint, ...] = ()
    group: tuple[str, LabelSet, bool] = field(init=False)
    """(namespace, labels, terminating): what selectors of pods tell apart."""

    def __post_init__(self) -> None:
        meta = self.pod.metadata
        self.group = (meta.namespace, self.labels, bool(meta.deletion_timestamp))

    @property
    def uid(self) -> str:
        """metadata.uid."""
        return self.pod.metadata.uid

    @property
    def priority(self) -> int:
        """spec.priority."""
        return self.pod.spec.priority


def info(pod: Pod) -> PodInfo:
    """Compile a pod. Raises ApiError or QuantityError for what no API server would let in."""
    meta, spec = pod.metadata, pod.spec
    taken = demand(pod)
    spread = spec.topology_spread_constraints
    affinity = spec.affinity
    return PodInfo(
        pod,
        taken,
        tuple(sorted(meta.labels.items())),
        _terms(pod) if affinity and (affinity.pod_affinity or affinity.pod_anti_affinity)
        else NO_TERMS,
        _local(pod, taken),
        _constraints(pod, "DoNotSchedule") if spread else (),
        _constraints(pod, "ScheduleAnyway") if spread else (),
    )  # fmt: skip


def same_demands(old: Pod, new: Pod) -> bool:
    """Whether a change of a pod (to be bound is none) leaves all that scheduling read of it."""
    one, other = old.spec, new.spec
    return (
        old.metadata.labels == new.metadata.labels
        and old.metadata.deletion_timestamp == new.metadata.deletion_timestamp
        and one.containers == other.containers
        and one.init_containers == other.init_containers
        and one.tolerations == other.tolerations
        and one.scheduling_gates == other.scheduling_gates
        and one.node_selector == other.node_selector
        and one.affinity == other.affinity
        and one.topology_spread_constraints == other.topology_spread_constraints
        and one.resources == other.resources
        and one.overhead == other.overhead
        and one.priority == other.priority
    )


def _local(pod: Pod, taken: Demand) -> bytes:
    spec = pod.spec
    images = [c.image for c in spec.init_containers] + [c.image for c in spec.containers]
    return _ENCODER.encode(
        (
            spec.node_name,
            spec.node_selector,
            spec.affinity.node_affinity if spec.affinity else None,
            spec.tolerations,
            taken.requests,
            taken.scored,
            taken.ports,
            images,
        )
    )


_ENCODER = msgspec.json.Encoder(order="deterministic")


# ---------------------------------------------------------------- affinity terms


def _terms(pod: Pod) -> Terms:
    affinity = pod.spec.affinity
    if affinity is None:
        return NO_TERMS
    near, apart = affinity.pod_affinity or PodAffinity(), affinity.pod_anti_affinity
    apart = apart or PodAffinity()
    namespace = pod.metadata.namespace
    liked = [
        _term(wish.pod_affinity_term, namespace, sign * wish.weight)
        for sign, wishes in (
            (1, near.preferred_during_scheduling_ignored_during_execution),
            (-1, apart.preferred_during_scheduling_ignored_during_execution),
        )
        for wish in wishes
    ]
    return Terms(_required(near, namespace), _required(apart, namespace), tuple(liked))


def _required(affinity: PodAffinity, namespace: str) -> tuple[Term, ...]:
    terms = affinity.required_during_scheduling_ignored_during_execution
    return tuple(_term(term, namespace, 0) for term in terms)


def _term(term: PodAffinityTerm, namespace: str, weight: int) -> Term:
    names = tuple(sorted(set(term.namespaces)))
    if not names and term.namespace_selector is None:
        names = (namespace,)
    pods = PodSelector(names, compiled(term.namespace_selector), compiled(term.label_selector))
    return Term(pods, term.topology_key, weight)


def compiled(selector: LabelSelector | None) -> Selector:
    """The matcher of a selector, the same one for equal selectors."""
    if selector is None:
        return NOTHING
    return _compiled(_ENCODER.encode(selector))


@lru_cache(maxsize=4096)
def _compiled(text: bytes) -> Selector:
    return selectors.compile(msgspec.json.decode(text, type=LabelSelector))


# ---------------------------------------------------------------- spread constraints


def _constraints(pod: Pod, action: str) -> tuple[Constraint, ...]:
    return tuple(
        _constraint(pod, constraint)
        for constraint in pod.spec.topology_spread_constraints
        if constraint.when_unsatisfiable == action
    )


def _constraint(pod: Pod, given: TopologySpreadConstraint) -> Constraint:
    labels = pod.metadata.labels
    selector = compiled(given.label_selector)
    keys = [key for key in given.match_label_keys if key in labels]
    if keys and not selector.nothing:
        own = tuple(Requirement(key, IN, (labels[key],), "=") for key in keys)
        selector = Selector((*own, *selector.requirements))
    return Constraint(
        _of_namespace(pod, selector),
        given.topology_key,
        given.max_skew,
        selector.matches(labels),
        given.min_domains or 1,
        given.node_affinity_policy != "Ignore",
        given.node_taints_policy == "Honor",
    )


def _of_namespace(pod: Pod, selector: Selector) -> PodSelector:
    """The live pods beside the pod; an empty selector counts none, as upstream has it."""
    counted = NOTHING if selector.everything else selector
    return PodSelector((pod.metadata.namespace,), NOTHING, counted, alive=True)


def default_constraints(pod: Pod, selector: Selector) -> tuple[Constraint, ...]:
    """The soft spreading of pods without constraints that a Service or an owner selects."""
    if selector.everything or selector.nothing:
        return ()
    pods = _of_namespace(pod, selector)
    return Constraint(pods, HOSTNAME, 3), Constraint(pods, ZONE, 5)


Namespaces = dict[str, dict[str, str]]
"""Labels of namespaces, by name."""


def matches(wanted: PodSelector, namespace: str, labels: LabelSet, spaces: Namespaces) -> bool:
    """Whether a pod is one of those that are meant (whether it terminates aside)."""
    if namespace not in wanted.namespaces and (
        wanted.namespace_selector.nothing
        or not wanted.namespace_selector.matches(spaces.get(namespace, {}))
    ):
        return False
    return wanted.selector.matches(dict(labels))
