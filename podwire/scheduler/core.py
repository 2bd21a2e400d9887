"""Where a pod goes: filters, scores, and the words when it goes nowhere (pure).

Source: kube-scheduler's scheduling cycle (schedulePod, findNodesThatPassFilters, prioritizeNodes),
its default plugins, their order and weights. Not modelled: DynamicResources, NodeVolumeLimits,
VolumeRestrictions, VolumeZone, NodeDeclaredFeatures, pod groups, opportunistic batching, extenders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from podwire.api.views import Pod, PodSpec
from podwire.runtime.ports import Rng
from podwire.scheduler.bits import nth
from podwire.scheduler.cluster import Cluster
from podwire.scheduler.local import MAX_SCORE, Plan, crowded, unwelcome
from podwire.scheduler.resources import NodeState
from podwire.scheduler.terms import Constraint, PodInfo
from podwire.scheduler.topology import Inclusion, Partition, Topology
from podwire.scheduler.verdicts import (
    CONFLICTING_NAMES,
    NO_NODES,
    NODE_AFFINITY,
    NOT_PINNED,
    VOLUME_BINDING,
    Refusal,
    histogram,
    unavailable,
)
from podwire.scheduler.volumes import NO_CLAIMS, Claims

TAINT_WEIGHT, AFFINITY_WEIGHT, SPREAD_WEIGHT, LIKING_WEIGHT = 3, 2, 2, 2
"""Weights of TaintToleration, NodeAffinity, PodTopologySpread and InterPodAffinity; the scores by
resources and images weigh 1.
"""
MIN_FEASIBLE, MIN_PERCENT = 100, 5
_MOST_PLANS = 128

DefaultSpread = Callable[[Pod], tuple[Constraint, ...]]
"""The soft constraints of a pod that has no constraints of its own."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The chosen node ("" none) and, if none, upstream's message and who is to blame."""

    node: str = ""
    message: str = ""
    plugins: tuple[str, ...] = ()
    """The plugins that refused nodes: what they registered for may help the pod."""
    statuses: tuple[tuple[Refusal, int], ...] = ()
    """Why each node refused, as disjoint sets."""
    total: int = 0


@dataclass(slots=True)
class _Search:
    """What a search over nodes has found."""

    wanted: int
    """Feasible nodes that are enough."""
    found: int = 0
    exact: dict[int, Refusal | None] = field(default_factory=dict)
    """Slots that pods are nominated to, judged with those."""


