"""The TCP state machine, driven by hand: two ends, a lossy wire and a clock that jumps."""

from __future__ import annotations

import errno
import heapq
import itertools
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podwire.dataplane.packet import ACK, FIN, RST, SYN
from podwire.fabric import segment as words
from podwire.fabric import tcp
from podwire.fabric.segment import WINDOW_BYTES, Segment, State
from podwire.fabric.tcp import MS, SECOND, Connection

Fault = Callable[[Segment, int], list[int]]
"""Given a segment and its delay: the delays at which copies of it arrive."""


def faithful(_segment: Segment, delay_ns: int) -> list[int]:
    return [delay_ns]


class Pair:
    """A client and a server end with a wire of 1 ms between them."""

    def __init__(self, fault: Fault = faithful) -> None:
        self.now = 0
        self.client = Connection(1000, 1460)
        self.server = Connection(9000, 1460)
        self.server_listens = True
        self.fault = fault
        self.seen: list[str] = []
        self._wire: list[tuple[int, int, Connection, Segment]] = []
        self._count = itertools.count()

    def flush(self) -> None:
        for end, peer, arrow in (
            (self.client, self.server, ">"),
            (self.server, self.client, "<"),
        ):
            for segment in end.out:
                self.seen.append(f"{arrow} {segment}")
                for delay in self.fault(segment, MS):
                    heapq.heappush(self._wire, (self.now + delay, next(self._count), peer, segment))
            end.out.clear()

    def step(self) -> bool:
        """Let the next thing happen; False when nothing will."""
        self.flush()
        times = [end.deadline_ns for end in (self.client, self.server) if end.deadline_ns]
        if self._wire:
            times.append(self._wire[0][0])
        if not times:
            return False
        self.now = max(self.now, min(times))
        while self._wire and self._wire[0][0] <= self.now:
            _, _, end, segment = heapq.heappop(self._wire)
            if end is self.server and end.state is State.CLOSED and segment.flags & SYN:
                if self.server_listens:
                    end.accept_syn(segment, self.now)
                else:
                    self.client.on_segment(Segment(RST | ACK, 0, segment.seq + 1), self.now)
            else:
                end.on_segment(segment, self.now)
        for end in (self.client, self.server):
            if end.deadline_ns and end.deadline_ns <= self.now:
                end.on_timer(self.now)
        self.flush()
        return True

    def run(self, until: Callable[[], bool], steps: int = 20_000) -> None:
        for _ in range(steps):
            if until() or not self.step():
                return

    def connect(self) -> None:
        self.client.open(self.now)
        self.run(lambda: self.server.state is State.ESTAB)
        assert self.client.state is State.ESTAB


def read_all(end: Connection) -> bytes:
    parts = []
    while data := end.read():
        parts.append(data)
    return b"".join(parts)


def test_a_request_and_its_answer_take_eight_segments() -> None:
    """Handshake, request, answer with the piggybacked ACK, and the two FINs."""
    pair = Pair()
    pair.connect()
    pair.client.write(b"GET /", pair.now)
    pair.run(lambda: bool(pair.server.incoming))
    assert read_all(pair.server) == b"GET /"
    pair.server.write(b"200", pair.now)
    pair.server.finish(pair.now)
    pair.run(lambda: pair.client.eof)
    assert read_all(pair.client) == b"200"
    pair.client.finish(pair.now)
    pair.run(lambda: pair.server.state is State.CLOSED)
    assert pair.seen == [
        "> [S] seq 1000 ack 0 len 0",
        "< [S.] seq 9000 ack 1001 len 0",
        "> [.] seq 1001 ack 9001 len 0",
        "> [.] seq 1001 ack 9001 len 5",
        "< [.] seq 9001 ack 1006 len 3",
        "< [F.] seq 9004 ack 1006 len 0",
        "> [F.] seq 1006 ack 9005 len 0",
        "< [.] seq 9005 ack 1007 len 0",
    ]
    assert pair.client.state is State.CLOSED
    assert pair.server.error is None


