"""Secret bytes: the operating system's in real time, the seed's in simulation.

Keys and tokens of a real cluster must not follow from a 32-bit seed; those of a simulated one must.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from podwire.runtime.ports import Rng

Secret = Callable[[int], bytes]
"""Gives ``n`` bytes fit for keys and tokens."""


def of_system() -> Secret:
    """The operating system's entropy."""
    return os.urandom


def of_seed(rng: Rng) -> Secret:
    """Replayable bytes; for simulations only."""
    return rng.child("secrets").bytes
