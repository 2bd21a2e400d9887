"""The peers of a tunnel's device, as a CNI tells a thousand kernels of each other: neighbours, FDB
entries and routes that kernels which were told the same rest on together (``layers.Overlay``).

What a kernel has of its own (its own subnet left out, a route that somebody deleted) is its own.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from podwire.dataplane import commands as c
from podwire.dataplane import execute_common as common
from podwire.dataplane.addr import Prefix
from podwire.dataplane.commands import CommandError
from podwire.dataplane.execute_routes import USER_METRIC6
from podwire.dataplane.fib import Fib, Route
from podwire.dataplane.layers import GONE, Overlay
from podwire.dataplane.link import FdbEntry
from podwire.dataplane.neigh import Neighbour
from podwire.dataplane.netns import Netns

if TYPE_CHECKING:
    from podwire.dataplane.kernel import Kernel

_KEEP_BATCHES = 64
_KEEP_BASES = 512
_NOTHING: dict[Any, Any] = {}
"""What every overlay rests on at first; never changed."""


class _FarEnd(NamedTuple):
    """What leads to one peer. Shared by all kernels, so never changed."""

    neighbour: Neighbour
    fdb: FdbEntry
    routes: tuple[Route, ...]


@lru_cache(maxsize=8192)
def _far_end(dev: str, peer: c.TunnelPeer, bits: int) -> _FarEnd:
    prefix = common.prefix(peer.subnet, bits)
    via, metric = common.address(peer.subnet.partition("/")[0]), USER_METRIC6 if bits == 128 else 0
    return _FarEnd(
        Neighbour(dev=dev, ip=via, mac=peer.mac.lower(), state="PERMANENT"),
        FdbEntry(port=dev, dst=peer.address, permanent=True),
        (Route(prefix, dev=dev, via=via, onlink=True, metric=metric),),
    )


class _Batch:
    """What some peers come to on a device of a name: made once for all kernels."""

    def __init__(self, dev: str, peers: tuple[c.TunnelPeer, ...]) -> None:
        self.peers = peers
        self.neighbours: dict[Any, Neighbour] = {}
        self.fdb: dict[Any, FdbEntry] = {}
        self.routes: dict[int, dict[Any, tuple[Route, ...]]] = {}
        """By length of the prefix."""
        self.keys: dict[str, tuple[Any, tuple[str, ...], Prefix]] = {}
        """By subnet: neighbour, FDB entries and route."""
        self.bits = 128 if peers and ":" in peers[0].subnet else 32
        for peer in peers:
            one = _far_end(dev, peer, self.bits)
            self.neighbours[one.neighbour.dev, one.neighbour.ip] = one.neighbour
            self.fdb[one.neighbour.mac] = one.fdb
            prefix = one.routes[0].prefix
            self.routes.setdefault(prefix.length, {})[prefix.network] = one.routes
            macs = self.keys[peer.subnet][1] if peer.subnet in self.keys else ()
            key = (dev, one.neighbour.ip)
            self.keys[peer.subnet] = (key, (*macs, one.neighbour.mac), prefix)


class _Memory:
    """Batches and bases by identity; the oldest go."""

    def __init__(self) -> None:
        self._batches: OrderedDict[tuple[str, int], _Batch] = OrderedDict()
        self._bases: OrderedDict[tuple[int, int], tuple[Any, Any, dict[Any, Any]]] = OrderedDict()
        self._equal: OrderedDict[frozenset[Any], dict[Any, Any]] = OrderedDict()
        """By content (which they hold): one for kernels that came there by different batches."""

    def batch(self, dev: str, peers: tuple[c.TunnelPeer, ...]) -> _Batch:
        """What peers come to."""
        key = (dev, id(peers))
        found = self._batches.get(key)
        if found is None:
            found = self._batches[key] = _Batch(dev, peers)
            if len(self._batches) > _KEEP_BATCHES:
                self._batches.popitem(last=False)
        return found

    def base(self, before: dict[Any, Any], more: dict[Any, Any]) -> dict[Any, Any]:
        """The base that comes of ``before`` with ``more`` put into it."""
        key = (id(before), id(more))
        found = self._bases.get(key)
        if found is None:
            base = {**before, **more}
            content = frozenset((key, id(value)) for key, value in base.items())
            base = self._equal.setdefault(content, base)
            found = self._bases[key] = (before, more, base)
            _shorten(self._bases)
            self._equal.move_to_end(content)
            _shorten(self._equal)
        return found[2]


def _shorten(memory: OrderedDict[Any, Any]) -> None:
    if len(memory) > _KEEP_BASES:
        memory.popitem(last=False)


_MEMORY = _Memory()


def replace(kernel: Kernel, command: c.TunnelPeers, _now_ns: int) -> None:
    """Reach all peers by a VXLAN device."""
    ns = kernel.netns(command.netns)
    link = common.device(ns, command.dev)
    if link.kind != "vxlan":
        raise CommandError("RTNETLINK answers: Operation not supported")
    if not link.up:
        raise CommandError("Error: Device for nexthop is not up.")
    batch = _MEMORY.batch(command.dev, command.peers)
    skipped = batch.keys.get(command.skip)
    _neighbours(ns, batch, () if skipped is None else (skipped[0],))
    table = ns.fdb.get(link.name, {})
    fdb = ns.fdb[link.name] = _overlaid(table)
    _rest(fdb, batch.fdb, () if skipped is None else skipped[1])
    _routes(ns.fib6 if batch.bits == 128 else ns.fib, batch, skipped[2] if skipped else None)


def _overlaid(entries: Any) -> Overlay:
    return entries if isinstance(entries, Overlay) else Overlay(_NOTHING, entries)


def _rest(entries: Overlay, more: dict[Any, Any], skipped: tuple[Any, ...]) -> None:
    entries.rest_on(_MEMORY.base(entries.base, more), more, skipped)


def _neighbours(ns: Netns, batch: _Batch, skipped: tuple[Any, ...]) -> None:
    """Packets that wait for one of them leave at the next tick."""
    table = ns.neighbours
    waiting = {
        key: entry.waiting
        for key, entry in table.moving.items()
        if key in batch.neighbours and key not in skipped
    }
    for key in waiting:
        table.remove(key)
    table.entries = _overlaid(table.entries)
    _rest(table.entries, batch.neighbours, skipped)
    for key, held in waiting.items():
        if held:
            known = batch.neighbours[key]
            table.put(Neighbour(key[0], key[1], known.mac, "PERMANENT", waiting=held))


def _routes(fib: Fib, batch: _Batch, skipped: Prefix | None) -> None:
    for length, routes in batch.routes.items():
        left_out = skipped.network if skipped is not None and skipped.length == length else None
        if left_out is not None and len(routes) == 1:
            continue
        nets = fib.tables["main"].overlaid(length, _overlaid)
        beside = [
            route
            for network, own in nets.over.items()
            if own is not GONE and network in routes and network != left_out
            for route in own
            if route.metric != routes[network][0].metric
        ]
        _rest(nets, routes, () if left_out is None else (left_out,))
        for route in beside:
            fib.put(route)
    fib.forget()
