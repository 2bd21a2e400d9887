"""Statements: what a rule tests and does, how that is written, and code that does it.

Code gives None (go on), ``BREAK`` (the rule does not match) or a verdict.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from podwire.dataplane.netfilter.env import UnknownModelError
from podwire.dataplane.nft import types as t
from podwire.dataplane.nft.env import Env
from podwire.dataplane.nft.expr import (
    Anonymous,
    Binary,
    Constant,
    Container,
    Expr,
    Operand,
    Presence,
    SetRef,
    finder,
)
from podwire.dataplane.packet import replace
from podwire.dataplane.skb import Skb

Outcome = tuple[str, Any] | None
Run = Callable[[Skb, Env], Outcome]

BREAK: tuple[str, Any] = ("break", "")
"""The rule does not match."""


class Stmt(Protocol):
    """One statement of a rule."""

    def show(self) -> str:
        """As nft prints it."""

    def code(self) -> Run:
        """A function that does it."""


@dataclass(frozen=True, slots=True)
class Match:
    """A comparison. ``operator`` "" is the plain one: equality, or any of the bits given."""

    left: Expr
    operator: str
    right: Operand
    mask: int | None = None
    """``tcp flags syn / syn,ack``: only these bits are compared."""

    def show(self) -> str:
        """As nft prints it."""
        operator = f"{self.operator} " if self.operator else ""
        if isinstance(self.left, Binary) and not self.operator:
            operator = "== "
        text = f"{self.left.show()} {operator}{self.right.show()}"
        return text if self.mask is None else f"{text} / {self.left.kinds[0].show(self.mask)}"

    def code(self) -> Run:
        """A function that does it."""
        left, test = self.left.code(), self._test()

        def run(skb: Skb, env: Env) -> Outcome:
            value = left(skb, env)
            return None if value is not None and test(value, env) else BREAK

        return run

    def _test(self) -> Callable[[Any, Env], bool]:
        right, operator = self.right, self.operator
        inverted = operator == "!="
        if isinstance(right, SetRef | Anonymous):
            find = finder(right)
            if inverted:
                return lambda value, env: find(value, env) is None
            return lambda value, env: find(value, env) is not None
        if isinstance(right, Presence):
            wanted = (right.word == "exists") != inverted
            return lambda value, _: (value not in {"0", ""}) == wanted
        assert isinstance(right, Constant)
        wanted = right.value
        if self.mask is not None:
            mask = self.mask
            return lambda value, _: (value & mask == wanted) != inverted
        kind = self.left.kinds[0]
        flags = kind.flags and not isinstance(self.left, Binary)
        if flags and operator in {"", "!"}:
            return lambda value, _: (value & wanted != 0) != (operator == "!")
        if operator in {"<", ">", "<=", ">="}:
            return _order(kind, operator, kind.number(wanted))
        return _equal(self.left.kinds, wanted, inverted=inverted)


def _order(kind: t.DataType, operator: str, wanted: int) -> Callable[[Any, Env], bool]:
    number = kind.number
    return {
        "<": lambda value, _: number(value) < wanted,
        ">": lambda value, _: number(value) > wanted,
        "<=": lambda value, _: number(value) <= wanted,
        ">=": lambda value, _: number(value) >= wanted,
    }[operator]


def _equal(
    kinds: tuple[t.DataType, ...], wanted: Any, *, inverted: bool
) -> Callable[[Any, Env], bool]:
    kind = kinds[0]
    if isinstance(wanted, t.Range):
        low, high, number = wanted.low, wanted.high, kind.number
        return lambda value, _: (low <= number(value) <= high) != inverted
    if isinstance(wanted, t.Wild):
        return lambda value, _: value.startswith(wanted.start) != inverted
    if inverted:
        return lambda value, _: value != wanted
    return lambda value, _: value == wanted


@dataclass(frozen=True, slots=True)
class VMap:
    """``vmap``: a verdict looked up."""

    key: Expr
    container: Container

    def show(self) -> str:
        """As nft prints it."""
        return f"{self.key.show()} vmap {self.container.show()}"

    def code(self) -> Run:
        """A function that does it."""
        key, find = self.key.code(), finder(self.container)
        name = self.container.name if isinstance(self.container, SetRef) else ""

        def run(skb: Skb, env: Env) -> Outcome:
            value = key(skb, env)
            element = None if value is None else find(value, env)
            if element is None:
                return BREAK
            env.picked = (name, element)
            verdict: tuple[str, Any] = element.data
            return None if verdict[0] == "continue" else verdict

        return run


@dataclass(frozen=True, slots=True)
class Give:
    """A verdict: accept, drop, continue, return, jump, goto, queue."""

    kind: str
    chain: str = ""
    words: str = ""
    """What follows ``queue``."""

    def show(self) -> str:
        """As nft prints it."""
        return " ".join(word for word in (self.kind, self.chain, self.words) if word)

    def code(self) -> Run:
        """A function that does it."""
        verdict: Outcome = None if self.kind == "continue" else (self.kind, self.chain)
        return lambda _skb, _env: verdict


@dataclass(frozen=True, slots=True)
class Counter:
    """``counter``. What it counted is kept by the namespace, beside what the text says."""

    packets: int = 0
    size_bytes: int = 0
    slot: int = 0

    def show(self) -> str:
        """As nft prints it before anything was counted."""
        return f"counter packets {self.packets} bytes {self.size_bytes}"

    def code(self) -> Run:
        """A function that does it."""
        slot = self.slot

        def run(_skb: Skb, env: Env) -> Outcome:
            env.nft.count((*env.table.key, env.rule, slot), env.size)
            return None

        return run


@dataclass(frozen=True, slots=True)
class Object:
    """``counter name "x"``, ``quota name``, ``limit name``: an object of the table."""

    kind: str
    name: str

    def show(self) -> str:
        """As nft prints it."""
        return f'{self.kind} name "{self.name}"'

    def code(self) -> Run:
        """A function that does it."""
        kind, name = self.kind, self.name
        if kind == "counter":

            def count(_skb: Skb, env: Env) -> Outcome:
                env.nft.count((*env.table.key, "counter", name), env.size)
                return None

            return count
        if kind == "limit":

            def limit(_skb: Skb, env: Env) -> Outcome:
                spec: Limit = env.table.objects["limit", name].body
                return spec.take(env, ("limit", name))

            return limit
        return _refuse(f"{kind} name {name}")


def _refuse(what: str) -> Run:
    def run(_skb: Skb, _env: Env) -> Outcome:
        raise UnknownModelError(what)

    return run


UNITS_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604_800}
SIZES = {"mbytes": 1 << 20, "kbytes": 1 << 10, "bytes": 1}
"""How nft counts bytes, the largest unit first."""
DEFAULT_BURST = 5


@dataclass(frozen=True, slots=True)
class Limit:
    """``limit rate``: a token bucket that time fills (net/netfilter/nft_limit.c)."""

    rate: int
    unit: str
    burst: int
    in_bytes: bool = False
    over: bool = False
    slot: int = 0

    def show(self) -> str:
        """As nft prints it."""
        over = "over " if self.over else ""
        if not self.in_bytes:
            burst = f" burst {self.burst} packets" if self.burst != DEFAULT_BURST else ""
            return f"limit rate {over}{self.rate}/{self.unit}{burst}"
        burst = f" burst {_size_text(self.burst)}" if self.burst else ""
        return f"limit rate {over}{_size_text(self.rate)}/{self.unit}{burst}"

    def code(self) -> Run:
        """A function that does it."""
        return lambda _skb, env: self.take(env, (env.rule, self.slot))

    def take(self, env: Env, key: tuple[Any, ...]) -> Outcome:
        """Take a packet's tokens."""
        second = 1_000_000_000
        span = UNITS_S[self.unit] * second
        if self.in_bytes:
            full, cost = span * (self.rate + self.burst) // self.rate, span * env.size // self.rate
        else:
            cost = span // self.rate
            full = cost * self.burst
        enough = env.nft.take_tokens((*env.table.key, *key), env.now_ns, full, cost)
        return None if enough != self.over else BREAK


