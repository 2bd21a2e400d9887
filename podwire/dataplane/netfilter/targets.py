"""The targets of iptables that are modelled: how each reads, prints and acts.

``TERMINAL`` ones end the walk through the table; the others change the packet and go on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from podwire.dataplane.addr import bracketed, canonical, family_of
from podwire.dataplane.netfilter import targets_track as track
from podwire.dataplane.netfilter.env import Env, UnknownModelError
from podwire.dataplane.netfilter.match_base import one, options
from podwire.dataplane.netfilter.match_set import SetTarget
from podwire.dataplane.netfilter.text import ALL_BITS, RuleError, masked, number, spelled
from podwire.dataplane.packet import replace
from podwire.dataplane.skb import Skb


class Target(Protocol):
    """The ``-j`` of a rule, unless it is a chain of the table."""

    TERMINAL: ClassVar[bool]

    @property
    def name(self) -> str:
        """What follows ``-j``."""

    def save(self) -> str:
        """The options as iptables-save prints them ("" for none)."""

    def show(self) -> str:
        """The options as ``iptables -L -n`` prints them."""

    def act(self, skb: Skb, env: Env, /) -> None:
        """Do what a target does that is not terminal."""


@dataclass(frozen=True, slots=True)
class Plain:
    """ACCEPT, DROP, RETURN."""

    name: str
    TERMINAL: ClassVar[bool] = True

    def save(self) -> str:
        """Its options in iptables-save."""
        return ""

    def show(self) -> str:
        """Its options in ``iptables -L``."""
        return ""

    def act(self, _skb: Skb, _env: Env) -> None:
        """Nothing: the walk itself knows these."""


REJECTS = {
    "ipv4": {
        "icmp-net-unreachable": (3, 0),
        "icmp-host-unreachable": (3, 1),
        "icmp-proto-unreachable": (3, 2),
        "icmp-port-unreachable": (3, 3),
        "icmp-net-prohibited": (3, 9),
        "icmp-host-prohibited": (3, 10),
        "icmp-admin-prohibited": (3, 13),
    },
    "ipv6": {
        "icmp6-no-route": (1, 0),
        "icmp6-adm-prohibited": (1, 1),
        "icmp6-addr-unreachable": (1, 3),
        "icmp6-port-unreachable": (1, 4),
        "icmp6-policy-fail": (1, 5),
        "icmp6-reject-route": (1, 6),
    },
}
"""ICMP type and code of each ``--reject-with`` but ``tcp-reset``."""
_SHORT = {
    "ipv4": {kind.removeprefix("icmp-"): kind for kind in REJECTS["ipv4"]},
    "ipv6": {
        "no-route": "icmp6-no-route",
        "adm-prohibited": "icmp6-adm-prohibited",
        "addr-unreach": "icmp6-addr-unreachable",
        "port-unreach": "icmp6-port-unreachable",
        "policy-fail": "icmp6-policy-fail",
        "reject-route": "icmp6-reject-route",
    },
}
"""The short words that are taken too."""


@dataclass(frozen=True, slots=True)
class Reject:
    """REJECT: drop, and tell the sender."""

    kind: str = "icmp-port-unreachable"
    name: str = "REJECT"
    TERMINAL: ClassVar[bool] = True

    @classmethod
    def parse(cls, words: list[str], family: str = "ipv4") -> Reject:
        """``--reject-with KIND``."""
        default = "icmp6-port-unreachable" if family == "ipv6" else "icmp-port-unreachable"
        for _, option, arguments in options(words):
            if option != "--reject-with":
                raise RuleError(f'unknown option "{option}"')
            word = one(option, arguments)
            kind = _SHORT[family].get(word, word)
            if kind != "tcp-reset" and kind not in REJECTS[family]:
                raise RuleError(f"unknown reject type {arguments[0]!r}")
            return cls(kind)
        return cls(default)

    def save(self) -> str:
        """Its options in iptables-save."""
        return f"--reject-with {self.kind}"

    def show(self) -> str:
        """Its options in ``iptables -L``."""
        return f"reject-with {self.kind}"

    def act(self, _skb: Skb, _env: Env) -> None:
        """Nothing: the hook answers."""


ADDRESSLESS = ("MASQUERADE", "REDIRECT")
"""Their address is the device's."""


