"""``ip route show table all`` and ``ip rule``, of both families in one text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from podwire.dataplane.addr import ALL_ONES, Prefix, canonical, parse_prefix
from podwire.dataplane.dump.text import Line, Section
from podwire.dataplane.fib import NOWHERE_TYPES, TERMINAL_TYPES, NextHop, PolicyRule, Route

TYPES = ("unicast", "local", "broadcast", "anycast", "multicast", *NOWHERE_TYPES)
_FLAGS = ("onlink", "linkdown", "dead", "pervasive", "offload", "trap", "rt_trap", "notify",
          "unresolved", "rt_offload", "offload_failed", "rt_offload_failed")  # fmt: skip
_HINTS = ("initcwnd", "initrwnd", "hoplimit", "window", "rtt", "rttvar", "ssthresh", "cwnd",
          "reordering", "rto_min", "quickack", "congctl", "features", "realm", "nhid")  # fmt: skip
"""Attributes with a value that decide nothing here."""
_UNMODELLED = ("tos", "dsfield", "encap", "from", "realms", "ttl-propagate", "fastopen_no_cookie")
"""Words of routes that decide something, and are not modelled."""
_UNMODELLED_SELECTORS = ("tos", "dsfield", "uidrange", "tun_id", "realms", "suppress_ifgroup",
                         "l3mdev", "masquerade", "map-to", "flowlabel")  # fmt: skip
Rules = dict[str, tuple[PolicyRule, ...]]


class _UnknownError(Exception):
    """A word that is not modelled."""


def read_routes(section: Section) -> list[Route]:
    """All routes. Raises DumpError."""
    found: list[Route] = []
    for line, hops in _blocks(section):
        whole = "\n".join([line.text.rstrip(), *(hop.text.rstrip() for hop in hops)])
        try:
            made = _route(line, hops)
        except _UnknownError:
            made = _unknown(line, whole)
        if made is not None:
            found.append(made)
    return found


def _blocks(section: Section) -> Iterator[tuple[Line, list[Line]]]:
    """Lines, with those of their next hops."""
    held: tuple[Line, list[Line]] | None = None
    for line in section.lines():
        if line.text[0].isspace():
            if held is None or line.peek() not in {"nexthop", "cache"}:
                raise section.error("a route is expected first", line.number)
            held[1].append(line)
            continue
        if held is not None:
            yield held
        held = line, []
    if held is not None:
        yield held


def _six(line: Line, hops: list[Line]) -> bool:
    text = " ".join([line.text, *(hop.text for hop in hops)])
    text = re.sub(r"\bvia inet6 \S+", "", text)
    return " pref " in f"{text} " or bool(re.search(r"[0-9a-f]*:[0-9a-f:]+", text))


def _prefix(line: Line, word: str, *, six: bool) -> Prefix:
    try:
        return parse_prefix(word, 128 if six else 32)
    except ValueError:
        raise line.error(f'a network is expected rather than "{word}"') from None


def _address(line: Line, word: str) -> str:
    try:
        return canonical(word)
    except ValueError:
        raise line.error(f'an address is expected rather than "{word}"') from None


def _route(line: Line, hops: list[Line]) -> Route | None:
    six = _six(line, hops)
    kind = line.take(*TYPES) or "unicast"
    told: dict[str, Any] = {"prefix": _prefix(line, line.next("a destination"), six=six)}
    flags: list[str] = []
    more: list[str] = []
    while line:
        word = line.next()
        if word in _FLAGS:
            flags.append(word)
        elif word in _HINTS:
            more.append(f"{word} {line.next()}")
        elif word in _WORDS:
            _WORDS[word](line, told)
        elif word in {"pref", "expires", "error", "age"}:
            line.next()
        elif word in _UNMODELLED:
            raise _UnknownError(word)
        else:
            raise line.error(f'"{word}" is no word of a route')
    if "dead" in flags:
        return None
    ways = tuple(_hop(hop) for hop in hops if hop.peek() == "nexthop")
    if ways:
        told |= {"dev": ways[0].dev, "via": ways[0].via, "nexthops": ways}
    told["onlink"] = "onlink" in flags
    kept = " ".join(flag for flag in flags if flag != "onlink")
    return Route(type=kind, flags=kept, more=" ".join(more), **told)


def _via(line: Line, told: dict[str, Any]) -> None:
    if line.peek() in {"inet", "inet6"}:
        raise _UnknownError("via of another family")
    told["via"] = _address(line, line.next("a gateway"))


def _source(line: Line, told: dict[str, Any]) -> None:
    told["src"] = _address(line, line.next("an address"))


def _word(name: str) -> Callable[[Line, dict[str, Any]], None]:
    def take(line: Line, told: dict[str, Any]) -> None:
        told[name] = line.next(name)

    return take


def _metric(line: Line, told: dict[str, Any]) -> None:
    told["metric"] = line.number_of("a metric")


def _mtu(line: Line, told: dict[str, Any]) -> None:
    told["mtu_lock"] = bool(line.take("lock"))
    told["mtu_bytes"] = line.number_of("an MTU")


def _advmss(line: Line, told: dict[str, Any]) -> None:
    told["advmss_bytes"] = line.number_of("a segment size")


_WORDS: dict[str, Callable[[Line, dict[str, Any]], None]] = {
    "via": _via,
    "dev": _word("dev"),
    "table": _word("table"),
    "proto": _word("proto"),
    "scope": _word("scope"),
    "src": _source,
    "metric": _metric,
    "mtu": _mtu,
    "advmss": _advmss,
}


def _hop(line: Line) -> NextHop:
    line.next()
    told: dict[str, Any] = {}
    while line:
        word = line.next()
        if word == "via":
            _via(line, told)
        elif word == "dev":
            told["dev"] = line.next("a device")
        elif word == "weight":
            told["weight"] = line.number_of("a weight")
        elif word == "onlink":
            told["onlink"] = True
        elif word in _UNMODELLED:
            raise _UnknownError(word)
        elif word not in _FLAGS:
            raise line.error(f'"{word}" is no word of a next hop')
    return NextHop(**{"dev": "", **told})


def _unknown(line: Line, whole: str) -> Route:
    """A route with something that is not modelled: found by its destination all the same."""
    again = Line(line.text, line.number, line.section)
    kind = again.take(*TYPES) or "unicast"
    six = _six(line, [])
    prefix = _prefix(again, again.next("a destination"), six=six)
    words = whole.split()
    told = {name: words[words.index(name) + 1] for name in ("dev", "table", "metric")
            if name in words[:-1]}  # fmt: skip
    metric = int(told.get("metric", "0")) if told.get("metric", "0").isdigit() else 0
    table = told.get("table", "main")
    return Route(prefix, told.get("dev", ""), type=kind, table=table, metric=metric, unknown=whole)


# ---------------------------------------------------------------- rules


def read_rules(section: Section) -> Rules:
    """The rules of each family that is told of. Raises DumpError.

    ``ip -4 rule`` and ``ip -6 rule`` look alike: a list whose priorities begin anew is the other's.
    """
    blocks: list[list[PolicyRule]] = []
    six: list[bool] = []
    last = -1
    for line in section.lines():
        word = line.next()
        number = word.removesuffix(":")
        if not (word.endswith(":") and number.isdigit()):
            raise line.error('a rule is expected, such as "32766: from all lookup main"')
        priority = int(number)
        if priority < last or not blocks:
            blocks.append([])
            six.append(False)
        last = priority
        text = line.text.partition(":")[2].strip()
        v6 = bool(re.search(r"(?:from|to) [0-9a-f]*:", text))
        six[-1] = six[-1] or v6
        blocks[-1].append(_rule(line, priority, text))
    if len(blocks) > 2:
        raise section.error("more than two lists of rules")
    if len(blocks) == 2 and not six[0]:
        six[1] = True
    return {("ipv6" if v6 else "ipv4"): tuple(b) for b, v6 in zip(blocks, six, strict=True)}


def _rule(line: Line, priority: int, text: str) -> PolicyRule:
    told: dict[str, Any] = {}
    more: list[str] = []
    unknown = ""
    try:
        while line:
            _selector(line, line.next(), told, more)
    except _UnknownError:
        unknown = text
    return PolicyRule(priority, more=" ".join(more), unknown=unknown, **told)


def _number(line: Line, text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise line.error(f'a number is expected rather than "{text}"') from None


def _selector(line: Line, word: str, told: dict[str, Any], more: list[str]) -> None:
    """One condition or action."""
    if word == "not":
        told["inverted"] = True
    elif word in {"from", "to"}:
        value = line.next("a network")
        if value != "all":
            six = ":" in value
            told["src" if word == "from" else "dst"] = _prefix(line, value, six=six)
    elif word == "fwmark":
        mark, _, mask = line.next("a mark").partition("/")
        told["mark"] = _number(line, mark)
        told["mask"] = _number(line, mask) if mask else ALL_ONES
    elif word in {"iif", "oif"}:
        told[word] = line.next("a device")
    elif word == "ipproto":
        told["protocol"] = line.next("a protocol")
    elif word in {"sport", "dport"}:
        low, _, high = line.next("a port").partition("-")
        told[word] = (_number(line, low), _number(line, high or low))
    elif word in {"lookup", "table"}:
        told["table"] = line.next("a table")
        if told["table"].startswith("["):
            raise _UnknownError(word)
    elif word == "suppress_prefixlength":
        told[word] = line.number_of("a length")
    elif word == "goto":
        told["action"], told["target"] = "goto", line.number_of("a priority")
    elif word in {*TERMINAL_TYPES, "nop"}:
        told["action"] = word
    elif word in {"proto", "protocol"}:
        more.append(f"{word} {line.next()}")
    elif word in _UNMODELLED_SELECTORS:
        raise _UnknownError(word)
    elif word not in {"[detached]", "[unresolved]"}:
        raise line.error(f'"{word}" is no word of a rule')