def _size_text(number: int) -> str:
    """Bytes in the largest unit that fits (``10 kbytes``)."""
    for name, size in SIZES.items():
        if number % size == 0 and number >= size:
            return f"{number // size} {name}"
    return f"{number} bytes"


@dataclass(frozen=True, slots=True)
class Log:
    """``log``: the kernel's log is not modelled; the packet goes on."""

    words: str = ""

    def show(self) -> str:
        """As nft prints it."""
        return f"log {self.words}" if self.words else "log"

    def code(self) -> Run:
        """A function that does it."""
        return lambda _skb, _env: None


@dataclass(frozen=True, slots=True)
class Reject:
    """``reject``: drop, and tell the sender. ``proto`` "" leaves the kind to the family."""

    proto: str = ""
    code_name: str = "port-unreachable"

    def show(self) -> str:
        """As nft prints it."""
        if self.proto == "tcp":
            return "reject with tcp reset"
        return f"reject with {self.proto} {self.code_name}" if self.proto else "reject"

    def code(self) -> Run:
        """A function that does it."""
        kind = "tcp-reset" if self.proto == "tcp" else self.code_name
        verdict = ("reject", (self.proto, kind))
        return lambda _skb, _env: verdict


@dataclass(frozen=True, slots=True)
class SetKey:
    """``meta mark set``, ``meta priority set``, ``ct mark set``. ``what``: meta or ct."""

    what: str
    key: str
    value: Expr | None
    words: str = ""
    """The value as it is spelled, for keys whose values are not modelled."""

    def show(self) -> str:
        """As nft prints it."""
        value = self.value.show() if self.value is not None else self.words
        return f"{self.what} {self.key} set {value}"

    def code(self) -> Run:
        """A function that does it."""
        if self.value is None:
            harmless = self.what == "meta" and self.key in {"nftrace", "priority"}
            if harmless:
                return lambda _skb, _env: None
            return _refuse(f"{self.what} {self.key} set")
        value, put = self.value.code(), _MARKED[self.what]

        def run(skb: Skb, env: Env) -> Outcome:
            mark = value(skb, env)
            if mark is None:
                return BREAK
            put(skb, mark)
            return None

        return run


