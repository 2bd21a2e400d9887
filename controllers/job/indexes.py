"""Sets of completion indexes as ordered, disjoint intervals: ``1,3-5,7`` (pure).

Source: kubernetes pkg/controller/job/indexed_job_utils.go.
"""

from __future__ import annotations

from collections.abc import Iterable

Intervals = tuple[tuple[int, int], ...]
"""(first, last) pairs in increasing order; neighbours are joined."""


def parse(text: str, completions: int) -> Intervals:
    """The indexes below ``completions`` that a status or a rule names; what is no index is left
    out.
    """
    found: list[tuple[int, int]] = []
    for part in filter(None, text.split(",")):
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            continue
        low = int(first)
        if low >= completions:
            break
        found.append((low, min(int(last), completions - 1) if dash else low))
    return join(found)


def join(intervals: Iterable[tuple[int, int]]) -> Intervals:
    """Intervals in any order as a set."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(intervals):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(joined[-1][1], last)
        else:
            joined.append((first, last))
    return tuple(joined)


def adding(intervals: Intervals, indexes: Iterable[int]) -> Intervals:
    """The set with some more indexes."""
    return join((*intervals, *((index, index) for index in indexes)))


def total(intervals: Intervals) -> int:
    """How many indexes there are."""
    return sum(last - first + 1 for first, last in intervals)


def has(intervals: Intervals, index: int) -> bool:
    """Whether an index is in the set."""
    return any(first <= index <= last for first, last in intervals)


def shared(one: Intervals, other: Intervals) -> int:
    """How many indexes two sets have in common."""
    return sum(
        max(0, min(last, end) - max(first, start) + 1)
        for first, last in one
        for start, end in other
    )


def text(intervals: Intervals) -> str:
    """The set as a status writes it: two neighbours with a comma, more with a hyphen."""
    parts = []
    for first, last in intervals:
        join_by = "," if last == first + 1 else "-"
        parts.append(str(first) if first == last else f"{first}{join_by}{last}")
    return ",".join(parts)


def first_free(taken: Intervals, count: int, completions: int) -> list[int]:
    """The lowest ``count`` indexes that are not taken."""
    found: list[int] = []
    candidate = 0
    for first, last in (*taken, (completions, completions)):
        stop = min(first, candidate + count - len(found))
        found.extend(range(candidate, stop))
        candidate = max(candidate, last + 1)
    return found
