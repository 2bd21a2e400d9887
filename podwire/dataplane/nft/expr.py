"""Expressions: what a rule reads from a packet or computes, and how that is written.

``code()`` gives a function of packet and surroundings; it returns None where the kernel would
stop the rule (a TCP port of a UDP packet). What is not modelled raises UnknownModelError.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from podwire.dataplane.netfilter.env import UnknownModelError
from podwire.dataplane.nft import types as t
from podwire.dataplane.nft.elements import Element, Members, show_data, show_key
from podwire.dataplane.nft.env import Env
from podwire.dataplane.nft.jhash import jhash
from podwire.dataplane.skb import Skb

Code = Callable[[Skb, Env], Any]


class Operand(Protocol):
    """What may stand on either side of a comparison."""

    @property
    def kinds(self) -> tuple[t.DataType, ...]:
        """The types of its value (several: a concatenation)."""

    def show(self) -> str:
        """As nft prints it."""


class Expr(Operand, Protocol):
    """What can be evaluated."""

    def code(self) -> Code:
        """A function that evaluates it."""


def unmodelled(what: str) -> Code:
    """The code of something that loads and prints, but that nobody can evaluate here."""

    def refuse(_skb: Skb, _env: Env) -> Any:
        raise UnknownModelError(what)

    return refuse


@dataclass(frozen=True, slots=True)
class Simple:
    """Something read by name: ``ip saddr``, ``meta mark``, ``ct state``. ``run`` evaluates it."""

    text: str
    kinds: tuple[t.DataType, ...]
    run: Code
    protocol: str = ""
    """The transport protocol that a packet must have (tcp), or network protocol (ip, ip6)."""

    def show(self) -> str:
        """As nft prints it."""
        return self.text

    def code(self) -> Code:
        """A function that evaluates it."""
        return self.run


@dataclass(frozen=True, slots=True)
class Concat:
    """``ip daddr . meta l4proto . th dport``."""

    parts: tuple[Expr, ...]

    @property
    def kinds(self) -> tuple[t.DataType, ...]:
        """The types of its parts."""
        return tuple(kind for part in self.parts for kind in part.kinds)

    def show(self) -> str:
        """As nft prints it."""
        return " . ".join(part.show() for part in self.parts)

    def code(self) -> Code:
        """A function that evaluates it."""
        codes = [part.code() for part in self.parts]
        if len(codes) == 2:
            first, second = codes

            def pair(skb: Skb, env: Env) -> Any:
                a = first(skb, env)
                b = second(skb, env)
                return None if a is None or b is None else (a, b)

            return pair

        def many(skb: Skb, env: Env) -> Any:
            values = tuple([code(skb, env) for code in codes])
            return None if None in values else values

        return many


_OPERATORS: dict[str, Callable[[int, int], int]] = {
    "&": lambda a, b: a & b,
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
    "<<": lambda a, b: a << b & 0xFFFFFFFF,
    ">>": lambda a, b: a >> b,
}


@dataclass(frozen=True, slots=True)
class Binary:
    """``meta mark & 0x4000``. ``right`` is a number of the left side's type."""

    left: Expr
    operator: str
    right: int

    @property
    def kinds(self) -> tuple[t.DataType, ...]:
        """The left side's."""
        return self.left.kinds

    def show(self) -> str:
        """As nft prints it."""
        if self.operator in {"<<", ">>"}:
            return f"{self.left.show()} {self.operator} {self.right}"
        kind = self.kinds[0]
        return f"{self.left.show()} {self.operator} {kind.show(kind.back(self.right))}"

    def code(self) -> Code:
        """A function that evaluates it."""
        left, operate = self.left.code(), _OPERATORS[self.operator]
        right, kind = self.right, self.kinds[0]
        if kind.back is int:

            def plain(skb: Skb, env: Env) -> Any:
                value = left(skb, env)
                return None if value is None else operate(value, right)

            return plain

        def converted(skb: Skb, env: Env) -> Any:
            value = left(skb, env)
            return None if value is None else kind.back(operate(kind.number(value), right))

        return converted


@dataclass(frozen=True, slots=True)
class Constant:
    """A value, prefix or range that stands in a rule."""

    kinds: tuple[t.DataType, ...]
    value: t.Value

    def show(self) -> str:
        """As nft prints it."""
        parts = self.value if len(self.kinds) > 1 else (self.value,)
        return " . ".join(
            t.show_value(kind, part, spelled=True)
            for kind, part in zip(self.kinds, parts, strict=True)
        )

    def code(self) -> Code:
        """A function that evaluates it."""
        value = self.value
        return lambda _skb, _env: value


