"""``ss``: the sockets a namespace has open. Processes are not known here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.dataplane.addr import bracketed
from podwire.dataplane.tools.words import Result

if TYPE_CHECKING:
    from podwire.dataplane.kernel import Kernel
    from podwire.dataplane.netns import Netns

LETTERS = "tulnapHo4"


def run(kernel: Kernel, netns: str, argv: list[str], _stdin: str, _now_ns: int) -> Result:
    """``ss -t|-u [-l|-a] [-n] [-p] [-H]``."""
    letters = "".join(word[1:] for word in argv if word.startswith("-") and word[1:2] != "-")
    odd = [word for word in argv if not word.startswith("-") or word.startswith("--")]
    if odd or any(letter not in LETTERS for letter in letters):
        return "", f"ss: not modelled: {' '.join(odd) or '-' + letters}\n", 255
    protocols = [p for p, letter in (("udp", "u"), ("tcp", "t")) if letter in letters]
    ns = kernel.netns(netns)
    rows: list[tuple[str, str, str, str]] = []
    for protocol in protocols or ["udp", "tcp"]:
        if "l" in letters or "a" in letters:
            rows += _bound(ns, protocol)
        if "l" not in letters:
            rows += _connected(ns, protocol)
    return _table(rows, netid=len(protocols) != 1, header="H" not in letters), "", 0


def _anyone(address: str) -> str:
    """The peer of a socket that waits; ``*`` is one of both families."""
    return "*:*" if not address else "[::]:*" if ":" in address else "0.0.0.0:*"


def _bound(ns: Netns, protocol: str) -> list[tuple[str, str, str, str]]:
    state = "LISTEN" if protocol == "tcp" else "UNCONN"
    return [
        (protocol, state, f"{bracketed(address) or '*'}:{port}", _anyone(address))
        for (p, port), addresses in sorted(ns.sockets.bound.items())
        if p == protocol
        for address in addresses
    ]


def _connected(ns: Netns, protocol: str) -> list[tuple[str, str, str, str]]:
    return [
        (protocol, "ESTAB", f"{bracketed(address)}:{port}", f"{bracketed(remote)}:{remote_port}")
        for p, address, port, remote, remote_port in ns.sockets.connected
        if p == protocol
    ]


def _table(rows: list[tuple[str, str, str, str]], *, netid: bool, header: bool) -> str:
    widths = (6, max([6, *(len(r[1]) for r in rows)]), 6, 6)
    local = max([18, *(len(r[2]) for r in rows)])
    peer = max([12, *(len(r[3]) for r in rows)])
    lines = []
    if header:
        head = f"{'State':<{widths[1]}} Recv-Q Send-Q {'Local Address:Port':>{local}} "
        head += f"{'Peer Address:Port':>{peer}} Process"
        lines.append(f"{'Netid':<5} {head}" if netid else head)
    for protocol, state, here, there in rows:
        queue = 4096 if state == "LISTEN" else 0
        text = f"{state:<{widths[1]}} {0:<6} {queue:<6} {here:>{local}} {there:>{peer}} "
        lines.append(f"{protocol:<5} {text}" if netid else text)
    return "".join(line + "\n" for line in lines)
