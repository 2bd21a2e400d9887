"""Commands to a kernel: one function per command, and the words tools say when one fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from podwire.dataplane import commands as c
from podwire.dataplane import execute_links as links
from podwire.dataplane import execute_peers as peers
from podwire.dataplane import execute_routes as routes
from podwire.dataplane.commands import CommandError
from podwire.dataplane.ebpf import text as ebpf
from podwire.dataplane.ebpf.text import EbpfError
from podwire.dataplane.execute_common import address, device
from podwire.dataplane.ipset import change as ipset
from podwire.dataplane.ipset.types import IpsetError
from podwire.dataplane.ipvs import change as ipvs
from podwire.dataplane.ipvs.change import IpvsError
from podwire.dataplane.link import FdbEntry
from podwire.dataplane.neigh import Neighbour
from podwire.dataplane.netfilter.restore import restore
from podwire.dataplane.nft.text import NftError

if TYPE_CHECKING:
    from podwire.dataplane.kernel import Kernel


def run(kernel: Kernel, command: c.Command, now_ns: int) -> None:
    """Run one command on a kernel. Raises CommandError."""
    _VERBS[type(command)](kernel, command, now_ns)


# ---------------------------------------------------------------- namespaces


def _netns_add(kernel: Kernel, command: c.NetnsAdd, _now_ns: int) -> None:
    if kernel.find_netns(command.name) is not None:
        raise CommandError(
            f'Cannot create namespace file "/var/run/netns/{command.name}": File exists'
        )
    kernel.add_netns(command.name)


def _netns_del(kernel: Kernel, command: c.NetnsDel, _now_ns: int) -> None:
    ns = kernel.find_netns(command.name)
    if ns is None or not command.name:
        raise CommandError(
            f'Cannot remove namespace file "/var/run/netns/{command.name}": '
            "No such file or directory"
        )
    for link in list(ns.links.values()):
        links.remove_peer(kernel, link)
    kernel.remove_netns(command.name)


# ---------------------------------------------------------------- neighbours and FDB


def _neigh_replace(kernel: Kernel, command: c.NeighReplace, now_ns: int) -> None:
    """Packets that wait for this neighbour leave at the next tick."""
    ns = kernel.netns(command.netns)
    device(ns, command.dev)
    ip = address(command.dst)
    state = command.state.upper()
    if state not in {"PERMANENT", "NOARP", "REACHABLE", "STALE"}:
        raise CommandError(f'Error: argument "{command.state}" is wrong: nud state is bad')
    known = ns.neighbours.get(command.dev, ip)
    entry = Neighbour(
        dev=command.dev,
        ip=ip,
        mac=command.mac.lower(),
        state="REACHABLE" if state == "STALE" else state,
        confirmed_ns=now_ns if state == "REACHABLE" else 0,
        waiting=known.waiting if known is not None else (),
    )
    ns.neighbours.put(entry)


def _neigh_del(kernel: Kernel, command: c.NeighDel, _now_ns: int) -> None:
    ns = kernel.netns(command.netns)
    device(ns, command.dev)
    if not ns.neighbours.remove((command.dev, address(command.dst))):
        raise CommandError("RTNETLINK answers: No such file or directory")


def _fdb_replace(kernel: Kernel, command: c.FdbReplace, _now_ns: int) -> None:
    ns = kernel.netns(command.netns)
    link = device(ns, command.dev)
    mac = command.mac.lower()
    if link.kind == "vxlan":
        table, entry = link.name, FdbEntry(port=link.name, dst=command.dst, permanent=True)
    elif link.master:
        table, entry = link.master, FdbEntry(port=link.name, permanent=True)
    else:
        raise CommandError("RTNETLINK answers: Operation not supported")
    ns.fdb.setdefault(table, {})[mac] = entry


def _fdb_del(kernel: Kernel, command: c.FdbDel, _now_ns: int) -> None:
    ns = kernel.netns(command.netns)
    link = device(ns, command.dev)
    table = ns.fdb.get(link.name if link.kind == "vxlan" else link.master, {})
    if table.pop(command.mac.lower(), None) is None:
        raise CommandError("RTNETLINK answers: No such file or directory")


# ---------------------------------------------------------------- netfilter and sysctl


def _sysctl_set(kernel: Kernel, command: c.SysctlSet, _now_ns: int) -> None:
    ns = kernel.netns(command.netns)
    key = command.key
    if not ns.sysctls.known(key):
        path = key.replace(".", "/")
        raise CommandError(f"sysctl: cannot stat /proc/sys/{path}: No such file or directory")
    if not all(part.lstrip("-").isdigit() for part in command.value.split()):
        raise CommandError(f'sysctl: setting key "{key}": Invalid argument')
    ns.sysctls.set(key, command.value)
    if key.endswith(".disable_ipv6"):
        for link in ns.links.values():
            if ns.sysctls.device("disable_ipv6", link.name, family=6):
                ns.sleep6(link)
            else:
                links.wake(kernel, ns, link)
    elif key.endswith((".fib_multipath_hash_policy", ".fib_multipath_hash_seed")):
        for fib, number in ((ns.fib, 4), (ns.fib6, 6)):
            fib.hash_policy = ns.sysctls.number(f"net.ipv{number}.fib_multipath_hash_policy")
            fib.hash_seed = ns.sysctls.number("net.ipv4.fib_multipath_hash_seed")


def _rules_restore(kernel: Kernel, command: c.RulesRestore, _now_ns: int) -> None:
    ns = kernel.netns(command.netns)
    tables = {"ipv4": ns.netfilter, "ipv6": ns.netfilter6}
    if command.family not in tables:
        raise CommandError(f"not modelled: rules of family {command.family}")
    restore(tables[command.family], command.text, noflush=command.noflush)


def _nft_apply(kernel: Kernel, command: c.NftApply, now_ns: int) -> None:
    nft = kernel.netns(command.netns).nft
    try:
        nft.apply(command.text, now_ns, own=command.own)
    except NftError as error:
        text = command.own if error.own else command.text
        raise CommandError(error.show(text, "/dev/stdin").rstrip()) from None


def _ipset_restore(kernel: Kernel, command: c.IpsetRestore, now_ns: int) -> None:
    ns = kernel.netns(command.netns)
    try:
        ipset.restore(
            ns.ipsets,
            command.text,
            exist=command.exist,
            used=ns.set_references,
            initval=ipset.seeds(kernel.rng, command.netns),
            now_ns=now_ns,
        )
    except IpsetError as error:
        raise CommandError(f"{ipset.VERSION}: {error}") from None


def _ipvs_restore(kernel: Kernel, command: c.IpvsRestore, now_ns: int) -> None:
    ns = kernel.netns(command.netns)
    ns.expire_ipvs(now_ns)
    try:
        ns.change_ipvs(lambda draft: ipvs.restore(draft, command.text))
    except IpvsError as error:
        raise CommandError(f"ipvsadm: {error}") from None


def _ebpf_update(kernel: Kernel, command: c.EbpfMapUpdate, _now_ns: int) -> None:
    ns = kernel.netns(command.netns)
    try:
        ns.ebpf = ebpf.apply(ns.ebpf, command.text)
    except EbpfError as error:
        raise CommandError(f"bpf: {error}") from None


def _conntrack_delete(kernel: Kernel, command: c.ConntrackDelete, now_ns: int) -> None:
    kernel.netns(command.netns).conntrack.delete(
        command.proto,
        now_ns,
        orig_dst=command.orig_dst,
        orig_dport=command.orig_dport,
        reply_src=command.reply_src,
        reply_sport=command.reply_sport,
    )


_VERBS: dict[type[c.Command], Callable[[Kernel, Any, int], None]] = {
    c.NetnsAdd: _netns_add,
    c.NetnsDel: _netns_del,
    c.LinkAdd: links.add,
    c.LinkSet: links.change,
    c.LinkDel: links.delete,
    c.WireguardPeer: links.wireguard_peer,
    c.FdbAgeing: links.fdb_ageing,
    c.QdiscReplace: links.qdisc_replace,
    c.QdiscDel: links.qdisc_del,
    c.AddrAdd: routes.addr_add,
    c.AddrDel: routes.addr_del,
    c.RouteReplace: routes.replace,
    c.RouteDel: routes.delete,
    c.RuleAdd: routes.rule_add,
    c.RuleDel: routes.rule_del,
    c.NeighReplace: _neigh_replace,
    c.NeighDel: _neigh_del,
    c.FdbReplace: _fdb_replace,
    c.FdbDel: _fdb_del,
    c.TunnelPeers: peers.replace,
    c.RulesRestore: _rules_restore,
    c.NftApply: _nft_apply,
    c.IpsetRestore: _ipset_restore,
    c.IpvsRestore: _ipvs_restore,
    c.EbpfMapUpdate: _ebpf_update,
    c.SysctlSet: _sysctl_set,
    c.ConntrackDelete: _conntrack_delete,
}
