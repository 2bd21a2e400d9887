"""The state of sockets and wires as tables people know: ``ss`` of a namespace."""

from __future__ import annotations

from collections.abc import Sequence

from podwire.client.counters import ToolResult
from podwire.dataplane.addr import bracketed
from podwire.fabric.segment import State
from podwire.fabric.space import Space

_HEADER = ("Netid", "State", "Recv-Q", "Send-Q", "Local Address:Port", "Peer Address:Port")
_FLAGS = "tulanpH"

Row = tuple[str, str, str, str, str, str]


def _ends(address: str, port: int) -> tuple[str, str]:
    """Both ends of a socket that waits; ``*`` is one of both families."""
    peer = "*:*" if not address else "[::]:*" if ":" in address else "0.0.0.0:*"
    return f"{bracketed(address) or '*'}:{port}", peer


def _listening(space: Space, *, tcp: bool, udp: bool) -> list[Row]:
    rows: list[Row] = []
    if udp:
        for (address, port), _ in sorted(space.udp.items()):
            here, there = _ends(address, port)
            rows.append(("udp", "UNCONN", "0", "0", here, there))
    if tcp:
        for (address, port), listener in sorted(space.listeners.items()):
            here, there = _ends(address, port)
            waiting = str(listener.waiting)
            rows.append(("tcp", "LISTEN", waiting, str(listener.backlog), here, there))
    return rows


def _connections(space: Space) -> list[Row]:
    rows: list[Row] = []
    for (address, port, peer, peer_port), stream in sorted(space.tcp.items()):
        if stream.conn.state is State.CLOSED:
            continue
        unsent = stream.conn.queued + stream.conn.snd_nxt - stream.conn.snd_una
        row = (
            "tcp",
            stream.conn.state.value,
            str(stream.conn.buffered),
            str(unsent),
            f"{bracketed(address)}:{port}",
            f"{bracketed(peer)}:{peer_port}",
        )
        rows.append(row)
    return rows


def ss(space: Space | None, argv: Sequence[str]) -> ToolResult:
    """``ss`` of a namespace. Understands -t -u -l -a -n -p -H; others are not modelled."""
    flags = ""
    for arg in argv:
        if not arg.startswith("-") or any(flag not in _FLAGS for flag in arg[1:]):
            return ToolResult("", f"ss: {arg}: not modelled (known: -{_FLAGS})\n", 255)
        flags += arg[1:]
    tcp, udp = "t" in flags or "u" not in flags, "u" in flags or "t" not in flags
    rows: list[Row] = []
    if space is not None:
        if "l" in flags or "a" in flags:
            rows += _listening(space, tcp=tcp, udp=udp)
        if tcp and "l" not in flags:
            rows += _connections(space)
    lines: list[Sequence[str]] = [] if "H" in flags else [_HEADER]
    lines += rows
    columns = range(len(_HEADER)) if tcp and udp else range(1, len(_HEADER))
    widths = {c: max((len(line[c]) for line in lines), default=0) for c in columns}
    text = [" ".join(line[c].ljust(widths[c]) for c in columns).rstrip() for line in lines]
    return ToolResult("".join(f"{line}\n" for line in text))
