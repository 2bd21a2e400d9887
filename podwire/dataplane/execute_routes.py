"""Commands about addresses, routes and policy rules, of both families."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from podwire.dataplane import commands as c
from podwire.dataplane import execute_common as common
from podwire.dataplane.addr import ALL_ONES, Prefix, family_of, ip_int, is_link_local
from podwire.dataplane.commands import CommandError
from podwire.dataplane.fib import (
    NOWHERE_TYPES,
    ROUTE_TYPES,
    Fib,
    NextHop,
    PolicyRule,
    Route,
    table_name,
)
from podwire.dataplane.link import Address
from podwire.dataplane.netns import Netns

if TYPE_CHECKING:
    from podwire.dataplane.kernel import Kernel

USER_METRIC6 = 1024
"""IP6_RT_PRIO_USER: what an IPv6 route gets that names no metric."""
SCOPES = ("global", "link", "host")

# ---------------------------------------------------------------- addresses


def _split(cidr: str) -> tuple[str, Prefix]:
    return common.address(cidr.partition("/")[0]), common.prefix(cidr)


def addr_add(kernel: Kernel, command: c.AddrAdd, _now_ns: int) -> None:
    """``ip addr add``."""
    ns = kernel.netns(command.netns)
    link = common.device(ns, command.dev)
    ip, prefix = _split(command.cidr)
    known = ip in ns.local  # a service device holds thousands: do not look through them all
    if known and command.replace and any(a.ip == ip for a in (*link.addresses, *link.addresses6)):
        return
    if prefix.bits == 128:
        if ns.sysctls.device("disable_ipv6", link.name, family=6):
            raise CommandError("RTNETLINK answers: Permission denied")
        if any(a.ip == ip for a in link.addresses6):
            raise CommandError("Error: ipv6: address already assigned.")
        scope = "link" if is_link_local(ip) else command.scope
        ns.add_address(link, Address(ip, prefix, scope))
        return
    if known and any(a.ip == ip and a.prefix.length == prefix.length for a in link.addresses):
        raise CommandError("Error: ipv4: Address already assigned.")
    ns.add_address(link, Address(ip, prefix, command.scope))


def addr_del(kernel: Kernel, command: c.AddrDel, _now_ns: int) -> None:
    """``ip addr del``."""
    ns = kernel.netns(command.netns)
    link = common.device(ns, command.dev)
    ip, prefix = _split(command.cidr)
    for address in link.addresses6 if prefix.bits == 128 else link.addresses:
        if address.ip == ip and address.prefix.length == prefix.length:
            ns.remove_address(link, address)
            return
    if prefix.bits == 128:
        raise CommandError("Error: ipv6: address not found.")
    raise CommandError("Error: ipv4: Address not found.")


# ---------------------------------------------------------------- routes


def _bits_of(command: c.RouteReplace | c.RouteDel) -> int:
    """The family of a route: its destination's, or that of its gateway."""
    words = [command.dst, command.via]
    if isinstance(command, c.RouteReplace):
        words += [command.src, *(hop.via for hop in command.nexthops)]
    return 128 if any(":" in word for word in words) else 32


def _fib(ns: Netns, bits: int) -> Fib:
    return ns.fib6 if bits == 128 else ns.fib


def replace(kernel: Kernel, command: c.RouteReplace, _now_ns: int) -> None:
    """``ip route add|replace|change|append``."""
    ns = kernel.netns(command.netns)
    route = _route(ns, command)
    fib = _fib(ns, route.prefix.bits)
    table = fib.tables.get(route.table)
    there = table.at(route.prefix) if table is not None else ()
    same = any(r.metric == route.metric for r in there)
    if command.verb == "add" and same:
        raise CommandError("RTNETLINK answers: File exists")
    if command.verb == "change" and not same:
        raise CommandError("RTNETLINK answers: No such file or directory")
    fib.put(_shared(route), append=command.verb == "append")


@lru_cache(maxsize=8192)
def _shared(route: Route) -> Route:
    """Equal routes are one: a CNI tells each of a thousand nodes the way to all others."""
    return route


def _route(ns: Netns, command: c.RouteReplace) -> Route:
    bits = _bits_of(command)
    prefix = common.prefix(command.dst, bits)
    if command.type not in ROUTE_TYPES:
        raise CommandError(f"not modelled: route type {command.type}")
    hops = tuple(_next_hop(ns, hop) for hop in command.nexthops)
    first = hops[0] if hops else _single(ns, command, bits)
    src = common.address(command.src) if command.src else ""
    if src and src not in ns.local:
        raise CommandError("Error: Invalid prefsrc address.")
    scope = command.scope
    if bits == 32 and not scope and command.type not in NOWHERE_TYPES:
        scope = {"local": "host"}.get(command.type, "" if first.via else "link")
    return Route(
        prefix,
        dev=first.dev,
        via=first.via,
        src=src,
        scope=scope if scope in SCOPES else "",
        proto=command.proto,
        onlink=first.onlink,
        type=command.type,
        table=table_name(command.table),
        mtu_bytes=command.mtu_bytes,
        metric=command.metric or (USER_METRIC6 if bits == 128 else 0),
        advmss_bytes=command.advmss_bytes,
        mtu_lock=command.mtu_lock,
        nexthops=hops if len(hops) > 1 else (),
    )


