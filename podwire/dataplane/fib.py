"""Routes and policy rules: longest prefix match, table by table (Linux' fib_rules and fib_trie).

A ``Fib`` is of one family. A route with several next hops is one ``Route``; ``Fib.route`` picks the
one that a packet takes (``Route.leg``) by the hash of its flow.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, MutableMapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from podwire.dataplane.addr import Prefix, ip_int
from podwire.dataplane.layers import Overlay

if TYPE_CHECKING:
    from podwire.dataplane.packet import Packet

NAMED_TABLES = {"255": "local", "254": "main", "253": "default"}
TERMINAL_TYPES = ("blackhole", "unreachable", "prohibit")
"""Types of routes (and actions of rules) that end a packet."""
NOWHERE_TYPES = (*TERMINAL_TYPES, "throw")
"""Types of routes that have no device."""
ROUTE_TYPES = ("unicast", "local", "broadcast", *NOWHERE_TYPES)
"""Types of routes that commands make."""


def table_name(text: str) -> str:
    """A table as tools print it: the three that have names by name, others by number."""
    return NAMED_TABLES.get(text, text)


class NextHop(msgspec.Struct, frozen=True, gc=False):
    """One way of a multipath route."""

    dev: str
    via: str = ""
    weight: int = 1
    onlink: bool = False


class Route(msgspec.Struct, frozen=True, gc=False):
    """One route. ``type``: unicast | local | broadcast | multicast | blackhole | unreachable |
    prohibit | throw. ``nexthops`` is empty unless there are several. ``advmss_bytes`` is kept and
    printed, but no socket asks for it: a segment size is what the path's MTU leaves.

    Of a dump: ``flags`` (linkdown) and ``more`` (initcwnd 10) are printed and decide nothing here;
    ``unknown`` is the whole line of a route that has something which is not modelled (tos, encap):
    a packet that is to take it ends UNKNOWN.
    """

    prefix: Prefix
    dev: str = ""
    via: str = ""
    src: str = ""
    scope: str = ""
    proto: str = ""
    onlink: bool = False
    type: str = "unicast"
    table: str = "main"
    mtu_bytes: int = 0
    metric: int = 0
    advmss_bytes: int = 0
    mtu_lock: bool = False
    nexthops: tuple[NextHop, ...] = ()
    flags: str = ""
    more: str = ""
    unknown: str = ""

    @property
    def dst(self) -> str:
        """The destination as ``ip route`` prints it."""
        return "default" if self.prefix.length == 0 else self.prefix.shown

    def leg(self, hop: NextHop) -> Route:
        """The route by one of several next hops."""
        return msgspec.structs.replace(
            self, dev=hop.dev, via=hop.via, onlink=hop.onlink, nexthops=()
        )

    def uses(self, dev: str) -> bool:
        """Whether one of its ways leaves by a device."""
        return self.dev == dev or any(hop.dev == dev for hop in self.nexthops)


class PolicyRule(msgspec.Struct, frozen=True):
    """One line of ``ip rule``: which table to look in for which packets, or what to do with them.

    ``action``: lookup | goto | blackhole | unreachable | prohibit | nop. ``iif`` "lo" means packets
    of this namespace's own. Ports are (first, last). ``more`` (of a dump: ``proto static``) decides
    nothing; ``unknown`` is the whole line of a rule with a selector that is not modelled: a packet
    that meets the others' conditions ends UNKNOWN.
    """

    priority: int
    table: str = ""
    src: Prefix | None = None
    dst: Prefix | None = None
    mark: int = 0
    mask: int = 0
    action: str = "lookup"
    target: int = 0
    iif: str = ""
    oif: str = ""
    inverted: bool = False
    protocol: str = ""
    sport: tuple[int, int] | None = None
    dport: tuple[int, int] | None = None
    suppress_prefixlength: int = -1
    more: str = ""
    unknown: str = ""

    @property
    def plain(self) -> bool:
        """Whether it looks at no more than the destination."""
        plain = self.action == "lookup" and self.suppress_prefixlength < 0
        return plain and self.unconditional and not self.unknown

    @property
    def unconditional(self) -> bool:
        """Whether every packet meets it."""
        return not (
            self.src or self.dst or self.mask or self.iif or self.oif or self.inverted
        ) and not (self.protocol or self.sport or self.dport)

    def applies(self, query: Query) -> bool:
        """Whether a packet meets this rule (fib_rule_match)."""
        return self._meets(query) != self.inverted

    def _meets(self, query: Query) -> bool:
        if self.iif and self.iif != query.iif:
            return False
        if self.oif and self.oif != query.oif:
            return False
        if self.mask and (query.mark ^ self.mark) & self.mask:
            return False
        if self.src is not None and not (query.src and self.src.holds(ip_int(query.src))):
            return False
        if self.dst is not None and not self.dst.holds(query.dst):
            return False
        return self._meets_ports(query)

    def _meets_ports(self, query: Query) -> bool:
        if self.protocol and self.protocol != query.protocol:
            return False
        if self.sport is not None and not self.sport[0] <= query.sport <= self.sport[1]:
            return False
        return self.dport is None or self.dport[0] <= query.dport <= self.dport[1]


class Query(msgspec.Struct, frozen=True):
    """What rules and tables are asked about (Linux' flowi)."""

    dst: int
    src: str = ""
    mark: int = 0
    iif: str = "lo"
    oif: str = ""
    protocol: str = ""
    sport: int = 0
    dport: int = 0


DEFAULT_RULES = {
    "ipv4": (
        PolicyRule(0, "local"),
        PolicyRule(32766, "main"),
        PolicyRule(32767, "default"),
    ),
    "ipv6": (PolicyRule(0, "local"), PolicyRule(32766, "main")),
}


class Table:
    """One routing table: a dict of routes per prefix length, longest first."""

    __slots__ = ("_bits", "_by_length", "_lengths")

    def __init__(self, bits: int = 32) -> None:
        self._bits = bits
        self._by_length: dict[int, MutableMapping[int, tuple[Route, ...]]] = {}
        """Routes by network, by length of the prefix."""
        self._lengths: tuple[int, ...] = ()

    def clone(self) -> Table:
        """An independent copy (routes are immutable and shared)."""
        copy = Table(self._bits)
        copy._by_length = {length: _copied(nets) for length, nets in self._by_length.items()}
        copy._lengths = self._lengths
        return copy

    def __bool__(self) -> bool:
        return bool(self._by_length)

    def routes(self) -> list[Route]:
        """All routes as ``ip route`` orders them: IPv4 by network, then longer mask last; IPv6
        as its tree is walked, what lies inside a prefix before the prefix itself.
        """
        found = [r for nets in self._by_length.values() for rs in nets.values() for r in rs]
        if self._bits == 128:
            return sorted(found, key=lambda r: (r.prefix.last, -r.prefix.length, r.metric))
        return sorted(found, key=lambda r: (r.prefix.network, r.prefix.length, r.metric))

    def lookup(self, dst: int, oif: str = "", shortest: int = -1) -> Route | None:
        """The most specific route to an address. ``oif`` asks for one by that device; routes as
        short as ``shortest`` do not count (``suppress_prefixlength``).
        """
        for length in self._lengths:
            if length <= shortest:
                break
            shift = self._bits - length
            routes = self._by_length[length].get(dst >> shift << shift)
            if routes is not None:
                if not oif:
                    return routes[0]
                for route in routes:
                    if route.uses(oif) or route.type in {"local", *TERMINAL_TYPES}:
                        return route
        return None

    def at(self, prefix: Prefix) -> tuple[Route, ...]:
        """The routes to exactly this prefix."""
        return self._by_length.get(prefix.length, {}).get(prefix.network, ())

    def put(self, route: Route, *, append: bool = False) -> None:
        """Add a route. It replaces one to the same prefix with the same metric (of IPv6's own
        routes: by the same device) unless it is to be appended.
        """
        nets = self._by_length.setdefault(route.prefix.length, {})
        beside = append or (self._bits == 128 and route.proto == "kernel")
        kept = [
            r
            for r in nets.get(route.prefix.network, ())
            if r.metric != route.metric or (beside and r.dev != route.dev)
        ]
        if kept:
            nets[route.prefix.network] = tuple(sorted([*kept, route], key=lambda r: r.metric))
        else:
            nets[route.prefix.network] = _alone(route)
        self._lengths = tuple(sorted(self._by_length, reverse=True))

    def overlaid(self, length: int, over: Callable[[Any], Overlay]) -> Overlay:
        """The routes of a length, as ``over`` makes them, to add to; never to be left empty."""
        nets = self._by_length[length] = over(self._by_length.get(length, {}))
        self._lengths = tuple(sorted(self._by_length, reverse=True))
        return nets

    def remove(self, route: Route) -> None:
        """Remove a route that ``at`` or ``routes`` gave."""
        nets = self._by_length[route.prefix.length]
        kept = tuple(r for r in nets[route.prefix.network] if r != route)
        if kept:
            nets[route.prefix.network] = kept
        else:
            del nets[route.prefix.network]
        if not nets:
            del self._by_length[route.prefix.length]
            self._lengths = tuple(sorted(self._by_length, reverse=True))


@lru_cache(maxsize=4096)
def _alone(route: Route) -> tuple[Route, ...]:
    """The one route to a prefix: most pods have the same but for their own addresses."""
    return (route,)


def _copied(nets: MutableMapping[int, tuple[Route, ...]]) -> MutableMapping[int, Any]:
    return nets.copy() if isinstance(nets, Overlay) else dict(nets)


class Fib:
    """All tables and rules of a namespace and family.

    ``hash_policy``, ``hash_seed``: net.ipv4.fib_multipath_hash_policy (0: addresses, 1: ports
    too) and ..._seed. ``down``: devices whose next hops are dead.
    """

    __slots__ = (
        "_bits",
        "_cache",
        "_simple",
        "down",
        "hash_policy",
        "hash_seed",
        "rules",
        "tables",
        "varied",
    )

    def __init__(self, family: str = "ipv4") -> None:
        self._bits = 128 if family == "ipv6" else 32
        self.tables: dict[str, Table] = {"local": Table(self._bits), "main": Table(self._bits)}
        self.rules: tuple[PolicyRule, ...] = DEFAULT_RULES[family]
        self.hash_policy = 0
        self.hash_seed = 0
        self.down: dict[str, None] = {}
        self._cache: dict[str, Route | None] = {}
        self._simple = True
        self.varied = False
        """Whether a way may depend on more than the destination: policy rules, several hops."""

    def clone(self) -> Fib:
        """An independent copy."""
        copy = Fib("ipv6" if self._bits == 128 else "ipv4")
        copy.tables = {name: table.clone() for name, table in self.tables.items()}
        copy.rules = self.rules
        copy.hash_policy, copy.hash_seed = self.hash_policy, self.hash_seed
        copy.down = dict(self.down)
        copy._simple, copy.varied = self._simple, self.varied
        return copy

    # ------------------------------------------------------------ changing

    def put(self, route: Route, *, append: bool = False) -> None:
        """``ip route replace`` (or ``append``)."""
        table = self.tables.get(route.table)
        if table is None:
            table = self.tables[route.table] = Table(self._bits)
        table.put(route, append=append)
        self.varied = self.varied or bool(route.nexthops)
        self._cache.clear()

    def remove(self, route: Route) -> None:
        """``ip route del`` of a route that exists."""
        self.tables[route.table].remove(route)
        self._cache.clear()

    def forget(self) -> None:
        """Routes changed in ``tables``: look again."""
        self._cache.clear()

    def routes(self, table: str = "main") -> list[Route]:
        """The routes of a table; empty when there is no such table."""
        return self.tables[table].routes() if table in self.tables else []

    def set_rules(self, rules: tuple[PolicyRule, ...]) -> None:
        """Replace the policy rules (ordered by priority)."""
        self.rules = rules
        self._simple = all(rule.plain for rule in rules)
        self.varied = self.varied or not self._simple
        self._cache.clear()

    def remove_device(self, dev: str, *, keep_local: bool = False) -> None:
        """Forget the routes of a device that went down or away; of several next hops, only its
        own are dead, until ``revive_device``.
        """
        self.down[dev] = None
        for name, table in self.tables.items():
            if keep_local and name == "local":
                continue
            for route in table.routes():
                hops = route.nexthops
                if any(hop.dev not in self.down for hop in hops):
                    continue
                if route.uses(dev):
                    table.remove(route)
        self._cache.clear()

    def revive_device(self, dev: str) -> None:
        """A device came up: its next hops live again."""
        self.down.pop(dev, None)

    # ------------------------------------------------------------ asking

    def route(self, packet: Packet, in_dev: str = "lo", oif: str = "") -> Route | None:
        """The route of a packet, or None. Cached while rules look at destinations only."""
        dst = packet.dst
        if self._simple and not oif:
            found = self._cache[dst] if dst in self._cache else self._remember(dst)
        else:
            found = self._search(
                Query(
                    ip_int(dst),
                    packet.src,
                    packet.mark,
                    in_dev,
                    oif,
                    packet.protocol,
                    packet.src_port,
                    packet.dst_port,
                )
            )
        if found is not None and found.nexthops:
            return self._leg(found, packet)
        return found

    def lookup(
        self, dst: str, src: str = "", mark: int = 0, iif: str = "lo", oif: str = ""
    ) -> Route | None:
        """The route to an address for a packet that does not exist (yet), or None. Of several next
        hops it names the first.
        """
        if self._simple and not oif:
            if dst in self._cache:
                return self._first(self._cache[dst])
            return self._first(self._remember(dst))
        return self._first(self._search(Query(ip_int(dst), src, mark, iif, oif)))

    @staticmethod
    def _first(found: Route | None) -> Route | None:
        return found.leg(found.nexthops[0]) if found is not None and found.nexthops else found

    def _remember(self, dst: str) -> Route | None:
        found = self._search(Query(ip_int(dst)))
        if len(self._cache) > 4096:
            self._cache.clear()
        self._cache[dst] = found
        return found

    def _search(self, query: Query) -> Route | None:
        """Rule by rule until one decides (fib_rules_lookup)."""
        skip_to = 0
        for rule in self.rules:
            if rule.priority < skip_to or not (rule.unconditional or rule.applies(query)):
                continue
            if rule.unknown:
                nothing = Prefix(0, 0, self._bits)
                return Route(nothing, table=f"rule {rule.priority}", unknown=rule.unknown)
            if rule.action == "goto":
                skip_to = rule.target
                continue
            if rule.action in TERMINAL_TYPES:
                nothing = Prefix(0, 0, self._bits)
                return Route(nothing, type=rule.action, table=f"rule {rule.priority}")
            table = self.tables.get(rule.table)
            if table is None:
                continue
            found = table.lookup(query.dst, query.oif, rule.suppress_prefixlength)
            if found is not None and found.type != "throw":
                return found
        return None

    def _leg(self, route: Route, packet: Packet) -> Route:
        """The next hop that a packet's flow hashes to (fib_select_multipath). Weights count."""
        hops = [hop for hop in route.nexthops if hop.dev not in self.down]
        hops = hops or list(route.nexthops)
        key = flow_key(packet, self.hash_policy)
        drawn = (zlib.crc32(key.encode(), self.hash_seed) >> 1) * sum(h.weight for h in hops)
        for hop in hops:
            drawn -= hop.weight << 31
            if drawn < 0:
                return route.leg(hop)
        return route.leg(hops[-1])


def flow_key(packet: Packet, policy: int) -> str:
    """What a packet's way among equal ones depends on: its addresses (policy 0), or its ports too
    (1). An ICMP error goes the way of what it is about, seen from its receiver.
    """
    about = packet.original
    if about is not None:
        return f"{about.dst} {about.src}"
    if policy == 1 and packet.src_port:
        ports = f"{packet.src_port} {packet.dst_port}"
        return f"{packet.src} {packet.dst} {packet.protocol} {ports}"
    return f"{packet.src} {packet.dst}"
