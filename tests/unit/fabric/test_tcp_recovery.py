"""TCP on a bad wire: what is repeated, when, and what timers and windows have to do with it."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from podwire.dataplane.packet import ACK
from podwire.fabric import tcp
from podwire.fabric.segment import WINDOW_BYTES, Segment, State
from podwire.fabric.tcp import MS, SECOND
from tests.unit.fabric.ends import Pair, faithful, read_all


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    loss=st.sampled_from([0.0, 0.1, 0.3]),
    duplicate=st.sampled_from([0.0, 0.2]),
    chunks=st.lists(st.integers(1, 90_000), min_size=1, max_size=8),
)
def test_bytes_arrive_complete_and_in_order_whatever_the_wire_does(
    seed: int, loss: float, duplicate: float, chunks: list[int]
) -> None:
    """Under loss, duplication and reordering both directions deliver exactly what was written."""
    chance = random.Random(seed)  # noqa: S311  a fault pattern, not a secret

    def wild(_segment: Segment, delay_ns: int) -> list[int]:
        copies = 2 if chance.random() < duplicate else 1
        return [
            delay_ns + chance.randrange(5 * MS) for _ in range(copies) if chance.random() >= loss
        ]

    pair = Pair(wild)
    sent = [chance.randbytes(size) for size in chunks]
    pair.client.open(0)
    got = {"client": b"", "server": b""}

    def pump() -> bool:
        got["server"] += read_all(pair.server)
        got["client"] += read_all(pair.client)
        if pair.server.error is not None:
            return True
        if pair.server.eof and not pair.server.finishing:
            pair.server.write(got["server"][::-1], pair.now)
            pair.server.finish(pair.now)
        return pair.client.eof and not pair.client.incoming

    for chunk in sent:
        pair.client.write(chunk, 0)
    while pair.client.state is State.SYN_SENT and pair.step():
        pass
    if pair.client.error is not None:  # seven lost SYNs in a row do happen
        assert isinstance(pair.client.error, TimeoutError)
        return
    pair.client.finish(pair.now)
    pair.run(pump)
    if pair.server.error is not None:  # so do six lost answers to SYNs
        assert isinstance(pair.server.error, TimeoutError)
        return
    assert pair.client.error is None
    assert got["server"] == b"".join(sent)
    assert got["client"] == got["server"][::-1]


class Losing:
    """A fault that swallows chosen segments and counts everything."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers
        self.count = 0

    def __call__(self, _segment: Segment, delay_ns: int) -> list[int]:
        self.count += 1
        return [] if self.count in self.numbers else [delay_ns]


def test_a_quiet_connection_sends_nothing_and_needs_no_timer() -> None:
    pair = Pair()
    pair.connect()
    pair.client.write(b"once", pair.now)
    pair.run(lambda: False)
    assert len(pair.seen) == 5  # the handshake, the data, and its delayed ACK
    assert (pair.client.deadline_ns, pair.server.deadline_ns) == (0, 0)


def test_a_lost_handshake_ack_is_made_good_by_the_repeated_syn_ack() -> None:
    pair = Pair(Losing(3))
    pair.client.open(0)
    pair.run(lambda: pair.server.state is State.ESTAB)
    assert pair.seen[3:] == [
        "< [S.] seq 9000 ack 1001 len 0",
        "> [.] seq 1001 ack 9001 len 0",
    ]
    assert pair.now == SECOND + 3 * MS


def test_a_repeated_syn_gets_the_same_syn_ack() -> None:
    pair = Pair(Losing(2))
    pair.client.open(0)
    pair.run(lambda: pair.client.state is State.ESTAB)
    assert pair.seen.count("< [S.] seq 9000 ack 1001 len 0") >= 2
    assert pair.now < 2 * SECOND


def test_three_duplicate_acks_repeat_the_hole_without_waiting_for_the_timer() -> None:
    pair = Pair()
    pair.connect()
    begun = pair.now
    pair.fault = Losing(1)
    for chunk in (b"a", b"b", b"c", b"d", b"e"):
        pair.client.write(chunk, pair.now)
    pair.run(lambda: pair.server.buffered == 5)
    assert read_all(pair.server) == b"abcde"
    assert pair.now - begun < 10 * MS
    assert sum(s.startswith("> ") and s.endswith("len 1") for s in pair.seen) == 6


