"""``-m ipvs``: packets that IPVS handled, by their virtual server (xt_ipvs)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from podwire.dataplane.addr import Prefix, ip_int, parse_prefix
from podwire.dataplane.netfilter.env import Env
from podwire.dataplane.netfilter.match_base import bang, one, options
from podwire.dataplane.netfilter.text import RuleError, number
from podwire.dataplane.skb import Skb

METHODS = {"GATE": "gate", "IPIP": "ipip", "MASQ": "masq"}
PROTOCOLS = {"6": "tcp", "17": "udp", "132": "sctp"}
NUMBERS = {"tcp": "6", "udp": "17", "sctp": "132"}


@dataclass(frozen=True, slots=True)
class MatchIpvs:
    """One ``-m ipvs``. ``tests``: (inverted, option, value) as they are printed."""

    tests: tuple[tuple[bool, str, str], ...]
    PURE: ClassVar[bool] = False

    @classmethod
    def parse(cls, words: list[str]) -> MatchIpvs:
        """``--ipvs``, ``--vproto``, ``--vaddr``, ``--vport``, ``--vdir``, ``--vmethod``,
        ``--vportctl``.
        """
        found: dict[str, tuple[bool, str, str]] = {}
        for inverted, option, arguments in options(words):
            name = option.removeprefix("--")
            if name == "ipvs":
                found[name] = (inverted, name, "")
                continue
            if name not in _ORDER:
                raise RuleError(f'unknown option "{option}"')
            found[name] = (inverted, name, _value(name, one(option, arguments)))
        if not found:
            raise RuleError("IPVS match: At least one option is required")
        ordered = [found[name] for name in _ORDER if name in found]
        return cls(tuple(ordered or [found["ipvs"]]))

    def _words(self, dashes: str) -> str:
        return " ".join(
            f"{bang(no)}{dashes}{name}{' ' + value if value else ''}"
            for no, name, value in self.tests
        )

    def save(self) -> str:
        """Its words in iptables-save."""
        return f"-m ipvs {self._words('--')}"

    def show(self) -> str:
        """Its words in ``iptables -L``."""
        return self._words("")

    def test(self, skb: Skb, env: Env) -> bool:
        """Whether a packet matches."""
        if self.tests[0][1] == "ipvs":
            return skb.ipvs != self.tests[0][0]
        packet, ipvs = skb.packet, env.ns.ipvs
        if not skb.ipvs:
            return False
        back = (packet.protocol, packet.dst, packet.dst_port, packet.src, packet.src_port)
        key = ipvs.back.get(back)
        conn = ipvs.conns.get(key) if key is not None else None
        if conn is None or key is None:
            return False
        control = conn.control[4] if conn.control is not None else -1
        have: dict[str, Any] = {
            "vproto": NUMBERS.get(packet.protocol, ""),
            "vport": str(key[4]),
            "vportctl": str(control),
            "vdir": "REPLY" if skb.ct_reply else "ORIGINAL",
            "vmethod": next(word for word, method in METHODS.items() if method == conn.forward),
        }
        for inverted, name, value in self.tests:
            hit = _prefix(value).holds(ip_int(key[3])) if name == "vaddr" else have[name] == value
            if hit == inverted:
                return False
        return True


_ORDER = ("vproto", "vaddr", "vport", "vdir", "vmethod", "vportctl")


def _prefix(text: str) -> Prefix:
    return parse_prefix(text)


def _value(name: str, word: str) -> str:
    if name == "vproto":
        return NUMBERS.get(word.lower(), word)
    if name == "vaddr":
        try:
            prefix = parse_prefix(word)
        except ValueError:
            raise RuleError(f"host/network `{word}' not found") from None
        return str(prefix).removesuffix("/32")
    if name in {"vport", "vportctl"}:
        value = number(word)
        if not 0 <= value <= 65535:
            raise RuleError(f'invalid port/service "{word}" specified')
        return str(value)
    word = word.upper()
    if word not in ({"ORIGINAL", "REPLY"} if name == "vdir" else METHODS):
        raise RuleError(f"IPVS match: invalid value {word}")
    return word
