"""Right sides of rules and elements of sets: values, prefixes, ranges, lists, maps."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from typing import Any

from podwire.dataplane.nft import types as t
from podwire.dataplane.nft.elements import Element, Verdict, bounds, exact, members, merged
from podwire.dataplane.nft.expr import (
    Anonymous,
    Constant,
    Container,
    Expr,
    Operand,
    Presence,
    SetRef,
)
from podwire.dataplane.nft.text import NftError, Token, Words, unexpected

_PREFIXED = ("ipv4_addr", "ipv6_addr", "mark", "integer")
VERDICTS = ("accept", "drop", "continue", "return", "queue")
Kinds = tuple[t.DataType, ...]


def value(words: Words, kind: t.DataType) -> t.Value:
    """One value, prefix, range or wildcard of a type."""
    token = words.next()
    if token.kind in {"newline", "end", "symbol"}:
        raise unexpected(token)
    if kind.flags and words.peek().text in {"|", ","} and token.kind != "number":
        return _flags(words, kind, token)
    if kind.name in {"ifname", "iface_index"} and token.value.endswith("*"):
        return t.Wild(token.value[:-1])
    low = kind.read(token)
    if kind is t.RAW:
        return f"{low}-{words.next().text}" if words.take("-") else low
    if kind.name in _PREFIXED and words.take("/"):
        length = words.number()
        if length > kind.bits:
            raise NftError(
                f"Prefix length {length} is invalid for type {kind.words}",
                words.last.start, words.last.end,
            )  # fmt: skip
        return low if length == kind.bits else t.prefix(kind, low, length)
    if words.take("-"):
        last = words.next()
        high = kind.read(last)
        if kind.number(high) < kind.number(low):
            raise NftError("Range negative size", token.start, last.end)
        return t.Range(kind.number(low), kind.number(high), dashed=True)
    return low


def _flags(words: Words, kind: t.DataType, first: Token) -> int:
    """``established,related`` or ``syn|ack`` (a comma inside braces begins the next element)."""
    total: int = kind.read(first)
    while words.depth == 0 and words.peek().text == ",":
        words.next()
        total |= kind.read(words.next())
    while words.take("|"):
        total |= kind.read(words.next())
    return total


def bits(words: Words, kind: t.DataType) -> int:
    """The number that a bit operation takes: a literal, or flags in parentheses."""
    if words.take("("):
        total = 0
        while not words.take(")"):
            token = words.next()
            if token.text not in {"|", ","}:
                total |= kind.number(kind.read(token))
        return total
    token = words.next()
    if token.kind not in {"number", "word", "colons"}:
        raise unexpected(token)
    if kind.name in {"ipv4_addr", "ipv6_addr"} and token.text.isdigit():
        return int(token.text)
    total = kind.number(kind.read(token))
    while kind.flags and words.take("|"):
        total |= kind.number(kind.read(words.next()))
    return total


def compound(words: Words, kinds: Kinds) -> t.Value:
    """A value of each type, joined by dots."""
    if len(kinds) == 1:
        return value(words, kinds[0])
    parts = [value(words, kinds[0])]
    for kind in kinds[1:]:
        if not words.take("."):
            raise NftError("datatype mismatch", words.peek().start, words.peek().end)
        parts.append(value(words, kind))
    return tuple(parts)


def verdict(words: Words) -> Verdict:
    """``accept``, ``goto chain``, ..."""
    token = words.next()
    if token.text in {"jump", "goto"}:
        return token.text, words.name().value
    if token.text not in VERDICTS:
        raise unexpected(token)
    return token.text, ""


def _data(words: Words, data: Kinds) -> Any:
    return verdict(words) if data[0] is t.VERDICT else compound(words, data)


def _options(words: Words) -> dict[str, Any]:
    """What may follow an element's key: timeout, expires, comment, counter."""
    found: dict[str, Any] = {}
    while True:
        if words.take("comment"):
            found["comment"] = words.next().value
        elif words.take("timeout"):
            found["timeout_ms"] = t.duration_ms(words.next())
        elif words.take("expires"):
            found["expires_ns"] = t.duration_ms(words.next()) * 1_000_000
        elif words.take("counter"):
            counted = (0, 0)
            if words.take("packets"):
                packets = words.number()
                words.want("bytes")
                counted = (packets, words.number())
            found["counter"] = counted
        else:
            return found


def element(words: Words, kinds: Kinds, data: Kinds) -> Element:
    """One element: key, options, and ``: data`` in maps."""
    key = compound(words, kinds)
    options = _options(words)
    if data and words.take(":"):
        return Element(key, _data(words, data), **options, **_options(words))
    return Element(key, **options)


