"""Whatever a user does to a rollout, controllers keep what they promise, and it ends."""

import os

import pytest

from tests.property.rollouts import Rollouts
from tests.rotation import some

SWEPT = bool(os.environ.get("PODWIRE_SWEEP"))
ALL = range(int(os.environ.get("PODWIRE_SWEEP_SEEDS", "1000")) if SWEPT else 1000)
SEEDS = some(ALL if SWEPT or "PYTEST_XDIST_TESTRUNUID" in os.environ else ALL[:20], 5)
STEPS = 12


@pytest.mark.parametrize("seed", SEEDS)
def test_a_rollout_keeps_its_promises_and_ends(seed):
    """Surge, availability, order, identity and endpoints at every write; done in the end."""
    world = Rollouts(seed)
    try:
        for _ in range(STEPS):
            world.step()
        world.settle()
    except Exception as error:
        raise AssertionError("\n".join([*world.told, *world.wrong])) from error
    finally:
        world.cluster.close()
    assert not world.wrong, "\n".join([*world.told, *world.wrong])
