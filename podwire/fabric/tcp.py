"""TCP as a pure state machine: segments and calls in, segments and a deadline out.

Nothing here knows a clock, a task or a packet's way: the shell (``sockets.py``) feeds segments,
fires ``on_timer`` at ``deadline_ns`` and carries what lies in ``out``. Behaviour follows RFC 9293
and, for timers, Linux (``net/ipv4/tcp_timer.c``, ``include/net/tcp.h``).

Simplified on purpose: one ``Segment`` may carry a burst of up to 64 KiB (as a network card with
segmentation offload does; ``mss`` says in which slices it travels), sequence numbers do not wrap,
there is no congestion window (the receive window bounds what is in flight), and no selective ACK.
"""

from __future__ import annotations

import errno
from collections import deque
from dataclasses import dataclass, field

from podwire.dataplane.packet import ACK, FIN, RST, SYN
from podwire.fabric.segment import (
    HANDSHAKE,
    ON_FIN_ACKED,
    ON_OUR_FIN,
    ON_PEER_FIN,
    OVER,
    WINDOW_BYTES,
    Segment,
    State,
)

MS = 1_000_000
SECOND = 1000 * MS

INITIAL_RTO_NS = SECOND
MIN_RTO_NS = 200 * MS
MAX_RTO_NS = 120 * SECOND
DELAYED_ACK_NS = 40 * MS
FIN_TIMEOUT_NS = 60 * SECOND
"""``net.ipv4.tcp_fin_timeout``; also how long TIME_WAIT lasts (TCP_TIMEWAIT_LEN)."""

SYN_RETRIES = 6
"""``net.ipv4.tcp_syn_retries``: 1, 2, 4 ... seconds apart, 127 s in all."""
SYNACK_RETRIES = 5
DATA_RETRIES = 15
"""``net.ipv4.tcp_retries2``."""

BURST_BYTES = 64 * 1024
DEFAULT_MSS = 536
"""RFC 9293 3.7.1: assumed when the peer names none."""


@dataclass(slots=True)
class _Sent:
    """A segment in flight, kept until it is acknowledged."""

    seq: int
    flags: int
    data: bytes
    sent_ns: int
    again: bool = False

    @property
    def end(self) -> int:
        return self.seq + len(self.data) + (1 if self.flags & (SYN | FIN) else 0)


