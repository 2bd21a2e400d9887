"""How often CPython looks for cyclic garbage while a cluster runs in virtual time."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_ALLOCATIONS = 100_000
"""Net new containers between two collections; CPython's own 700 is met at each modelled pod."""


@contextmanager
def fewer_collections() -> Iterator[None]:
    """Collect cyclic garbage less often within the block; what was set before holds after it.

    A boot makes many long-lived objects and little cyclic garbage, and a collection also walks
    what belongs to the surrounding process (a test session). Whoever collects more rarely than
    this, or not at all, is left alone.
    """
    young, *older = gc.get_threshold()
    if not 0 < young < _ALLOCATIONS:
        yield
        return
    gc.set_threshold(_ALLOCATIONS, *older)
    try:
        yield
    finally:
        gc.set_threshold(young, *older)


@contextmanager
def one_collection() -> Iterator[None]:
    """Look for cyclic garbage once, at the end of the block, among what the block has made.

    For synchronous work that makes many long-lived objects at one go (a large text read): each
    collection meanwhile would walk what was made so far again. Left alone where collection is off.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.collect(0)


def keep_what_lives(*, collect: bool = False) -> None:
    """Exempt every object there is from later collections: modules, types, a booted cluster.

    For a process that only serves from now on; it keeps full collections short (gc.freeze), and in
    a child they write to no page that it shares with its parent. ``collect`` garbage first, where
    there may be some that weighs: it would be kept, too.
    """
    if collect:
        gc.collect()
    gc.freeze()