def _single(ns: Netns, command: c.RouteReplace, bits: int) -> NextHop:
    if command.type in NOWHERE_TYPES:
        return NextHop("lo" if bits == 128 else "")
    hop = c.Hop(via=command.via, dev=command.dev, onlink=command.onlink)
    return _next_hop(ns, hop)


def _next_hop(ns: Netns, hop: c.Hop) -> NextHop:
    via = common.address(hop.via) if hop.via else ""
    dev = hop.dev
    if via:
        dev = _gateway_device(ns, via, hop)
    if not dev:
        raise CommandError("RTNETLINK answers: No such device")
    if not common.device(ns, dev).up:
        raise CommandError("Error: Device for nexthop is not up.")
    return NextHop(dev, via, hop.weight, hop.onlink)


def _gateway_device(ns: Netns, via: str, hop: c.Hop) -> str:
    """The device a gateway is reached through; it must be on a connected network or onlink."""
    if hop.onlink:
        if not hop.dev:
            raise CommandError("Error: Nexthop device required for onlink.")
        return hop.dev
    if is_link_local(via):
        if not hop.dev:
            raise CommandError("Error: Gateway is link-local and needs a device.")
        return hop.dev
    toward = _toward_gateway(ns, via, hop.dev)
    if toward is None or toward.type != "unicast":
        if family_of(via) == "ipv6":
            raise CommandError("RTNETLINK answers: No route to host")
        raise CommandError("Error: Nexthop has invalid gateway.")
    return toward.dev


def _toward_gateway(ns: Netns, via: str, dev: str) -> Route | None:
    fib = ns.fib_of(via)
    found = fib.lookup(via)
    if not dev or (found is not None and found.dev == dev and not found.via):
        return found if found is not None and not found.via else None
    target = ip_int(via)
    for route in fib.routes("main"):
        if route.dev == dev and not route.via and route.prefix.holds(target):
            return route
    return None


def delete(kernel: Kernel, command: c.RouteDel, _now_ns: int) -> None:
    """``ip route del``."""
    ns = kernel.netns(command.netns)
    bits = _bits_of(command)
    prefix = common.prefix(command.dst, bits)
    fib = _fib(ns, bits)
    table = fib.tables.get(table_name(command.table))
    for route in table.at(prefix) if table is not None else ():
        if (
            command.dev in {"", route.dev}
            and command.via in {"", route.via}
            and command.metric in {0, route.metric}
        ):
            fib.remove(route)
            return
    raise CommandError("RTNETLINK answers: No such process")


# ---------------------------------------------------------------- rules


def _ports(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    low, dash, high = text.partition("-")
    if not (low.isdigit() and (not dash or high.isdigit())):
        raise CommandError(f'Error: argument "{text}" is wrong: port range')
    return int(low), int(high) if dash else int(low)


def _mask(command: c.RuleAdd | c.RuleDel) -> int:
    """Which bits of a mark count: all of one that is given without a mask."""
    return command.mask or (ALL_ONES if command.mark else 0)


def rule_add(kernel: Kernel, command: c.RuleAdd, _now_ns: int) -> None:
    """``ip rule add``: without a priority, before the first rule that has one (fib_nl_newrule)."""
    ns = kernel.netns(command.netns)
    bits = 128 if command.family == "ipv6" else 32
    fib = _fib(ns, bits)
    priority = command.priority
    if not priority:
        later = [rule.priority for rule in fib.rules[1:] if rule.priority]
        priority = later[0] - 1 if later else 0
    if command.action == "goto" and command.target <= priority:
        raise CommandError("RTNETLINK answers: Invalid argument")
    rule = PolicyRule(
        priority,
        table_name(command.table) if command.action == "lookup" else "",
        src=common.prefix(command.src, bits) if command.src else None,
        dst=common.prefix(command.dst, bits) if command.dst else None,
        mark=command.mark,
        mask=_mask(command),
        action=command.action,
        target=command.target,
        iif=command.iif,
        oif=command.oif,
        inverted=command.inverted,
        protocol=command.protocol,
        sport=_ports(command.sport),
        dport=_ports(command.dport),
        suppress_prefixlength=command.suppress_prefixlength,
    )
    if rule in fib.rules:
        raise CommandError("RTNETLINK answers: File exists")
    at = next((i for i, r in enumerate(fib.rules) if r.priority > priority), len(fib.rules))
    fib.set_rules((*fib.rules[:at], rule, *fib.rules[at:]))


def rule_del(kernel: Kernel, command: c.RuleDel, _now_ns: int) -> None:
    """``ip rule del``."""
    ns = kernel.netns(command.netns)
    bits = 128 if command.family == "ipv6" else 32
    fib = _fib(ns, bits)
    src = common.prefix(command.src, bits) if command.src else None
    dst = common.prefix(command.dst, bits) if command.dst else None
    mask = _mask(command)
    for i, rule in enumerate(fib.rules):
        fits = (
            command.priority in {-1, rule.priority}
            and table_name(command.table) in {"", rule.table}
            and src in {None, rule.src}
            and dst in {None, rule.dst}
            and (not mask or (command.mark, mask) == (rule.mark, rule.mask))
            and command.iif in {"", rule.iif}
            and command.oif in {"", rule.oif}
        )
        if fits:
            fib.set_rules((*fib.rules[:i], *fib.rules[i + 1 :]))
            return
    raise CommandError("RTNETLINK answers: No such file or directory")
