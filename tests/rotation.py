"""A few of many long cases in each run of the whole suite, others the next time."""

import os
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def some(items: Sequence[T], count: int) -> Sequence[T]:
    """``count`` of the items, drawn anew for each run that pytest-xdist spreads over workers (all
    of which draw the same). All of them in a sweep, and when a file is run by itself.
    """
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    if run is None or os.environ.get("PODWIRE_SWEEP"):
        return items
    rng = random.Random(run)  # noqa: S311  what is tested is no secret
    return [items[at] for at in sorted(rng.sample(range(len(items)), count))]
