"""``netstat`` of net-tools, and busybox's, over the sockets of a namespace."""

from __future__ import annotations

from collections.abc import Sequence

from podwire.client.counters import ToolResult
from podwire.fabric.tables import Row

_STATES = {
    "ESTAB": "ESTABLISHED", "SYN-SENT": "SYN_SENT", "SYN-RECV": "SYN_RECV",
    "FIN-WAIT-1": "FIN_WAIT1", "FIN-WAIT-2": "FIN_WAIT2", "CLOSE-WAIT": "CLOSE_WAIT",
    "LAST-ACK": "LAST_ACK", "TIME-WAIT": "TIME_WAIT",
}  # fmt: skip
_HEAD = "Proto Recv-Q Send-Q Local Address           Foreign Address         State"
FLAGS = "tulanpW46e"
_LONG = {"--tcp": "t", "--udp": "u", "--listening": "l", "--all": "a", "--numeric": "n"}


def run(rows: Sequence[Row], argv: Sequence[str], *, busybox: bool) -> ToolResult:
    """``netstat [-tulanp]``. Routes (-r) are the kernel's; others are not modelled."""
    flags = ""
    for word in argv:
        letters = _LONG.get(word, word[1:] if word[:1] == "-" else "?")
        unknown = letters.strip(FLAGS)
        if unknown or not letters:
            what = {"i": "counters of devices (-i)", "s": "statistics (-s)"}.get(unknown, word)
            return ToolResult("", f"netstat: not modelled: {what}\n", 1)
        flags += letters
    protocols = [p for p, letter in (("tcp", "t"), ("udp", "u")) if letter in flags]
    kind = "(w/o servers)"
    if "a" in flags:
        kind = "(servers and established)"
    elif "l" in flags:
        kind = "(only servers)"
    width = 12 if busybox else 11
    tail = "       " if busybox else "      "
    lines = [f"Active Internet connections {kind}", _HEAD + tail]
    if "p" in flags:
        lines[1] += "PID/Program name    "
    for protocol in protocols or ["tcp", "udp"]:
        for row in rows:
            waits = row.state in {"LISTEN", "UNCONN"}
            if row.protocol == protocol and ("a" in flags or waits == ("l" in flags)):
                lines.append(_line(row, width, busybox=busybox) + ("-" if "p" in flags else ""))
    return ToolResult("".join(f"{line}\n" for line in lines))


def _line(row: Row, width: int, *, busybox: bool) -> str:
    protocol = row.protocol + ("6" if row.six and not busybox else "")
    here = f"{row.address.removeprefix('::ffff:') or '::'}:{row.port}"
    peer = row.peer.removeprefix("::ffff:")
    there = f"{peer}:{row.peer_port}" if peer else f"{'::' if row.six else '0.0.0.0'}:*"
    state = "" if row.state == "UNCONN" else _STATES.get(row.state, row.state)
    return (
        f"{protocol:<4}  {row.receive_bytes:>6} "
        f"{0 if row.state == 'LISTEN' else row.send_bytes:>6} {here:<23} {there:<23} "
        f"{state:<{width}}"
    )
