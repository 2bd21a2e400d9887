"""What becomes of events that are said again, many alike, or too many. Cases of client-go's
tools/record/events_cache_test.go and its documentation.
"""

import pytest

from podwire.client.correlator import BURST, COMBINED, Correlator
from podwire.runtime.clock import SimClock
from podwire.runtime.simloop import SimLoop


class _Clock(SimClock):
    """A virtual clock that a test puts forward."""

    def __init__(self):
        self.loop = SimLoop()
        super().__init__(self.loop)

    def pass_s(self, seconds):
        self.loop.now_ns += int(seconds * 1e9)


@pytest.fixture
def clock():
    made = _Clock()
    yield made
    made.loop.close()


def _event(message, *, name="web", reason="Created", part="", type="Normal"):
    about = {"kind": "ReplicaSet", "namespace": "default", "name": name, "uid": f"u-{name}"}
    if part:
        about["fieldPath"] = part
    return {
        "involvedObject": about,
        "type": type,
        "reason": reason,
        "message": message,
        "firstTimestamp": "2026-01-01T00:00:00Z",
        "lastTimestamp": "2026-01-01T00:00:00Z",
    }


def test_the_same_event_again_is_counted(clock):
    """Another part of the object, another message or another type makes it another one."""
    correlator = Correlator(clock, folds=True)
    _, seen = correlator.observe(_event("pulled"))
    _, again = correlator.observe(_event("pulled"))
    assert again is seen
    assert again.count == 2
    for other in (
        _event("pulled", part="spec.containers{b}"),
        _event("gone"),
        _event("pulled", type="Warning"),
    ):
        assert correlator.observe(other)[1].count == 1


def test_the_tenth_message_and_later_ones_are_one_event(clock):
    """Nine are written as they are; what follows is told in one that shows the latest."""
    correlator = Correlator(clock, folds=True)
    written = [correlator.observe(_event(f"Created pod: web-{i}")) for i in range(12)]
    assert [event["message"] for event, _ in written[:9]] == [
        f"Created pod: web-{i}" for i in range(9)
    ]
    assert [event["message"] for event, _ in written[9:]] == [
        f"{COMBINED}Created pod: web-{i}" for i in (9, 10, 11)
    ]
    assert len({id(seen) for _, seen in written}) == 10
    assert written[-1][1].count == 3
    assert correlator.observe(_event("Deleted", reason="Deleted"))[0]["message"] == "Deleted"


def test_ten_quiet_minutes_make_similar_events_strangers(clock):
    """The interval counts from the last one."""
    correlator = Correlator(clock, folds=True)
    for i in range(10):
        event, _ = correlator.observe(_event(f"m{i}"))
    assert event["message"].startswith(COMBINED)
    clock.pass_s(600)
    assert correlator.observe(_event("m10"))[0]["message"].startswith(COMBINED)
    clock.pass_s(601)
    assert correlator.observe(_event("m11"))[0]["message"] == "m11"


def test_a_source_says_25_things_of_an_object_then_one_in_five_minutes(clock):
    """Others are dropped, but counted; another object has a budget of its own."""
    correlator = Correlator(clock, folds=True)
    kept = [correlator.observe(_event("back-off")) for _ in range(40)]
    assert [event is not None for event in kept] == [True] * BURST + [False] * (40 - BURST)
    assert correlator.observe(_event("back-off", name="other")) is not None
    clock.pass_s(299)
    assert correlator.observe(_event("back-off")) is None
    clock.pass_s(2)
    _, seen = correlator.observe(_event("back-off"))
    assert seen.count == 42
    assert correlator.observe(_event("back-off")) is None


def test_the_schedulers_recorder_only_counts(clock):
    """tools/events has no such filter."""
    correlator = Correlator(clock, folds=False)
    seen = [correlator.observe(_event(f"m{i}"))[1] for i in range(40)]
    assert {one.count for one in seen} == {1}
