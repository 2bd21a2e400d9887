"""The network that commands are typed in, and the files of what they print.

A line ``PLACE linux|busybox $ COMMAND`` begins a session in ``captured/FAMILY.txt``; whoever wants
another command compared adds such a line and captures anew.

Two nodes on one LAN, a pod on each (``pod-a`` on node-1, ``pod-b`` on node-2) behind a bridge, a
VXLAN between them, and a gateway with a resolver. nginx listens on pod-b:80.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

CAPTURED = Path(__file__).parent / "captured"

GATEWAY = "192.168.0.1"
NODES = {"node-1": "192.168.0.11", "node-2": "192.168.0.12"}
PODS = {"pod-a": "10.244.1.2", "pod-b": "10.244.2.2"}
WARM = "ping -c 1 10.244.2.2 >/dev/null"
"""Typed first, so that all MACs are known."""
ZONE: dict[str, tuple[str, ...]] = {
    "web.example.com.": ("10.244.2.2",),
    "refused.example.com.": ("10.244.1.1",),
    "silent.example.com.": ("192.168.0.77",),
    "alias.example.com.": ("web.example.com.",),
    "dual.example.com.": ("10.244.2.2", "fd00::2"),
}
RESOLV_CONF = f"nameserver {GATEWAY}\nsearch example.com\noptions ndots:2\n"
RULES = """*nat
:KUBE-SERVICES - [0:0]
:KUBE-SVC-WEB - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A KUBE-SERVICES -d 10.96.7.7/32 -p tcp -m comment --comment "default/web:http cluster IP" \
-m tcp --dport 80 -j KUBE-SVC-WEB
-A KUBE-SVC-WEB -p tcp -m tcp -j DNAT --to-destination 10.244.2.2:80
COMMIT
*filter
-A FORWARD -d 10.96.9.9/32 -p tcp -j REJECT
-A FORWARD -d 10.96.9.8/32 -j DROP
COMMIT
"""
"""What node-1 does to its pod's packets: one Service, one without endpoints, one that is silent."""


@dataclass(frozen=True, slots=True)
class Line:
    """One command. ``busybox``: typed in an image whose tools are busybox's."""

    where: str
    text: str
    busybox: bool = False


@dataclass(frozen=True, slots=True)
class Session:
    """A command, what it printed (both streams) and its exit code."""

    line: Line
    output: str = ""
    code: int = 0

    def __str__(self) -> str:
        kind = "busybox" if self.line.busybox else "linux"
        return f"{self.line.where} {kind} $ {self.line.text}\n{self.output}[{self.code}]\n"


_HEAD = re.compile(r"(?m)^(\S+) (linux|busybox) \$ ([^\n]+)\n")


def sessions(family: str) -> list[Session]:
    """A family's file. A command that was added there has no output until it is captured."""
    parts = _HEAD.split((CAPTURED / f"{family}.txt").read_text())[1:]
    found: list[Session] = []
    for where, kind, text, rest in zip(*(parts[i::4] for i in range(4)), strict=True):
        output, _, code = rest.rstrip("\n").rpartition("[")
        line = Line(where, text, kind == "busybox")
        found.append(Session(line, output, int(code.rstrip("]") or 0)))
    return found


def families() -> list[str]:
    """The names of all families, in order."""
    return sorted(path.stem for path in CAPTURED.glob("*.txt"))
