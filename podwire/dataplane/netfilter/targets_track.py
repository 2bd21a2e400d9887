"""Targets about what happens to a connection later: tracking, segment sizes, traffic classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from podwire.dataplane.netfilter.env import Env, UnknownModelError
from podwire.dataplane.netfilter.match_base import one, options
from podwire.dataplane.netfilter.text import RuleError, number
from podwire.dataplane.packet import SYN, replace
from podwire.dataplane.skb import Skb


@dataclass(frozen=True, slots=True)
class Ct:
    """CT (and NOTRACK): whether, and in which zone, a packet will be tracked. Table raw."""

    notrack: bool = False
    zone: int = 0
    name: str = "CT"
    TERMINAL: ClassVar[bool] = False

    @classmethod
    def parse(cls, name: str, words: list[str]) -> Ct:
        """``--notrack``, ``--zone N``. Zones by direction or mark, helpers and events are not
        modelled: a rule with one is kept, and a packet that meets it ends UNKNOWN.
        """
        if name == "NOTRACK":
            return cls(notrack=True)
        notrack, zone = False, 0
        for _, option, arguments in options(words):
            if option == "--notrack":
                notrack = True
            elif option == "--zone" and arguments != ["mark"]:
                zone = number(one(option, arguments))
            else:
                raise UnknownModelError(f"CT {option}")
        if not 0 <= zone <= 65535:
            raise RuleError('CT: Bad value for "--zone" option')
        return cls(notrack, zone)

    def save(self) -> str:
        """Its options in iptables-save."""
        return "--notrack" if self.notrack else f"--zone {self.zone}"

    def show(self) -> str:
        """Its options in ``iptables -L``."""
        return "CT notrack" if self.notrack else f"CT zone {self.zone}"

    def act(self, skb: Skb, _env: Env) -> None:
        """Mark the packet; what was tracked already stays so."""
        if skb.ct_state:
            return
        if self.notrack:
            skb.ct_state = "UNTRACKED"
        skb.zone = self.zone


@dataclass(frozen=True, slots=True)
class TcpMss:
    """TCPMSS: lower the segment size of a SYN. ``size`` 0 clamps it to the path's MTU."""

    size: int = 0
    name: str = "TCPMSS"
    TERMINAL: ClassVar[bool] = False

    @classmethod
    def parse(cls, words: list[str]) -> TcpMss:
        """``--set-mss N`` or ``--clamp-mss-to-pmtu``."""
        for _, option, arguments in options(words):
            if option == "--set-mss":
                return cls(number(one(option, arguments)))
            if option == "--clamp-mss-to-pmtu":
                return cls()
            raise RuleError(f'unknown option "{option}"')
        raise RuleError("TCPMSS target: At least one parameter is required")

    def save(self) -> str:
        """Its options in iptables-save."""
        return f"--set-mss {self.size}" if self.size else "--clamp-mss-to-pmtu"

    def show(self) -> str:
        """Its options in ``iptables -L``."""
        return f"TCPMSS set {self.size}" if self.size else "TCPMSS clamp to PMTU"

    def act(self, skb: Skb, env: Env) -> None:
        """Never raises the size (xt_TCPMSS). A SYN without the option is left as it is."""
        packet = skb.packet
        if not packet.mss_bytes or not packet.tcp_flags & SYN:
            return
        size = self.size or self._path(skb, env)
        if 0 < size < packet.mss_bytes:
            skb.packet = replace(packet, mss_bytes=size)

    @staticmethod
    def _path(skb: Skb, env: Env) -> int:
        """What the smaller of the ways there and back leaves for data."""
        packet, ns = skb.packet, env.ns
        fib = ns.fib_of(packet.dst)
        there = fib.route(packet, skb.in_dev or "lo")
        back = fib.lookup(packet.src)
        sizes = [
            min(route.mtu_bytes or ns.links[route.dev].mtu_bytes, ns.path_mtu.get(end, 65536))
            for route, end in ((there, packet.dst), (back, packet.src))
            if route is not None and route.dev
        ]
        return min(sizes, default=0) - (60 if ":" in packet.dst else 40)
