"""How property-based tests count: few examples by default, twenty times as many in a sweep.

And how often a test session looks for cyclic garbage.
"""

import gc
import os

from hypothesis import settings

SWEEP = bool(os.environ.get("PODWIRE_SWEEP"))
FACTOR = 20
ALLOCATIONS = 20_000
"""Net new containers between two collections, as within a simulated cluster's run."""

# Rotating examples everywhere, CI included; a failure prints the blob that replays it.
settings.register_profile("podwire", deadline=None, derandomize=False, print_blob=True)
settings.load_profile("podwire")


def pytest_collection_modifyitems(items):
    """In a sweep, every property is tried with more examples than its file says."""
    if not SWEEP:
        return
    for item in items:
        test = getattr(item, "obj", None)
        chosen = getattr(test, "_hypothesis_internal_use_settings", None)
        if chosen is not None:
            more = settings(chosen, max_examples=chosen.max_examples * FACTOR)
            test._hypothesis_internal_use_settings = more


def pytest_collection_finish():
    """Leave what lives as long as the session (modules, types, the tests themselves) out of every
    collection: they are most of what there is, and took a seventh of the session's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(ALLOCATIONS, 10, 10)
