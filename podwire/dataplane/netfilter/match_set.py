"""``-m set``: whether a packet's addresses, ports or devices are in an ipset (libxt_set)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from podwire.dataplane.ipset import lookup
from podwire.dataplane.ipset.types import LONGEST_NAME
from podwire.dataplane.netfilter.env import Env, UnknownModelError
from podwire.dataplane.netfilter.match_base import bang, one, options
from podwire.dataplane.netfilter.text import RuleError, number
from podwire.dataplane.skb import Skb

MOST_SIDES = 6


def sides(option: str, arguments: list[str]) -> tuple[str, tuple[str, ...]]:
    """NAME and src,dst,... of an option. Raises RuleError."""
    if len(arguments) != 2:
        raise RuleError(f"{option} requires two args.")
    name, words = arguments
    if len(name) > LONGEST_NAME:
        raise RuleError(f"setname `{name}' too long, max {LONGEST_NAME} characters.")
    found = tuple(words.split(","))
    if len(found) > MOST_SIDES:
        raise RuleError(f"Can't be more src/dst options than {MOST_SIDES}.")
    if any(side not in {"src", "dst"} for side in found):
        raise RuleError("You must spefify (the comma separated list of) 'src' or 'dst'.")
    return name, found


@dataclass(frozen=True, slots=True)
class MatchSet:
    """One ``-m set``. ``packets`` and ``bytes`` are (eq | ne | lt | gt, value)."""

    set_name: str
    sides: tuple[str, ...]
    inverted: bool = False
    return_nomatch: bool = False
    update_counters: bool = True
    update_subcounters: bool = True
    packets: tuple[str, int] | None = None
    bytes: tuple[str, int] | None = None
    PURE: ClassVar[bool] = False

    @classmethod
    def parse(cls, words: list[str]) -> MatchSet:
        """``[!] --match-set NAME src,dst`` and the options about counters."""
        found: dict[str, Any] = {}
        for inverted, option, arguments in options(words):
            if option in {"--match-set", "--set"}:
                found["set_name"], found["sides"] = sides("--match-set", arguments)
                found["inverted"] = inverted
            elif option == "--return-nomatch":
                found["return_nomatch"] = True
            elif option in {"--update-counters", "--update-subcounters"}:
                found[option[2:].replace("-", "_")] = not inverted
            elif option[2:-3] in {"packets", "bytes"} and option[-2:] in {"eq", "lt", "gt"}:
                how = "ne" if inverted and option.endswith("eq") else option[-2:]
                found[option[2:-3]] = (how, number(one(option, arguments)))
            else:
                raise RuleError(f'unknown option "{option}"')
        if "set_name" not in found:
            raise RuleError("You must specify `--match-set' with proper arguments")
        return cls(**found)

    def _words(self, dashes: str) -> str:
        text = f"{bang(self.inverted)}{dashes}match-set {self.set_name} {','.join(self.sides)}"
        if self.return_nomatch:
            text += f" {dashes}return-nomatch"
        if not self.update_counters:
            text += f" ! {dashes}update-counters"
        if not self.update_subcounters:
            text += f" ! {dashes}update-subcounters"
        for name, wanted in (("packets", self.packets), ("bytes", self.bytes)):
            if wanted is not None:
                how, value = wanted
                text += f" {bang(how == 'ne')}{dashes}{name}-{_SHOWN.get(how, how)} {value}"
        return text

    def save(self) -> str:
        """Its words in iptables-save."""
        return f"-m set {self._words('--')}"

    def show(self) -> str:
        """Its words in ``iptables -L``."""
        return self._words("")

    def test(self, skb: Skb, env: Env) -> bool:
        """Whether a packet matches."""
        sets = env.ns.ipsets
        if self.set_name not in sets:
            raise UnknownModelError(f"set {self.set_name} (it does not exist)")
        counting = lookup.Counting(self.update_counters, self.packets, self.bytes, env.meter)
        found = lookup.matches(
            sets,
            self.set_name,
            skb,
            self.sides,
            env.now_ns,
            counting,
            return_nomatch=self.return_nomatch,
            subcounters=self.update_subcounters,
        )
        return found != self.inverted


_SHOWN = {"ne": "eq"}


@dataclass(frozen=True, slots=True)
class SetTarget:
    """``-j SET``: put a packet's addresses into sets, or take them out."""

    added: tuple[str, tuple[str, ...]] | None = None
    removed: tuple[str, tuple[str, ...]] | None = None
    exist: bool = False
    timeout_s: int | None = None
    name: str = "SET"
    TERMINAL: ClassVar[bool] = False

    @classmethod
    def parse(cls, words: list[str]) -> SetTarget:
        """``--add-set NAME src [--exist] [--timeout S]``, ``--del-set NAME src``."""
        found: dict[str, Any] = {}
        for _, option, arguments in options(words):
            if option in {"--add-set", "--del-set"}:
                field = "added" if option == "--add-set" else "removed"
                found[field] = sides(option, arguments)
            elif option == "--exist":
                found["exist"] = True
            elif option == "--timeout":
                found["timeout_s"] = number(one(option, arguments))
            elif option.startswith("--map-"):
                raise UnknownModelError(f"SET {option}")
            else:
                raise RuleError(f'unknown option "{option}"')
        if "added" not in found and "removed" not in found:
            raise RuleError("You must specify either `--add-set' or `--del-set' or `--map-set'")
        return cls(**found)

    @property
    def set_names(self) -> tuple[str, ...]:
        """The sets it refers to."""
        return tuple(pair[0] for pair in (self.added, self.removed) if pair is not None)

    def _words(self, dashes: str) -> str:
        words = []
        if self.added is not None:
            words.append(f"{dashes}add-set {self.added[0]} {','.join(self.added[1])}")
            if self.exist:
                words.append(f"{dashes}exist")
            if self.timeout_s is not None:
                words.append(f"{dashes}timeout {self.timeout_s}")
        if self.removed is not None:
            words.append(f"{dashes}del-set {self.removed[0]} {','.join(self.removed[1])}")
        return " ".join(words)

    def save(self) -> str:
        """Its options in iptables-save."""
        return self._words("--")

    def show(self) -> str:
        """Its options in ``iptables -L``."""
        return self._words("")

    def act(self, skb: Skb, env: Env) -> None:
        """Change the sets."""
        sets = env.ns.ipsets
        for name in self.set_names:
            if name not in sets:
                raise UnknownModelError(f"set {name} (it does not exist)")
        if env.meter is not None:
            env.meter.asked("ipset", len(self.set_names))
        if self.added is not None:
            lookup.fill(
                sets, self.added[0], skb, self.added[1], env.now_ns,
                exist=self.exist, timeout_s=self.timeout_s,
            )  # fmt: skip
        if self.removed is not None:
            lookup.remove(sets, self.removed[0], skb, self.removed[1], env.now_ns)
