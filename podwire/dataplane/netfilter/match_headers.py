"""Matches that look at a packet's own headers, and comments, which look at nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from podwire.dataplane.netfilter.env import Env, UnknownModelError
from podwire.dataplane.netfilter.match_base import bang, one, options
from podwire.dataplane.netfilter.text import (
    RuleError,
    number,
    port_range,
    port_text,
    quote,
)
from podwire.dataplane.skb import Skb


@dataclass(frozen=True, slots=True)
class Ports:
    """``-m tcp``, ``-m udp`` and ``-m sctp``: ports, and TCP flags."""

    protocol: str
    sport: tuple[int, int] | None = None
    dport: tuple[int, int] | None = None
    not_sport: bool = False
    not_dport: bool = False
    flags: tuple[int, int] | None = None
    not_flags: bool = False
    PURE: ClassVar[bool] = True

    @classmethod
    def parse(cls, protocol: str, words: list[str]) -> Ports:
        """``--dport 80``, ``! --sport 1:5``, ``--tcp-flags MASK SET``, ``--syn``."""
        found: dict[str, Any] = {}
        for inverted, option, arguments in options(words):
            if option in {"--dport", "--destination-port"}:
                found["dport"], found["not_dport"] = port_range(one(option, arguments)), inverted
            elif option in {"--sport", "--source-port"}:
                found["sport"], found["not_sport"] = port_range(one(option, arguments)), inverted
            elif option == "--syn" and protocol == "tcp":
                found["flags"], found["not_flags"] = (0x17, 0x02), inverted
            elif option == "--tcp-flags" and protocol == "tcp" and len(arguments) == 2:
                found["flags"] = (_flag_bits(arguments[0]), _flag_bits(arguments[1]))
                found["not_flags"] = inverted
            elif option == "--chunk-types" and protocol == "sctp":
                raise UnknownModelError("sctp --chunk-types")
            else:
                raise RuleError(f'unknown option "{option}"')
        return cls(protocol, **found)

    def save(self) -> str:
        """Its words in iptables-save."""
        text = f"-m {self.protocol}"
        if self.sport is not None:
            text += f" {bang(self.not_sport)}--sport {port_text(self.sport)}"
        if self.dport is not None:
            text += f" {bang(self.not_dport)}--dport {port_text(self.dport)}"
        if self.flags is not None:
            mask, wanted = (_flag_names(bits) for bits in self.flags)
            text += f" {bang(self.not_flags)}--tcp-flags {mask} {wanted}"
        return text

    def show(self) -> str:
        """Its words in ``iptables -L``."""
        text = self.protocol
        for word, ports, inverted in (
            ("spt", self.sport, self.not_sport),
            ("dpt", self.dport, self.not_dport),
        ):
            if ports is not None:
                plural = "s" if ports[0] != ports[1] else ""
                text += f" {word}{plural}:{'!' if inverted else ''}{port_text(ports)}"
        if self.flags is not None:
            no = "!" if self.not_flags else ""
            text += f" flags:{no}0x{self.flags[0]:02X}/0x{self.flags[1]:02X}"
        return text

    def test(self, skb: Skb, _env: Env) -> bool:
        """Whether a packet matches."""
        packet = skb.packet
        if packet.protocol != self.protocol:
            return False
        if self.dport is not None:
            inside = self.dport[0] <= packet.dst_port <= self.dport[1]
            if inside == self.not_dport:
                return False
        if self.sport is not None:
            inside = self.sport[0] <= packet.src_port <= self.sport[1]
            if inside == self.not_sport:
                return False
        if self.flags is not None:
            return (packet.tcp_flags & self.flags[0] == self.flags[1]) != self.not_flags
        return True


_FLAGS = (("FIN", 1), ("SYN", 2), ("RST", 4), ("PSH", 8), ("ACK", 16), ("URG", 32))


def _flag_bits(text: str) -> int:
    bits = {**dict(_FLAGS), "ALL": 63, "NONE": 0}
    try:
        return sum(bits[name] for name in text.split(","))
    except KeyError:
        raise RuleError(f'Unknown TCP flag in "{text}"') from None


def _flag_names(bits: int) -> str:
    return ",".join(name for name, bit in _FLAGS if bits & bit) or "NONE"


@dataclass(frozen=True, slots=True)
class Multiport:
    """``-m multiport``: up to 15 ports or ranges. ``side``: sports | dports | ports."""

    side: str
    ports: tuple[tuple[int, int], ...]
    inverted: bool = False
    PURE: ClassVar[bool] = True

    @classmethod
    def parse(cls, words: list[str]) -> Multiport:
        """``--dports 80,443,8000:8080``."""
        names = {
            "--dports": "dports",
            "--destination-ports": "dports",
            "--sports": "sports",
            "--source-ports": "sports",
            "--ports": "ports",
        }
        for inverted, option, arguments in options(words):
            if option not in names:
                raise RuleError(f'unknown option "{option}"')
            ports = tuple(port_range(p) for p in one(option, arguments).split(","))
            return cls(names[option], ports, inverted)
        raise RuleError("multiport expection an option")

    def _list(self) -> str:
        return ",".join(port_text(p) for p in self.ports)

    def save(self) -> str:
        """Its words in iptables-save."""
        return f"-m multiport {bang(self.inverted)}--{self.side} {self._list()}"

    def show(self) -> str:
        """Its words in ``iptables -L``."""
        return f"multiport {self.side} {bang(self.inverted)}{self._list()}"

    def test(self, skb: Skb, _env: Env) -> bool:
        """Whether a packet matches."""
        packet = skb.packet
        values = []
        if self.side != "sports":
            values.append(packet.dst_port)
        if self.side != "dports":
            values.append(packet.src_port)
        hit = any(low <= value <= high for value in values for low, high in self.ports)
        return hit != self.inverted


@dataclass(frozen=True, slots=True)
class Comment:
    """``-m comment``: always matches; says which object a rule comes from."""

    text: str
    PURE: ClassVar[bool] = True

    @classmethod
    def parse(cls, words: list[str]) -> Comment:
        """``--comment TEXT``."""
        if len(words) != 2 or words[0] != "--comment":
            raise RuleError("comment: --comment is required")
        if len(words[1]) > 255:
            raise RuleError("comment: --comment must be shorter than 256 characters")
        return cls(words[1])

    def save(self) -> str:
        """Its words in iptables-save."""
        return f"-m comment --comment {quote(self.text)}"

    def show(self) -> str:
        """Its words in ``iptables -L``."""
        return f"/* {self.text} */"

    def test(self, _skb: Skb, _env: Env) -> bool:
        """Whether a packet matches."""
        return True


_ICMP_NAMES = {
    "any": (255, None),
    "echo-reply": (0, None),
    "pong": (0, None),
    "destination-unreachable": (3, None),
    "network-unreachable": (3, 0),
    "host-unreachable": (3, 1),
    "port-unreachable": (3, 3),
    "fragmentation-needed": (3, 4),
    "echo-request": (8, None),
    "ping": (8, None),
    "time-exceeded": (11, None),
    "ttl-exceeded": (11, None),
}
# ip6tables prints the numbers; these are the names it takes (libip6t_icmp6.c)
_ICMP6_NAMES = {
    "destination-unreachable": (1, None),
    "no-route": (1, 0),
    "communication-prohibited": (1, 1),
    "address-unreachable": (1, 3),
    "port-unreachable": (1, 4),
    "packet-too-big": (2, None),
    "time-exceeded": (3, None),
    "ttl-exceeded": (3, None),
    "parameter-problem": (4, None),
    "echo-request": (128, None),
    "ping": (128, None),
    "echo-reply": (129, None),
    "pong": (129, None),
    "router-solicitation": (133, None),
    "router-advertisement": (134, None),
    "neighbour-solicitation": (135, None),
    "neighbor-solicitation": (135, None),
    "neighbour-advertisement": (136, None),
    "neighbor-advertisement": (136, None),
    "redirect": (137, None),
}


class _Kind(NamedTuple):
    """What differs between ``-m icmp`` and ``-m icmp6``; ``any`` is the type that means all."""

    option: str
    protocol: str
    shown: str
    names: dict[str, tuple[int, int | None]]
    any: int | None = None


_ICMP = {
    "icmp": _Kind("--icmp-type", "icmp", "icmptype", _ICMP_NAMES, any=255),
    "icmp6": _Kind("--icmpv6-type", "icmpv6", "ipv6-icmptype", _ICMP6_NAMES),
}


@dataclass(frozen=True, slots=True)
class Icmp:
    """``-m icmp --icmp-type`` and ``-m icmp6 --icmpv6-type``."""

    name: str
    type: int
    code: int | None = None
    inverted: bool = False
    PURE: ClassVar[bool] = True

    @classmethod
    def parse(cls, name: str, words: list[str]) -> Icmp:
        """A name, ``type`` or ``type/code``; ``-m icmp`` alone means any."""
        kind = _ICMP[name]
        for inverted, option, arguments in options(words):
            if option != kind.option:
                raise RuleError(f'unknown option "{option}"')
            text = one(option, arguments)
            if text in kind.names:
                return cls(name, *kind.names[text], inverted)
            type_, slash, code = text.partition("/")
            return cls(name, number(type_), number(code) if slash else None, inverted)
        if kind.any is None:
            raise RuleError(f'{name}: option "{kind.option}" must be specified')
        return cls(name, kind.any)

    def save(self) -> str:
        """Its words in iptables-save."""
        kind = _ICMP[self.name]
        type_ = "any" if self.type == kind.any else str(self.type)
        code = f"/{self.code}" if self.code is not None else ""
        return f"-m {self.name} {bang(self.inverted)}{kind.option} {type_}{code}"

    def show(self) -> str:
        """Its words in ``iptables -L``."""
        kind = _ICMP[self.name]
        code = f" code {self.code}" if self.code is not None and self.type != kind.any else ""
        return f"{kind.shown} {'!' if self.inverted else ''}{self.type}{code}"

    def test(self, skb: Skb, _env: Env) -> bool:
        """Whether a packet matches."""
        packet, kind = skb.packet, _ICMP[self.name]
        if packet.protocol != kind.protocol:
            return False
        hit = self.type == kind.any or (
            packet.icmp_type == self.type and self.code in {None, packet.icmp_code}
        )
        return hit != self.inverted