def test_the_end_that_closes_first_waits_in_time_wait() -> None:
    pair = Pair()
    pair.connect()
    pair.client.finish(pair.now)
    pair.run(lambda: pair.server.eof)
    assert pair.server.state is State.CLOSE_WAIT
    pair.server.finish(pair.now)
    pair.run(lambda: pair.server.state is State.CLOSED)
    pair.run(lambda: pair.client.state is State.TIME_WAIT)
    begun = pair.now
    pair.run(lambda: pair.client.state is State.CLOSED)
    assert pair.now - begun >= 59 * SECOND


def test_after_our_fin_the_peer_may_still_speak() -> None:
    """Half-close: FIN ends one direction only."""
    pair = Pair()
    pair.connect()
    pair.client.write(b"question", pair.now)
    pair.client.finish(pair.now)
    pair.run(lambda: pair.server.eof)
    assert read_all(pair.server) == b"question"
    pair.run(lambda: pair.client.state is State.FIN_WAIT_2)
    pair.server.write(b"a late answer", pair.now)
    pair.run(lambda: bool(pair.client.incoming))
    assert read_all(pair.client) == b"a late answer"
    with pytest.raises(BrokenPipeError):
        pair.client.write(b"more", pair.now)


def test_a_syn_is_repeated_after_1_3_and_7_seconds_and_given_up_after_127() -> None:
    sent_at = []

    def swallow(_segment: Segment, _delay_ns: int) -> list[int]:
        sent_at.append(pair.now // SECOND)
        return []

    pair = Pair(swallow)
    pair.client.open(0)
    pair.run(lambda: pair.client.state is State.CLOSED)
    assert sent_at == [0, 1, 3, 7, 15, 31, 63]
    assert pair.now // SECOND == 127
    assert isinstance(pair.client.error, TimeoutError)


def test_an_rst_in_answer_to_syn_is_connection_refused() -> None:
    pair = Pair()
    pair.server_listens = False
    pair.client.open(0)
    pair.run(lambda: pair.client.state is State.CLOSED)
    assert isinstance(pair.client.error, ConnectionRefusedError)


def test_an_icmp_error_is_fatal_only_while_connecting() -> None:
    unreachable = OSError(errno.EHOSTUNREACH, "No route to host")
    connecting = Connection(1, 1460)
    connecting.open(0)
    connecting.on_icmp_error(unreachable)
    assert connecting.error is unreachable

    pair = Pair()
    pair.connect()
    pair.client.on_icmp_error(unreachable)
    assert pair.client.state is State.ESTAB
    pair.fault = lambda _segment, _delay: []
    pair.client.write(b"lost", pair.now)
    pair.run(lambda: pair.client.state is State.CLOSED)
    assert pair.client.error is unreachable


def test_data_that_is_never_acknowledged_ends_in_a_timeout_after_15_retries() -> None:
    pair = Pair()
    pair.connect()
    pair.fault = lambda _segment, _delay: []
    before = len(pair.seen)
    begun = pair.now
    pair.client.write(b"lost", pair.now)
    pair.run(lambda: pair.client.state is State.CLOSED)
    assert len(pair.seen) - before == 16
    assert 900 < (pair.now - begun) / SECOND < 1000  # Linux documents 924.6 s for its default
    assert isinstance(pair.client.error, TimeoutError)


def test_an_abort_tells_the_peer_which_still_reads_what_came_before() -> None:
    pair = Pair()
    pair.connect()
    pair.client.write(b"last words", pair.now)
    pair.run(lambda: bool(pair.server.incoming))
    pair.client.abort()
    pair.run(lambda: pair.server.state is State.CLOSED)
    assert read_all(pair.server) == b"last words"
    assert isinstance(pair.server.error, ConnectionResetError)


def test_a_slow_reader_stops_the_writer_and_starts_it_again() -> None:
    pair = Pair()
    pair.connect()
    pair.client.write(bytes(600 * 1024), pair.now)
    pair.run(lambda: pair.server.buffered == WINDOW_BYTES)
    limit = pair.now + 600 * SECOND
    pair.run(lambda: pair.now > limit)
    assert pair.client.queued == 600 * 1024 - WINDOW_BYTES
    assert pair.client.state is State.ESTAB
    received = 0
    while received < 600 * 1024:
        received += len(read_all(pair.server))
        assert pair.step()
    assert pair.client.queued == 0


def test_an_orphan_whose_peer_never_closes_ends_after_fin_timeout() -> None:
    pair = Pair()
    pair.connect()
    pair.client.finish(pair.now)
    pair.run(lambda: pair.client.state is State.FIN_WAIT_2)
    pair.client.orphaned(pair.now)
    begun = pair.now
    pair.run(lambda: pair.client.state is State.CLOSED)
    assert pair.now - begun == tcp.FIN_TIMEOUT_NS


def test_a_packet_too_big_message_shrinks_the_slices() -> None:
    pair = Pair()
    pair.connect()
    pair.client.write(b"x" * 3000, pair.now)
    pair.client.out.clear()
    pair.client.on_packet_too_big(1410, pair.now)
    assert [(s.mss, len(s.data)) for s in pair.client.out] == [(1410, 3000)]


def test_the_smaller_of_both_segment_sizes_wins() -> None:
    for smaller in ("client", "server"):
        pair = Pair()
        getattr(pair, smaller).mss = 1410
        pair.connect()
        assert (pair.client.mss, pair.server.mss) == (1410, 1410)


def test_segments_outside_the_window_are_not_believed() -> None:
    """A reset or an acknowledgement from nowhere changes nothing."""
    pair = Pair()
    pair.connect()
    pair.client.on_segment(Segment(RST, 5), pair.now)
    pair.client.on_segment(Segment(ACK, 9001, 99_999), pair.now)
    pair.client.on_segment(Segment(ACK, 9001 + 2**30, 1001, data=b"evil"), pair.now)
    assert pair.client.state is State.ESTAB
    assert not pair.client.incoming


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


def test_every_transition_leads_to_another_state() -> None:
    """The tables have no self-loop, and FIN has a meaning wherever data has."""
    for table in (words.ON_OUR_FIN, words.ON_PEER_FIN, words.ON_FIN_ACKED):
        for before, after in table.items():
            assert before is not after
    assert {State.ESTAB, State.CLOSE_WAIT} <= words.ON_OUR_FIN.keys()
    assert str(Segment(FIN | ACK, 1, 2)) == "[F.] seq 1 ack 2 len 0"


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


def test_closing_before_the_handshake_ends_forgets_the_attempt() -> None:
    pair = Pair()
    pair.client.open(0)
    pair.client.finish(0)
    assert pair.client.state is State.CLOSED
    assert pair.client.deadline_ns == 0


def test_finishing_twice_sends_one_fin() -> None:
    pair = Pair()
    pair.connect()
    pair.client.finish(pair.now)
    pair.client.finish(pair.now)
    assert [str(s)[:4] for s in pair.client.out] == ["[F.]"]


def test_both_ends_closing_at_once_meet_in_time_wait() -> None:
    pair = Pair()
    pair.connect()
    pair.client.finish(pair.now)
    pair.server.finish(pair.now)
    pair.step()
    assert (pair.client.state, pair.server.state) == (State.CLOSING, State.CLOSING)
    pair.run(lambda: pair.client.state is State.TIME_WAIT and pair.server.state is State.TIME_WAIT)
    assert (pair.client.state, pair.server.state) == (State.TIME_WAIT, State.TIME_WAIT)


def test_the_last_data_carries_the_fin() -> None:
    pair = Pair()
    pair.client.open(0)
    pair.client.write(b"all", 0)
    pair.run(lambda: pair.client.state is State.ESTAB)
    pair.client.out.clear()
    early = Connection(1, 1460)
    early.state, early.snd_wnd = State.ESTAB, 10
    early.write(b"x" * 15, 0)
    early.out.clear()
    early.finish(0)
    assert not early.out  # five bytes wait for the window, and FIN waits for them
    early.on_segment(Segment(ACK, 0, 11, window=10), 0)
    assert [(str(s)[:4], len(s.data)) for s in early.out] == [("[F.]", 5)]
