"""The TCP state machine, driven by hand: handshakes, data, both ways to close."""

from __future__ import annotations

import errno

import pytest

from podwire.dataplane.packet import ACK, FIN, RST
from podwire.fabric import segment as words
from podwire.fabric import tcp
from podwire.fabric.segment import WINDOW_BYTES, Segment, State
from podwire.fabric.tcp import SECOND, Connection
from tests.unit.fabric.ends import Pair, read_all


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


def test_every_transition_leads_to_another_state() -> None:
    """The tables have no self-loop, and FIN has a meaning wherever data has."""
    for table in (words.ON_OUR_FIN, words.ON_PEER_FIN, words.ON_FIN_ACKED):
        for before, after in table.items():
            assert before is not after
    assert {State.ESTAB, State.CLOSE_WAIT} <= words.ON_OUR_FIN.keys()
    assert str(Segment(FIN | ACK, 1, 2)) == "[F.] seq 1 ack 2 len 0"


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
