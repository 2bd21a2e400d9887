"""The collector is asked to be patient, and gets back what it had."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from podwire.runtime.memory import fewer_collections, keep_what_lives


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()
    if frozen:  # the session's own
        gc.collect()
        gc.freeze()


def test_the_threshold_is_raised_within_the_block_and_restored_after_an_error() -> None:
    """A failing test body must leave its session as it was."""
    gc.set_threshold(700, 10, 5)
    inside: list[tuple[int, int, int]] = []

    def fail() -> None:
        with fewer_collections():
            inside.append(gc.get_threshold())
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert inside[0][0] > 700
    assert inside[0][1:] == (10, 5)
    assert gc.get_threshold() == (700, 10, 5)


@pytest.mark.parametrize("chosen", [0, 1_000_000])
def test_whoever_collects_more_rarely_or_never_is_left_alone(chosen: int) -> None:
    """A session that set its own threshold, or switched collection off, knows why."""
    gc.set_threshold(chosen, 10, 10)
    with fewer_collections():
        assert gc.get_threshold() == (chosen, 10, 10)
    assert gc.get_threshold() == (chosen, 10, 10)


def test_what_lives_is_exempt_from_later_collections() -> None:
    """The frozen generation holds at least what was tracked a moment ago."""
    tracked = len(gc.get_objects())
    keep_what_lives()
    assert gc.get_freeze_count() >= tracked
