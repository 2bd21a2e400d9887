"""Braces of nft files: tables with all that is in them, chains, sets, maps, objects."""

from __future__ import annotations

from typing import Any

from podwire.dataplane.nft import parse_rule, priorities
from podwire.dataplane.nft import types as t
from podwire.dataplane.nft.model import SetSpec
from podwire.dataplane.nft.ops import ChainBody, ElementsBody, Op, RuleBody
from podwire.dataplane.nft.parse_expr import expression
from podwire.dataplane.nft.stmt import Limit
from podwire.dataplane.nft.text import NftError, Token, Words, unexpected

OBJECTS = ("counter", "quota", "limit")


def table_block(
    words: Words, ops: list[Op], verb: str, family: str, name: Token, start: int
) -> None:
    """``table ip x { ... }``: chains first, then objects, sets, elements, and rules last."""
    table = name.value
    spot = (name.start, name.end)
    whole = (start, name.end)
    chains: list[Op] = []
    objects: list[Op] = []
    sets: list[Op] = []
    elements: list[Op] = []
    rules: list[Op] = []
    comment, flags = "", list[str]()
    for token in words.lines():
        if token.text == "comment":
            comment = words.next().value
        elif token.text == "flags":
            flags.append(words.next().text)
        elif token.text == "chain":
            _chain(words, chains, rules, family, table)
        elif token.text in {"set", "map"}:
            own = words.name()
            spec, body = set_body(words, token.text, family, own.value)
            at = (own.start, own.end)
            sets.append(Op("add", token.text, family, table, own.value, spec, at, at))
            if body is not None:
                elements.append(Op("add", "element", family, table, own.value, body, at, at))
        elif token.text in OBJECTS:
            own = words.name()
            at = (own.start, own.end)
            found = object_body(words, token.text)
            objects.append(Op("add", token.text, family, table, own.value, found, at, at))
        else:
            what = f"not modelled: {token.text}" if token.text in _OTHERS else ""
            raise NftError(what, token.start, token.end) if what else unexpected(token)
    ops.append(Op(verb, "table", family, table, table, (comment, tuple(flags)), spot, whole))
    ops += [*chains, *objects, *sets, *elements, *rules]


_OTHERS = ("flowtable", "ct", "secmark", "synproxy")


def _chain(words: Words, chains: list[Op], rules: list[Op], family: str, table: str) -> None:
    name = words.name()
    spot = (name.start, name.end)
    words.want("{")
    body = chain_body(words)
    while True:
        words.skip_lines()
        if words.take("}"):
            break
        start = words.peek().start
        rule = parse_rule.parse(words, family)
        if not words.ended():
            raise unexpected(words.peek())
        if words.peek().text == "}" and "\n" not in words.text[words.last.end : words.peek().start]:
            raise NftError(
                "syntax error, unexpected '}', expecting newline or semicolon",
                words.peek().start, words.peek().end,
            )  # fmt: skip
        whole = (start, words.last.end)
        rules.append(Op("add", "rule", family, table, name.value, RuleBody(rule), spot, whole))
    chains.append(Op("add", "chain", family, table, name.value, body, spot, spot))


def chain_body(words: Words) -> ChainBody:
    """``type nat hook output priority dstnat; policy drop; comment "x"``, as far as it goes."""
    found = ChainBody()
    while True:
        words.skip_lines()
        if words.peek().text == "type" and words.peek().kind == "word":
            found = _hooked(words, found)
        elif words.peek().text == "policy" and words.peek(1).text in {"accept", "drop"}:
            words.next()
            found = found._replace(policy=words.next().text)
        elif words.peek().text == "comment":
            words.next()
            found = found._replace(comment=words.next().value)
        else:
            return found


def _hooked(words: Words, found: ChainBody) -> ChainBody:
    words.next()
    kind = words.next()
    if kind.text not in priorities.TYPES:
        raise NftError("unknown chain type", kind.start, kind.end)
    words.want("hook")
    hook = words.next()
    if hook.text not in priorities.HOOKS:
        if hook.text in {"ingress", "egress"}:
            raise NftError(f"not modelled: hook {hook.text}", hook.start, hook.end)
        raise NftError("unknown chain hook", hook.start, hook.end)
    if words.take("device"):
        words.next()
    words.want("priority")
    return found._replace(type=kind.text, hook=hook.text, priority=_priority(words, hook.text))


def _priority(words: Words, hook: str) -> int:
    sign = -1 if words.take("-") else 1
    token = words.peek()
    if token.kind == "number":
        return sign * words.number()
    words.next()
    base = priorities.number(token.text, hook)
    if base is None:
        message = f"'{token.text}' is invalid priority in this context."
        raise NftError(message, token.start, token.end)
    if words.take("+"):
        return base + words.number()
    if words.take("-"):
        return base - words.number()
    return base