def elements(words: Words, kinds: Kinds, data: Kinds) -> list[Element]:
    """What stands in braces."""
    words.want("{")
    words.deeper()
    found: list[Element] = []
    words.skip_newlines()
    if words.peek().text == "}":
        raise unexpected(words.peek())
    while not words.take("}"):
        found.append(element(words, kinds, data))
        words.skip_newlines()
        if not words.take(",") and words.peek().text != "}":
            raise unexpected(words.peek(), "expecting comma or '}'")
        words.skip_newlines()
    words.depth -= 1
    return found


# ---------------------------------------------------------------- many elements, fast


@lru_cache(maxsize=1 << 17)
def _plain(kind: t.DataType, text: str) -> t.Value:
    words = Words(text)
    words.depth = 1
    found = value(words, kind)
    if words.peek().kind != "end":
        raise unexpected(words.peek())
    return found


@lru_cache(maxsize=1 << 17)
def _plain_verdict(text: str) -> Verdict:
    words = Words(text)
    found = verdict(words)
    if words.peek().kind != "end":
        raise unexpected(words.peek())
    return found


_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_ADDRESS = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}", re.ASCII)
_PORT = re.compile(r"[1-9]\d{0,3}|[1-5]\d{4}", re.ASCII)
_LEADS = re.compile(r"(goto|jump) ([A-Za-z][A-Za-z0-9_./-]*)")
"""What ``_plain`` reads as it stands."""
_SLOW = ('"', "timeout", "expires", "counter", "comment", "$", "#", "\\")


def many(body: str, kinds: Kinds, data: Kinds) -> tuple[Element, ...]:
    """The elements of ``{ ... }``. Raises NftError with offsets into ``body``."""
    if not any(word in body for word in _SLOW):
        try:
            return tuple(_fast(body, kinds, data))
        except (NftError, ValueError):
            pass  # the slow road says where it is wrong
    words = Words(body)
    found = elements(words, kinds, data)
    words.skip_lines()
    if words.peek().kind != "end":
        raise unexpected(words.peek())
    return tuple(found)


def _fast(body: str, kinds: Kinds, data: Kinds) -> list[Element]:
    inner = body.strip()[1:-1]
    found = []
    for piece in inner.split(","):
        text = piece.strip()
        if not text:
            continue
        given: Any = None
        if data:
            text, colon, right = text.partition(" : ")
            if colon:
                given = _verdict(right.strip()) if data[0] is t.VERDICT else _fast_key(right, data)
        found.append(Element(_fast_key(text, kinds), given))
    return found


def _fast_key(text: str, kinds: Kinds) -> t.Value:
    if len(kinds) == 1:
        return _one(kinds[0], text.strip())
    parts = text.split(" . ")
    return tuple([_one(kind, part.strip()) for kind, part in zip(kinds, parts, strict=True)])


def _one(kind: t.DataType, text: str) -> t.Value:
    if kind.name == "ipv4_addr" and _ADDRESS.fullmatch(text):
        return text
    if kind.name == "inet_service" and _PORT.fullmatch(text):
        return int(text)
    return _plain(kind, text)


def _verdict(text: str) -> Verdict:
    found = _LEADS.fullmatch(text)
    return (found[1], found[2]) if found is not None else _plain_verdict(text)


# ---------------------------------------------------------------- in rules


def anonymous(words: Words, kinds: Kinds, data: Kinds) -> Anonymous:
    """``{ ... }`` in a rule."""
    return collected(kinds, data, elements(words, kinds, data))


def collected(kinds: Kinds, data: Kinds, found: list[Element]) -> Anonymous:
    """Elements as a set or map of a rule."""
    interval = any(not exact(e.key) for e in found)
    if interval and len(kinds) == 1 and not data and kinds[0].name != "ifname":
        found = merged_prefixes(kinds[0], found)
    return Anonymous(kinds, data, members(kinds, found), interval)


def merged_prefixes(kind: t.DataType, found: list[Element]) -> list[Element]:
    """Overlapping ranges made one; those that only touch stay apart."""
    spans = sorted(bounds(kind, e.key) for e in found)
    if all(a[1] < b[0] for a, b in pairwise(spans)):
        return found
    return merged(kind, found)


def container(words: Words, kinds: Kinds, data: Kinds) -> Container:
    """``@name`` or ``{ ... }``."""
    if words.take("@"):
        return SetRef(words.name().value, kinds)
    if words.peek().text != "{":
        raise unexpected(words.peek())
    return anonymous(words, kinds, data)


def right_side(words: Words, left: Expr) -> Operand:
    """What a comparison compares with."""
    kinds = left.kinds
    token = words.peek()
    if token.text == "@":
        return container(words, kinds, ())
    if token.text == "{":
        only = elements(words, kinds, ())
        if len(only) == 1 and len(kinds) == 1 and not only[0].comment:
            return Constant(kinds, only[0].key)
        return collected(kinds, (), only)
    if token.text in {"missing", "exists"}:
        return Presence(words.next().text)
    if token.text == "(":
        return Constant(kinds, kinds[0].back(bits(words, kinds[0])))
    return Constant(kinds, compound(words, kinds))