@dataclass(frozen=True, slots=True)
class Nat:
    """DNAT, SNAT, MASQUERADE, REDIRECT: what addresses and ports a connection is given."""

    name: str
    ip: str = ""
    last_ip: str = ""
    ports: tuple[int, int] | None = None
    random: bool = False
    random_fully: bool = False
    persistent: bool = False
    TERMINAL: ClassVar[bool] = True

    @classmethod
    def parse(cls, name: str, words: list[str], family: str = "ipv4") -> Nat:
        """``--to-destination ip[-ip][:port[-port]]``, ``--to-source``, ``--to-ports``."""
        found: dict[str, Any] = {}
        where = {"DNAT": "--to-destination", "SNAT": "--to-source"}.get(name, "--to-ports")
        for _, option, arguments in options(words):
            if option == where:
                text = one(option, arguments)
                found.update(_range(text, family, ports_only=name in ADDRESSLESS))
            elif option in {"--random", "--random-fully", "--persistent"}:
                found[option[2:].replace("-", "_")] = True
            else:
                raise RuleError(f'unknown option "{option}"')
        if name not in ADDRESSLESS and "ip" not in found:
            raise RuleError(f'{name}: option "{where}" must be specified')
        return cls(name, **found)

    def _to(self) -> str:
        text = self.ip + (f"-{self.last_ip}" if self.last_ip else "")
        if self.ports is None:
            return text
        text = bracketed(text)
        low, high = self.ports
        ports = str(low) if low == high else f"{low}-{high}"
        return f"{text}:{ports}" if text else ports

    def save(self) -> str:
        """Its options in iptables-save."""
        option = {"DNAT": "--to-destination", "SNAT": "--to-source"}.get(self.name, "--to-ports")
        words = [f"{option} {self._to()}"] if self._to() else []
        return " ".join(words + self._flags("--"))

    def show(self) -> str:
        """Its options in ``iptables -L``."""
        to = ["to:" + self._to()] if self.name not in ADDRESSLESS else []
        if self.name in ADDRESSLESS and self.ports is not None:
            word = "masq" if self.name == "MASQUERADE" else "redir"
            to = [f"{word} ports: {self._to()}"]
        return " ".join(to + self._flags(""))

    def _flags(self, dashes: str) -> list[str]:
        flags = []
        if self.random:
            flags.append(f"{dashes}random")
        if self.random_fully:
            flags.append(f"{dashes}random-fully")
        if self.persistent:
            flags.append(f"{dashes}persistent")
        return flags

    def act(self, _skb: Skb, _env: Env) -> None:
        """Nothing: the hook binds the connection."""


def _range(text: str, family: str, *, ports_only: bool) -> dict[str, object]:
    """``ip[-ip][:port[-port]]``; an IPv6 address with a port stands in brackets."""
    if ports_only:
        ips, colon, ports = "", ":", text
    elif family == "ipv4":
        ips, colon, ports = text.partition(":")
    elif text.startswith("["):
        ips, _, tail = text[1:].partition("]")
        colon, ports = tail[:1], tail[1:]
    else:
        ips, colon, ports = text, "", ""
    found: dict[str, Any] = {}
    first, _, last = ips.partition("-")
    for key, address in (("ip", first), ("last_ip", last)):
        if address:
            try:
                found[key] = canonical(address)
            except ValueError:
                raise RuleError(f'Bad IP address "{ips}"') from None
            if family_of(address) != family:
                raise RuleError(f'Bad IP address "{ips}"')
    if colon:
        low, dash, high = ports.partition("-")
        span = (number(low), number(high) if dash else number(low))
        if not 0 <= span[0] <= span[1] <= 65535:
            raise RuleError(f'Port range "{ports}" is invalid')
        found["ports"] = span
    return found


