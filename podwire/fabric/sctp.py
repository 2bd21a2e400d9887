"""SCTP as a pure state machine: chunks and calls in, chunks and a deadline out (RFC 9260).

Timers and limits are Linux's (``net.sctp.*``, net/sctp/sm_statefuns.c and sm_sideeffect.c).

Simplified on purpose: a packet holds one chunk, an association has one address at each end and one
stream of ordered messages, each DATA is acknowledged at once, and there is no congestion window.
A HEARTBEAT comes after the interval and one RTO (Linux draws half of one to one and a half).
Not modelled: verification tags, restarts of an association, multi-homing.
"""

from __future__ import annotations

import enum
import errno
from collections import deque
from dataclasses import dataclass, field

SECOND = 1_000_000_000
INITIAL_RTO_NS, MIN_RTO_NS, MAX_RTO_NS = 3 * SECOND, SECOND, 60 * SECOND
INIT_RETRIES = 8
"""``net.sctp.max_init_retransmits``: 3, 6, 12 ... 60 seconds apart, 333 s in all."""
DATA_RETRIES = 10
"""``net.sctp.association_max_retrans``; of data, and of HEARTBEATs in a row."""
HEARTBEAT_NS = 30 * SECOND
"""``net.sctp.hb_interval``: an idle association asks whether its peer is there."""


COOKIE_BYTES = 256
SIZES_BYTES = {
    "init": 28, "init_ack": 32 + COOKIE_BYTES, "cookie_echo": 4 + COOKIE_BYTES, "sack": 16,
    "shutdown": 8, "heartbeat": 60, "heartbeat_ack": 60,
}  # fmt: skip


class State(enum.StrEnum):
    """The states of RFC 9260, section 4."""

    CLOSED = "CLOSED"
    COOKIE_WAIT = "COOKIE_WAIT"
    COOKIE_ECHOED = "COOKIE_ECHOED"
    ESTABLISHED = "ESTABLISHED"
    SHUTDOWN_PENDING = "SHUTDOWN_PENDING"
    SHUTDOWN_SENT = "SHUTDOWN_SENT"
    SHUTDOWN_RECEIVED = "SHUTDOWN_RECEIVED"
    SHUTDOWN_ACK_SENT = "SHUTDOWN_ACK_SENT"


