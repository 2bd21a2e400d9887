"""Matches with a memory, a draw, or an eye on marks and connections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from podwire.dataplane.netfilter.env import Env, UnknownModelError
from podwire.dataplane.netfilter.match_base import bang, one, options
from podwire.dataplane.netfilter.text import RuleError, mark_text, masked, number
from podwire.dataplane.skb import Skb

RANDOM_ONE = 0x80000000


@dataclass(frozen=True, slots=True)
class Mark:
    """``-m mark`` and ``-m connmark``."""

    name: str
    value: int
    mask: int
    inverted: bool = False
    PURE: ClassVar[bool] = False

    @classmethod
    def parse(cls, name: str, words: list[str]) -> Mark:
        """``[!] --mark value[/mask]``."""
        for inverted, option, arguments in options(words):
            if option == "--mark":
                return cls(name, *masked(one(option, arguments)), inverted)
            raise RuleError(f'unknown option "{option}"')
        raise RuleError(f'{name} match: option "--mark" is required')

    def save(self) -> str:
        """Its words in iptables-save."""
        return f"-m {self.name} {bang(self.inverted)}--mark {mark_text(self.value, self.mask)}"

    def show(self) -> str:
        """Its words in ``iptables -L``."""
        blank = " " if self.name == "connmark" else ""
        text = mark_text(self.value, self.mask)
        return f"{self.name} match {blank}{bang(self.inverted)}{text}"

    def test(self, skb: Skb, _env: Env) -> bool:
        """Whether a packet matches."""
        if self.name == "mark":
            mark = skb.packet.mark
        elif skb.ct is not None:
            mark = skb.ct.mark
        else:
            return False
        return (mark & self.mask == self.value) != self.inverted


STATES = ("INVALID", "NEW", "RELATED", "ESTABLISHED", "UNTRACKED", "SNAT", "DNAT")


@dataclass(frozen=True, slots=True)
class CtState:
    """``-m conntrack --ctstate`` and ``-m state --state``."""

    name: str
    states: tuple[str, ...]
    inverted: bool = False
    PURE: ClassVar[bool] = False

    @classmethod
    def parse(cls, name: str, words: list[str]) -> CtState:
        """A comma-separated list of states. Other conntrack options are not modelled."""
        wanted = "--ctstate" if name == "conntrack" else "--state"
        for inverted, option, arguments in options(words):
            if option != wanted or len(list(options(words))) > 1:
                raise UnknownModelError(f"conntrack {option}")
            given = one(option, arguments).upper().split(",")
            if any(state not in STATES for state in given):
                raise RuleError(f'Bad ctstate "{arguments[0]}"')
            return cls(name, tuple(s for s in STATES if s in given), inverted)
        raise RuleError(f"{name}: an option is required")

    def save(self) -> str:
        """Its words in iptables-save."""
        option = "ctstate" if self.name == "conntrack" else "state"
        return f"-m {self.name} {bang(self.inverted)}--{option} {','.join(self.states)}"

    def show(self) -> str:
        """Its words in ``iptables -L``."""
        option = "ctstate" if self.name == "conntrack" else "state"
        return f"{bang(self.inverted)}{option} {','.join(self.states)}"

    def test(self, skb: Skb, _env: Env) -> bool:
        """Whether a packet matches."""
        return self._holds(skb) != self.inverted

    def _holds(self, skb: Skb) -> bool:
        if (skb.ct_state or "INVALID") in self.states:
            return True
        if skb.ct is None:
            return False
        return ("DNAT" in self.states and skb.ct.dnat) or ("SNAT" in self.states and skb.ct.snat)


@dataclass(frozen=True, slots=True)
class Statistic:
    """``-m statistic``: a share of packets, by chance or by counting."""

    mode: str
    threshold: int = 0
    every: int = 0
    packet: int = 0
    inverted: bool = False
    PURE: ClassVar[bool] = False

    @classmethod
    def parse(cls, words: list[str]) -> Statistic:
        """``--mode random --probability P`` (kept in units of 2^-31, as the kernel does) or
        ``--mode nth --every N --packet K``.
        """
        found: dict[str, Any] = {}
        for inverted, option, arguments in options(words):
            value = one(option, arguments)
            if option == "--mode":
                found["mode"] = value
            elif option == "--probability":
                try:
                    share = float(value)
                except ValueError:
                    raise RuleError(f'bad probability "{value}"') from None
                if not 0 <= share <= 1:
                    raise RuleError("--probability must be in range 0-1")
                # lround: half away from zero
                found["threshold"] = int(share * RANDOM_ONE + 0.5)
            elif option in {"--every", "--packet"}:
                found[option[2:]] = number(value)
            else:
                raise RuleError(f'unknown option "{option}"')
            if inverted:
                found["inverted"] = True
        if found.get("mode") not in {"random", "nth"}:
            raise RuleError('statistic: "--mode" is required')
        return cls(**found)

    @property
    def probability(self) -> float:
        """The share of packets that match, as the kernel rounds it."""
        share = min(self.threshold / RANDOM_ONE, 1.0)
        return 1 - share if self.inverted else share

    def _text(self) -> str:
        no = bang(self.inverted)
        if self.mode == "random":
            return f"{no}--probability {self.threshold / RANDOM_ONE:.11f}"
        return f"{no}--every {self.every} --packet {self.packet}"

    def save(self) -> str:
        """Its words in iptables-save."""
        return f"-m statistic --mode {self.mode} {self._text()}"

    def show(self) -> str:
        """Its words in ``iptables -L``."""
        if self.mode == "nth":
            packet = f" packet {self.packet}" if self.packet else ""
            return f"statistic mode nth {bang(self.inverted)}every {self.every}{packet}"
        no = " !" if self.inverted else ""
        return f"statistic mode random{no} probability {self.threshold / RANDOM_ONE:.11f}"

    def test(self, _skb: Skb, env: Env) -> bool:
        """Whether a packet matches."""
        if self.mode == "random":
            probability = self.probability
            if probability >= 1 or probability <= 0:
                return probability >= 1
            chain = env.chain
            return env.chance.statistic(chain.name, chain.choices, probability)
        return env.nf.count_nth(env.table, env.chain.name, self) != self.inverted


MASKS = {
    "ipv4": "255.255.255.255",
    "ipv6": "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
}


@dataclass(frozen=True, slots=True)
class Recent:
    """``-m recent``: lists of addresses with when they were seen (100 per list)."""

    verb: str
    list_name: str = "DEFAULT"
    seconds: int = 0
    reap: bool = False
    hitcount: int = 0
    side: str = "rsource"
    inverted: bool = False
    mask: str = MASKS["ipv4"]
    PURE: ClassVar[bool] = False

    @classmethod
    def parse(cls, words: list[str], family: str = "ipv4") -> Recent:
        """``--set|--rcheck|--update|--remove --name L --seconds S --reap --rsource``."""
        found: dict[str, Any] = {"mask": MASKS[family]}
        for inverted, option, arguments in options(words):
            name = option[2:]
            if name in {"set", "rcheck", "update", "remove"}:
                found["verb"], found["inverted"] = name, inverted
            elif name == "name":
                found["list_name"] = one(option, arguments)
            elif name in {"seconds", "hitcount"}:
                found[name] = number(one(option, arguments))
            elif name == "reap":
                found["reap"] = True
            elif name in {"rsource", "rdest"}:
                found["side"] = name
            elif name == "mask" and arguments == [MASKS[family]]:
                continue
            else:
                raise RuleError(f'unknown option "{option}"')
        if "verb" not in found:
            raise RuleError("recent: you must specify one of --set, --rcheck --update or --remove")
        return cls(**found)

    def save(self) -> str:
        """Its words in iptables-save."""
        text = f"-m recent {bang(self.inverted)}--{self.verb}"
        if self.seconds:
            text += f" --seconds {self.seconds}"
        if self.reap:
            text += " --reap"
        if self.hitcount:
            text += f" --hitcount {self.hitcount}"
        return f"{text} --name {self.list_name} --mask {self.mask} --{self.side}"

    def show(self) -> str:
        """Its words in ``iptables -L``."""
        verb = {"set": "SET", "rcheck": "CHECK", "update": "UPDATE", "remove": "REMOVE"}[self.verb]
        text = f"{bang(self.inverted)}recent: {verb}"
        if self.seconds:
            text += f" seconds: {self.seconds}"
        if self.reap:
            text += " reap"
        if self.hitcount:
            text += f" hit_count: {self.hitcount}"
        side = self.side.removeprefix("r")
        return f"{text} name: {self.list_name} side: {side} mask: {self.mask}"

    def test(self, skb: Skb, env: Env) -> bool:
        """Whether a packet matches."""
        packet = skb.packet
        address = packet.src if self.side == "rsource" else packet.dst
        if env.meter is not None:
            env.meter.asked("recent")
        return env.nf.recent(self, address, env.now_ns) != self.inverted
