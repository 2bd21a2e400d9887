"""A dump made into a kernel: everything of it, or nothing."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from podwire.dataplane.dump import devices, lists, routes, tables
from podwire.dataplane.dump.devices import Device
from podwire.dataplane.dump.text import MAX_TEXT_BYTES, Dump, DumpError, Section
from podwire.dataplane.fib import Fib, Route
from podwire.dataplane.kernel import HOST, Kernel
from podwire.dataplane.link import Beyond, Link
from podwire.dataplane.netns import Netns
from podwire.dataplane.sysctl import Sysctls
from podwire.runtime.ports import Rng

NOW_NS = 1_000_000_000
"""The time of a dump: what it tells is then."""
_BRIDGE_CALLS = ("net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables")


class Loaded(NamedTuple):
    """A node of a dump: its kernel, and what people should know about it."""

    name: str
    kernel: Kernel
    silent: tuple[tuple[str, str], ...]
    """Neighbours that did not answer: (device, address)."""
    notes: tuple[str, ...]
    """What was assumed, and what nobody can say."""


def load(dump: Dump, rng: Rng) -> Loaded:
    """The kernel of a dump; ``rng`` is its chance. Raises DumpError; then nothing was loaded."""
    if not dump.sections:
        raise DumpError("nothing to load: the dump has no sections", dump.name)
    for section in dump.sections.values():
        if len(section.text) > MAX_TEXT_BYTES:
            raise DumpError(f"more than {MAX_TEXT_BYTES >> 20} MiB", section.source)
    return _Loader(dump, rng).run()


class _Loader:
    """One dump on its way into a kernel."""

    def __init__(self, dump: Dump, rng: Rng) -> None:
        self.dump = dump
        self.kernel = Kernel(dump.name, rng.child(dump.name))
        self.ns: Netns = self.kernel.netns(HOST)
        self.notes: list[str] = []

    def section(self, name: str) -> Section | None:
        """A section, if it was given."""
        return self.dump.sections.get(name)

    def run(self) -> Loaded:
        """All sections, in the order in which one needs the other."""
        self._sysctls()
        found = self._devices()
        told = self._routes()
        self._addresses(found)
        self._put_routes(told)
        self._rules()
        silent = self._neighbours()
        self._connections()
        self._sockets()
        for name, restore in (
            ("ipset-save", tables.restore_ipsets),
            ("ipvsadm-save", tables.restore_ipvs),
        ):
            if (section := self.section(name)) is not None:
                restore(self.kernel, section, NOW_NS)
        self._iptables()
        self._nft()
        return Loaded(self.dump.name, self.kernel, silent, tuple(self.notes))

    # ------------------------------------------------------------ parameters

    def _sysctls(self) -> None:
        section = self.section("sysctl")
        if section is None:
            self.ns.sysctls.load(_FORWARDING)
            self.notes.append(
                "no sysctl in the dump: forwarding, no rp_filter and kernel defaults are assumed"
            )
            return
        values = lists.read_sysctls(section)
        known = Sysctls()
        kept = {key: value for key, value in values.items() if known.known(key)}
        for key in _BRIDGE_CALLS:
            kept.setdefault(key, "0")  # without br_netfilter there is no such key
        for key, value in kept.items():
            if not all(part.lstrip("-").isdigit() for part in value.split()):
                raise section.error(f"{key} = {value}: a number is expected")
        self.ns.sysctls.load(kept)
        for fib, number in ((self.ns.fib, 4), (self.ns.fib6, 6)):
            fib.hash_policy = self.ns.sysctls.number(f"net.ipv{number}.fib_multipath_hash_policy")

    # ------------------------------------------------------------ devices

    def _devices(self) -> list[Device]:
        links = self.section("ip-link")
        told = self.section("ip-addr")
        found = devices.read(told) if told is not None else []
        if links is not None:
            found = _merged(found, devices.read(links))
        self.notes += devices.settle(found, fdb=self.section("bridge-fdb") is not None)
        if not found:
            self.notes.append("no ip addr in the dump: devices are known by their routes only")
        by_index = sorted(found, key=lambda device: device.index)
        if by_index and all(device.link.name != "lo" for device in found):
            self.notes.append("no device lo in the dump: it is assumed")
        for device in by_index:
            link = device.link
            link.index = device.index
            if link.name == "lo":
                self.ns.remove_link("lo")
            self.ns.links[link.name] = link
            self.ns.last_index = max(self.ns.last_index, link.index)
        return found

    def _mentioned(self, name: str) -> None:
        """A device that something names and nothing describes."""
        if name and name not in self.ns.links:
            link = Link(name=name, index=0, kind="phys", mac=_MAC, up=True, mtu_fixed=True)
            link.beyond = Beyond("the device itself is not described in the dump")
            self.ns.add_link(link)

    def _addresses(self, found: list[Device]) -> None:
        """Every address, and (until routes are told) the routes it brings."""
        ns = self.ns
        for device in found:
            link = device.link
            six = [a for a in device.addresses if a.prefix.bits == 128]
            link.addresses = ()
            for address in device.addresses:
                if address.prefix.bits == 32:
                    ns.add_address(link, address)
            link.addresses6 = tuple(six)
            for address in six:
                if link.up:
                    ns.bring_up6(link, address)

    # ------------------------------------------------------------ routes

    def _routes(self) -> list[Route] | None:
        section = self.section("ip-route")
        if section is None:
            self.notes.append("no ip route in the dump: only connected networks are routed")
            return None
        told = routes.read_routes(section)
        for route in told:
            for name in (route.dev, *(hop.dev for hop in route.nexthops)):
                self._mentioned(name)
        return told

    def _put_routes(self, told: list[Route] | None) -> None:
        """What was told replaces what addresses brought, table local only if that was told too."""
        for bits, name in ((32, "ipv4"), (128, "ipv6")):
            mine = [route for route in told or () if route.prefix.bits == bits]
            if not mine:
                continue
            fresh = Fib(name)
            before: Fib = getattr(self.ns, "fib" if bits == 32 else "fib6")
            if all(route.table != "local" for route in mine):
                mine += before.routes("local")
                self.notes.append(
                    f"no table local of {name} in ip route: it is made of the addresses"
                )
            for route in mine:
                fresh.put(route, append=True)
            fresh.hash_policy = before.hash_policy
            setattr(self.ns, "fib" if bits == 32 else "fib6", fresh)

    def _rules(self) -> None:
        section = self.section("ip-rule")
        if section is None:
            return
        for family, told in routes.read_rules(section).items():
            fib = self.ns.fib6 if family == "ipv6" else self.ns.fib
            fib.set_rules(told)

    # ------------------------------------------------------------ neighbours, flows, sockets

    def _neighbours(self) -> tuple[tuple[str, str], ...]:
        silent: tuple[tuple[str, str], ...] = ()
        section = self.section("ip-neigh")
        if section is not None:
            told = lists.read_neighbours(section)
            silent = tuple(told.silent)
            for entry in told.known:
                self._mentioned(entry.dev)
                entry.confirmed_ns = entry.updated_ns = NOW_NS
                self.ns.neighbours.put(entry)
        fdb = self.section("bridge-fdb")
        if fdb is not None:
            for dev, entries in lists.read_fdb(fdb).items():
                self.ns.fdb[dev] = {
                    mac: msgspec.structs.replace(entry, seen_ns=NOW_NS)
                    for mac, entry in entries.items()
                }
        return silent

    def _connections(self) -> None:
        section = self.section("conntrack")
        if section is None:
            return
        table = self.ns.conntrack
        for entry in lists.read_connections(section, NOW_NS):
            held = table.table(entry.zone)
            held[entry.orig], held[entry.reply] = (entry, False), (entry, True)
            table.last_id = max(table.last_id, entry.id)

    def _sockets(self) -> None:
        section = self.section("ss")
        if section is None:
            self.ns.sockets.unknown = True
            self.notes.append("no ss in the dump: whatever arrives at the host itself is delivered")
            return
        for protocol, address, port in lists.read_sockets(section):
            held = self.ns.sockets.bound.get((protocol, port), ())
            self.ns.sockets.bound[protocol, port] = (*held, address)

    # ------------------------------------------------------------ rules

    def _iptables(self) -> None:
        for name, family in (("iptables", "ipv4"), ("ip6tables", "ipv6")):
            section, _ = self._chosen(name)
            if section is not None:
                tables.restore(self.kernel, section, family, NOW_NS)

    def _chosen(self, tool: str) -> tuple[Section | None, bool]:
        """The text that is a tool's, and whether nft's own text must tell of the tables beside it.

        A machine may have both backends' rules at once: then the old one's are loaded as they are,
        and the new one's as nft shows them.
        """
        section, legacy = self.section(f"{tool}-save"), self.section(f"{tool}-legacy-save")
        if legacy is None or not tables.has_rules(legacy):
            if section is not None and legacy is None and tables.warns_of_legacy(section):
                self.notes.append(
                    f"the machine has rules of {tool}-legacy, which are not in the dump"
                )
            return section or legacy, False
        if section is None or not tables.has_rules(section) or section.text == legacy.text:
            return legacy, False
        if self.section("nft") is None:
            raise section.error(
                f"rules of {tool}-legacy and {tool}-nft: nft list ruleset is needed"
            )
        return legacy, True

    def _nft(self) -> None:
        section = self.section("nft")
        if section is None:
            return
        told = []
        for family, tool in (("ip", "iptables"), ("ip6", "ip6tables")):
            chosen, beside = self._chosen(tool)
            told += [family] if chosen is not None and not beside else []
        found = tables.split(section.text, tuple(told))
        self.notes += found.notes
        for device, table in found.devices.items():
            if device in self.ns.links:
                _nobody_knows(self.ns.links[device], f"not modelled: nft table netdev {table}")
        if found.bridge:
            words = f"not modelled: nft table bridge {found.bridge}"
            ports = {link.master for link in self.ns.links.values()}
            for link in self.ns.links.values():
                if link.master or link.name in ports:
                    _nobody_knows(link, words)
        tables.apply_nft(self.kernel, section, found.text, NOW_NS)


_MAC = "02:00:00:00:00:00"
_FORWARDING = {
    "net.ipv4.ip_forward": "1",
    "net.ipv4.conf.all.forwarding": "1",
    "net.ipv4.conf.default.forwarding": "1",
    "net.ipv6.conf.all.forwarding": "1",
    "net.ipv6.conf.default.forwarding": "1",
}


def _nobody_knows(link: Link, words: str) -> None:
    """Whatever passes a device ends UNKNOWN."""
    told = link.beyond or Beyond("")
    link.beyond = msgspec.structs.replace(told, words=words, sends=False, takes=False)


def _merged(told: list[Device], links: list[Device]) -> list[Device]:
    """``ip addr`` with what ``ip -d link`` says of the same devices."""
    addresses = {device.link.name: device.addresses for device in told}
    names = [device.link.name for device in links]
    for device in links:
        device.addresses = addresses.get(device.link.name, [])
    return [*links, *(device for device in told if device.link.name not in names)]