def test_after_a_timeout_the_rest_of_a_lost_flight_follows_ack_by_ack() -> None:
    """One RTO for the whole flight, not one for each of its segments."""
    pair = Pair()
    pair.connect()
    begun = pair.now
    pair.fault = Losing(*range(1, 11))
    for _ in range(10):
        pair.client.write(b"x", pair.now)
    pair.run(lambda: pair.server.buffered == 10)
    waits = pair.now - begun - tcp.MIN_RTO_NS
    assert 0 <= waits <= 10 * (tcp.DELAYED_ACK_NS + 2 * MS)


def test_progress_restarts_the_count_of_retries_and_the_timer() -> None:
    """Fifteen losses spread over a long transfer are no reason to give up."""
    pair = Pair()
    pair.connect()
    for _ in range(20):
        pair.fault = Losing(1, 2)
        received = pair.server.buffered
        pair.client.write(b"x", pair.now)
        pair.run(lambda received=received: pair.server.buffered > received)  # type: ignore[misc]
        pair.fault = faithful
        limit = pair.now + SECOND
        pair.run(lambda limit=limit: pair.now > limit)  # type: ignore[misc]
    assert pair.server.buffered == 20
    assert pair.client.retries == 0


def test_the_retransmission_timer_follows_the_measured_round_trip() -> None:
    pair = Pair(lambda _segment, _delay: [300 * MS])
    pair.connect()
    for _ in range(20):
        pair.client.write(b"x", pair.now)
        pair.run(lambda: not pair.client.sent)
    before = len(pair.seen)
    pair.client.write(b"y", pair.now)
    pair.run(lambda: not pair.client.sent)
    assert len(pair.seen) - before == 2  # data and ACK: nothing was repeated in vain
    assert 800 * MS <= pair.client.rto_ns < 2 * SECOND


def test_a_lost_window_update_is_found_out_by_probing() -> None:
    pair = Pair()
    pair.connect()
    pair.client.write(bytes(WINDOW_BYTES + 10), pair.now)
    pair.run(lambda: pair.server.buffered == WINDOW_BYTES)
    limit = pair.now + 3600 * SECOND  # much longer than any retransmission would go on
    pair.run(lambda: pair.now > limit)
    assert pair.client.error is None
    read_all(pair.server)
    pair.server.out.clear()  # the window update never leaves
    pair.run(lambda: pair.server.buffered == 10)
    assert pair.client.queued == 0


def test_a_reader_that_makes_room_says_so_at_once() -> None:
    pair = Pair()
    pair.connect()
    pair.client.write(bytes(WINDOW_BYTES + 10), pair.now)
    pair.run(lambda: pair.server.buffered == WINDOW_BYTES)
    pair.run(lambda: not pair.client.sent)
    begun = pair.now
    read_all(pair.server)
    pair.run(lambda: pair.server.buffered == 10)
    assert pair.now - begun <= 2 * MS


def test_a_single_segment_is_acknowledged_late_and_a_pair_at_once() -> None:
    pair = Pair()
    pair.connect()
    begun = pair.now
    pair.client.write(b"x", pair.now)
    pair.run(lambda: not pair.client.sent)
    assert pair.now - begun == 2 * MS + tcp.DELAYED_ACK_NS
    begun = pair.now
    pair.client.write(bytes(2 * 1460), pair.now)
    pair.run(lambda: not pair.client.sent)
    assert pair.now - begun == 2 * MS


def test_a_peer_that_repeats_old_data_is_told_where_we_are() -> None:
    pair = Pair()
    pair.connect()
    pair.server.on_segment(Segment(ACK, 1001, 9001, data=b"abc"), pair.now)
    pair.server.on_segment(Segment(ACK, 1001, 9001, data=b"abc"), pair.now)
    assert [s.ack for s in pair.server.out] == [1004]
    pair.server.on_segment(Segment(ACK, 1001, 9001, data=b"abcdef"), pair.now)
    assert read_all(pair.server) == b"abcdef"
