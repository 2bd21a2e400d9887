"""How far and how fast an autoscaler may go (pure).

Source: kubernetes pkg/controller/podautoscaler/horizontal.go (normalizeDesiredReplicas and
normalizeDesiredReplicasWithBehaviors).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

from podwire.api.times import NS
from podwire.api.views.autoscaling import Behavior, ScalingRules

DOWNSCALE_WINDOW_S = 300
"""--horizontal-pod-autoscaler-downscale-stabilization."""

_WITHIN = ("DesiredWithinRange", "the desired count is within the acceptable range")
_TOO_MANY = ("TooManyReplicas", "the desired replica count is more than the maximum replica count")
_TOO_FEW = ("TooFewReplicas", "the desired replica count is less than the minimum replica count")
_UP_LIMIT = (
    "ScaleUpLimit",
    "the desired replica count is increasing faster than the maximum scale rate",
)
_DOWN_LIMIT = (
    "ScaleDownLimit",
    "the desired replica count is decreasing faster than the maximum scale rate",
)
_READY = ("ReadyForNewScale", "recommended size matches current size")
_STABILIZED = (
    "recent recommendations were {} than current one, applying the {} recent recommendation"
)
_UP_STABILIZED = ("ScaleUpStabilized", _STABILIZED.format("lower", "lowest"))
_DOWN_STABILIZED = ("ScaleDownStabilized", _STABILIZED.format("higher", "highest"))

Dated = tuple[tuple[int, int], ...]
"""(when, number) pairs."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What an autoscaler remembers of its past; lost with the controller, as upstream's is."""

    recommendations: Dated = ()
    ups: Dated = ()
    """Replicas added, and when."""
    downs: Dated = ()

    def scaled(self, behavior: Behavior | None, before: int, after: int, now_ns: int) -> Memory:
        """After a change of size (which only limits of a behavior ask about)."""
        if behavior is None:
            return self
        if after > before:
            kept = _since(self.ups, _longest_s(behavior.scale_up), now_ns)
            return replace(self, ups=(*kept, (now_ns, after - before)))
        kept = _since(self.downs, _longest_s(behavior.scale_down), now_ns)
        return replace(self, downs=(*kept, (now_ns, before - after)))


@dataclass(frozen=True, slots=True)
class Normal:
    """The size after all limits, and the conditions' (reason, message)."""

    desired: int
    able: tuple[str, str]
    limited: bool
    limit: tuple[str, str]
    memory: Memory


def _since(entries: Dated, window_s: float, now_ns: int) -> Dated:
    return tuple(entry for entry in entries if entry[0] >= now_ns - window_s * NS)


def _longest_s(rules: ScalingRules) -> int:
    return max((policy.period_seconds for policy in rules.policies), default=0)


def normalize(
    behavior: Behavior | None,
    bounds: tuple[int, int],
    current: int,
    wanted: int,
    memory: Memory,
    now_ns: int,
) -> Normal:
    """Stabilize what the metrics want, then hold it to (minReplicas, maxReplicas) and rates."""
    window_s = DOWNSCALE_WINDOW_S
    if behavior is not None:
        up_s, down_s = _windows(behavior)
        window_s = max(up_s, down_s)
    kept = _since(memory.recommendations, window_s, now_ns)
    memory = replace(memory, recommendations=(*kept, (now_ns, wanted)))
    if behavior is None:
        stable = max([wanted, *(number for _, number in kept)])
        able = _READY if stable == wanted else _DOWN_STABILIZED
        desired, limit = _plain(bounds, current, stable)
    else:
        stable = _stable(behavior, kept, current, wanted, now_ns)
        able = _READY
        if stable != wanted:
            able = _UP_STABILIZED if wanted >= current else _DOWN_STABILIZED
        desired, limit = _rated(behavior, bounds, current, stable, memory, now_ns)
    return Normal(desired, able, desired != stable, limit, memory)


def _windows(behavior: Behavior) -> tuple[int, int]:
    down_s = behavior.scale_down.stabilization_window_seconds
    up_s = behavior.scale_up.stabilization_window_seconds
    return up_s or 0, DOWNSCALE_WINDOW_S if down_s is None else down_s


def _stable(behavior: Behavior, kept: Dated, current: int, wanted: int, now_ns: int) -> int:
    up_s, down_s = _windows(behavior)
    lowest = min([wanted, *(n for at, n in kept if at > now_ns - up_s * NS)])
    highest = max([wanted, *(n for at, n in kept if at > now_ns - down_s * NS)])
    return min(max(current, lowest), highest)


def _plain(bounds: tuple[int, int], current: int, wanted: int) -> tuple[int, tuple[str, str]]:
    least, most = bounds
    rate = max(2 * current, 4)
    ceiling, limit = (rate, _UP_LIMIT) if most > rate else (most, _TOO_MANY)
    if wanted < least:
        return least, _TOO_FEW
    if wanted > ceiling:
        return ceiling, limit
    return wanted, _WITHIN


def _rated(
    behavior: Behavior,
    bounds: tuple[int, int],
    current: int,
    wanted: int,
    memory: Memory,
    now_ns: int,
) -> tuple[int, tuple[str, str]]:
    least, most = bounds
    if wanted > current:
        rate = max(current, _up_limit(behavior.scale_up, current, memory, now_ns))
        ceiling, limit = (rate, _UP_LIMIT) if most > rate else (most, _TOO_MANY)
        if wanted > ceiling:
            return ceiling, limit
    elif wanted < current:
        rate = min(current, _down_limit(behavior.scale_down, current, memory, now_ns))
        floor, limit = (rate, _DOWN_LIMIT) if least < rate else (least, _TOO_FEW)
        if wanted < floor:
            return floor, limit
    return wanted, _WITHIN


def _before(current: int, memory: Memory, period_s: int, now_ns: int) -> int:
    """Replicas at the start of a period."""
    cutoff_ns = now_ns - period_s * NS
    added = sum(change for at, change in memory.ups if at > cutoff_ns)
    removed = sum(change for at, change in memory.downs if at > cutoff_ns)
    return current - added + removed


def _up_limit(rules: ScalingRules, current: int, memory: Memory, now_ns: int) -> int:
    proposals: Sequence[int] = [
        start + policy.value if policy.type == "Pods" else ceil(start * (1 + policy.value / 100))
        for policy in rules.policies
        for start in (_before(current, memory, policy.period_seconds, now_ns),)
    ]
    if rules.select_policy == "Disabled" or not proposals:
        return current
    return min(proposals) if rules.select_policy == "Min" else max(proposals)


def _down_limit(rules: ScalingRules, current: int, memory: Memory, now_ns: int) -> int:
    proposals: Sequence[int] = [
        start - policy.value if policy.type == "Pods" else int(start * (1 - policy.value / 100))
        for policy in rules.policies
        for start in (_before(current, memory, policy.period_seconds, now_ns),)
    ]
    if rules.select_policy == "Disabled" or not proposals:
        return current
    return max(proposals) if rules.select_policy == "Min" else min(proposals)