@dataclass(slots=True, eq=False)
class Connection:
    """One end of a connection.

    Read ``state``, ``error``, ``incoming``, ``eof`` and ``deadline_ns`` after each call, and send
    what is in ``out``. ``error`` is set once and is what a reader or writer must raise.
    """

    iss: int
    mss: int
    state: State = State.CLOSED
    out: list[Segment] = field(default_factory=list)
    deadline_ns: int = 0
    error: OSError | None = None
    soft_error: OSError | None = None
    # receiving
    rcv_nxt: int = 0
    incoming: deque[bytes] = field(default_factory=deque)
    buffered: int = 0
    eof: bool = False
    reordered: dict[int, Segment] = field(default_factory=dict)
    unacked_bytes: int = 0
    # sending
    snd_una: int = 0
    snd_nxt: int = 0
    snd_wnd: int = 0
    outgoing: deque[bytes] = field(default_factory=deque)
    queued: int = 0
    finishing: bool = False
    orphan: bool = False
    sent: deque[_Sent] = field(default_factory=deque)
    retries: int = 0
    dup_acks: int = 0
    recover: int = 0
    # timers; 0 is off
    rto_at: int = 0
    ack_at: int = 0
    linger_at: int = 0
    rto_ns: int = INITIAL_RTO_NS
    srtt_ns: int = 0
    rttvar_ns: int = 0

    def __post_init__(self) -> None:
        self.snd_una = self.snd_nxt = self.iss

    # ------------------------------------------------------------ calls of the program

    def open(self, now_ns: int) -> None:
        """Active open: send SYN."""
        self.state = State.SYN_SENT
        self._transmit(SYN, b"", now_ns)
        self._schedule()

    def accept_syn(self, segment: Segment, now_ns: int) -> None:
        """Passive open: a listener got this SYN; answer SYN-ACK."""
        self.state = State.SYN_RECV
        self.rcv_nxt = segment.seq + 1
        self.snd_wnd = segment.window
        self.mss = min(self.mss, segment.mss or DEFAULT_MSS)
        self._transmit(SYN | ACK, b"", now_ns)
        self._schedule()

    def write(self, data: bytes, now_ns: int) -> None:
        """Queue bytes. Raises BrokenPipeError after finish or when the connection is over."""
        if self.finishing or self.state in OVER:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")
        if not data:
            return
        self.outgoing.append(data)
        self.queued += len(data)
        self._push(now_ns)
        self._schedule()

    def read(self) -> bytes:
        """Take what arrived (b"" when nothing did); may open the window again."""
        if not self.incoming:
            return b""
        before = WINDOW_BYTES - self.buffered
        data = self.incoming.popleft()
        self.buffered -= len(data)
        if before < WINDOW_BYTES // 4 and self.state not in OVER and not self.eof:
            self._send_ack()
        return data

    def finish(self, now_ns: int) -> None:
        """Send FIN once everything queued is sent."""
        if self.finishing or self.state in OVER:
            return
        self.finishing = True
        if self.state is State.SYN_SENT:
            self._end(None)
            return
        self._push(now_ns)
        self._schedule()

    def abort(self, error: OSError | None = None) -> None:
        """Send RST when there is a peer to tell; the connection is over with ``error``."""
        if self.state not in (*OVER, State.SYN_SENT):
            self.out.append(Segment(RST | ACK, self.snd_nxt, self.rcv_nxt, 0))
        self._end(error)

    # ------------------------------------------------------------ what the network brings

    def on_segment(self, segment: Segment, now_ns: int) -> None:
        """Process one segment of this connection."""
        if self.state is State.CLOSED:
            return
        if self.state is State.SYN_SENT:
            self._on_segment_syn_sent(segment, now_ns)
        elif segment.flags & RST:
            if self.rcv_nxt <= segment.seq <= self.rcv_nxt + WINDOW_BYTES:
                self._end(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))
        elif segment.flags & SYN:
            self._on_duplicate_syn(segment)
        else:
            self._on_segment_synchronized(segment, now_ns)
        self._schedule()

    def on_icmp_error(self, error: OSError) -> None:
        """An ICMP error about a segment of ours came back.

        Fatal while connecting; afterwards only remembered, and reported if retransmission gives
        up (``tcp_v4_err``).
        """
        if self.state in HANDSHAKE:
            self._end(error)
        else:
            self.soft_error = error

    def on_packet_too_big(self, mss: int, now_ns: int) -> None:
        """Path MTU discovery: slice smaller and send what is in flight again."""
        if 0 < mss < self.mss:
            self.mss = mss
            self.recover = self.snd_nxt
            self._retransmit_first(now_ns)
            self._schedule()

    def on_timer(self, now_ns: int) -> None:
        """``deadline_ns`` was reached (harmless when called early)."""
        if self.ack_at and now_ns >= self.ack_at:
            self._send_ack()
        if self.rto_at and now_ns >= self.rto_at:
            self._on_rto(now_ns)
        if self.linger_at and now_ns >= self.linger_at:
            self._end(self.error)
        self._schedule()

    def orphaned(self, now_ns: int) -> None:
        """Nobody reads this end any more: FIN_WAIT_2 ends after ``tcp_fin_timeout``."""
        self.orphan = True
        if self.state is State.FIN_WAIT_2 and not self.linger_at:
            self.linger_at = now_ns + FIN_TIMEOUT_NS
            self._schedule()

    def adopted(self) -> None:
        """Somebody reads after all: FIN was a half-close, and the peer may take its time."""
        self.orphan = False
        if self.state is State.FIN_WAIT_2:
            self.linger_at = 0
            self._schedule()

    # ------------------------------------------------------------ receiving

    def _on_segment_syn_sent(self, segment: Segment, now_ns: int) -> None:
        acceptable = bool(segment.flags & ACK) and segment.ack == self.snd_nxt
        if segment.flags & RST:
            if acceptable:
                self._end(ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"))
            return
        if not segment.flags & SYN or not acceptable:
            return  # not for this incarnation of the port pair; its sender will be told by RST
        self.rcv_nxt = segment.seq + 1
        self.mss = min(self.mss, segment.mss or DEFAULT_MSS)
        self.state = State.ESTAB
        self._on_ack(segment, now_ns)
        self._send_ack()

    def _on_duplicate_syn(self, segment: Segment) -> None:
        if self.state is State.SYN_RECV and segment.seq + 1 == self.rcv_nxt:
            first = self.sent[0]
            self.out.append(self._segment(first.flags, first.seq, first.data))
        else:
            self._send_ack()  # RFC 5961: a challenge; also repeats a lost handshake ACK

    def _on_segment_synchronized(self, segment: Segment, now_ns: int) -> None:
        if segment.seq > self.rcv_nxt + WINDOW_BYTES:
            self._send_ack()
            return
        if self.state is State.SYN_RECV:
            if segment.ack != self.snd_nxt:
                return
            self.state = State.ESTAB
        if not self.sent:
            self.retries = 0  # the peer answers our window probes
        if not self._on_ack(segment, now_ns):
            return
        end = segment.seq + segment.length
        if end < self.rcv_nxt or (end == self.rcv_nxt and segment.length):
            self._send_ack()  # old data, or a window probe: say where we are
        elif segment.length:
            self._on_data(segment, now_ns)
        self._push(now_ns)

    def _on_data(self, segment: Segment, now_ns: int) -> None:
        if segment.seq > self.rcv_nxt:
            self.reordered.setdefault(segment.seq, segment)
            self._send_ack()
            return
        filled_gap = bool(self.reordered)
        self._take(segment, now_ns)
        while self.reordered:
            seq = min(self.reordered)
            if seq > self.rcv_nxt:
                break
            self._take(self.reordered.pop(seq), now_ns)
        if filled_gap or self.unacked_bytes >= 2 * self.mss or self.state in OVER:
            self._send_ack()
        elif not self.ack_at:
            self.ack_at = now_ns + DELAYED_ACK_NS

    def _take(self, segment: Segment, now_ns: int) -> None:
        data = segment.data
        if segment.seq < self.rcv_nxt:
            data = data[self.rcv_nxt - segment.seq :]
        room = WINDOW_BYTES - self.buffered
        fits = len(data) <= room
        if not fits:
            data = data[:room]
        if data:
            self.rcv_nxt += len(data)
            self.incoming.append(data)
            self.buffered += len(data)
            self.unacked_bytes += len(data)
        if segment.flags & FIN and fits and not self.eof:
            self.rcv_nxt += 1
            self.eof = True
            self._enter(ON_PEER_FIN.get(self.state, self.state), now_ns)

    # ------------------------------------------------------------ sending

    def _on_ack(self, segment: Segment, now_ns: int) -> bool:
        """Process the acknowledgement; False when the segment must be ignored."""
        if segment.ack > self.snd_nxt:
            self._send_ack()
            return False
        if segment.ack > self.snd_una:
            self._advance(segment.ack, now_ns)
        elif (
            self.sent
            and segment.ack == self.snd_una
            and segment.window == self.snd_wnd
            and not segment.length
        ):
            self.dup_acks += 1
            if self.dup_acks == 3:  # fast retransmit, RFC 5681
                self.recover = self.snd_nxt
                self._retransmit_first(now_ns)
        if segment.ack >= self.snd_una:
            self.snd_wnd = segment.window
        return True

    def _advance(self, ack: int, now_ns: int) -> None:
        self.snd_una = ack
        self.retries = self.dup_acks = 0
        fin_acked = False
        while self.sent:
            first = self.sent[0]
            if first.end > ack:
                if first.seq < ack and first.data:  # the receiver had room for a part of it
                    first.data = first.data[ack - first.seq :]
                    first.seq = ack
                break
            self.sent.popleft()
            if not first.again:
                self._sample(now_ns - first.sent_ns)
            fin_acked = bool(first.flags & FIN)
        self.rto_ns = self._base_rto()
        self.rto_at = now_ns + self.rto_ns if self.sent else 0
        if fin_acked:
            self._enter(ON_FIN_ACKED.get(self.state, self.state), now_ns)
        elif self.sent and ack < self.recover:
            self._retransmit_first(now_ns)

    def _push(self, now_ns: int) -> None:
        """Send what the peer's window allows, then FIN."""
        if self.state in HANDSHAKE or self.state in OVER:
            return
        burst = max(BURST_BYTES // self.mss, 1) * self.mss
        while self.queued:
            room = self.snd_una + self.snd_wnd - self.snd_nxt
            if room <= 0:
                break
            data = self._gather(min(burst, room))
            last = self.finishing and not self.queued
            self._transmit(ACK | FIN if last else ACK, data, now_ns)
            if last:
                self._enter(ON_OUR_FIN.get(self.state, self.state), now_ns)
        if self.finishing and not self.queued and self.state in ON_OUR_FIN:
            self._transmit(ACK | FIN, b"", now_ns)
            self._enter(ON_OUR_FIN[self.state], now_ns)
        if self.queued and not self.sent and not self.rto_at:
            self.rto_at = now_ns + self.rto_ns  # the window is shut: probe it

    def _gather(self, limit: int) -> bytes:
        first = self.outgoing.popleft()
        if len(first) > limit:
            self.outgoing.appendleft(first[limit:])
            first = first[:limit]
        elif self.outgoing and len(first) < limit:
            parts, size = [first], len(first)
            while self.outgoing and size + len(self.outgoing[0]) <= limit:
                parts.append(self.outgoing.popleft())
                size += len(parts[-1])
            first = b"".join(parts)
        self.queued -= len(first)
        return first

    def _transmit(self, flags: int, data: bytes, now_ns: int) -> None:
        self.out.append(self._segment(flags, self.snd_nxt, data))
        sent = _Sent(self.snd_nxt, flags, data, now_ns)
        self.sent.append(sent)
        self.snd_nxt = sent.end
        if not self.rto_at:
            self.rto_at = now_ns + self.rto_ns

    def _segment(self, flags: int, seq: int, data: bytes) -> Segment:
        if flags & ACK:
            self.ack_at = self.unacked_bytes = 0
        window = max(WINDOW_BYTES - self.buffered, 0)
        return Segment(flags, seq, self.rcv_nxt if flags & ACK else 0, window, data, self.mss)

    def _send_ack(self) -> None:
        if self.state not in (State.CLOSED, State.SYN_SENT):
            self.out.append(self._segment(ACK, self.snd_nxt, b""))

    def _retransmit_first(self, now_ns: int) -> None:
        if not self.sent:
            return
        first = self.sent[0]
        first.again = True
        self.out.append(self._segment(first.flags, first.seq, first.data))
        self.rto_at = now_ns + self.rto_ns

    def _on_rto(self, now_ns: int) -> None:
        self.retries += 1
        limit = {State.SYN_SENT: SYN_RETRIES, State.SYN_RECV: SYNACK_RETRIES}.get(
            self.state, DATA_RETRIES
        )
        if self.retries > limit:
            self._end(self.soft_error or TimeoutError(errno.ETIMEDOUT, "Connection timed out"))
            return
        self.rto_ns = min(self.rto_ns * 2, MAX_RTO_NS)
        if self.sent:
            self.recover = self.snd_nxt
            self._retransmit_first(now_ns)
        elif self.queued:
            self.out.append(self._segment(ACK, self.snd_una - 1, b""))
            self.rto_at = now_ns + self.rto_ns
        else:
            self.rto_at = 0

    # ------------------------------------------------------------ timers and ends

    def _sample(self, rtt_ns: int) -> None:
        """RFC 6298 round trip estimation."""
        if not self.srtt_ns:
            self.srtt_ns, self.rttvar_ns = max(rtt_ns, 1), rtt_ns // 2
            return
        self.rttvar_ns += (abs(self.srtt_ns - rtt_ns) - self.rttvar_ns) // 4
        self.srtt_ns += (rtt_ns - self.srtt_ns) // 8

    def _base_rto(self) -> int:
        if not self.srtt_ns:
            return self.rto_ns
        return min(self.srtt_ns + max(4 * self.rttvar_ns, MIN_RTO_NS), MAX_RTO_NS)

    def _enter(self, state: State, now_ns: int) -> None:
        if state is self.state:
            return
        self.state = state
        if state is State.TIME_WAIT or (state is State.FIN_WAIT_2 and self.orphan):
            self.linger_at = now_ns + FIN_TIMEOUT_NS
        elif state is State.CLOSED:
            self._end(self.error)

    def _end(self, error: OSError | None) -> None:
        if self.error is None:
            self.error = error
        self.state = State.CLOSED
        self.eof = True
        self.sent.clear()
        self.outgoing.clear()
        self.reordered.clear()
        self.queued = 0
        self.rto_at = self.ack_at = self.linger_at = 0
        self.deadline_ns = 0

    def _schedule(self) -> None:
        deadline = self.rto_at
        if self.ack_at and (not deadline or self.ack_at < deadline):
            deadline = self.ack_at
        if self.linger_at and (not deadline or self.linger_at < deadline):
            deadline = self.linger_at
        self.deadline_ns = deadline
