"""Which pods would have to end so that a more important one fits (pure).

Source: kube-scheduler's plugin DefaultPreemption and framework/preemption: dry runs on at least a
tenth of the nodes (at least 100) from a random one on, victims reprieved in the order of their
importance, PodDisruptionBudgets respected where that is possible, upstream's order of preference
among nodes. Not modelled: pod groups, extenders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from podwire.api import selectors
from podwire.api.selectors import Selector
from podwire.api.views import PodDisruptionBudget
from podwire.scheduler.bits import bits
from podwire.scheduler.cluster import Supposition
from podwire.scheduler.core import Decision, Scheduler
from podwire.scheduler.resources import NodeState
from podwire.scheduler.terms import PodInfo
from podwire.scheduler.verdicts import HOPELESS, NO_VICTIMS, Refusal, histogram, unavailable

DISRUPTION_TARGET = "DisruptionTarget"
PREEMPTED = "PreemptionByScheduler"
_MIN_PERCENT, _MIN_CANDIDATES = 10, 100
_NOT_STARTED = "9999-12-31T23:59:59Z"
_LOWEST = -(1 << 31)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that would take the pod once the victims are gone, the most important one first."""

    node: str
    victims: tuple[PodInfo, ...]
    violations: int
    """Victims whose budget allows no disruption."""


@dataclass(frozen=True, slots=True)
class Preemption:
    """What preemption comes to."""

    message: str
    node: str | None = None
    """The node to nominate; "" clears a nomination, None leaves it as it is."""
    victims: tuple[PodInfo, ...] = ()


def preempt(
    scheduler: Scheduler,
    pod: PodInfo,
    decision: Decision,
    budgets: Sequence[PodDisruptionBudget],
) -> Preemption:
    """Try to make room for a pod that no node takes."""
    why = _not_eligible(scheduler, pod, decision)
    if why:
        return Preemption(f"preemption: {why}")
    candidates, statuses = _dry_runs(scheduler, pod, decision, budgets)
    if not candidates:
        looked_at = len(statuses)
        reasons = [(reason, 1) for refusal in statuses for reason in refusal.reasons]
        if decision.total > looked_at:
            reasons.append((HOPELESS, decision.total - looked_at))
        text = unavailable(decision.total, histogram(reasons))
        return Preemption(f"preemption: {text}", "")
    best = preferred(candidates)
    message = (
        f"preemption: found a potential placement for pod on node {best.node}, "
        f"preempting {len(best.victims)} victims"
    )
    return Preemption(message, best.node, best.victims)


def _not_eligible(scheduler: Scheduler, pod: PodInfo, decision: Decision) -> str:
    if pod.pod.spec.preemption_policy == "Never":
        return "not eligible due to preemptionPolicy=Never."
    name = pod.pod.status.nominated_node_name
    state = scheduler.cluster.nodes.get(name) if name else None
    if state is None or _final(decision, state):
        return ""
    for other in scheduler.cluster.pods_on(state):
        if other.priority < pod.priority and _ending_for_others(other):
            return "not eligible due to a terminating pod on the nominated node."
    return ""


def _final(decision: Decision, state: NodeState) -> bool:
    return any(r.final and (nodes >> state.slot) & 1 for r, nodes in decision.statuses)


def _ending_for_others(other: PodInfo) -> bool:
    if not other.pod.metadata.deletion_timestamp:
        return False
    target = other.pod.condition(DISRUPTION_TARGET)
    return target is not None and target.status == "True" and target.reason == PREEMPTED


