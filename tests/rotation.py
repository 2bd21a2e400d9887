"""A few of many long cases in each run of the whole suite, others the next time."""

import os
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def _run() -> str | None:
    """The run that pytest-xdist spreads over workers; None in a sweep, and when a file is run by
    itself: then there is time for everything.
    """
    return None if os.environ.get("PODWIRE_SWEEP") else os.environ.get("PYTEST_XDIST_TESTRUNUID")


def some(items: Sequence[T], count: int) -> Sequence[T]:
    """``count`` of the items, drawn anew for each run of the whole suite (all workers draw the
    same); all of them otherwise.
    """
    run = _run()
    if run is None:
        return items
    rng = random.Random(run)  # noqa: S311  what is tested is no secret
    return [items[at] for at in sorted(rng.sample(range(len(items)), count))]


def examples(count: int) -> int:
    """How many examples a costly property draws: a third of ``count`` in a run of the whole suite,
    which draws others each time.
    """
    return count if _run() is None else max(1, count // 3)