class Scheduler:
    """Decides over one cluster; remembers what pods that ask alike were told."""

    def __init__(
        self,
        cluster: Cluster,
        rng: Rng,
        default_spread: DefaultSpread = lambda _pod: (),
        claims: Claims = NO_CLAIMS,
        percentage: int = 0,
    ) -> None:
        self.cluster = cluster
        self.rng = rng
        self.claims = claims
        self._default_spread = default_spread
        self._percentage = percentage
        self._plans: dict[bytes, Plan] = {}
        self._inclusion = Inclusion(cluster)
        self._start = 0
        """The slot where the next search begins, so that all nodes have their turn."""

    def decide(self, pod: PodInfo) -> Decision:
        """Filter, score, and pick one of the best by the seed."""
        cluster = self.cluster
        if not cluster.nodes:
            return Decision(message=NO_NODES)
        cluster.settle()
        total = len(cluster.nodes)
        blocked = self.claims.problem(pod.pod)
        if blocked:
            return _blocked(blocked, VOLUME_BINDING, total, cluster.everywhere)
        names = pinned_to(pod.pod.spec)
        if names is not None and not names:
            return _blocked(CONFLICTING_NAMES, NODE_AFFINITY, total, cluster.everywhere)
        universe = cluster.everywhere if names is None else self._slots(names)
        plan = self._plan(pod)
        topology = Topology(cluster, pod, self._inclusion)
        search = _Search(self._enough(universe.bit_count()))
        nominated = cluster.nodes.get(pod.pod.status.nominated_node_name)
        if nominated is not None and self.refusal(pod, nominated) is None:
            return Decision(nominated.node.metadata.name)
        self._search(pod, plan, topology, search, universe)
        if not search.found:
            return self._failed(pod, plan, topology, search, universe)
        return Decision(self._best(pod, plan, topology, search.found))

    def refusal(self, pod: PodInfo, state: NodeState) -> Refusal | None:
        """The first filter that refuses the node, also once those nominated to it stand there."""
        rivals = [
            rival
            for rival in self.cluster.nominated.get(state.node.metadata.name, {}).values()
            if rival.priority >= pod.priority and rival.uid != pod.uid
        ]
        if rivals:
            with self.cluster.supposing() as trial:
                for rival in rivals:
                    trial.with_(rival, state)
                refused = self._refusal(pod, state)
            if refused is not None:
                return refused
        return self._refusal(pod, state)

    def _refusal(self, pod: PodInfo, state: NodeState) -> Refusal | None:
        refused = (
            unwelcome(pod.pod.spec, state.node)
            or crowded(pod.demand, state)
            or self.claims.refusal(pod.pod, state.node)
        )
        if refused is not None:
            return refused
        bit = 1 << state.slot
        topology = Topology(self.cluster, pod, self._inclusion)
        return None if topology.allowed & bit else topology.refusals(bit)[0][0]

    # ------------------------------------------------------------ the search

    def _slots(self, names: Iterable[str]) -> int:
        mask = 0
        for name in names:
            state = self.cluster.nodes.get(name)
            if state is not None:
                mask |= 1 << state.slot
        return mask

    def _plan(self, pod: PodInfo) -> Plan:
        plan = self._plans.pop(pod.local, None)
        if plan is None:
            plan = Plan(self.cluster, pod)
            if len(self._plans) >= _MOST_PLANS:
                del self._plans[next(iter(self._plans))]
        self._plans[pod.local] = plan  # the latest stands last
        plan.refresh()
        return plan

    def _enough(self, nodes: int) -> int:
        """numFeasibleNodesToFind: all of 100 nodes, half of many, 5 % of very many."""
        if nodes < MIN_FEASIBLE:
            return nodes
        percentage = self._percentage or max(50 - nodes // 125, MIN_PERCENT)
        return max(nodes * percentage // 100, MIN_FEASIBLE)

    def _search(
        self, pod: PodInfo, plan: Plan, topology: Topology, search: _Search, universe: int
    ) -> None:
        """Find enough feasible nodes, from where the last search stopped, and around."""
        contested = self._contested(pod)
        claimed = self.claims.nodes(pod.pod, self.cluster)
        candidates = universe & topology.allowed
        if claimed is not None:
            candidates &= claimed
        width = len(self.cluster.slots)
        start = self._start if self._start < width else 0
        missing = search.wanted
        for low, high in ((start, width), (0, start)):
            at = low
            while at < high and missing:
                end = min(high, at + max(missing, _CHUNK))
                window = candidates & ((1 << end) - (1 << at))
                plan.learn(window)
                fitting = window & plan.fitting
                if contested:
                    fitting = self._settle_contest(pod, search, fitting, contested & window)
                count = fitting.bit_count()
                if count >= missing:
                    end = at + nth(fitting >> at, missing - 1) + 1
                    fitting &= (1 << end) - 1
                    count = missing
                search.found |= fitting
                missing -= count
                at = end
            if not missing:
                self._start = at % width
                return

    def _contested(self, pod: PodInfo) -> int:
        """Slots that pods of at least this priority are nominated to."""
        mask = 0
        for name, rivals in self.cluster.nominated.items():
            state = self.cluster.nodes.get(name)
            if state is not None and any(
                r.priority >= pod.priority and uid != pod.uid for uid, r in rivals.items()
            ):
                mask |= 1 << state.slot
        return mask

    def _settle_contest(self, pod: PodInfo, search: _Search, fitting: int, contested: int) -> int:
        while contested:
            bit = contested & -contested
            contested ^= bit
            if fitting & bit:
                state = self.cluster.slots[bit.bit_length() - 1]
                assert state is not None, "only slots in use are contested"
                refused = search.exact[state.slot] = self.refusal(pod, state)
                if refused is not None:
                    fitting ^= bit
        return fitting

    # ------------------------------------------------------------ scores

    def _best(self, pod: PodInfo, plan: Plan, topology: Topology, nodes: int) -> str:
        """One of the nodes with the highest score."""
        if nodes & (nodes - 1) == 0:
            return self._name(nodes.bit_length() - 1)
        parts = self._scored(pod, plan, topology, nodes)
        best, leaders = -1.0, 0
        ranks = sorted(plan.ranks, reverse=True)
        for value, part in sorted(parts, reverse=True):
            for rank in ranks:
                score = value + rank
                if score < best:
                    break
                met = part & plan.ranks[rank]
                if met:
                    leaders = met if score > best else leaders | met
                    best = score
                    break
        return self._name(nth(leaders, self.rng.below(leaders.bit_count())))

    def _name(self, slot: int) -> str:
        state = self.cluster.slots[slot]
        assert state is not None, "only slots in use are searched"
        return state.node.metadata.name

    def _scored(self, pod: PodInfo, plan: Plan, topology: Topology, nodes: int) -> Partition:
        """The nodes by the weighted sum of the scores that are normalized over all of them."""
        parts: Partition = [(0, nodes)]
        parts = _combined(parts, _normalized(plan.disliked, nodes, -1), TAINT_WEIGHT)
        parts = _combined(parts, _normalized(plan.liked, nodes, 1), AFFINITY_WEIGHT)
        own = bool(pod.pod.spec.topology_spread_constraints)
        soft = pod.soft if own else self._default_spread(pod.pod)
        if soft:
            spread = topology.spread_scores(nodes, soft, own=own)
            parts = _combined(parts, spread, SPREAD_WEIGHT)
        return _combined(parts, topology.liking_scores(nodes), LIKING_WEIGHT)

    def scores(self, pod: PodInfo) -> dict[str, int]:
        """The score of every node that takes the pod, by name, all nodes considered."""
        self.cluster.settle()
        plan = self._plan(pod)
        plan.learn(self.cluster.everywhere)
        topology = Topology(self.cluster, pod, self._inclusion)
        nodes = plan.fitting & topology.allowed
        found: dict[str, int] = {}
        if not nodes:
            return found
        for value, part in self._scored(pod, plan, topology, nodes):
            for rank, on in plan.ranks.items():
                met = part & on
                while met:
                    bit = met & -met
                    met ^= bit
                    found[self._name(bit.bit_length() - 1)] = int(value + rank)
        return found

    # ------------------------------------------------------------ no node

    def _failed(
        self, pod: PodInfo, plan: Plan, topology: Topology, search: _Search, universe: int
    ) -> Decision:
        """Every node's refusal, the message that counts them, and the plugins behind them."""
        plan.learn(universe)
        statuses = [
            (refusal, met) for refusal, on in plan.refused.items() if (met := on & universe)
        ]
        left = universe & plan.fitting
        refused_claims = self.claims.refusals(pod.pod, self.cluster, left)
        for refusal, on in refused_claims:
            statuses.append((refusal, on))
            left &= ~on
        statuses += topology.refusals(left)
        left &= topology.allowed
        for slot, refused in search.exact.items():
            if refused is not None and (left >> slot) & 1:
                statuses.append((refused, 1 << slot))
        absent = self.cluster.everywhere & ~universe
        plugins = {refusal.plugin: None for refusal, _ in statuses}
        if absent:
            statuses.append((NOT_PINNED, absent))
            plugins[NODE_AFFINITY] = None
        total = len(self.cluster.nodes)
        reasons = [
            (reason, on.bit_count()) for refusal, on in statuses for reason in refusal.reasons
        ]
        message = unavailable(total, histogram(reasons))
        return Decision("", message, tuple(plugins), tuple(statuses), total)


_CHUNK = 64


def _blocked(why: str, plugin: str, total: int, everywhere: int) -> Decision:
    """A PreFilter refused: no node was looked at."""
    refusal = Refusal(plugin, (why,), True)
    return Decision("", unavailable(total, why), (plugin,), ((refusal, everywhere),), total)


def pinned_to(spec: PodSpec) -> frozenset[str] | None:
    """The nodes that every required affinity term names by matchFields, if all do."""
    affinity = spec.affinity.node_affinity if spec.affinity else None
    required = affinity.required_during_scheduling_ignored_during_execution if affinity else None
    if required is None or not required.node_selector_terms:
        return None
    names: frozenset[str] = frozenset()
    for term in required.node_selector_terms:
        fields = [
            frozenset(f.values)
            for f in term.match_fields
            if f.key == "metadata.name" and f.operator == "In"
        ]
        if not fields:
            return None
        names |= frozenset.intersection(*fields)
    return names


def _normalized(raw: dict[int, int], nodes: int, sign: int) -> Partition:
    """Percents of the largest count among the nodes; ``sign`` -1: the fewer the better."""
    present = [(count, met) for count, on in raw.items() if (met := on & nodes)]
    most = max(count for count, _ in present)
    if not most:
        return [(MAX_SCORE if sign < 0 else 0, nodes)]
    percents = [(MAX_SCORE * count // most, met) for count, met in present]
    return [(MAX_SCORE - p if sign < 0 else p, met) for p, met in percents]


def _combined(parts: Partition, more: Partition, weight: int) -> Partition:
    """The sets cut by those of ``more`` (which cover them), with its values added by weight."""
    if len(more) == 1:
        value = more[0][0] * weight
        return [(old + value, nodes) for old, nodes in parts]
    found: dict[float, int] = {}
    for old, nodes in parts:
        for value, on in more:
            met = nodes & on
            if met:
                score = old + value * weight
                found[score] = found.get(score, 0) | met
    return list(found.items())
