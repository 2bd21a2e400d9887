"""Routes and policy rules: longest prefix match, table by table (Linux' fib_rules and fib_trie)."""

from __future__ import annotations

import msgspec

from podwire.dataplane.addr import Prefix, ip_int


class Route(msgspec.Struct, frozen=True):
    """One route. ``type``: unicast | local | broadcast | blackhole | unreachable | prohibit."""

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

    @property
    def dst(self) -> str:
        """The destination as ``ip route`` prints it."""
        if self.prefix.length == 0:
            return "default"
        text = str(self.prefix)
        return text.removesuffix("/32")


class PolicyRule(msgspec.Struct, frozen=True):
    """One line of ``ip rule``: which table to look in for which packets."""

    priority: int
    table: str
    src: Prefix | None = None
    dst: Prefix | None = None
    mark: int = 0
    mask: int = 0

    def applies(self, src: str, dst: int, mark: int) -> bool:
        """Whether a packet is looked up in this rule's table."""
        if self.src is not None and not (src and self.src.holds(ip_int(src))):
            return False
        if self.dst is not None and not self.dst.holds(dst):
            return False
        return not self.mask or mark & self.mask == self.mark


DEFAULT_RULES = (
    PolicyRule(0, "local"),
    PolicyRule(32766, "main"),
    PolicyRule(32767, "default"),
)


class Table:
    """One routing table: a dict of routes per prefix length, longest first."""

    __slots__ = ("_by_length", "_lengths")

    def __init__(self) -> None:
        self._by_length: dict[int, dict[int, tuple[Route, ...]]] = {}
        self._lengths: tuple[int, ...] = ()

    def clone(self) -> Table:
        """An independent copy (routes are immutable and shared)."""
        copy = Table()
        copy._by_length = {length: dict(nets) for length, nets in self._by_length.items()}
        copy._lengths = self._lengths
        return copy

    def routes(self) -> list[Route]:
        """All routes as ``ip route`` orders them: by network, then longer mask last."""
        found = [r for nets in self._by_length.values() for rs in nets.values() for r in rs]
        return sorted(found, key=lambda r: (r.prefix.network, r.prefix.length, r.metric))

    def lookup(self, dst: int) -> Route | None:
        """The most specific route to an address."""
        for length in self._lengths:
            shift = 32 - length
            routes = self._by_length[length].get(dst >> shift << shift)
            if routes is not None:
                return routes[0]
        return None

    def at(self, prefix: Prefix) -> tuple[Route, ...]:
        """The routes to exactly this prefix."""
        return self._by_length.get(prefix.length, {}).get(prefix.network, ())

    def put(self, route: Route) -> None:
        """Add a route; it replaces one to the same prefix with the same metric."""
        nets = self._by_length.setdefault(route.prefix.length, {})
        kept = [r for r in nets.get(route.prefix.network, ()) if r.metric != route.metric]
        nets[route.prefix.network] = tuple(sorted([*kept, route], key=lambda r: r.metric))
        self._lengths = tuple(sorted(self._by_length, reverse=True))

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


class Fib:
    """All tables and rules of a namespace."""

    __slots__ = ("_cache", "_simple", "rules", "tables")

    def __init__(self) -> None:
        self.tables: dict[str, Table] = {"local": Table(), "main": Table()}
        self.rules: tuple[PolicyRule, ...] = DEFAULT_RULES
        self._cache: dict[str, Route | None] = {}
        self._simple = True

    def clone(self) -> Fib:
        """An independent copy."""
        copy = Fib()
        copy.tables = {name: table.clone() for name, table in self.tables.items()}
        copy.rules = self.rules
        copy._simple = self._simple
        return copy

    def put(self, route: Route) -> None:
        """``ip route replace``."""
        self.tables.setdefault(route.table, Table()).put(route)
        self._cache.clear()

    def remove(self, route: Route) -> None:
        """``ip route del`` of a route that exists."""
        self.tables[route.table].remove(route)
        self._cache.clear()

    def routes(self, table: str = "main") -> list[Route]:
        """The routes of a table; empty when there is no such table."""
        return self.tables[table].routes() if table in self.tables else []

    def remove_device(self, dev: str, *, keep_local: bool = False) -> None:
        """Forget the routes of a device that went down or away."""
        for name, table in self.tables.items():
            if keep_local and name == "local":
                continue
            for route in table.routes():
                if route.dev == dev:
                    table.remove(route)
        self._cache.clear()

    def lookup(self, dst: str, src: str = "", mark: int = 0) -> Route | None:
        """The route of a packet, or None. Cached while rules look at destinations only."""
        if self._simple and dst in self._cache:
            return self._cache[dst]
        found = self._search(ip_int(dst), src, mark)
        if self._simple:
            if len(self._cache) > 4096:
                self._cache.clear()
            self._cache[dst] = found
        return found

    def _search(self, dst: int, src: str, mark: int) -> Route | None:
        for rule in self.rules:
            table = self.tables.get(rule.table)
            if table is None or not rule.applies(src, dst, mark):
                continue
            found = table.lookup(dst)
            if found is not None:
                return found
        return None
