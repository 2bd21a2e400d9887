"""How property-based tests count: few examples by default, twenty times as many in a sweep.

And how often a test session looks for cyclic garbage.
"""

import gc
import os
from pathlib import Path

import pytest
from hypothesis import settings

SWEEP = bool(os.environ.get("PODWIRE_SWEEP"))
FACTOR = 20
CLIENTS = Path(__file__).parent / "clients"
"""They say themselves who shares what."""
ALLOCATIONS = 20_000
"""Net new containers between two collections, as within a simulated cluster's run."""

# Rotating examples everywhere, CI included; a failure prints the blob that replays it.
settings.register_profile("podwire", deadline=None, derandomize=False, print_blob=True)
settings.load_profile("podwire")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """In a sweep, every property is tried with more examples than its file says. Tests that share
    what their file's fixtures made go to one worker: each would make its own.
    """
    for item in items:
        if SWEEP:
            _more(getattr(item, "obj", None))
        if CLIENTS not in item.path.parents and item.get_closest_marker("xdist_group") is None:
            found = item._fixtureinfo.name2fixturedefs.values()
            if any(fixture.scope == "module" for one in found for fixture in one):
                item.add_marker(pytest.mark.xdist_group(item.path.stem))


def _more(test):
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
    gc.set_threshold(ALLOCATIONS, 10, 3)  # what a closed cluster leaves should not stay for long
