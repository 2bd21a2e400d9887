"""Counters of pods by what selects them, and of pods by what they say of others (pure).

Pods with equal labels in one namespace are one group; selectors are matched with groups, once, and
not with pods. Both kinds of counters follow every pod that is placed or taken away.
"""

from __future__ import annotations

from podwire.scheduler.domains import Counter, Places
from podwire.scheduler.terms import (
    HARD_AFFINITY_WEIGHT,
    LabelSet,
    Namespaces,
    PodInfo,
    PodSelector,
    Term,
    matches,
)

GroupKey = tuple[str, LabelSet, bool]
Wanted = tuple[PodSelector, ...]
"""Pods that all of the selectors match."""
_MOST_COUNTERS = 1024
"""Counters kept; beyond them the oldest goes, and is counted anew when it is asked for."""


class _Group:
    __slots__ = ("counters", "on")

    def __init__(self) -> None:
        self.on: dict[int, int] = {}
        self.counters: list[Counter] = []


class PodCounts:
    """Counters of pods by selectors."""

    def __init__(self, places: Places, namespaces: Namespaces) -> None:
        self._places = places
        self._namespaces = namespaces
        self._groups: dict[GroupKey, _Group] = {}
        self._counters: dict[Wanted, Counter] = {}

    def change(self, pod: PodInfo, slot: int, by: int) -> None:
        """A pod was placed (1) or taken away (-1)."""
        group = self._groups.get(pod.group)
        if group is None:
            group = self._groups[pod.group] = _Group()
            group.counters = [
                counter
                for wanted, counter in self._counters.items()
                if self._selects(wanted, pod.group)
            ]
        count = group.on.get(slot, 0) + by
        if count:
            group.on[slot] = count
        else:
            del group.on[slot]
            if not group.on:
                del self._groups[pod.group]
        for counter in group.counters:
            counter.change(slot, by)

    def counter(self, wanted: Wanted) -> Counter:
        """The counter of the pods that all selectors match."""
        found = self._counters.pop(wanted, None)
        if found is None:
            found = self._count(wanted)
        self._counters[wanted] = found  # the latest stands last
        return found

    def _count(self, wanted: Wanted) -> Counter:
        if len(self._counters) >= _MOST_COUNTERS:
            dropped = self._counters.pop(next(iter(self._counters)))
            for group in self._groups.values():
                group.counters = [c for c in group.counters if c is not dropped]
        counter = Counter(self._places)
        for key, group in self._groups.items():
            if self._selects(wanted, key):
                group.counters.append(counter)
                for slot, count in group.on.items():
                    counter.change(slot, count)
        return counter

    def forget(self) -> None:
        """Namespaces' labels changed: what selectors match must be found anew."""
        self._counters.clear()
        for group in self._groups.values():
            group.counters.clear()

    def _selects(self, wanted: Wanted, group: GroupKey) -> bool:
        namespace, labels, terminating = group
        return all(
            not (one.alive and terminating) and matches(one, namespace, labels, self._namespaces)
            for one in wanted
        )


class TermCounts:
    """Counters of the pods that are there by the terms they have (the symmetric half)."""

    def __init__(self, places: Places, namespaces: Namespaces) -> None:
        self._places = places
        self._namespaces = namespaces
        self._counters: dict[Term, Counter] = {}
        self._met: dict[tuple[str, LabelSet], list[tuple[Term, Counter]]] = {}

    def change(self, terms: tuple[Term, ...], slot: int, by: int) -> None:
        """A pod with these terms was placed (1) or taken away (-1)."""
        for term in terms:
            counter = self._counters.get(term)
            if counter is None:
                counter = self._counters[term] = Counter(self._places)
                self._met.clear()
            counter.change(slot, by)
            if not counter.total:
                del self._counters[term]
                self._met.clear()

    def about(self, pod: PodInfo) -> list[tuple[Term, Counter]]:
        """The terms, with their counters, that mean the pod."""
        if not self._counters:
            return []
        namespace = pod.pod.metadata.namespace
        found = self._met.get((namespace, pod.labels))
        if found is None:
            found = [
                (term, counter)
                for term, counter in self._counters.items()
                if matches(term.pods, namespace, pod.labels, self._namespaces)
            ]
            if len(self._met) >= _MOST_COUNTERS:
                self._met.clear()
            self._met[namespace, pod.labels] = found
        return found

    def forget(self) -> None:
        """Namespaces' labels changed."""
        self._met.clear()


def liked_by(pod: PodInfo) -> tuple[Term, ...]:
    """The terms of a placed pod that raise or lower the score of those it means."""
    terms = pod.terms
    if not terms.affinity:
        return terms.liked
    return terms.liked + tuple(t._replace(weight=HARD_AFFINITY_WEIGHT) for t in terms.affinity)
