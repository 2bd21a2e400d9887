"""Fair queuing: whatever comes, seats are never exceeded, nobody starves, a flood stays its own."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from podwire.apiserver.flowcontrol.queueset import (
    EXECUTE,
    WAIT,
    Asked,
    QueueSet,
    deal,
    flow_hash,
)
from podwire.apiserver.flowcontrol.shares import fairly


class Server:
    """A level whose requests take as long as they were told to."""

    def __init__(self, limit: int, queues: int = 16, hand: int = 4, length: int = 50) -> None:
        self.now_s = 0.0
        self.level = QueueSet("level", limit)
        self.level.configure(queues, hand, length)
        self.running: list[tuple[float, int, Asked, float]] = []
        self.count = 0
        self.waited: dict[str, list[float]] = {}
        self.rejected: dict[str, int] = {}

    def ask(self, flow: str, lasts_s: float, seats: int = 1) -> None:
        asked = Asked(flow, seats)
        came_s = self.now_s

        def begin() -> None:
            self.count += 1
            self.waited.setdefault(flow, []).append(self.now_s - came_s)
            self.running.append((self.now_s + lasts_s, self.count, asked, lasts_s))

        asked.begin = begin
        outcome = self.level.arrive(self.now_s, asked, flow_hash("schema", flow))
        if outcome == EXECUTE:
            begin()
        elif outcome != WAIT:
            self.rejected[flow] = self.rejected.get(flow, 0) + 1
        self.check()

    def until(self, now_s: float) -> None:
        while self.running and min(self.running)[0] <= now_s:
            over = min(self.running)
            self.running.remove(over)
            self.now_s = over[0]
            self.level.finish(self.now_s, over[2])
            self.check()
        self.now_s = now_s

    def check(self) -> None:
        level = self.level
        assert level.seats == sum(asked.seats for _, _, asked, _ in self.running)
        assert level.executing == len(self.running)
        assert level.seats <= level.limit or level.executing == 1
        assert level.waiting == sum(len(queue.waiting) for queue in level.queues)
        if level.waiting and level.executing == 0:
            raise AssertionError("seats are free and somebody waits")


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcdef"), st.floats(0.001, 2), st.floats(0, 0.5), st.integers(1, 4)
        ),
        max_size=120,
    ),
    st.integers(1, 5),
)
@settings(max_examples=60, deadline=None)
def test_every_request_that_is_queued_gets_its_turn(requests, limit):
    """And the books are right after each step."""
    server = Server(limit)
    for flow, lasts_s, after_s, seats in requests:
        server.until(server.now_s + after_s)
        server.ask(flow, lasts_s, seats)
    server.until(server.now_s + 1000)
    begun = sum(len(waits) for waits in server.waited.values())
    assert begun + sum(server.rejected.values()) == len(requests)
    assert server.level.idle
    assert not server.level.seats_waiting


@given(st.integers(0, 1000))
@settings(max_examples=4, deadline=None)
def test_a_flood_of_one_user_leaves_anothers_latency(number):
    """Who asks once in a while waits for what runs, not for a thousand others."""
    server = Server(4, queues=64, hand=6)
    mouse, elephant = f"mouse-{number}", f"elephant-{number}"
    for second in range(20):
        for _ in range(100):
            server.ask(elephant, 0.1)
        server.ask(mouse, 0.1)
        server.until(float(second + 1))
    assert len(server.waited[mouse]) == 20
    assert max(server.waited[mouse]) <= 0.25
    assert sum(server.waited[elephant]) / len(server.waited[elephant]) > 1
    assert server.rejected[elephant] > 0
    assert mouse not in server.rejected


@given(st.integers(0, 2**64 - 1), st.integers(1, 128), st.integers(1, 8))
@settings(max_examples=50)
def test_a_hand_has_different_cards(flow, deck, hand):
    """Of the deck, as many as were asked for."""
    cards = deal(flow, deck, min(hand, deck))
    assert len(set(cards)) == len(cards) == min(hand, deck)
    assert all(0 <= card < deck for card in cards)


@given(
    st.lists(
        st.tuples(st.floats(0, 100), st.floats(0, 50), st.floats(0, 100)).map(
            lambda t: (max(t[0], t[1]), t[1], t[1] + t[2])
        ),
        min_size=1, max_size=8,
    ),
    st.floats(0, 1),
)  # fmt: skip
@settings(max_examples=80)
def test_seats_are_divided_in_proportion_within_bounds(items, part):
    """All are given away, and who is at no bound has the same multiple of its target."""
    low, high = sum(i[1] for i in items), sum(i[2] for i in items)
    total = low + (high - low) * part
    found = fairly(total, items)
    assert abs(sum(found) - total) < 1e-6 * max(1, total)
    free = []
    for value, (target, lower, upper) in zip(found, items, strict=True):
        assert lower - 1e-9 <= value <= upper + 1e-9
        if lower + 1e-6 < value < upper - 1e-6:
            free.append(value / max(target, 0.001))
    assert max(free, default=0) - min(free, default=0) <= 1e-6 * max(1, max(free, default=0))
