"""``ip route``: tables as iproute2 6.1 prints them, and changing them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.dataplane import commands as c
from podwire.dataplane.addr import canonical, parse_prefix
from podwire.dataplane.fib import ROUTE_TYPES, NextHop, Route, table_name
from podwire.dataplane.packet import Packet
from podwire.dataplane.stack import ip
from podwire.dataplane.tools import ip_json
from podwire.dataplane.tools.options import Options
from podwire.dataplane.tools.words import UsageError, Words, abbreviates, not_modelled

if TYPE_CHECKING:
    from podwire.dataplane.kernel import Kernel
    from podwire.dataplane.netns import Netns

VERBS = ("show", "list", "lst", "get", "add", "replace", "change", "append", "delete", "flush")


_WORDS = {
    "EINVAL": "Invalid argument",
    "EHOSTUNREACH": "No route to host",
    "ENETUNREACH": "Network is unreachable",
    "EACCES": "Permission denied",
}


def line(route: Route, *, table: bool = False, hide_dev: bool = False) -> str:
    """One route; iproute2 leaves a blank at the end."""
    if route.unknown:
        return route.unknown + " "
    six = route.prefix.bits == 128
    words = [] if route.type == "unicast" else [route.type]
    words.append(route.dst)
    if not route.nexthops:
        words += ["via", route.via] if route.via else []
        words += ["dev", route.dev] if route.dev and not hide_dev else []
    if table and route.table != "main":
        words += ["table", route.table]
    if route.proto:
        words += ["proto", route.proto]
    if route.scope and route.scope != "global":
        words += ["scope", route.scope]
    if route.src:
        words += ["src", route.src]
    if route.metric or six:
        words += ["metric", str(route.metric)]
    if route.onlink and not route.nexthops:
        words.append("onlink")
    words += [route.flags] if route.flags else []
    words += _metrics(route)
    words += [route.more] if route.more else []
    if six:
        words += ["pref", "medium"]
    text = " ".join(words)
    # of several lines only those of next hops end in a blank, IPv6's single ones in none
    hops = "".join(f"\n\t{_hop(hop)}" for hop in route.nexthops)
    return text + ("" if six else " ") + hops


def _metrics(route: Route) -> list[str]:
    words = []
    if route.mtu_bytes:
        words += ["mtu", *(["lock"] if route.mtu_lock else []), str(route.mtu_bytes)]
    return words + (["advmss", str(route.advmss_bytes)] if route.advmss_bytes else [])


def _mark(mark: int) -> str:
    return f"mark {mark:#x}" if mark >= 16 else f"mark {mark}"


def _hop(hop: NextHop) -> str:
    via = f"via {hop.via} " if hop.via else ""
    return f"nexthop {via}dev {hop.dev} weight {hop.weight} {'onlink ' if hop.onlink else ''}"


def routes(kernel: Kernel, ns: Netns, words: Words, options: Options, now_ns: int) -> str:
    """``ip route [show]``, ``get``, ``add|replace|del``."""
    first = words.peek()
    verb = abbreviates(first, *VERBS)
    if verb:
        words.next()
    if verb == "get":
        return _get(ns, words)
    if verb in {"add", "replace", "change", "append", "delete"}:
        _change(kernel, ns, verb, words, options, now_ns)
        return ""
    if verb == "flush":
        raise not_modelled(f"ip route {verb}")
    return _show(ns, words, options)


def _show(ns: Netns, words: Words, options: Options) -> str:
    table, dev, prefix = "main", "", None
    for word in words:
        if word == "table":
            table = words.next()
        elif word == "dev":
            dev = words.next()
            if dev not in ns.links:
                raise UsageError(f'Cannot find device "{dev}"', 1)
        elif word in {"proto", "scope", "type", "via", "src", "match", "exact", "root"}:
            raise not_modelled(f"ip route show {word}")
        else:
            prefix = parse_prefix(word, 128 if options.family == "6" else 0)
    fib = ns.fib6 if options.family == "6" or (prefix and prefix.bits == 128) else ns.fib
    tables = list(fib.tables) if table in {"all", "0"} else [table_name(table)]
    if tables[0] not in fib.tables:
        number = 6 if fib is ns.fib6 else 4
        raise UsageError(f"Error: ipv{number}: FIB table does not exist.\nDump terminated", 2)
    tables.sort(key=_order)
    found = [r for name in tables for r in fib.routes(name)]
    if options.json:
        kept = [r for r in found if dev in {"", r.dev} and prefix in {None, r.prefix}]
        return ip_json.text([ip_json.route(r) for r in kept], options)
    return "".join(
        line(r, table=len(tables) > 1, hide_dev=bool(dev)) + "\n"
        for r in found
        if dev in {"", r.dev} and prefix in {None, r.prefix}
    )


def _order(table: str) -> tuple[bool, bool, int, str]:
    """Tables by number; the named ones (main 254, local 255) come last."""
    number = int(table) if table.isdigit() else 0
    return table == "local", table == "main", number, table


def _get(ns: Netns, words: Words) -> str:
    dst, src, mark, oif = words.next(), "", 0, ""
    for word in words:
        if word == "from":
            src = words.next()
        elif word in {"oif", "dev"}:
            oif = words.next()
        elif word == "mark":
            mark = int(words.next(), 0)
        else:
            raise not_modelled(f"ip route get {word}")
    try:
        dst = canonical(dst)
    except ValueError:
        raise UsageError(f'Error: any valid prefix is expected rather than "{dst}".', 1) from None
    fib = ns.fib_of(dst)
    route = fib.route(Packet(src=src, dst=dst, protocol="", mark=mark), "lo", oif)
    if route is None:
        raise UsageError("RTNETLINK answers: Network is unreachable", 2)
    if route.type in ip.ERRNOS:
        raise UsageError(f"RTNETLINK answers: {_WORDS[ip.refusal(route)]}", 2)
    if ":" in dst:
        return _got6(ns, route, dst, src, mark)
    local = route.type == "local"
    parts = [f"{route.type} {dst}" if route.type != "unicast" else dst]
    if src:
        parts.append(f"from {src}")
    if route.via:
        parts.append(f"via {route.via}")
    parts.append("dev lo" if local else f"dev {route.dev}")
    if route.table not in {"main", "local"}:
        parts.append(f"table {route.table}")
    if not src:
        parts.append(f"src {dst if dst in ns.local else ip.source_for(ns, route, dst)}")
    if mark:
        parts.append(_mark(mark))
    cache = {"local": " <local>", "broadcast": " <local,brd>"}.get(route.type, "")
    mtu = ns.path_mtu.get(dst)
    learned = [f"expires 600sec mtu {mtu}"] if mtu and not route.mtu_lock else _metrics(route)
    cached = " ".join([f"cache{cache}", *learned])
    return " ".join(parts) + f" uid 0 \n    {cached} \n"


def _got6(ns: Netns, route: Route, dst: str, src: str, mark: int) -> str:
    """What ``ip -6 route get`` prints: the route itself rather than what became of it."""
    local = route.type == "local"
    parts = [f"{route.type} {dst}" if route.type != "unicast" else dst, f"from {src or '::'}"]
    if route.via:
        parts.append(f"via {route.via}")
    parts.append("dev lo" if local else f"dev {route.dev}")
    if route.table != "main":
        parts.append(f"table {route.table}")
    if route.proto:
        parts.append(f"proto {route.proto}")
    parts.append(f"src {ip.source_for(ns, route, dst)}")
    parts.append(f"metric {route.metric}")
    if mark:
        parts.append(_mark(mark))
    mtu = ns.path_mtu.get(dst)
    parts += [f"expires 600sec mtu {mtu}"] if mtu else _metrics(route)
    return " ".join([*parts, "pref medium"]) + "\n"


class _Given:
    """The words of a route that is to be changed."""

    def __init__(self, verb: str, words: Words) -> None:
        self.kind, self.dst = "unicast", words.next()
        if self.dst in ROUTE_TYPES:
            self.kind, self.dst = self.dst, words.next()
        self.values: dict[str, str] = {}
        self.onlink = self.lock = False
        self.hops: list[c.Hop] = []
        for word in words:
            if word == "onlink":
                self.onlink = True
            elif word == "nexthop":
                self.hops.append(_read_hop(words))
            elif word in {"mtu", "advmss"}:
                value = words.next()
                if value == "lock":
                    self.lock, value = True, words.next()
                self.values[word] = value
            elif word in {"via", "dev", "src", "table", "scope", "proto", "metric"}:
                self.values[word] = words.next()
            else:
                raise not_modelled(f"ip route {verb} {word}")

    def get(self, word: str, default: str = "") -> str:
        """What followed a word."""
        return self.values.get(word, default)


def _read_hop(words: Words) -> c.Hop:
    """``nexthop via ADDRESS dev DEV weight N``, up to the next ``nexthop``."""
    given: dict[str, str] = {}
    onlink = False
    while words.peek() in {"via", "dev", "weight", "onlink"}:
        word = words.next()
        if word == "onlink":
            onlink = True
        else:
            given[word] = words.next()
    weight = int(given.get("weight", "1"))
    return c.Hop(via=given.get("via", ""), dev=given.get("dev", ""), weight=weight, onlink=onlink)


def _change(
    kernel: Kernel, ns: Netns, verb: str, words: Words, options: Options, now_ns: int
) -> None:
    given = _Given(verb, words)
    dst = given.dst
    if dst == "default" and options.family == "6":
        dst = "::/0"
    table = given.get("table", "main")
    if verb == "delete":
        gone = c.RouteDel(
            netns=ns.name,
            dst=dst,
            dev=given.get("dev"),
            via=given.get("via"),
            table=table,
            metric=int(given.get("metric", "0")),
        )
        kernel.execute(gone, now_ns)
        return
    made = c.RouteReplace(
        netns=ns.name,
        dst=dst,
        dev=given.get("dev"),
        via=given.get("via"),
        src=given.get("src"),
        scope=given.get("scope"),
        proto=given.get("proto"),
        onlink=given.onlink,
        type=given.kind,
        table=table,
        mtu_bytes=int(given.get("mtu", "0")),
        mtu_lock=given.lock,
        advmss_bytes=int(given.get("advmss", "0")),
        metric=int(given.get("metric", "0")),
        nexthops=given.hops,
        verb=verb,
    )
    kernel.execute(made, now_ns)
