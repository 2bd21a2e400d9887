"""The matches of iptables that are modelled, by the name after ``-m``.

Each class has ``parse`` (the words after ``-m NAME``), ``save`` (as iptables-save prints it),
``show`` (as ``iptables -L`` does) and ``test``. ``PURE`` ones look at the packet's headers only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from podwire.dataplane.netfilter.env import Env, UnknownModelError
from podwire.dataplane.netfilter.match_base import Match, device
from podwire.dataplane.netfilter.match_headers import Comment, Icmp, Multiport, Ports
from podwire.dataplane.netfilter.match_ipvs import MatchIpvs
from podwire.dataplane.netfilter.match_place import AddrType, Physdev
from podwire.dataplane.netfilter.match_set import MatchSet
from podwire.dataplane.netfilter.match_state import CtState, Mark, Recent, Statistic
from podwire.dataplane.netfilter.text import spelled
from podwire.dataplane.skb import Skb

__all__ = [
    "AddrType",
    "Comment",
    "CtState",
    "Icmp",
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
        return " ".join((f"-m {self.name}", *spelled(self.words)))

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
        known = _PARSERS.get(name)
        return known(words) if known is not None else Unknown(name, tuple(words))
    except UnknownModelError:
        return Unknown(name, tuple(words))


_PARSERS: dict[str, Callable[[list[str]], Match]] = {
    **{name: partial(Ports.parse, name) for name in ("tcp", "udp", "sctp")},
    **{name: partial(Icmp.parse, name) for name in ("icmp", "icmp6")},
    **{name: partial(Mark.parse, name) for name in ("mark", "connmark")},
    **{name: partial(CtState.parse, name) for name in ("conntrack", "state")},
    "addrtype": AddrType.parse,
    "comment": Comment.parse,
    "ipvs": MatchIpvs.parse,
    "multiport": Multiport.parse,
    "physdev": Physdev.parse,
    "set": MatchSet.parse,
    "statistic": Statistic.parse,
}
NAMES = ("recent", *_PARSERS)
"""The matches that are modelled, by their ``-m`` name."""