def _dry_runs(
    scheduler: Scheduler,
    pod: PodInfo,
    decision: Decision,
    budgets: Sequence[PodDisruptionBudget],
) -> tuple[list[Candidate], list[Refusal]]:
    """Enough candidates, those that violate no budget first; and why the other nodes are none."""
    slots: list[int] = []
    for refusal, nodes in decision.statuses:
        if not refusal.final:
            slots += bits(nodes)
    if not slots:
        return [], []
    slots.sort()
    enough = min(max(len(slots) * _MIN_PERCENT // 100, _MIN_CANDIDATES), len(slots))
    offset = scheduler.rng.below(len(slots))
    allowances = Budgets(budgets)
    gentle: list[Candidate] = []
    harsh: list[Candidate] = []
    statuses: list[Refusal] = []
    for slot in slots[offset:] + slots[:offset]:
        state = scheduler.cluster.slots[slot]
        assert state is not None, "statuses are of slots in use"
        found = victims_on(scheduler, pod, state, allowances)
        if isinstance(found, Candidate):
            (harsh if found.violations else gentle).append(found)
            if gentle and len(gentle) + len(harsh) >= enough:
                break
        else:
            statuses.append(found)
    return gentle + harsh, statuses


def victims_on(
    scheduler: Scheduler, pod: PodInfo, state: NodeState, budgets: Budgets
) -> Candidate | Refusal:
    """The least set of less important pods whose going lets the pod in, or why there is none."""
    cluster = scheduler.cluster
    weaker = [other for other in cluster.pods_on(state) if other.priority < pod.priority]
    if not weaker:
        return NO_VICTIMS
    with cluster.supposing() as trial:
        for other in weaker:
            trial.without(other, state)
        refused = scheduler.refusal(pod, state)
        if refused is not None:
            return refused
        weaker.sort(key=importance)
        violating, others = budgets.split(weaker)
        spared = _Reprieve(scheduler, pod, state, trial)
        harsh = spared.give(violating)
        victims = harsh + spared.give(others)
        victims.sort(key=importance)
    return Candidate(state.node.metadata.name, tuple(victims), len(harsh))


@dataclass(frozen=True, slots=True)
class _Reprieve:
    """Puts pods back as long as the pod fits beside them."""

    scheduler: Scheduler
    pod: PodInfo
    state: NodeState
    trial: Supposition

    def give(self, pods: Sequence[PodInfo]) -> list[PodInfo]:
        """Those that cannot stay."""
        victims = []
        for other in pods:
            self.trial.with_(other, self.state)
            if self.scheduler.refusal(self.pod, self.state) is not None:
                self.trial.without(other, self.state)
                victims.append(other)
        return victims


def importance(pod: PodInfo) -> tuple[int, str]:
    """The order of victims: by priority, then who started first."""
    return -pod.priority, _start(pod)


def _start(pod: PodInfo) -> str:
    return pod.pod.status.start_time or _NOT_STARTED


class Budgets:
    """How many disruptions PodDisruptionBudgets allow."""

    def __init__(self, budgets: Sequence[PodDisruptionBudget]) -> None:
        self._budgets: dict[str, list[tuple[Selector, PodDisruptionBudget]]] = {}
        for budget in budgets:
            selector = selectors.compile(budget.spec.selector)
            if not selector.everything and not selector.nothing:
                of_namespace = self._budgets.setdefault(budget.metadata.namespace, [])
                of_namespace.append((selector, budget))

    def split(self, pods: Sequence[PodInfo]) -> tuple[list[PodInfo], list[PodInfo]]:
        """Those whose going would violate a budget, in this order, and the others."""
        spent: dict[str, int] = {}
        violating: list[PodInfo] = []
        others: list[PodInfo] = []
        for pod in pods:
            (violating if self._violates(pod, spent) else others).append(pod)
        return violating, others

    def _violates(self, pod: PodInfo, spent: dict[str, int]) -> bool:
        meta = pod.pod.metadata
        if not meta.labels:
            return False
        for selector, budget in self._budgets.get(meta.namespace, ()):
            status = budget.status
            if not selector.matches(meta.labels) or meta.name in status.disrupted_pods:
                continue
            spent[budget.key] = spent.get(budget.key, 0) + 1
            if spent[budget.key] > status.disruptions_allowed:
                return True
        return False


def preferred(candidates: Sequence[Candidate]) -> Candidate:
    """Fewest violations, least important victims, and what else upstream weighs; then the first."""
    return min(candidates, key=_harm)


def _harm(candidate: Candidate) -> tuple[int, int, int, int, tuple[int, ...]]:
    victims = candidate.victims
    top = victims[0].priority
    earliest = min(_start(v) for v in victims if v.priority == top)
    return (
        candidate.violations,
        top,
        sum(v.priority - _LOWEST for v in victims),
        len(victims),
        tuple(-ord(char) for char in earliest),  # the latest of the earliest starts is best
    )
