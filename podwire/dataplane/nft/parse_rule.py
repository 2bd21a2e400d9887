"""Rules of nft: one statement after another, up to the end of the line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from podwire.dataplane.nft import fields
from podwire.dataplane.nft import types as t
from podwire.dataplane.nft.expr import (
    Anonymous,
    Binary,
    Concat,
    Constant,
    Expr,
    MapValue,
    Operand,
    Simple,
)
from podwire.dataplane.nft.literals import VERDICTS, container, right_side
from podwire.dataplane.nft.model import MODELLED, Rule, make_rule
from podwire.dataplane.nft.nat import FLAGS, Nat
from podwire.dataplane.nft.parse_expr import expression
from podwire.dataplane.nft.stmt import (
    DEFAULT_BURST,
    SIZES,
    UNITS_S,
    Counter,
    Dynset,
    Give,
    Limit,
    Log,
    Match,
    Notrack,
    Object,
    Raw,
    Reject,
    SetKey,
    Stmt,
    VMap,
)  # fmt: skip
from podwire.dataplane.nft.templates import Templates
from podwire.dataplane.nft.text import NftError, Token, Words, unexpected

UNMODELLED = ("tproxy", "dup", "fwd", "synproxy", "flow", "quota", "xt", "socket", "osf", "ipsec",
              "vlan", "arp", "exthdr", "secmark", "rt", "ah", "esp", "comp", "dst", "frag", "hbh",
              "mh", "srh", "gre", "geneve", "vxlan", "last", "igmp")  # fmt: skip
"""First words of what loads as it is spelled, and makes a packet's fate UNKNOWN."""
COMPARISONS = ("==", "!=", "<", ">", "<=", ">=", "!", "eq", "ne", "lt", "gt", "le", "ge")
_WORDS = {"eq": "==", "ne": "!=", "lt": "<", "gt": ">", "le": "<=", "ge": ">="}


@lru_cache(maxsize=1 << 14)
def _read(text: str, family: str) -> Rule:
    words = Words(text)
    rule = parse(words, family)
    if words.peek().kind != "end":
        raise unexpected(words.peek())
    return rule


_TEMPLATES = {family: Templates(family, _read) for family in MODELLED}


def rule_of(text: str, family: str) -> Rule:
    """The rule that a line holds. Raises NftError with offsets into it."""
    return _TEMPLATES[family].rule(text)


def parse(words: Words, family: str) -> Rule:
    """A rule, up to the end of its line."""
    stmts: list[Stmt] = []
    comment = ""
    words.transport = False
    last: Token | None = None
    while not words.ended():
        token = words.peek()
        if words.take("comment"):
            comment = words.next().value
            continue
        if last is not None and _terminal(stmts[-1]):
            message = "Statement after terminal statement has no effect"
            raise NftError(message, token.start, token.end)
        stmts.append(statement(words, family))
        last = token
    if not stmts:
        raise unexpected(words.peek())
    return make_rule(_numbered(stmts), comment, family)


def _terminal(stmt: Stmt) -> bool:
    if isinstance(stmt, Give):
        return stmt.kind != "continue"
    return isinstance(stmt, Reject | Nat)


def _numbered(stmts: list[Stmt]) -> list[Stmt]:
    """Counters and limits told apart by their place."""
    slot, found = 0, list[Stmt]()
    for stmt in stmts:
        if isinstance(stmt, Counter):
            found.append(replace(stmt, slot=slot))
            slot += 1
        elif isinstance(stmt, Limit):
            found.append(replace(stmt, slot=len(found)))
        else:
            found.append(stmt)
    return found


def statement(words: Words, family: str) -> Stmt:
    """One statement."""
    token = words.peek()
    word = token.text
    if token.kind == "string":
        raise unexpected(token)
    if word in VERDICTS or word in {"jump", "goto"}:
        return _verdict(words)
    made = _STATEMENTS.get(word)
    if made is not None:
        words.next()
        return made(words, family)
    if word in {"add", "update", "delete", "set"} and words.peek(1).text in {"@", "add", "update"}:
        return _dynset(words, family)
    if word == "@" or word in UNMODELLED:
        return _raw(words)
    if word == "tcp" and words.peek(1).text == "option":
        return _raw(words)
    if word == "ct" and words.peek(1).text in {"count", "timeout", "expectation"}:
        return _raw(words)
    return _comparison(words, family)


def _verdict(words: Words) -> Stmt:
    token = words.next()
    if token.text in {"jump", "goto"}:
        return Give(token.text, words.name().value)
    if token.text == "queue":
        rest = []
        while not words.ended() and words.peek().text != "comment":
            rest.append(words.next().text)
        return Give("queue", "", " ".join(rest))
    return Give(token.text)


