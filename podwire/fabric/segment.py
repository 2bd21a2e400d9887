"""TCP's words: what a segment holds, the states of a connection, and what FIN does to them."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from podwire.dataplane.packet import FIN, SYN, flag_letters

WINDOW_BYTES = 256 * 1024
"""Receive buffer; also how far a sender may run ahead of its reader."""


class State(enum.StrEnum):
    """The states of RFC 9293, spelled as ``ss`` and conntrack print them."""

    SYN_SENT = "SYN-SENT"
    SYN_RECV = "SYN-RECV"
    ESTAB = "ESTAB"
    FIN_WAIT_1 = "FIN-WAIT-1"
    FIN_WAIT_2 = "FIN-WAIT-2"
    CLOSE_WAIT = "CLOSE-WAIT"
    CLOSING = "CLOSING"
    LAST_ACK = "LAST-ACK"
    TIME_WAIT = "TIME-WAIT"
    CLOSED = "UNCONN"


# What our own FIN, the peer's FIN and the ACK of our FIN do to the state. Pairs that are missing
# leave it alone.
ON_OUR_FIN = {
    State.SYN_RECV: State.FIN_WAIT_1,
    State.ESTAB: State.FIN_WAIT_1,
    State.CLOSE_WAIT: State.LAST_ACK,
}
ON_PEER_FIN = {
    State.SYN_RECV: State.CLOSE_WAIT,
    State.ESTAB: State.CLOSE_WAIT,
    State.FIN_WAIT_1: State.CLOSING,
    State.FIN_WAIT_2: State.TIME_WAIT,
}
ON_FIN_ACKED = {
    State.FIN_WAIT_1: State.FIN_WAIT_2,
    State.CLOSING: State.TIME_WAIT,
    State.LAST_ACK: State.CLOSED,
}
HANDSHAKE = (State.SYN_SENT, State.SYN_RECV)
OVER = (State.TIME_WAIT, State.CLOSED)


@dataclass(slots=True)
class Segment:
    """One TCP segment, or a burst of them. ``mss`` is the sender's slice size in bytes."""

    flags: int
    seq: int
    ack: int = 0
    window: int = WINDOW_BYTES
    data: bytes = b""
    mss: int = 0

    @property
    def length(self) -> int:
        """Sequence numbers it occupies."""
        return len(self.data) + (1 if self.flags & (SYN | FIN) else 0)

    def __str__(self) -> str:
        letters = flag_letters(self.flags)
        return f"[{letters}] seq {self.seq} ack {self.ack} len {len(self.data)}"
