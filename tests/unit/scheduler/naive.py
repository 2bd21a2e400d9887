"""An exhaustive scheduler: every filter and score counted anew over all pods, node by node.

Written from upstream's plugins without the indexes, and without looking at ours, so that the two
can be held against each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from podwire.api import selectors
from podwire.api.selectors import Selector
from podwire.api.views import Node, Pod, PodAffinityTerm
from podwire.client.placement import HARD, affinity_matches, tolerates, untolerated
from podwire.scheduler.local import UNSCHEDULABLE_TAINT
from podwire.scheduler.resources import amounts, demand

HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
Spread = tuple[Selector, str, int, int, bool, bool, bool]
"""(who counts, key, maxSkew, minDomains, by affinity, by taints, whether the pod counts itself)."""


@dataclass
class World:
    """What there is, as plain lists."""

    nodes: dict[str, Node] = field(default_factory=dict)
    pods: dict[str, tuple[Pod, str]] = field(default_factory=dict)
    namespaces: dict[str, dict[str, str]] = field(default_factory=dict)
    default: Selector | None = None
    """The selector of default spreading; None: the pods have none."""

    def on(self, node: str) -> list[Pod]:
        """The pods of a node."""
        return [pod for pod, where in self.pods.values() if where == node]

    # ------------------------------------------------------------ filters

    def refusal(self, pod: Pod, node: Node) -> tuple[tuple[str, ...], bool] | None:
        """The reasons of the first filter that refuses, and whether nothing could help."""
        spec = pod.spec
        if node.spec.unschedulable and not any(
            tolerates(t, UNSCHEDULABLE_TAINT) for t in spec.tolerations
        ):
            return ("node(s) were unschedulable",), True
        if untolerated(node.spec.taints, spec.tolerations, HARD):
            return ("node(s) had untolerated taint(s)",), True
        if not affinity_matches(spec, node):
            return ("node(s) didn't match Pod's node affinity/selector",), True
        return self._crowded(pod, node) or self._skewed(pod, node) or self._unloved(pod, node)

    def _crowded(self, pod: Pod, node: Node) -> tuple[tuple[str, ...], bool] | None:
        there = [demand(other) for other in self.on(node.metadata.name)]
        wanted = demand(pod)
        for port in wanted.ports:
            for other in (p for taken in there for p in taken.ports):
                if port[1:] == other[1:] and (
                    port.ip == other.ip or "0.0.0.0" in (port.ip, other.ip)
                ):
                    return ("node(s) didn't have free ports for the requested pod ports",), False
        have = amounts(node.status.allocatable)
        reasons, hopeless = [], False
        if len(there) + 1 > have.get("pods", 0):
            reasons.append("Too many pods")
        for name, amount in wanted.requests.items():
            used = sum(taken.requests.get(name, 0) for taken in there)
            if amount and amount > have.get(name, 0) - used:
                reasons.append(f"Insufficient {name}")
                hopeless |= amount > have.get(name, 0)
        return (tuple(sorted(reasons)), hopeless) if reasons else None

    def _constraints(self, pod: Pod, action: str) -> list[Spread]:
        found: list[Spread] = []
        for c in pod.spec.topology_spread_constraints:
            if c.when_unsatisfiable != action:
                continue
            selector = selectors.compile(c.label_selector)
            own = selector.matches(pod.metadata.labels)
            found.append((
                selector, c.topology_key, c.max_skew, c.min_domains or 1,
                c.node_affinity_policy == "Honor", c.node_taints_policy == "Honor", own,
            ))  # fmt: skip
        return found

    @staticmethod
    def _eligible(pod: Pod, node: Node, constraint: Spread) -> bool:
        _, _, _, _, affinity, taints, _ = constraint
        if affinity and not affinity_matches(pod.spec, node):
            return False
        return not (taints and untolerated(node.spec.taints, pod.spec.tolerations, HARD))

    def _matching(self, pod: Pod, node: str, selector: Selector) -> int:
        return sum(
            other.metadata.namespace == pod.metadata.namespace
            and not other.metadata.deletion_timestamp
            and not selector.everything
            and selector.matches(other.metadata.labels)
            for other in self.on(node)
        )

    def _skewed(self, pod: Pod, node: Node) -> tuple[tuple[str, ...], bool] | None:
        constraints = self._constraints(pod, "DoNotSchedule")
        keys = [c[1] for c in constraints]
        words = "node(s) didn't match pod topology spread constraints"
        for constraint in constraints:
            selector, key, skew, domains, _, _, own = constraint
            counts: dict[str, int] = {}
            for other in self.nodes.values():
                labels = other.metadata.labels
                if all(k in labels for k in keys) and self._eligible(pod, other, constraint):
                    counts[labels[key]] = counts.get(labels[key], 0) + self._matching(
                        pod, other.metadata.name, selector
                    )
            if key not in node.metadata.labels:
                return (f"{words} (missing required label)",), True
            least = min(counts.values(), default=0) if len(counts) >= domains else 0
            if counts.get(node.metadata.labels[key], 0) + own - least > skew:
                return (words,), False
        return None

    def _means(self, term: PodAffinityTerm, whose: Pod, other: Pod) -> bool:
        names = list(term.namespaces)
        if not names and term.namespace_selector is None:
            names = [whose.metadata.namespace]
        spaces = selectors.compile(term.namespace_selector)
        namespace = other.metadata.namespace
        return (
            namespace in names or spaces.matches(self.namespaces.get(namespace, {}))
        ) and selectors.compile(term.label_selector).matches(other.metadata.labels)

    @staticmethod
    def _required(pod: Pod, *, anti: bool) -> list[PodAffinityTerm]:
        affinity = pod.spec.affinity
        one = (affinity.pod_anti_affinity if anti else affinity.pod_affinity) if affinity else None
        return one.required_during_scheduling_ignored_during_execution if one else []

    def _neighbours(self, node: Node, key: str) -> list[Pod]:
        """The pods in the node's domain."""
        value = node.metadata.labels.get(key)
        if value is None:
            return []
        return [
            pod
            for pod, where in self.pods.values()
            if where in self.nodes and self.nodes[where].metadata.labels.get(key) == value
        ]

    def _unloved(self, pod: Pod, node: Node) -> tuple[tuple[str, ...], bool] | None:
        near = self._required(pod, anti=False)

        def wanted(other: Pod) -> bool:
            return all(self._means(term, pod, other) for term in near)

        if near:
            labels = node.metadata.labels
            here = all(any(map(wanted, self._neighbours(node, t.topology_key))) for t in near)
            anywhere = any(
                wanted(other) and t.topology_key in self.nodes[where].metadata.labels
                for other, where in self.pods.values()
                if where in self.nodes
                for t in near
            )
            first = not anywhere and wanted(pod) and all(t.topology_key in labels for t in near)
            if not here and not first:
                return ("node(s) didn't match pod affinity rules",), True
        for term in self._required(pod, anti=True):
            for other in self._neighbours(node, term.topology_key):
                if self._means(term, pod, other):
                    return ("node(s) didn't match pod anti-affinity rules",), False
        for other, where in self.pods.values():
            for term in self._required(other, anti=True):
                key = term.topology_key
                theirs = self.nodes[where].metadata.labels.get(key) if where in self.nodes else None
                if (
                    theirs is not None
                    and theirs == node.metadata.labels.get(key)
                    and self._means(term, other, pod)
                ):
                    return ("node(s) didn't satisfy existing pods anti-affinity rules",), False
        return None

    # ------------------------------------------------------------ scores

    def scores(self, pod: Pod) -> dict[str, int]:
        """The total of every node that no filter refuses."""
        fitting = [n for n in self.nodes.values() if self.refusal(pod, n) is None]
        if not fitting:
            return {}
        names = [node.metadata.name for node in fitting]
        taints = [
            sum(
                t.effect == "PreferNoSchedule"
                and not any(tolerates(x, t) for x in pod.spec.tolerations)
                for t in node.spec.taints
            )
            for node in fitting
        ]
        worst = max(taints)
        total = [3 * (100 - 100 * t // worst if worst else 100) for t in taints]
        for scores, weight in (
            (self._affinity_scores(pod, fitting), 2),
            (self._spread_scores(pod, fitting), 2),
            (self._love_scores(pod, fitting), 2),
            ([self._resources(pod, node) for node in fitting], 1),
        ):
            total = [have + weight * more for have, more in zip(total, scores, strict=True)]
        return dict(zip(names, total, strict=True))

    @staticmethod
    def _affinity_scores(pod: Pod, nodes: list[Node]) -> list[int]:
        affinity = pod.spec.affinity.node_affinity if pod.spec.affinity else None
        wishes = affinity.preferred_during_scheduling_ignored_during_execution if affinity else []
        raw = [
            sum(
                wish.weight
                for wish in wishes
                if selectors.node_term_matches(
                    wish.preference, n.metadata.labels, {"metadata.name": n.metadata.name}
                )
            )
            for n in nodes
        ]
        most = max(raw)
        return [100 * r // most if most else 0 for r in raw]

    def _resources(self, pod: Pod, node: Node) -> int:
        there = [demand(other) for other in self.on(node.metadata.name)]
        wanted, have = demand(pod), amounts(node.status.allocatable)
        parts, before, after = [], [], []
        for n, name in enumerate(("cpu", "memory")):
            used = sum(taken.scored[n] for taken in there) + wanted.scored[n]
            parts.append(max(0, have[name] - used) * 100 // have[name])
            real = sum(taken.requests.get(name, 0) for taken in there)
            before.append(min(1, real / have[name]))
            after.append(min(1, (real + wanted.requests.get(name, 0)) / have[name]))
        least = sum(parts) // 2
        if not wanted.requests.get("cpu") and not wanted.requests.get("memory"):
            return least
        even = [int((1 - abs(a - b) / 2) * 100) for a, b in (after, before)]
        return least + 50 + (50 + even[0] - even[1]) // 2

    def _spread_scores(self, pod: Pod, nodes: list[Node]) -> list[int]:
        constraints = self._constraints(pod, "ScheduleAnyway")
        own = bool(pod.spec.topology_spread_constraints)
        if not own and self.default is not None:
            constraints = [
                (self.default, HOST, 3, 1, True, False, True),
                (self.default, ZONE, 5, 1, True, False, True),
            ]
        if not constraints:
            return [0] * len(nodes)

        def complete(node: Node) -> bool:
            return not own or all(c[1] in node.metadata.labels for c in constraints)

        scored = [node for node in nodes if complete(node)]
        raw: list[int | None] = []
        for node in nodes:
            if not complete(node):
                raw.append(None)
                continue
            value = 0.0
            for constraint in constraints:
                selector, key, skew = constraint[:3]
                domain = node.metadata.labels.get(key)
                if domain is None:
                    continue
                size = len({n.metadata.labels.get(key) for n in scored})
                if key == HOST:
                    size = len(scored)
                    count = self._matching(pod, node.metadata.name, selector)
                else:
                    count = sum(
                        self._matching(pod, n.metadata.name, selector)
                        for n in self.nodes.values()
                        if n.metadata.labels.get(key) == domain
                        and complete(n)
                        and self._eligible(pod, n, constraint)
                    )
                value += count * math.log(size + 2) + skew - 1
            raw.append(math.floor(value + 0.5))
        known = [r for r in raw if r is not None]
        most, fewest = max(known, default=0), min(known, default=0)
        return [0 if r is None else 100 * (most + fewest - r) // most if most else 100 for r in raw]

    def _love_scores(self, pod: Pod, nodes: list[Node]) -> list[int]:
        raw = []
        for node in nodes:
            value = 0
            for other, where in self.pods.values():
                if where in self.nodes:
                    value += self._love(pod, other, node, self.nodes[where])
                    value += self._love(other, pod, node, self.nodes[where])
                    value += sum(
                        self._means(term, other, pod)
                        for term in self._required(other, anti=False)
                        if _together(node, self.nodes[where], term.topology_key)
                    )
            raw.append(value)
        most, least = max(raw), min(raw)
        return [int(100 * ((r - least) / (most - least))) if most > least else 0 for r in raw]

    def _love(self, whose: Pod, other: Pod, node: Node, where: Node) -> int:
        affinity = whose.spec.affinity
        if affinity is None:
            return 0
        value = 0
        for sign, one in ((1, affinity.pod_affinity), (-1, affinity.pod_anti_affinity)):
            wishes = one.preferred_during_scheduling_ignored_during_execution if one else []
            for wish in wishes:
                term = wish.pod_affinity_term
                if _together(node, where, term.topology_key) and self._means(term, whose, other):
                    value += sign * wish.weight
        return value


def _together(one: Node, other: Node, key: str) -> bool:
    value = one.metadata.labels.get(key)
    return value is not None and value == other.metadata.labels.get(key)