@dataclass(frozen=True, slots=True)
class SetMark:
    """MARK: ``mark = (mark & ~mask) ^ value``, which all four spellings come down to."""

    value: int
    mask: int
    name: str = "MARK"
    TERMINAL: ClassVar[bool] = False

    @classmethod
    def parse(cls, words: list[str]) -> SetMark:
        """``--set-xmark``, ``--set-mark``, ``--or-mark``, ``--and-mark``, ``--xor-mark``."""
        for _, option, arguments in options(words):
            return cls(*_xmark(option, one(option, arguments)))
        raise RuleError("MARK: one of --set-xmark, --{and,or,xor,set}-mark is required")

    def save(self) -> str:
        """Its options in iptables-save."""
        return f"--set-xmark 0x{self.value:x}/0x{self.mask:x}"

    def show(self) -> str:
        """Its options in ``iptables -L``."""
        return f"MARK {_xmark_words(self.value, self.mask)}"

    def act(self, skb: Skb, _env: Env) -> None:
        """Change the packet or its connection."""
        packet = skb.packet
        mark = (packet.mark & ~self.mask & ALL_BITS) ^ self.value
        if mark != packet.mark:
            skb.packet = replace(packet, mark=mark)


def _xmark(option: str, text: str) -> tuple[int, int]:
    value, mask = masked(text)
    if option == "--set-xmark":
        return value, mask
    if option == "--set-mark":
        return value, mask | value
    if option == "--or-mark":
        return number(text), number(text)
    if option == "--and-mark":
        return 0, ~number(text) & ALL_BITS
    if option == "--xor-mark":
        return number(text), 0
    raise RuleError(f'unknown option "{option}"')


def _xmark_words(value: int, mask: int) -> str:
    if value == 0:
        return f"and 0x{~mask & ALL_BITS:x}"
    if value == mask:
        return f"or 0x{value:x}"
    if mask == 0:
        return f"xor 0x{value:x}"
    if mask == ALL_BITS:
        return f"set 0x{value:x}"
    return f"xset 0x{value:x}/0x{mask:x}"


@dataclass(frozen=True, slots=True)
class ConnMark:
    """CONNMARK: the mark of a connection. ``verb``: set | save | restore."""

    verb: str
    value: int = 0
    ctmask: int = ALL_BITS
    nfmask: int = ALL_BITS
    name: str = "CONNMARK"
    TERMINAL: ClassVar[bool] = False

    @classmethod
    def parse(cls, words: list[str]) -> ConnMark:
        """``--set-xmark``, ``--save-mark``, ``--restore-mark`` with masks."""
        verb, masks = "", {"--nfmask": ALL_BITS, "--ctmask": ALL_BITS}
        for _, option, arguments in options(words):
            if option in {"--save-mark", "--restore-mark"}:
                verb = option[2:].removesuffix("-mark")
            elif option in masks:
                masks[option] = number(one(option, arguments))
            elif option == "--mask":
                masks = dict.fromkeys(masks, number(one(option, arguments)))
            else:
                value, mask = _xmark(option, one(option, arguments))
                return cls("set", value, mask)
        if not verb:
            raise RuleError("CONNMARK target: No operation specified")
        return cls(verb, 0, masks["--ctmask"], masks["--nfmask"])

    def save(self) -> str:
        """Its options in iptables-save."""
        if self.verb == "set":
            return f"--set-xmark 0x{self.value:x}/0x{self.ctmask:x}"
        return f"--{self.verb}-mark --nfmask 0x{self.nfmask:x} --ctmask 0x{self.ctmask:x}"

    def show(self) -> str:
        """Its options in ``iptables -L``."""
        if self.verb == "set":
            return f"CONNMARK {_xmark_words(self.value, self.ctmask)}"
        if self.nfmask == self.ctmask == ALL_BITS:
            return f"CONNMARK {self.verb}"
        if self.nfmask == self.ctmask:
            return f"CONNMARK {self.verb} mask 0x{self.nfmask:x}"
        sides = [f"nfmask 0x{self.nfmask:x}", f"ctmask ~0x{self.ctmask:x}"]
        if self.verb == "restore":
            sides = [f"ctmask 0x{self.ctmask:x}", f"nfmask ~0x{self.nfmask:x}"]
        return f"CONNMARK {self.verb} {' '.join(sides)}"

    def act(self, skb: Skb, _env: Env) -> None:
        """Change the packet or its connection."""
        entry, packet = skb.ct, skb.packet
        if entry is None:
            return
        if self.verb == "set":
            entry.mark = (entry.mark & ~self.ctmask & ALL_BITS) ^ self.value
        elif self.verb == "save":
            entry.mark = (entry.mark & ~self.ctmask & ALL_BITS) ^ (packet.mark & self.nfmask)
        else:
            mark = (packet.mark & ~self.nfmask & ALL_BITS) ^ (entry.mark & self.ctmask)
            skb.packet = replace(packet, mark=mark)


