"""Filters and scores that look at other pods: topology spread and pod (anti-)affinity (pure).

Source: kube-scheduler's plugins PodTopologySpread and InterPodAffinity. Their verdicts over all
nodes come from counters per domain: sets of nodes, never a walk over nodes or pods.
"""

from __future__ import annotations

import math

from podwire.api.views import Node, PodSpec
from podwire.client.placement import HARD, affinity_matches, untolerated
from podwire.scheduler.cluster import Cluster, mask_of
from podwire.scheduler.domains import ITSELF, Table
from podwire.scheduler.local import MAX_SCORE
from podwire.scheduler.terms import HOSTNAME, Constraint, LabelSet, PodInfo, matches
from podwire.scheduler.verdicts import (
    NO_TOPOLOGY,
    NOT_APART,
    NOT_NEAR,
    REPELLED,
    SKEWED,
    Refusal,
)

Partition = list[tuple[float, int]]
"""Disjoint sets of nodes, each with a value."""


class Inclusion:
    """Which nodes a spread constraint looks at, by the pod's affinity and tolerations."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._kept: dict[tuple[bytes, bool], int] = {}
        self._versions: tuple[int, int, int] = (-1, -1, -1)

    def of(self, pod: PodInfo, constraint: Constraint) -> int | None:
        """The nodes that count; None for all of them."""
        spec = pod.pod.spec
        picky = bool(spec.node_selector) or (
            spec.affinity is not None and spec.affinity.node_affinity is not None
        )
        found: int | None = None
        if constraint.honor_affinity and picky:
            found = self._nodes(pod, taints=False)
        if constraint.honor_taints:
            tolerating = self._nodes(pod, taints=True)
            found = tolerating if found is None else found & tolerating
        return found

    def _nodes(self, pod: PodInfo, *, taints: bool) -> int:
        cluster, spec = self._cluster, pod.pod.spec
        versions = (cluster.layout, cluster.topology, cluster.facts)
        if versions != self._versions or len(self._kept) > _MOST_KEPT:
            self._kept.clear()
            self._versions = versions
        found = self._kept.get((pod.local, taints))
        if found is None:
            slots = [
                state.slot
                for state in cluster.nodes.values()
                if _included(spec, state.node, taints)
            ]
            found = self._kept[pod.local, taints] = mask_of(slots, len(cluster.slots))
        return found


def _included(spec: PodSpec, node: Node, taints: bool) -> bool:
    if taints:
        return untolerated(node.spec.taints, spec.tolerations, HARD) is None
    return affinity_matches(spec, node)


_MOST_KEPT = 256


class Topology:
    """One pod's view of the pods that are there."""

    def __init__(self, cluster: Cluster, pod: PodInfo, inclusion: Inclusion) -> None:
        self._cluster = cluster
        self._pod = pod
        self._inclusion = inclusion
        self.allowed = cluster.everywhere
        """The nodes that both filters accept."""
        self._steps: list[tuple[Refusal, int]] = []
        """What each step refuses, in upstream's order."""
        if pod.hard:
            self._spread()
        if pod.terms.affinity:
            self._refuse(NOT_NEAR, cluster.everywhere & ~self._near())
        if pod.terms.anti:
            self._refuse(NOT_APART, self._unlike())
        repelling = self._repelled()
        if repelling:
            self._refuse(REPELLED, repelling)

    def _refuse(self, refusal: Refusal, nodes: int) -> None:
        self._steps.append((refusal, nodes))
        self.allowed &= ~nodes

    def refusals(self, nodes: int) -> list[tuple[Refusal, int]]:
        """Why these nodes are refused, each by the first step that refuses it."""
        found = []
        for refusal, refused in self._steps:
            met = nodes & refused
            if met:
                found.append((refusal, met))
                nodes &= ~met
        return found

    # ------------------------------------------------------------ filters

    def _spread(self) -> None:
        """Every DoNotSchedule constraint; nodes count only with all of the topology keys."""
        cluster, pod = self._cluster, self._pod
        complete = self._complete(pod.hard)
        for constraint in pod.hard:
            labelled = cluster.labelled(constraint.key)
            self._refuse(NO_TOPOLOGY, cluster.everywhere & ~labelled)
            table = self._counted(constraint, complete)
            fewest = table.fewest
            if len(table.counts) < constraint.min_domains:
                fewest = 0
            most = constraint.max_skew + fewest - constraint.own
            known = within = 0
            for count, nodes in table.level.items():
                known |= nodes
                if count <= most:
                    within |= nodes
            if most >= 0:
                within |= labelled & ~known
            self._refuse(SKEWED, labelled & ~within)

    def _complete(self, constraints: tuple[Constraint, ...]) -> int | None:
        """The nodes that have all topology keys; None if all nodes have."""
        cluster = self._cluster
        found = cluster.everywhere
        for constraint in constraints:
            found &= cluster.labelled(constraint.key)
        return None if found == cluster.everywhere else found

    def _counted(self, constraint: Constraint, complete: int | None) -> Table:
        included = self._inclusion.of(self._pod, constraint)
        if complete is not None:
            included = complete if included is None else included & complete
        counter = self._cluster.counts.counter((constraint.pods,))
        return counter.table(constraint.key, included)

    def _near(self) -> int:
        """Nodes whose domains hold a pod that all terms mean; or any, for the first of its kind."""
        cluster, pod = self._cluster, self._pod
        terms = pod.terms.affinity
        counter = cluster.counts.counter(tuple(term.pods for term in terms))
        found = labelled = cluster.everywhere
        met = False
        for term in terms:
            occupied = counter.table(term.key).occupied
            met |= bool(occupied)
            found &= occupied
            labelled &= cluster.labelled(term.key)
        if met:
            return found
        namespace = pod.pod.metadata.namespace
        first = all(matches(term.pods, namespace, pod.labels, cluster.namespaces) for term in terms)
        return labelled if first else 0

    def _unlike(self) -> int:
        found = 0
        for term in self._pod.terms.anti:
            found |= self._cluster.counts.counter((term.pods,)).table(term.key).occupied
        return found

    def _repelled(self) -> int:
        found = 0
        for term, counter in self._cluster.repelling.about(self._pod):
            found |= counter.table(term.key).occupied
        return found

    # ------------------------------------------------------------ scores

    def spread_scores(self, nodes: int, soft: tuple[Constraint, ...], *, own: bool) -> Partition:
        """The nodes by PodTopologySpread's normalized score.

        ``own``: the constraints are the pod's, not the defaults; nodes without one of the topology
        keys get 0 then, and their pods do not count.
        """
        complete = self._complete(soft) if own else None
        scored = nodes if complete is None else nodes & complete
        parts: Partition = [(0.0, scored)]
        for constraint in soft:
            parts = _joined(parts, self._weighed(constraint, complete, scored))
        raw = _merged([(float(math.floor(value + 0.5)), part) for value, part in parts])
        ignored: Partition = [(0, nodes & ~scored)] if nodes & ~scored else []
        if not raw:
            return ignored
        most, least = max(v for v, _ in raw), min(v for v, _ in raw)
        if most <= 0:
            return [*((MAX_SCORE, part) for _, part in raw), *ignored]
        return _merged([
            *((MAX_SCORE * int(most + least - value) // int(most), part) for value, part in raw),
            *ignored,
        ])  # fmt: skip

    def _weighed(self, constraint: Constraint, complete: int | None, scored: int) -> Partition:
        """What one constraint adds to the raw score, by nodes (others: nothing)."""
        cluster = self._cluster
        labelled = cluster.labelled(constraint.key)
        if constraint.key == HOSTNAME:
            table = cluster.counts.counter((constraint.pods,)).table(ITSELF)
            size = scored.bit_count()
        else:
            table = self._counted(constraint, complete)
            size = sum(bool(ns & scored) for ns in cluster.domains(constraint.key).values())
            size += bool(scored & ~labelled)
        weight, skew = math.log(size + 2), constraint.max_skew - 1
        found: Partition = []
        rest = labelled & scored
        for count, on in table.level.items():
            part = on & rest
            if part:
                found.append((count * weight + skew, part))
                rest &= ~part
        if rest:
            found.append((float(skew), rest))
        return found

    def liking_scores(self, nodes: int) -> Partition:
        """The nodes by InterPodAffinity's normalized score."""
        cluster, pod = self._cluster, self._pod
        tables = [
            (term.weight, cluster.counts.counter((term.pods,)).table(term.key))
            for term in pod.terms.liked
        ]
        tables += [
            (term.weight, counter.table(term.key))
            for term, counter in cluster.liking.about(pod)
            if term.weight
        ]
        parts: Partition = [(0, nodes)]
        for weight, table in tables:
            parts = _joined(
                parts, [(weight * count, on) for count, on in table.level.items() if count]
            )
        raw = _merged(parts)
        most, least = max(v for v, _ in raw), min(v for v, _ in raw)
        if most == least:
            return [(0, nodes)]
        return _merged(
            [(int(MAX_SCORE * ((value - least) / (most - least))), part) for value, part in raw]
        )


def _joined(parts: Partition, more: Partition) -> Partition:
    """Every set cut by those of ``more``; the values are added (nothing where it has none)."""
    found: Partition = []
    for value, nodes in parts:
        left = nodes
        for other, on in more:
            met = left & on
            if met:
                found.append((value + other, met))
                left ^= met
                if not left:
                    break
        if left:
            found.append((value, left))
    return found


def _merged(parts: Partition) -> Partition:
    """One set for each value."""
    found: dict[float, int] = {}
    for value, nodes in parts:
        if nodes:
            found[value] = found.get(value, 0) | nodes
    return list(found.items())


def involves(labels: LabelSet, constraints: tuple[Constraint, ...]) -> bool:
    """Whether pods with these labels are counted by one of the constraints."""
    return any(constraint.pods.selector.matches(dict(labels)) for constraint in constraints)
