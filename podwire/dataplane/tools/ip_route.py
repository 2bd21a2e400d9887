"""``ip route`` and ``ip rule``: tables as iproute2 6.1 prints them, and changing them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.dataplane import commands as c
from podwire.dataplane.addr import ip_int, parse_prefix
from podwire.dataplane.fib import Route
from podwire.dataplane.stack import ipv4
from podwire.dataplane.tools.options import Options
from podwire.dataplane.tools.words import UsageError, Words, abbreviates, not_modelled

if TYPE_CHECKING:
    from podwire.dataplane.kernel import Kernel
    from podwire.dataplane.netns import Netns

TYPES = ("unicast", "local", "broadcast", "blackhole", "unreachable", "prohibit")
VERBS = ("show", "list", "lst", "get", "add", "replace", "change", "append", "delete", "flush")


def line(route: Route, *, table: bool = False, hide_dev: bool = False) -> str:
    """One route; iproute2 leaves a blank at the end."""
    words = [] if route.type == "unicast" else [route.type]
    words.append(route.dst)
    if route.via:
        words += ["via", route.via]
    if route.dev and not hide_dev:
        words += ["dev", route.dev]
    if table and route.table != "main":
        words += ["table", route.table]
    if route.proto:
        words += ["proto", route.proto]
    if route.scope and route.scope != "global":
        words += ["scope", route.scope]
    if route.src:
        words += ["src", route.src]
    if route.metric:
        words += ["metric", str(route.metric)]
    if route.mtu_bytes:
        words += ["mtu", str(route.mtu_bytes)]
    if route.onlink:
        words.append("onlink")
    return " ".join(words) + " "


def routes(kernel: Kernel, ns: Netns, words: Words, options: Options, now_ns: int) -> str:
    """``ip route [show]``, ``get``, ``add|replace|del``."""
    first = words.peek()
    verb = abbreviates(first, *VERBS)
    if verb:
        words.next()
    if verb == "get":
        return _get(ns, words)
    if verb in {"add", "replace", "delete"}:
        _change(kernel, ns, verb, words, now_ns)
        return ""
    if verb in {"change", "append", "flush"}:
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
            prefix = parse_prefix(word)
    if options.family == "6":
        return ""
    tables = list(ns.fib.tables) if table in {"all", "0"} else [{"254": "main"}.get(table, table)]
    tables.sort(key=lambda name: name == "local")
    found = [r for name in tables for r in ns.fib.routes(name)]
    return "".join(
        line(r, table=len(tables) > 1, hide_dev=bool(dev)) + "\n"
        for r in found
        if dev in {"", r.dev} and prefix in {None, r.prefix}
    )


def _get(ns: Netns, words: Words) -> str:
    dst, src, mark = words.next(), "", 0
    for word in words:
        if word == "from":
            src = words.next()
        elif word == "mark":
            mark = int(words.next(), 0)
        else:
            raise not_modelled(f"ip route get {word}")
    try:
        ip_int(dst)
    except ValueError:
        raise UsageError(f'Error: any valid prefix is expected rather than "{dst}".', 1) from None
    route = ns.fib.lookup(dst, src, mark)
    if route is None:
        raise UsageError("RTNETLINK answers: Network is unreachable", 2)
    errors = {
        "blackhole": "Invalid argument",
        "unreachable": "No route to host",
        "prohibit": "Permission denied",
    }
    if route.type in errors:
        raise UsageError(f"RTNETLINK answers: {errors[route.type]}", 2)
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
        parts.append(f"src {dst if dst in ns.local else ipv4.source_for(ns, route, dst)}")
    if mark:
        parts.append(f"mark {mark:#x}")
    cache = {"local": " <local>", "broadcast": " <local,brd>"}.get(route.type, "")
    mtu = ns.path_mtu.get(dst)
    learned = f" expires 600sec mtu {mtu}" if mtu else ""
    return " ".join(parts) + f" uid 0 \n    cache{cache}{learned} \n"


def _change(kernel: Kernel, ns: Netns, verb: str, words: Words, now_ns: int) -> None:
    kind, dst = "unicast", words.next()
    if dst in TYPES:
        kind, dst = dst, words.next()
    given: dict[str, str] = {}
    onlink = False
    for word in words:
        if word == "onlink":
            onlink = True
        elif word in {"via", "dev", "src", "table", "scope", "proto", "mtu"}:
            given[word] = words.next()
        else:
            raise not_modelled(f"ip route {verb} {word}")
    table = given.get("table", "main")
    if verb == "delete":
        gone = c.RouteDel(
            netns=ns.name,
            dst=dst,
            dev=given.get("dev", ""),
            via=given.get("via", ""),
            table=table,
        )
        kernel.execute(gone, now_ns)
        return
    prefix = parse_prefix(dst)
    known = ns.fib.tables.get(table)
    if verb == "add" and known is not None and known.at(prefix):
        raise UsageError("RTNETLINK answers: File exists", 2)
    made = c.RouteReplace(
        netns=ns.name,
        dst=dst,
        dev=given.get("dev", ""),
        via=given.get("via", ""),
        src=given.get("src", ""),
        scope=given.get("scope", ""),
        proto=given.get("proto", ""),
        onlink=onlink,
        type=kind,
        table=table,
        mtu_bytes=int(given.get("mtu", "0")),
    )
    kernel.execute(made, now_ns)


def rules(ns: Netns, words: Words, options: Options) -> str:
    """``ip rule [show]``."""
    if words and not abbreviates(words.next(), "show", "list", "lst"):
        raise not_modelled("changing ip rules")
    if options.family == "6":
        return ""
    lines = []
    for rule in ns.fib.rules:
        text = f"{rule.priority}:\tfrom {_end(rule.src)}"
        if rule.dst is not None:
            text += f" to {_end(rule.dst)}"
        if rule.mask:
            text += f" fwmark {rule.mark:#x}"
            text += "" if rule.mask == 0xFFFFFFFF else f"/{rule.mask:#x}"
        lines.append(f"{text} lookup {rule.table}\n")
    return "".join(lines)


def _end(prefix: object) -> str:
    return "all" if prefix is None else str(prefix).removesuffix("/32")