@dataclass(frozen=True, slots=True)
class SetRef:
    """``@name``: a named set or map."""

    name: str
    kinds: tuple[t.DataType, ...] = ()

    def show(self) -> str:
        """As nft prints it."""
        return f"@{self.name}"


@dataclass(frozen=True)
class Anonymous:
    """``{ ... }`` in a rule: a set, or a map when ``data`` says of what type."""

    kinds: tuple[t.DataType, ...]
    data: tuple[t.DataType, ...]
    members: Members
    interval: bool

    def show(self) -> str:
        """As nft prints it."""
        found = self.members.sorted(interval=self.interval)
        return "{ " + ", ".join(self._element(e) for e in found) + " }"

    def _element(self, element: Element) -> str:
        text = show_key(self.kinds, element.key)
        if element.comment:
            text += f' comment "{element.comment}"'
        return f"{text} : {show_data(self.data, element.data)}" if self.data else text


Container = SetRef | Anonymous


def finder(container: Container) -> Callable[[t.Value, Env], Element | None]:
    """A function that finds a value's element in a set or map."""
    if isinstance(container, Anonymous):
        find = container.members.find

        def ask(value: t.Value, env: Env) -> Element | None:
            env.asked()
            return find(value)

        return ask
    name = container.name
    return lambda value, env: env.find(name, value)


@dataclass(frozen=True)
class MapValue:
    """``tcp dport map @m``: what a map gives for a value."""

    key: Expr
    container: Container
    kinds: tuple[t.DataType, ...]

    def show(self) -> str:
        """As nft prints it."""
        return f"{self.key.show()} map {self.container.show()}"

    def code(self) -> Code:
        """A function that evaluates it."""
        key, find = self.key.code(), finder(self.container)

        def run(skb: Skb, env: Env) -> Any:
            value = key(skb, env)
            element = None if value is None else find(value, env)
            return None if element is None else element.data

        return run


@dataclass(frozen=True, slots=True)
class Numgen:
    """``numgen random mod N`` (chance decides) and ``numgen inc mod N`` (turns)."""

    mode: str
    modulus: int
    offset: int = 0
    kinds: tuple[t.DataType, ...] = (t.INT32,)

    def show(self) -> str:
        """As nft prints it."""
        offset = f" offset {self.offset}" if self.offset else ""
        return f"numgen {self.mode} mod {self.modulus}{offset}"

    def code(self) -> Code:
        """A function that evaluates it."""
        modulus, offset = self.modulus, self.offset
        if self.mode == "random":
            return lambda _skb, env: offset + env.chance.choose(env.chain, modulus)
        return lambda _skb, env: offset + env.nft.turn(env.table.key, env.rule, modulus)


@dataclass(frozen=True, slots=True)
class Hash:
    """``jhash ip saddr mod N seed S``; without a seed the kernel draws one, here it is 0."""

    of: Expr | None
    modulus: int
    seed: int | None = None
    offset: int = 0
    kinds: tuple[t.DataType, ...] = (t.INT32,)

    def show(self) -> str:
        """As nft prints it."""
        text = f"jhash {self.of.show()}" if self.of is not None else "symhash"
        text += f" mod {self.modulus}"
        text += f" seed 0x{self.seed:x}" if self.seed is not None else ""
        return text + (f" offset {self.offset}" if self.offset else "")

    def code(self) -> Code:
        """A function that evaluates it."""
        if self.of is None:
            return unmodelled("symhash")
        of, kinds, modulus, offset = self.of.code(), self.of.kinds, self.modulus, self.offset
        seed = self.seed or 0

        def run(skb: Skb, env: Env) -> Any:
            value = of(skb, env)
            if value is None:
                return None
            parts = value if isinstance(value, tuple) else (value,)
            raw = b"".join(wire(k, part) for k, part in zip(kinds, parts, strict=True))
            return offset + (jhash(raw, seed) * modulus >> 32)

        return run


def wire(kind: t.DataType, value: t.Value) -> bytes:
    """A value as it lies in a register: whole words of 32 bits."""
    size = max((kind.bits + 7) // 8, 1)
    order = "little" if kind.name in t.HOST_ORDER else "big"
    raw = kind.number(value).to_bytes(size, order)  # type: ignore[arg-type]
    return raw + bytes(-size % 4)


@dataclass(frozen=True, slots=True)
class Presence:
    """``missing`` and ``exists``, which ``fib ... oif`` is compared with."""

    word: str
    kinds: tuple[t.DataType, ...] = (t.BOOLEAN,)

    def show(self) -> str:
        """As nft prints it."""
        return self.word
