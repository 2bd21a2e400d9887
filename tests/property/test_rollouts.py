"""Whatever a user does to a rollout, controllers keep what they promise, and it ends."""

import os

import pytest

from tests.property.rollouts import Rollouts, booted
from tests.rotation import some

SWEPT = bool(os.environ.get("PODWIRE_SWEEP"))
SEEDS = int(os.environ.get("PODWIRE_SWEEP_SEEDS", "1000"))
EACH = 5
"""Seeds that follow each other on one cluster: to boot one for each would cost as much again."""
ALL = range(0, SEEDS, EACH)
FIRST = some(ALL if SWEPT or "PYTEST_XDIST_TESTRUNUID" in os.environ else ALL[:4], 4)
STEPS = 9


@pytest.mark.parametrize("first", FIRST)
def test_rollouts_keep_their_promises_and_end(first):
    """Surge, availability, order, identity and endpoints at every write; done in the end."""
    cluster = booted(first)
    try:
        for seed in range(first, first + EACH):
            rolled(cluster, seed)
    finally:
        cluster.close()


def rolled(cluster, seed):
    """One user's acts on three new workloads, until all has ended."""
    world = Rollouts(cluster, seed)
    try:
        for _ in range(STEPS):
            world.step()
        world.settle()
        assert not world.wrong
        world.clear()
    except Exception as error:
        raise AssertionError("\n".join([*world.told, *world.wrong])) from error
