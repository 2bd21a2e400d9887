"""One network namespace: everything a kernel keeps per namespace, as plain state."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec

from podwire.dataplane.addr import (
    LINK_LOCAL,
    Prefix,
    ip_int,
    is_link_local,
    is_multicast,
    link_local,
    parse_prefix,
)
from podwire.dataplane.conntrack import Conntrack, Entry
from podwire.dataplane.ebpf.maps import Ebpf
from podwire.dataplane.fib import Fib, Route
from podwire.dataplane.ipset.sets import IpSets
from podwire.dataplane.ipvs.model import ConnKey
from podwire.dataplane.ipvs.table import Ipvs
from podwire.dataplane.layers import Overlay
from podwire.dataplane.link import Address, FdbEntry, Link
from podwire.dataplane.neigh import NeighbourTable
from podwire.dataplane.netfilter.tables import Netfilter
from podwire.dataplane.nft.state import Nft
from podwire.dataplane.skb import Skb
from podwire.dataplane.sockets import SocketTable
from podwire.dataplane.sysctl import Sysctls


class Netns:
    """The state of a namespace. Mutable; a kernel clones it before writing after a fork."""

    __slots__ = (
        "conntrack",
        "ebpf",
        "fdb",
        "fib",
        "fib6",
        "ipsets",
        "ipvs",
        "last_index",
        "links",
        "local",
        "name",
        "neighbours",
        "netfilter",
        "netfilter6",
        "nft",
        "path_mtu",
        "plans",
        "sockets",
        "sysctls",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.links: dict[str, Link] = {}
        self.fib = Fib("ipv4")
        self.fib6 = Fib("ipv6")
        self.neighbours = NeighbourTable()
        self.fdb: dict[str, dict[str, FdbEntry] | Overlay] = {}
        """By MAC, by bridge or tunnel's device."""
        self.sysctls = Sysctls()
        self.sockets = SocketTable()
        self.local: dict[str, str] = {}
        """Own addresses and the device that holds each."""
        self.path_mtu: dict[str, int] = {}
        """What "fragmentation needed" taught, by destination."""
        self.ipvs = Ipvs()
        self.ebpf = Ebpf()
        self.ipsets = IpSets()
        self.netfilter = Netfilter("ipv4")
        self.netfilter6 = Netfilter("ipv6")
        self.netfilter.ipsets = self.netfilter6.ipsets = self.ipsets
        self.nft = Nft()
        self.plans: dict[str, Any] = {}
        """What each hook does, by family (``netfilter.hooks`` keeps it)."""
        self.conntrack = Conntrack()
        self.last_index = 0
        lo = self.add_link(Link(name="lo", index=0, kind="loopback", mac="00:00:00:00:00:00"))
        lo.mtu_bytes = 65536
        lo.up = True
        self.add_address(lo, Address("127.0.0.1", Prefix(ip_int("127.0.0.0"), 8), "host"))
        self.add_address(lo, Address("::1", parse_prefix("::1/128"), "host"))

    def clone(self) -> Netns:
        """An independent copy: nothing mutable is shared."""
        copy = Netns.__new__(Netns)
        copy.name = self.name
        twin = msgspec.structs.replace
        copy.links = {n: twin(link, stats=twin(link.stats)) for n, link in self.links.items()}
        copy.fib = self.fib.clone()
        copy.ipvs = self.ipvs.clone()
        copy.ebpf = self.ebpf.clone()
        copy.fib6 = self.fib6.clone()
        copy.ipsets = self.ipsets.clone()
        copy.netfilter = self.netfilter.clone()
        copy.netfilter6 = self.netfilter6.clone()
        copy.netfilter.ipsets = copy.netfilter6.ipsets = copy.ipsets
        copy.nft = self.nft.clone()
        copy.plans = {}
        copy.conntrack, entries = self.conntrack.clone()
        copy.neighbours = self.neighbours.clone(lambda skb: _twin(skb, entries))
        copy.fdb = {dev: entries.copy() for dev, entries in self.fdb.items()}
        copy.sysctls = self.sysctls.clone()
        copy.sockets = self.sockets.clone()
        copy.local = dict(self.local)
        copy.path_mtu = dict(self.path_mtu)
        copy.last_index = self.last_index
        return copy

    # ------------------------------------------------------------ devices and addresses

    def add_link(self, link: Link) -> Link:
        """Register a device under the next interface index."""
        self.last_index += 1
        link.index = self.last_index
        self.links[link.name] = link
        return link

    def add_address(self, link: Link, address: Address) -> None:
        """Put an address on a device, with its local, broadcast and connected routes.

        One of IPv6 is this namespace's own only while the device is up.
        """
        if address.prefix.bits == 128:
            self._add_address6(link, address)
            return
        link.addresses = (*link.addresses, address)
        self.local.setdefault(address.ip, link.name)
        self._local_routes(link, address)
        if link.up:
            self.connected_routes(link, address)

    def _add_address6(self, link: Link, address: Address) -> None:
        # ipv6_link_dev_addr: sorted by scope, the newest first among equals
        order = ("global", "host", "link")
        rank = order.index(address.scope)
        before = [a for a in link.addresses6 if order.index(a.scope) < rank]
        after = [a for a in link.addresses6 if order.index(a.scope) >= rank]
        link.addresses6 = (*before, address, *after)
        if link.up or link.kind == "dummy":  # NOARP: no detection of duplicates to wait for
            self.bring_up6(link, address)

    def _local_routes(self, link: Link, address: Address) -> None:
        """Table local: the address itself, a loopback's whole network, the broadcast address."""
        own = Route(
            Prefix(ip_int(address.ip), 32),
            dev=link.name,
            src=address.ip,
            scope="host",
            proto="kernel",
            type="local",
            table="local",
        )
        self.fib.put(own)
        if address.scope == "host" and address.prefix.length < 32:
            self.fib.put(msgspec.structs.replace(own, prefix=address.prefix))
        if address.broadcast is not None:
            last = Prefix(address.broadcast, 32)
            self.fib.put(msgspec.structs.replace(own, prefix=last, scope="link", type="broadcast"))

    def connected_routes(self, link: Link, address: Address) -> None:
        """The route to the subnet of an address (none for a /32 or a host address)."""
        if address.prefix.length == 32 or address.scope == "host":
            return
        self.fib.put(
            Route(address.prefix, dev=link.name, src=address.ip, scope="link", proto="kernel")
        )

    def bring_up6(self, link: Link, address: Address) -> None:
        """Make an IPv6 address of a device that is up one's own, with the routes it brings."""
        self.local.setdefault(address.ip, link.name)
        own = Prefix(ip_int(address.ip), 128, 128)
        dev = link.name
        self.fib6.put(Route(own, dev=dev, type="local", table="local", proto="kernel"))
        if address.scope != "host":
            self.fib6.put(Route(address.prefix, dev=dev, proto="kernel", metric=256))

    def wake6(self, link: Link) -> None:
        """A device is up and has a carrier: IPv6 makes itself a link-local address on it
        (addrconf_dev_config). Duplicate address detection is not modelled.
        """
        off = self.sysctls.device("disable_ipv6", link.name, family=6)
        if link.kind == "loopback" and not off and not link.addresses6:
            self.add_address(link, Address("::1", parse_prefix("::1/128"), "host"))
        if off or link.kind in {"loopback", "ipip", "wireguard"}:
            return
        if any(a.scope == "link" for a in link.addresses6):
            return
        group = parse_prefix("ff00::/8")
        self.fib6.put(
            Route(group, dev=link.name, type="multicast", table="local", proto="kernel", metric=256)
        )
        prefix = Prefix(LINK_LOCAL, 64, 128)
        self.add_address(link, Address(link_local(link.mac), prefix, "link"))

    def sleep6(self, link: Link) -> None:
        """A device went down, or lost IPv6: its addresses are gone (keep_addr_on_down=0)."""
        for address in link.addresses6:
            self.remove_address(link, address)
        self.fib6.remove_device(link.name)

    def remove_address(self, link: Link, address: Address) -> None:
        """Take an address off a device, with the routes it brought."""
        if address.prefix.bits == 128:
            self._remove_address6(link, address)
            return
        link.addresses = tuple(a for a in link.addresses if a != address)
        self._relearn_local()
        for table in ("local", "main"):
            for route in self.fib.routes(table):
                own = route.dev == link.name and route.src == address.ip
                if own and route.proto == "kernel":
                    self.fib.remove(route)

    def _remove_address6(self, link: Link, address: Address) -> None:
        link.addresses6 = tuple(a for a in link.addresses6 if a != address)
        self._relearn_local()
        own = Prefix(ip_int(address.ip), 128, 128)
        kept = [a.prefix for a in link.addresses6]
        gone = [("local", own)]
        if address.prefix not in kept:
            gone.append(("main", address.prefix))
        for table, prefix in gone:
            for route in self.fib6.tables[table].at(prefix):
                if route.dev == link.name and route.proto == "kernel":
                    self.fib6.remove(route)

    def _relearn_local(self) -> None:
        self.local = {
            a.ip: other.name
            for other in reversed(self.links.values())
            for a in (
                *other.addresses,
                *(other.addresses6 if other.up or other.kind == "dummy" else ()),
            )
        }

    def remove_link(self, name: str) -> None:
        """Forget a device with all that hangs on it."""
        link = self.links.pop(name)
        for address in (*link.addresses, *link.addresses6):
            self.remove_address(link, address)
        for fib in (self.fib, self.fib6):
            fib.remove_device(name)
            fib.revive_device(name)
        self.neighbours.remove_device(name)
        self.fdb.pop(name, None)
        for entries in self.fdb.values():
            for mac in [m for m, e in entries.items() if e.port == name]:
                del entries[mac]
        for port in self.links.values():
            if port.master == name:
                port.master = ""

    def ports(self, bridge: str) -> list[Link]:
        """The ports of a bridge, in the order their devices were made."""
        return [link for link in self.links.values() if link.master == bridge]

    # ------------------------------------------------------------ questions

    def fib_of(self, address: str) -> Fib:
        """The routing tables of an address' family."""
        return self.fib6 if ":" in address else self.fib

    def netfilter_of(self, address: str) -> Netfilter:
        """The iptables or ip6tables state, whichever an address' packets pass."""
        return self.netfilter6 if ":" in address else self.netfilter

    def primary_address(self, dev: str, toward: str = "") -> str:
        """The source address a device offers (Linux' inet_select_addr): one in the subnet of
        ``toward`` first, else the first global one of the device, else of any device; "" if none.
        """
        if ":" in toward:
            return self._source6(dev, toward)
        link = self.links.get(dev)
        addresses = [a for a in link.addresses if a.scope != "host"] if link else []
        if toward:
            target = ip_int(toward)
            for address in addresses:
                if address.prefix.holds(target):
                    return address.ip
        if addresses:
            return addresses[0].ip
        for other in self.links.values():
            for address in other.addresses:
                if address.scope == "global":
                    return address.ip
        return ""

    def _source6(self, dev: str, toward: str) -> str:
        """RFC 6724 as far as the model's addresses differ (ipv6_dev_get_saddr): the right scope,
        then the outgoing device, then the longest common prefix, then the device's order.
        """
        target = ip_int(toward)
        local = is_link_local(toward) or is_multicast(toward)
        best, best_score = "", (-1, -1, -1)
        for link in self.links.values():
            if not link.up or (local and link.name != dev):
                continue
            for address in link.addresses6:
                same = (address.scope == "link") == local
                common = 128 - (ip_int(address.ip) ^ target).bit_length()
                score = (int(same and address.scope != "host"), int(link.name == dev), common)
                if address.scope != "host" and score > best_score:
                    best, best_score = address.ip, score
        return best

    def change_ipvs(self, change: Callable[[Ipvs], None]) -> None:
        """Change virtual servers on a draft: what fails changes nothing."""
        draft = self.ipvs.clone()
        change(draft)
        self.ipvs.take(draft)
        if self.ipvs.gone and self.sysctls.number("net.ipv4.vs.expire_nodest_conn"):
            self.ipvs.expire_without_server(self.forget_flow)
        for netfilter in (self.netfilter, self.netfilter6):
            if bool(self.ipvs) != netfilter.ipvs:
                netfilter.ipvs = bool(self.ipvs)
                netfilter.replan()

    def expire_ipvs(self, now_ns: int) -> None:
        """End IPVS connections that were silent for too long, and their conntrack entries."""
        self.ipvs.expire(now_ns, self.forget_flow)

    def forget_flow(self, key: ConnKey) -> None:
        """Drop the conntrack entry of an IPVS connection (ip_vs_conn_drop_conntrack)."""
        hit = self.conntrack.by_tuple.get(key)
        if hit is not None and not hit[1]:
            self.conntrack.remove(hit[0])

    def set_references(self) -> dict[str, int]:
        """How many rules refer to each ipset."""
        found: dict[str, int] = {}
        for tables in (self.netfilter.tables, self.netfilter6.tables):
            for chain in (chain for chains in tables.values() for chain in chains.values()):
                for rule in chain.rules.about(" set "):
                    for name in rule.set_names:
                        found[name] = found.get(name, 0) + 1
        return found

    def facts(self) -> list[object]:
        """All state as plain ordered values, for hashing: but what devices counted."""
        links = msgspec.to_builtins(list(self.links.values()))
        for link in links:
            del link["stats"]
        return [
            self.name,
            sorted(links, key=lambda d: d["name"]),
            [
                sorted(str(msgspec.structs.astuple(r)) for r in table.routes())
                for fib in (self.fib, self.fib6)
                for _, table in sorted(fib.tables.items())
            ],
            [str(msgspec.structs.astuple(r)) for r in (*self.fib.rules, *self.fib6.rules)],
            sorted(
                (e.dev, e.ip, e.mac, e.state, e.confirmed_ns, e.probes, len(e.waiting))
                for e in self.neighbours.entries.values()
            ),
            sorted(
                (dev, mac, e.port, e.dst, e.permanent, e.seen_ns)
                for dev, entries in self.fdb.items()
                for mac, e in entries.items()
            ),
            sorted(self.sysctls.written.items()),
            sorted((p, n, a) for (p, n), a in self.sockets.bound.items()),
            sorted(self.sockets.connected),
            sorted(self.path_mtu.items()),
            self.netfilter.facts(),
            self.netfilter6.facts(),
            self.ipsets.facts(),
            self.nft.facts(),
            self.ipvs.facts(),
            self.ebpf.facts(),
            self.conntrack.facts(),
        ]


def _twin(skb: Skb, entries: dict[int, Entry]) -> Skb:
    """A copy of a queued skb that refers to the copies of conntrack's entries."""
    copy = skb.copy()
    if skb.ct is not None:
        copy.ct = entries.get(id(skb.ct)) or msgspec.structs.replace(skb.ct)
    return copy


def digest(facts: object) -> str:
    """A short stable hash of plain values."""
    return hashlib.sha256(msgspec.json.encode(facts)).hexdigest()[:32]
