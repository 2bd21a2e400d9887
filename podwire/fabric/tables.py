"""The sockets of a namespace as rows: what ``ss`` and ``netstat`` print."""

from __future__ import annotations

from dataclasses import dataclass

from podwire.fabric.segment import State
from podwire.fabric.space import Space


@dataclass(frozen=True, slots=True)
class Row:
    """One socket. ``address`` "" is any of both families, ``peer`` "" nobody."""

    protocol: str
    state: str
    receive_bytes: int
    send_bytes: int
    address: str
    port: int
    peer: str = ""
    peer_port: int = 0

    @property
    def six(self) -> bool:
        """Whether it is a socket of IPv6 (one of both families is)."""
        return not self.address or ":" in self.address


def rows(space: Space | None) -> list[Row]:
    """UDP first, then who listens, then connections, each by address and port. Whoever was accepted
    by a socket of both families has mapped addresses.
    """
    if space is None:
        return []
    found = [
        Row("udp", "UNCONN", 0, 0, address, port)
        for (address, port), _ in sorted(space.udp.items())
    ]
    found += [
        Row("tcp", "LISTEN", listener.waiting, listener.backlog, address, port)
        for (address, port), listener in sorted(space.listeners.items())
    ]
    for (address, port, peer, peer_port), stream in sorted(space.tcp.items()):
        conn = stream.conn
        if conn.state is not State.CLOSED:
            unsent = conn.queued + conn.snd_nxt - conn.snd_una
            buffered = conn.buffered
            state = conn.state.value
            mapped = "::ffff:" if ("", port) in space.listeners and ":" not in address else ""
            ends = (mapped + address, port, mapped + peer, peer_port)
            found.append(Row("tcp", state, buffered, unsent, *ends))
    return found