def _raw(words: Words) -> Stmt:
    found: list[str] = []
    depth = 0
    while depth or (not words.ended() and words.peek().text != "comment"):
        token = words.next()
        if token.kind == "end":
            raise unexpected(token)
        depth += (token.text == "{") - (token.text == "}")
        found.append(token.text)
    text = " ".join(found)
    for mark in (",", ":"):
        text = text.replace(f" {mark}", mark)
    return Raw(text.replace("@ ", "@"))


# ---------------------------------------------------------------- comparisons


def _comparison(words: Words, family: str) -> Stmt:
    left = expression(words, family)
    words.transport = words.transport or _tells_transport(left)
    if words.take("vmap"):
        return VMap(left, container(words, left.kinds, (t.VERDICT,)))
    if words.take("set"):
        return _assignment(words, family, left)
    if words.ended():
        raise unexpected(words.peek())
    token = words.peek()
    operator = ""
    if token.text in COMPARISONS and token.kind != "string":
        words.next()
        operator = _WORDS.get(token.text, token.text)
    right = right_side(words, left)
    if words.take("/"):
        assert isinstance(right, Constant)
        mask = right_side(words, left)
        assert isinstance(mask, Constant)
        return Match(left, "" if operator == "==" else operator, right, mask.value)
    return _simplified(left, operator, right)


_TRANSPORTS = ("tcp", "udp", "sctp", "dccp", "udplite", "th")
_TELLING = ("meta l4proto", "ip protocol", "ip6 nexthdr")


def _tells_transport(left: Expr) -> bool:
    parts = left.parts if isinstance(left, Concat) else (left,)
    return any(
        isinstance(part, Simple) and (part.protocol in _TRANSPORTS or part.text in _TELLING)
        for part in parts
    )


def _simplified(left: Expr, operator: str, right: Operand) -> Match:
    """The shorter forms that nft prints for what was spelled longer."""
    kind = left.kinds[0]
    plain = "" if operator == "==" and not kind.flags else operator
    if not isinstance(left, Binary) or left.operator != "&" or not isinstance(right, Constant):
        return Match(left, plain, right)
    if kind.flags and operator == "!=" and right.value == 0:
        return Match(left.left, "", Constant(left.kinds, left.right))
    if kind is t.TCP_FLAG and operator in {"==", "!=", ""}:
        return Match(left.left, "" if operator != "!=" else "!=", right, left.right)
    if kind in {t.IPV4, t.IPV6} and operator in {"==", "!=", ""}:
        host = ~left.right & ((1 << kind.bits) - 1)
        if host & (host + 1) == 0 and not isinstance(right.value, t.Range):
            length = kind.bits - host.bit_length()
            value = t.prefix(kind, right.value, length) if host else right.value
            return Match(left.left, plain, Constant(left.kinds, value))
    return Match(left, plain, right)


def _assignment(words: Words, family: str, left: Expr) -> Stmt:
    if isinstance(left, Simple):
        if left in fields.META.values():
            return _set_key("meta", left.text.removeprefix("meta "), words, family)
        if left.text.startswith("ct "):
            return _set_key("ct", left.text.removeprefix("ct "), words, family)
    return Raw(f"{left.show()} set {_spelled(words)}")


def _set_key(what: str, key: str, words: Words, family: str) -> SetKey:
    if key == "mark":
        return SetKey(what, key, expression(words, family, t.MARK))
    return SetKey(what, key, None, _spelled(words))


def _spelled(words: Words) -> str:
    """A value as it is spelled, without spaces around colons."""
    found = [words.next().text]
    while words.peek().text == ":" or found[-1] == ":":
        found.append(words.next().text)
    return "".join(found)


# ---------------------------------------------------------------- other statements


def _counter(words: Words, _family: str) -> Stmt:
    if words.take("name"):
        return Object("counter", words.name().value)
    if not words.take("packets"):
        return Counter()
    packets = words.number()
    words.want("bytes")
    return Counter(packets, words.number())


def _limit(words: Words, _family: str) -> Stmt:
    if words.take("name"):
        return Object("limit", words.name().value)
    return limit(words)


def limit(words: Words) -> Limit:
    """What follows ``limit``: ``rate over 10 kbytes/second burst 5 packets``."""
    words.want("rate")
    over = bool(words.take("over"))
    words.take("until")
    rate, in_bytes, unit = _rate(words)
    if unit.text not in UNITS_S:
        raise unexpected(unit)
    burst = 0 if in_bytes else DEFAULT_BURST
    if words.take("burst"):
        burst, _ = _amount(words)
        words.take("packets")
    return Limit(rate, unit.text, burst, in_bytes, over)


