"""The matches of iptables that are modelled, by the name after ``-m``.

Each class has ``parse`` (the words after ``-m NAME``), ``save`` (as iptables-save prints it),
``show`` (as ``iptables -L`` does) and ``test``. ``PURE`` ones look at the packet's headers only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from podwire.dataplane.netfilter.env import Env, UnknownModelError
from podwire.dataplane.netfilter.match_base import Match, device
from podwire.dataplane.netfilter.match_headers import Comment, Icmp, Icmp6, Multiport, Ports
from podwire.dataplane.netfilter.match_ipvs import MatchIpvs
from podwire.dataplane.netfilter.match_place import AddrType, Physdev
from podwire.dataplane.netfilter.match_set import MatchSet
from podwire.dataplane.netfilter.match_state import CtState, Mark, Recent, Statistic
from podwire.dataplane.netfilter.text import quote
from podwire.dataplane.skb import Skb

__all__ = [
    "AddrType",
    "Comment",
    "CtState",
    "Icmp",
    "Icmp6",
    "Mark",
    "Match",
    "MatchSet",
    "Multiport",
    "Physdev",
    "Ports",
    "Recent",
    "Statistic",
    "Unknown",
    "device",
    "parse",
]


@dataclass(frozen=True, slots=True)
class Unknown:
    """A match that is not modelled: kept and printed, but nobody can say what it decides."""

    name: str
    words: tuple[str, ...]
    PURE: ClassVar[bool] = False

    def save(self) -> str:
        """Its words in iptables-save."""
        tail = "".join(f" {w if w.startswith('-') or w == '!' else quote(w)}" for w in self.words)
        return f"-m {self.name}{tail}"

    def show(self) -> str:
        """Its words in ``iptables -L``."""
        return " ".join((self.name, *self.words))

    def test(self, _skb: Skb, _env: Env) -> bool:
        """Whether a packet matches."""
        raise UnknownModelError(f"match {self.name}")


def parse(name: str, words: list[str], family: str = "ipv4") -> Match:
    """The match ``-m NAME`` with its words. Raises RuleError."""
    try:
        if name == "recent":
            return Recent.parse(words, family)
        if name in {"tcp", "udp", "sctp"}:
            return Ports.parse(name, words)
        if name in {"mark", "connmark"}:
            return Mark.parse(name, words)
        if name == "set":
            return MatchSet.parse(words)
        if name == "ipvs":
            return MatchIpvs.parse(words)
        if name in {"conntrack", "state"}:
            return CtState.parse(name, words)
        known = _CLASSES.get(name)
        return known.parse(words) if known is not None else Unknown(name, tuple(words))
    except UnknownModelError:
        return Unknown(name, tuple(words))


_CLASSES: dict[str, type[Multiport | Comment | AddrType | Statistic | Physdev | Icmp | Icmp6]] = {
    "multiport": Multiport,
    "comment": Comment,
    "addrtype": AddrType,
    "statistic": Statistic,
    "physdev": Physdev,
    "icmp": Icmp,
    "icmp6": Icmp6,
}

_BY_NAME = (
    "tcp",
    "udp",
    "sctp",
    "mark",
    "connmark",
    "conntrack",
    "state",
    "recent",
    "set",
    "ipvs",
)
NAMES = (*_BY_NAME, *_CLASSES)
"""The matches that are modelled, by their ``-m`` name."""