def _mark_packet(skb: Skb, mark: int) -> None:
    if mark != skb.packet.mark:
        skb.packet = replace(skb.packet, mark=mark)


def _mark_connection(skb: Skb, mark: int) -> None:
    if skb.ct is not None:
        skb.ct.mark = mark


_MARKED = {"meta": _mark_packet, "ct": _mark_connection}


@dataclass(frozen=True, slots=True)
class Notrack:
    """``notrack``: conntrack lets the packet be."""

    def show(self) -> str:
        """As nft prints it."""
        return "notrack"

    def code(self) -> Run:
        """A function that does it."""

        def run(skb: Skb, _env: Env) -> Outcome:
            if not skb.ct_state:
                skb.ct_state = "UNTRACKED"
            return None

        return run


@dataclass(frozen=True, slots=True)
class Dynset:
    """``update @set { ip saddr timeout 1m }``: elements that packets put."""

    verb: str
    name: str
    key: Expr
    timeout_ms: int = 0
    inner: tuple[Stmt, ...] = ()

    def show(self) -> str:
        """As nft prints it."""
        words = [self.key.show()]
        if self.timeout_ms:
            words.append(f"timeout {t.duration_text(self.timeout_ms)}")
        words += ["counter" if isinstance(s, Counter) else s.show() for s in self.inner]
        return f"{self.verb} @{self.name} {{ {' '.join(words)} }}"

    def code(self) -> Run:
        """A function that does it."""
        key, verb, name, timeout_ms = self.key.code(), self.verb, self.name, self.timeout_ms
        limits = [s for s in self.inner if isinstance(s, Limit)]
        if any(not isinstance(s, Limit | Counter) for s in self.inner):
            return _refuse(f"statements of {self.verb} @{self.name}")

        def run(skb: Skb, env: Env) -> Outcome:
            value = key(skb, env)
            if value is None:
                return BREAK
            env.asked()
            if not env.nft.dynamic_update(env.table, name, verb, value, timeout_ms, env.now_ns):
                return BREAK
            for limit in limits:
                if limit.take(env, (name, value)) is not None:
                    return BREAK
            return None

        return run


@dataclass(frozen=True, slots=True)
class Raw:
    """A statement that loads and prints, and that nobody can evaluate here."""

    text: str

    def show(self) -> str:
        """As it was spelled."""
        return self.text

    def code(self) -> Run:
        """A function that refuses."""
        return _refuse(f"statement {self.text.split()[0]}")