# ---------------------------------------------------------------- sets and maps


def set_body(
    words: Words, what: str, family: str, name: str
) -> tuple[SetSpec, ElementsBody | None]:
    """The braces of a set or map, and the elements in them."""
    start = words.peek().start
    told: dict[str, Any] = {}
    elements: ElementsBody | None = None
    for token in words.lines():
        if token.text == "type":
            told["kinds"], told["data"], told["type_text"] = _types(words, what)
        elif token.text == "typeof":
            told["kinds"], told["data"], told["type_text"] = _typeof(words, what, family)
        elif token.text == "elements":
            words.want("=")
            words.skip_newlines()
            elements = braces(words)
        else:
            _property(words, token, told)
    if "kinds" not in told:
        raise NftError("unqualified type in set definition", start, words.last.end)
    return SetSpec(name=name, is_map=what == "map", **told), elements


def braces(words: Words) -> ElementsBody:
    """``{ ... }`` taken as text."""
    first = words.want("{")
    depth = 1
    while depth:
        token = words.next()
        if token.kind == "end":
            raise unexpected(token)
        depth += (token.text == "{") - (token.text == "}")
    return ElementsBody(words.text[first.start : words.last.end], first.start)


def _property(words: Words, token: Token, told: dict[str, Any]) -> None:
    word = token.text
    if word == "flags":
        flags = [words.next().text]
        while words.take(","):
            flags.append(words.next().text)
        order = ("constant", "interval", "dynamic", "timeout")
        if any(flag not in order for flag in flags):
            raise unexpected(words.last)
        told["flags"] = tuple(flag for flag in order if flag in flags)
    elif word == "timeout":
        told["timeout_ms"] = t.duration_ms(words.next())
    elif word == "gc-interval":
        told["gc_ms"] = t.duration_ms(words.next())
    elif word == "size":
        told["size"] = words.number()
    elif word == "policy":
        told["policy"] = words.next().text
    elif word == "auto-merge":
        told["auto_merge"] = True
    elif word == "counter":
        told["counter"] = True
    elif word == "comment":
        told["comment"] = words.next().value
    else:
        raise unexpected(token)


def _types(words: Words, what: str) -> tuple[Any, Any, str]:
    kinds, text = _type_list(words)
    if what == "set":
        return kinds, (), f"type {text}"
    words.want(":")
    if words.peek().text in OBJECTS:
        word = words.next().text
        return kinds, (t.VERDICT,), f"type {text} : {word}"
    data, data_text = _type_list(words)
    return kinds, data, f"type {text} : {data_text}"


def _type_list(words: Words) -> tuple[tuple[t.DataType, ...], str]:
    kinds = []
    while True:
        token = words.next()
        kind = t.NAMED.get(token.text)
        if kind is None:
            raise NftError(f"unknown datatype {token.text}", token.start, token.end)
        kinds.append(kind)
        if not words.take("."):
            break
    return tuple(kinds), " . ".join(kind.name for kind in kinds)


def _typeof(words: Words, what: str, family: str) -> tuple[Any, Any, str]:
    key = expression(words, family)
    if what == "set":
        return key.kinds, (), f"typeof {key.show()}"
    words.want(":")
    if words.take("verdict"):
        return key.kinds, (t.VERDICT,), f"typeof {key.show()} : verdict"
    data = expression(words, family)
    return key.kinds, data.kinds, f"typeof {key.show()} : {data.show()}"


# ---------------------------------------------------------------- named objects


def object_body(words: Words, what: str) -> tuple[Any, str, str]:
    """The body of a counter, quota or limit: what it is, how it prints, its comment."""
    braced = words.take("{") is not None
    body: Any = (0, 0)
    text, comment = "packets 0 bytes 0", ""
    while not (words.ended() if not braced else words.peek().text == "}"):
        if braced:
            words.skip_lines()
            if words.peek().text == "}":
                break
        if words.take("comment"):
            comment = words.next().value
        elif what == "counter" and words.take("packets"):
            packets = words.number()
            words.want("bytes")
            body = (packets, words.number())
        elif what == "limit" and words.peek().text == "rate":
            found: Limit = parse_rule.limit(words)
            body, text = found, found.show().removeprefix("limit ")
        elif what == "quota":
            text = " ".join(_until(words))
        else:
            raise unexpected(words.peek())
    if braced:
        words.want("}")
    return body, text, comment


def _until(words: Words) -> list[str]:
    found = []
    while not words.ended() and words.peek().text != "comment":
        found.append(words.next().text)
    return found