OPENING = (State.COOKIE_WAIT, State.COOKIE_ECHOED)
_BEATING = (State.ESTABLISHED, State.SHUTDOWN_PENDING)
_RECEIVING = (State.ESTABLISHED, State.SHUTDOWN_PENDING, State.SHUTDOWN_SENT)


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk. ``kind`` is named as in ``Packet.sctp_chunk``.

    ``tsn``: the first TSN of INIT and INIT ACK, DATA's own, the cumulative one of SACK and
    SHUTDOWN. ``cookie``: the first TSNs of who listens and who opens. ``first`` and ``last`` say
    which parts of a message a DATA is.
    """

    kind: str
    tsn: int = 0
    data: bytes = b""
    cookie: tuple[int, int] = (0, 0)
    first: bool = True
    last: bool = True
    sequence: int = 0
    """Which message of the stream it is a part of."""

    @property
    def size_bytes(self) -> int:
        """Its length on the wire; of INIT with the parameters ECN and forward TSN."""
        if self.kind == "data":
            return 16 + -(-len(self.data) // 4) * 4
        return SIZES_BYTES.get(self.kind, 4)


def answer_to_init(chunk: Chunk, tsn: int) -> Chunk:
    """INIT ACK: whoever listens keeps nothing, the cookie knows it all."""
    return Chunk("init_ack", tsn, cookie=(tsn, chunk.tsn))


@dataclass(slots=True, eq=False)
class Association:
    """One end of an association; ``tsn`` is its first, ``part_bytes`` what fits a DATA chunk.

    Read ``state``, ``error``, ``incoming``, ``eof`` and ``deadline_ns`` after each call, and send
    what is in ``out``.
    """

    tsn: int
    part_bytes: int
    state: State = State.CLOSED
    out: list[Chunk] = field(default_factory=list)
    due_ns: int = 0
    """When what is not answered is repeated; 0 when all is answered."""
    beat_ns: int = 0
    """When the next HEARTBEAT is due; 0 where none is sent."""
    beating: bool = False
    """Whether a HEARTBEAT is not answered yet."""
    missed: int = 0
    """How many HEARTBEATs in a row were not."""
    error: OSError | None = None
    incoming: deque[bytes] = field(default_factory=deque)
    eof: bool = False
    sequence: int = 0
    expected: int = 0
    """The TSN that comes next from the peer."""
    parts: list[bytes] = field(default_factory=list)
    early: dict[int, Chunk] = field(default_factory=dict)
    unacked: deque[Chunk] = field(default_factory=deque)
    asking: Chunk | None = None
    """The chunk that is repeated until the peer answers it."""
    retries: int = 0
    backoff_ns: int = INITIAL_RTO_NS
    rto_ns: int = INITIAL_RTO_NS

    @property
    def deadline_ns(self) -> int:
        """When ``on_timer`` is to be called; 0 for never."""
        return min(self.due_ns or self.beat_ns, self.beat_ns or self.due_ns)

    # ------------------------------------------------------------ calls of the program

    def open(self, now_ns: int) -> None:
        """Send INIT."""
        self.state = State.COOKIE_WAIT
        self._ask(Chunk("init", self.tsn), now_ns)

    def accept(self, echo: Chunk, now_ns: int) -> None:
        """A listener's cookie came back: the association exists."""
        self.tsn, self.expected = echo.cookie
        self._establish(now_ns)
        self.out.append(Chunk("cookie_ack"))

    def write(self, message: bytes, now_ns: int) -> None:
        """Send one message. Raises BrokenPipeError when the association is over or closing."""
        if self.state is not State.ESTABLISHED:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")
        for at in range(0, len(message), self.part_bytes):
            part = message[at : at + self.part_bytes]
            last = at + len(part) == len(message)
            chunk = Chunk("data", self.tsn, part, first=not at, last=last, sequence=self.sequence)
            self.tsn += 1
            self.unacked.append(chunk)
            self.out.append(chunk)
        self.sequence += 1
        self._rest(now_ns)
        if not self.due_ns:
            self._wait(now_ns)

    def finish(self, now_ns: int) -> None:
        """Shut down once the peer has everything; an association that is being made vanishes."""
        if self.state in OPENING:
            self._end(None)
        elif self.state is State.ESTABLISHED:
            self.state = State.SHUTDOWN_PENDING
            self._proceed(now_ns)

    def abort(self, error: OSError | None = None) -> None:
        """Send ABORT when there is a peer to tell; the association is over with ``error``."""
        if self.state not in (State.CLOSED, State.COOKIE_WAIT):
            self.out.append(Chunk("abort"))
        self._end(error)

    # ------------------------------------------------------------ what the network brings

    def on_chunk(self, chunk: Chunk, now_ns: int) -> None:
        """Process one chunk of this association; what does not fit its state is discarded."""
        kind, state = chunk.kind, self.state
        if state is State.CLOSED:
            return
        if kind == "abort":
            self._aborted()
        elif kind == "init_ack" and state is State.COOKIE_WAIT:
            self.state, self.expected = State.COOKIE_ECHOED, chunk.tsn
            self._ask(Chunk("cookie_echo", cookie=chunk.cookie), now_ns)
        elif kind == "cookie_ack" and state is State.COOKIE_ECHOED:
            self._answered()
            self._establish(now_ns)
        elif kind == "cookie_echo":
            self.out.append(Chunk("cookie_ack"))  # ours was lost
        elif kind == "data" and state in _RECEIVING:
            self._on_data(chunk)
        elif kind == "heartbeat" and state not in OPENING:
            self.out.append(Chunk("heartbeat_ack"))
        elif kind == "heartbeat_ack":
            self.beating, self.missed, self.rto_ns = False, 0, MIN_RTO_NS
        elif kind == "sack":
            self._on_ack(chunk.tsn, now_ns)
        elif kind == "shutdown":
            self._on_shutdown(chunk, now_ns)
        elif kind == "shutdown_ack" and state in (State.SHUTDOWN_SENT, State.SHUTDOWN_ACK_SENT):
            self.out.append(Chunk("shutdown_complete"))
            self._end(None)
        elif kind == "shutdown_complete" and state is State.SHUTDOWN_ACK_SENT:
            self._end(None)

    def on_timer(self, now_ns: int) -> None:
        """``deadline_ns`` was reached (harmless when called early): repeat, or give up."""
        if self.beat_ns and now_ns >= self.beat_ns:
            self._beat(now_ns)
        if not self.due_ns or now_ns < self.due_ns:
            return
        self.retries += 1
        if self.retries > (INIT_RETRIES if self.state in OPENING else DATA_RETRIES):
            self.abort(TimeoutError(errno.ETIMEDOUT, "Connection timed out"))
            return
        self.backoff_ns = min(2 * self.backoff_ns, MAX_RTO_NS)
        self.due_ns = now_ns + self.backoff_ns
        self.repeat()

    def repeat(self) -> None:
        """Send again what the peer has not answered."""
        self.out += [self.asking] if self.asking is not None else self.unacked

    # ------------------------------------------------------------ inside

    def _aborted(self) -> None:
        if self.state in OPENING:
            self._end(ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"))
        else:
            self._end(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))

    def _on_data(self, chunk: Chunk) -> None:
        if chunk.tsn >= self.expected:
            self.early[chunk.tsn] = chunk
        while (following := self.early.pop(self.expected, None)) is not None:
            self.expected += 1
            self.parts.append(following.data)
            if following.last:
                self.incoming.append(b"".join(self.parts))
                self.parts.clear()
        self.out.append(Chunk("sack", self.expected - 1))

    def _on_ack(self, tsn: int, now_ns: int) -> None:
        before = len(self.unacked)
        while self.unacked and self.unacked[0].tsn <= tsn:
            self.unacked.popleft()
        if len(self.unacked) == before:
            return
        if not self.retries:
            self.rto_ns = MIN_RTO_NS  # the modelled network's round trips are shorter than that
        self._answered()
        if self.unacked:
            self._wait(now_ns)
        self._proceed(now_ns)

    def _on_shutdown(self, chunk: Chunk, now_ns: int) -> None:
        if self.state in OPENING:
            return
        self.eof = True
        self._on_ack(chunk.tsn, now_ns)
        if self.state is State.SHUTDOWN_SENT:  # both at once: each acknowledges the other's
            self.state = State.SHUTDOWN_ACK_SENT
            self._ask(Chunk("shutdown_ack"), now_ns)
        elif self.state in (State.ESTABLISHED, State.SHUTDOWN_PENDING):
            self.state = State.SHUTDOWN_RECEIVED
            self._proceed(now_ns)

    def _proceed(self, now_ns: int) -> None:
        """Go on with a shutdown that waited for acknowledgements."""
        if self.unacked:
            return
        if self.state is State.SHUTDOWN_PENDING:
            self.state = State.SHUTDOWN_SENT
            self._ask(Chunk("shutdown", self.expected - 1), now_ns)
        elif self.state is State.SHUTDOWN_RECEIVED:
            self.state = State.SHUTDOWN_ACK_SENT
            self._ask(Chunk("shutdown_ack"), now_ns)

    def _ask(self, chunk: Chunk, now_ns: int) -> None:
        self._answered()
        self.asking = chunk
        self.out.append(chunk)
        self._wait(now_ns)

    def _establish(self, now_ns: int) -> None:
        self.state = State.ESTABLISHED
        self._rest(now_ns)

    def _rest(self, now_ns: int) -> None:
        """Put the next HEARTBEAT off: those that go unanswered come more and more slowly."""
        rto_ns = min(self.rto_ns << self.missed, MAX_RTO_NS)
        self.beat_ns = now_ns + HEARTBEAT_NS + rto_ns

    def _beat(self, now_ns: int) -> None:
        """Ask whether the peer is there; give up on one that did not answer ten times."""
        if self.state not in _BEATING:
            self.beat_ns = 0
        elif self.missed >= DATA_RETRIES:
            self.abort(TimeoutError(errno.ETIMEDOUT, "Connection timed out"))
        else:
            self.missed += self.beating
            self.beating = True
            self.out.append(Chunk("heartbeat"))
            self._rest(now_ns)

    def _wait(self, now_ns: int) -> None:
        self.backoff_ns = self.rto_ns
        self.due_ns = now_ns + self.rto_ns

    def _answered(self) -> None:
        self.asking = None
        self.retries = self.due_ns = 0

    def _end(self, error: OSError | None) -> None:
        self._answered()
        self.unacked.clear()
        self.beat_ns = 0
        self.state, self.error, self.eof = State.CLOSED, error, True
