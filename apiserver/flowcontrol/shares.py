"""How many seats a priority level has: its share of the server's, and what it borrows and lends.

Source: apiserver pkg/util/flowcontrol (apf_controller.go, conc_alloc.go).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

PERIOD_S = 10.0
"""How often seats are lent anew."""
_SMOOTHING = 0.977
_LEAST_TARGET = 0.001


class Demand:
    """How many seats a level wanted, over time."""

    def __init__(self, now_s: float) -> None:
        self._since_s = self._last_s = now_s
        self._value = 0
        self._max = 0
        self._sum = self._squares = 0.0
        self.high_water = 0
        self.smoothed = 0.0

    def set(self, now_s: float, value: int) -> None:
        """It wants so many from now on."""
        self._add(now_s)
        self._value = value
        self._max = max(self._max, value)

    def peak(self, value: int) -> None:
        """It had so many for a moment: of exempt levels only the high-water mark counts."""
        self._max = max(self._max, value)

    def _add(self, now_s: float) -> None:
        passed_s = now_s - self._last_s
        self._last_s = now_s
        self._sum += self._value * passed_s
        self._squares += self._value * self._value * passed_s

    def close(self, now_s: float) -> None:
        """End a period: its high-water mark, and the smoothed demand."""
        self._add(now_s)
        self.high_water = self._max
        took_s = now_s - self._since_s
        if took_s > 0:
            average = self._sum / took_s
            spread = math.sqrt(max(0.0, self._squares / took_s - average * average))
            envelope = average + spread
            self.smoothed = max(envelope, _SMOOTHING * self.smoothed + (1 - _SMOOTHING) * envelope)
        self._since_s, self._sum, self._squares, self._max = now_s, 0.0, 0.0, self._value


@dataclass(slots=True)
class Limits:
    """A level's seats: of its own, those it keeps, and the most it may have."""

    nominal: int
    least: int
    most: int


def limits_of(
    total: int, shares: int, all_shares: int, lendable: int, borrow: int | None
) -> Limits:
    """Seats by shares; ``lendable`` and ``borrow`` are percents, None borrows without bound."""
    nominal = math.ceil(total * shares / all_shares) if all_shares else 0
    lent = _rounded(nominal * lendable / 100)
    borrowed = total if borrow is None else _rounded(nominal * borrow / 100)
    return Limits(nominal, nominal - lent, nominal + borrowed)


def _rounded(value: float) -> int:
    """As Go's math.Round: halves away from zero."""
    return math.floor(value + 0.5)


def lend(total: int, left: int, levels: Sequence[tuple[Limits, Demand]]) -> list[int]:
    """Seats of each level that is limited: of ``total``, of which exempt ones left so many."""
    wanted = [
        max(limits.least, min(limits.nominal, demand.high_water)) for limits, demand in levels
    ]
    least = sum(limits.least for limits, _ in levels)
    if left <= least:
        return [limits.least for limits, _ in levels]
    if left <= sum(wanted):
        part = (left - least) / (sum(wanted) - least)
        return [
            limits.least + _rounded((want - limits.least) * part)
            for (limits, _), want in zip(levels, wanted, strict=True)
        ]
    items = [
        (max(want, demand.smoothed), want, limits.most)
        for (limits, demand), want in zip(levels, wanted, strict=True)
    ]
    return [_rounded(value) for value in fairly(total, items)]


def fairly(total: float, items: Sequence[tuple[float, float, float]]) -> list[float]:
    """Divide ``total`` in proportion to targets, within bounds: (target, lower, upper) each.

    All that bounds do not decide get the same multiple of their target. What bounds forbid to give
    away (or to take) stays.
    """
    targets = [max(target, _LEAST_TARGET) for target, _, _ in items]

    def at(factor: float) -> list[float]:
        return [
            min(max(factor * target, lower), upper)
            for target, (_, lower, upper) in zip(targets, items, strict=True)
        ]

    bounds = sorted(
        bound / target
        for target, (_, lower, upper) in zip(targets, items, strict=True)
        for bound in (lower, upper)
    )
    below = 0.0
    for bound in bounds:
        if sum(at(bound)) >= total:
            low, high = sum(at(below)), sum(at(bound))
            part = (total - low) / (high - low) if high > low else 1.0
            return at(below + (bound - below) * max(0.0, part))
        below = bound
    return at(below)