@dataclass(frozen=True, slots=True)
class Log:
    """LOG: the kernel's log is not modelled; the packet goes on."""

    words: tuple[str, ...]
    name: str = "LOG"
    TERMINAL: ClassVar[bool] = False

    def save(self) -> str:
        """Its options in iptables-save."""
        return " ".join(spelled(self.words))

    def show(self) -> str:
        """Its options in ``iptables -L``."""
        values = dict(zip(self.words[::2], self.words[1::2], strict=False))
        prefix = values.get("--log-prefix")
        text = f"LOG flags 0 level {values.get('--log-level', '4')}"
        return f'{text} prefix "{prefix}"' if prefix is not None else text

    def act(self, _skb: Skb, _env: Env) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A target that is not modelled: kept and printed; a packet that meets it ends UNKNOWN."""

    name: str
    words: tuple[str, ...]
    TERMINAL: ClassVar[bool] = False

    def save(self) -> str:
        """Its options in iptables-save."""
        return " ".join(spelled(self.words))

    def show(self) -> str:
        """Its options in ``iptables -L``."""
        return " ".join(self.words)

    def act(self, _skb: Skb, _env: Env) -> None:
        """Nobody can say what it does."""
        raise UnknownModelError(f"target {self.name}")


UNMODELLED = (
    "AUDIT",
    "CHECKSUM",
    "CLASSIFY",
    "CLUSTERIP",
    "DSCP",
    "ECN",
    "HMARK",
    "IDLETIMER",
    "LED",
    "NETMAP",
    "NFLOG",
    "NFQUEUE",
    "QUEUE",
    "RATEEST",
    "SECMARK",
    "CONNSECMARK",
    "SYNPROXY",
    "TCPOPTSTRIP",
    "TEE",
    "TOS",
    "TPROXY",
    "TRACE",
    "TTL",
    "ULOG",
)
"""Targets that iptables has and this does not: rules with them load, and evaluate to UNKNOWN."""
NAMES = frozenset((
    "ACCEPT", "DROP", "RETURN", "REJECT", "DNAT", "SNAT", "MASQUERADE", "REDIRECT", "MARK",
    "CONNMARK", "LOG", "TCPMSS", "SET", "CT", "NOTRACK", *UNMODELLED,
))  # fmt: skip
"""All targets: what else follows a ``-j`` is a chain."""


def parse(name: str, words: list[str], family: str = "ipv4") -> Target | None:
    """The target NAME, or None when it must be a chain. Raises RuleError."""
    if name not in NAMES:
        return None
    if name in {"ACCEPT", "DROP", "RETURN"}:
        if words:
            raise RuleError(f'unknown option "{words[0]}"')
        return Plain(name)
    if name == "REJECT":
        return Reject.parse(words, family)
    if name in {"DNAT", "SNAT", "MASQUERADE", "REDIRECT"}:
        return Nat.parse(name, words, family)
    if name == "MARK":
        return SetMark.parse(words)
    if name == "CONNMARK":
        return ConnMark.parse(words)
    if name == "LOG":
        return Log(tuple(words))
    if name == "TCPMSS":
        return track.TcpMss.parse(words)
    try:
        if name == "SET":
            return SetTarget.parse(words)
        if name in {"CT", "NOTRACK"}:
            return track.Ct.parse(name, words)
    except UnknownModelError:
        return Unknown(name, tuple(words))
    return Unknown(name, tuple(words))