def _rate(words: Words) -> tuple[int, bool, Token]:
    """``10/minute`` or ``1 mbytes/second`` (whose slash is part of a word)."""
    following = words.peek(1)
    size, slash, unit = following.text.partition("/")
    if following.kind == "word" and slash and size in SIZES:
        number = words.number()
        words.next()
        return number * SIZES[size], True, following._replace(text=unit)
    number, in_bytes = _amount(words)
    words.want("/")
    return number, in_bytes, words.next()


def _amount(words: Words) -> tuple[int, bool]:
    number = words.number()
    for name, size in SIZES.items():
        if words.take(name):
            return number * size, True
    return number, False


def _log(words: Words, _family: str) -> Stmt:
    found: list[str] = []
    while words.peek().text in {"prefix", "level", "group", "snaplen", "queue-threshold", "flags"}:
        option, value = words.next().text, words.next()
        text = f'"{value.value}"' if option == "prefix" else value.text
        while option == "flags" and words.peek().text in {"sequence", "options", ","}:
            text += ("" if words.peek().text == "," else " ") + words.next().text
        if (option, text) != ("level", "warn"):
            found.append(f"{option} {text}")
    return Log(" ".join(found))


def _reject(words: Words, family: str) -> Stmt:
    if not words.take("with"):
        return Reject()
    proto = words.next()
    if proto.text == "tcp":
        words.want("reset")
        return Reject("tcp", "reset")
    if proto.text not in {"icmp", "icmpv6", "icmpx"}:
        raise unexpected(proto)
    words.take("type")
    code = words.next()
    if code.text not in t.SYMBOLS[f"{proto.text}_code"]:
        raise NftError("Could not parse symbol", code.start, code.end)
    default = {"ip": "icmp", "ip6": "icmpv6"}.get(family, "icmpx")
    if code.text == "port-unreachable" and proto.text == default:
        return Reject()
    return Reject(proto.text, code.text)


_NO_FAMILY = "ip or ip6 must be specified with address for inet tables."
_NO_TRANSPORT = "transport protocol mapping is only valid after transport protocol match"


def _nat_family(family: str, word: str, address: Expr | None) -> str:
    """The family that nft prints after ``dnat``."""
    if address is None:
        return ""
    own = "ip6" if address.kinds[0] is t.IPV6 else "ip"
    if family == "inet":
        return word or own
    if isinstance(address, MapValue):
        anonymous = isinstance(address.container, Anonymous)
        return (own if len(address.kinds) > 1 else "") if anonymous else word
    return ""


def _nat(kind: str) -> Callable[[Words, str], Stmt]:
    def parse_nat(words: Words, family: str) -> Stmt:
        word = ""
        if words.peek().text in {"ip", "ip6"} and kind in {"dnat", "snat"}:
            word = words.next().text
        if words.take("addr"):
            words.want(".")
            words.want("port")
        address: Expr | None = None
        port: Expr | None = None
        if words.take("to"):
            if words.peek().text != ":" and kind in {"dnat", "snat"}:
                if family == "inet" and not word:
                    token = words.peek()
                    raise NftError(_NO_FAMILY, token.start, token.end)
                v6 = (word or family) == "ip6" or words.peek().kind == "colons"
                v6 = v6 or words.peek().text == "["
                address = expression(words, family, t.IPV6 if v6 else t.IPV4)
            if words.take(":"):
                start = words.peek().start
                port = expression(words, family, t.SERVICE)
                if not words.transport:
                    raise NftError(_NO_TRANSPORT, start, words.last.end)
        elif kind in {"dnat", "snat"}:
            raise unexpected(words.peek())
        flags: list[str] = []
        while words.peek().text in FLAGS:
            flags.append(words.next().text)
            words.take(",")
        return Nat(kind, _nat_family(family, word, address), address, port, tuple(flags))

    return parse_nat


def _notrack(_words: Words, _family: str) -> Stmt:
    return Notrack()


def _dynset(words: Words, family: str) -> Stmt:
    verb = words.next().text
    if verb == "set":
        verb = words.next().text
    words.want("@")
    name = words.name().value
    words.want("{")
    key = expression(words, family)
    timeout_ms, inner = 0, list[Stmt]()
    while not words.take("}"):
        if words.take("timeout"):
            timeout_ms = t.duration_ms(words.next())
        else:
            inner.append(statement(words, family))
    return Dynset(verb, name, key, timeout_ms, tuple(inner))


_STATEMENTS: dict[str, Callable[[Words, str], Stmt]] = {
    "counter": _counter,
    "limit": _limit,
    "log": _log,
    "reject": _reject,
    "dnat": _nat("dnat"),
    "snat": _nat("snat"),
    "masquerade": _nat("masquerade"),
    "redirect": _nat("redirect"),
    "notrack": _notrack,
}
