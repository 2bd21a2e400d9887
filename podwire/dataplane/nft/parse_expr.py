"""The left sides of nft rules: what is read from packets, and what is computed of it."""

from __future__ import annotations

from podwire.dataplane.nft import fields
from podwire.dataplane.nft import types as t
from podwire.dataplane.nft.expr import (
    Binary,
    Concat,
    Constant,
    Expr,
    Hash,
    MapValue,
    Numgen,
    Simple,
    unmodelled,
)
from podwire.dataplane.nft.literals import bits, container, value
from podwire.dataplane.nft.text import NftError, Words, unexpected

OPERATORS = {"&": "&", "|": "|", "^": "^", "<<": "<<", ">>": ">>", "and": "&", "or": "|",
             "xor": "^", "lshift": "<<", "rshift": ">>"}  # fmt: skip
FIB_RESULTS = ("type", "oif", "oifname")


def expression(words: Words, family: str, kind: t.DataType | None = None) -> Expr:
    """An expression. ``kind``: a plain value may stand there too, of this type."""
    first = _binary(words, family, kind)
    if words.peek().text == "." and words.peek().kind == "symbol":
        parts = [first]
        while words.take("."):
            parts.append(_binary(words, family, None))
        first = Concat(tuple(parts))
    if words.take("map"):
        return _map(words, first, kind)
    return first


def _map(words: Words, key: Expr, kind: t.DataType | None) -> Expr:
    data = (kind,) if kind is not None else (t.INT32,)
    if kind in {t.IPV4, t.IPV6} and words.peek().text == "{" and _gives_ports(words):
        data = (kind, t.SERVICE)  # type: ignore[assignment]
    found = container(words, key.kinds, data)
    return MapValue(key, found, data)


def _gives_ports(words: Words) -> bool:
    """Whether the first element of ``{ ... }`` gives an address and a port."""
    at, colon = 1, False
    while (token := words.peek(at)).text not in {"}", ","} and token.kind != "end":
        if token.text == ":":
            colon = True
        elif colon and token.text == ".":
            return True
        at += 1
    return False


def _binary(words: Words, family: str, kind: t.DataType | None) -> Expr:
    left = primary(words, family, kind)
    while (word := words.peek().text) in OPERATORS and words.peek().kind != "string":
        words.next()
        operator = OPERATORS[word]
        right = words.number() if operator in {"<<", ">>"} else bits(words, left.kinds[0])
        left = _joined(left, operator, right)
    return left


def _joined(left: Expr, operator: str, right: int) -> Expr:
    """``x & a | b`` is kept by the kernel as one operation, which clears what it sets."""
    if operator == "|" and isinstance(left, Binary) and left.operator == "&":
        full = (1 << left.kinds[0].bits) - 1
        keeps = left.right & ~right & full
        clears = (keeps | right) & full
        return Binary(Binary(left.left, "&", clears), "|", right)
    return Binary(left, operator, right)


def primary(words: Words, family: str, kind: t.DataType | None) -> Expr:
    """One thing that is read or computed, or a value."""
    token = words.peek()
    word = token.text
    if kind is not None and (token.kind in {"number", "colons", "string"} or word == "["):
        return _constant(words, kind)
    if word == "meta":
        words.next()
        return meta(words)
    if word in fields.BARE_META:
        return meta(words)
    if word == "ct":
        words.next()
        return ct(words, family)
    if word == "fib":
        words.next()
        return fib(words)
    if word == "numgen":
        words.next()
        return _numgen(words)
    if word in {"jhash", "symhash"}:
        return _hash(words, family)
    if word == "rt":
        words.next()
        name = words.next().text
        return Simple(f"rt {name}", (kind or t.INT32,), unmodelled(f"rt {name}"))
    if word in fields.PROTOCOL_WORDS:
        return payload(words, family)
    if kind is not None and token.kind == "word":
        return _constant(words, kind)
    if token.kind == "word":
        words.next()  # a symbol to nft, which trips over what follows
    raise unexpected(words.peek())


def _constant(words: Words, kind: t.DataType) -> Expr:
    if words.take("["):
        low = kind.read(words.next())
        words.want("]")
        if words.take("-"):
            words.want("[")
            high = kind.read(words.next())
            words.want("]")
            ends = t.Range(kind.number(low), kind.number(high), dashed=True)
            return Constant((kind,), ends)
        return Constant((kind,), low)
    return Constant((kind,), value(words, kind))


def meta(words: Words) -> Simple:
    """What follows ``meta``, or a key that stands alone."""
    token = words.next()
    found = fields.META.get(token.text)
    if found is None:
        raise unexpected(token)
    return found


def ct(words: Words, family: str) -> Simple:
    """What follows ``ct``."""
    token = words.next()
    name = token.text
    if name in {"original", "reply"}:
        second = words.next()
        name += f" {second.text}"
        if second.text in {"ip", "ip6"}:
            name += f" {words.next().text}"
        elif second.text in {"saddr", "daddr"}:
            name = f"{token.text} {'ip6' if family == 'ip6' else 'ip'} {second.text}"
    found = fields.CT.get(name)
    if found is None:
        raise unexpected(token)
    return found


def fib(words: Words) -> Simple:
    """What follows ``fib``."""
    flags = [words.next().text]
    while words.take("."):
        flags.append(words.next().text)
    for flag in flags:
        if flag not in {"saddr", "daddr", "mark", "iif", "oif"}:
            raise unexpected(words.last)
    token = words.next()
    if token.text not in FIB_RESULTS:
        raise unexpected(token)
    return fields.fib(tuple(flags), token.text)


def _numgen(words: Words) -> Numgen:
    token = words.next()
    if token.text not in {"random", "inc"}:
        raise unexpected(token, "expecting inc or random")
    words.want("mod")
    modulus = words.number()
    if modulus < 1:
        raise NftError("Invalid modulus", words.last.start, words.last.end)
    return Numgen(token.text, modulus, words.number() if words.take("offset") else 0)


def _hash(words: Words, family: str) -> Hash:
    of = expression(words, family) if words.next().text == "jhash" else None
    words.want("mod")
    modulus = words.number()
    seed = words.number() if words.take("seed") else None
    return Hash(of, modulus, seed, words.number() if words.take("offset") else 0)


def payload(words: Words, family: str) -> Simple:
    """``ip saddr``, ``tcp dport``, ..."""
    token = words.next()
    if {token.text, family} == {"ip", "ip6"}:
        message = f"conflicting protocols specified: {family} vs. {token.text}"
        raise NftError(message, token.start, words.peek().end)
    second = words.next()
    found = fields.PAYLOAD.get(f"{token.text} {second.text}")
    if found is None:
        raise unexpected(second)
    return found
