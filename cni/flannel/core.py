"""Flannel's decisions: nodes in, kernel commands and files out.

Source: flannel-io/flannel v0.28 pkg/backend/vxlan, pkg/backend/hostgw, pkg/trafficmngr/iptables,
pkg/subnet/kube (annotations).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import msgspec

from podwire.api.view import JSON
from podwire.api.views import Node
from podwire.cni.iptables import jumps, quoted, restore_text
from podwire.dataplane.commands import (
    AddrAdd,
    Command,
    FdbDel,
    FdbReplace,
    LinkAdd,
    LinkSet,
    NeighDel,
    NeighReplace,
    RouteDel,
    RouteReplace,
    RulesRestore,
    TunnelPeer,
    TunnelPeers,
)

PREFIX = "flannel.alpha.coreos.com/"
VXLAN_OVERHEAD_BYTES = 50
POSTRTG, FWD = "FLANNEL-POSTRTG", "FLANNEL-FWD"
_MASQ, _FORWARD = quoted("flanneld masq"), quoted("flanneld forward")


class NotModelledError(Exception):
    """The configuration asks for something podwire does not model."""


Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class NetConf:
    """net-conf.json."""

    network: str
    """The IPv4 network; "" without EnableIPv4."""
    backend: str = "vxlan"
    vni: int = 1
    port: int = 8472
    mtu_bytes: int = 0
    direct_routing: bool = False
    network6: str = ""
    """IPv6Network; "" without EnableIPv6."""

    def device(self, version: int) -> str:
        """The vxlan device of an IP version: ``flannel.<VNI>``, ``flannel-v6.<VNI>``."""
        return f"flannel-v6.{self.vni}" if version == 6 else f"flannel.{self.vni}"


def parse_net_conf(data: bytes) -> NetConf:
    """Raises NotModelledError for other backends, ValueError for broken text."""
    conf = msgspec.json.decode(data)
    backend = conf.get("Backend") or {}
    kind = str(backend.get("Type") or "vxlan")
    if kind not in {"vxlan", "host-gw"}:
        raise NotModelledError(f"backend {kind} is not modelled")
    four = conf.get("EnableIPv4") is not False
    network6 = str(IPv6Network(conf["IPv6Network"])) if conf.get("EnableIPv6") else ""
    return NetConf(
        network=str(IPv4Network(conf["Network"])) if four else "",
        backend=kind,
        vni=int(backend.get("VNI") or 1),
        port=int(backend.get("Port") or 8472),
        mtu_bytes=int(backend.get("MTU") or 0),
        direct_routing=bool(backend.get("DirectRouting")),
        network6=network6,
    )


@dataclass(frozen=True, slots=True)
class Me:
    """This node in one family: its lease, its address and its uplink."""

    node: str
    subnet: Network
    address: str
    mac: str
    """Of the vxlan device."""
    uplink: str
    uplink_network: Network
    uplink_mtu_bytes: int

    def device(self, conf: NetConf) -> str:
        """This family's vxlan device."""
        return conf.device(self.subnet.version)

    def network(self, conf: NetConf) -> str:
        """This family's pod network."""
        return conf.network6 if self.subnet.version == 6 else conf.network

    def mtu_bytes(self, conf: NetConf) -> int:
        """What a pod may send. Flannel takes off 50 bytes whatever the family; the kernel gives an
        IPv6 tunnel's device 20 less, which pods learn as their path's MTU.
        """
        if conf.mtu_bytes:
            return conf.mtu_bytes
        overhead = VXLAN_OVERHEAD_BYTES if conf.backend == "vxlan" else 0
        return self.uplink_mtu_bytes - overhead


@dataclass(frozen=True, slots=True)
class Peer:
    """Another node's lease in one family, as its annotations tell it."""

    node: str
    subnet: Network
    address: str
    mac: str


def subnet_of(node: Node, version: int = 4) -> Network | None:
    """The node's pod CIDR of a family; None while it has none."""
    return _subnet(tuple(node.spec.pod_cidrs) or (node.spec.pod_cidr,), version)


def _subnet(cidrs: tuple[str, ...], version: int) -> Network | None:
    networks = (ip_network(cidr, strict=False) for cidr in cidrs if cidr)
    return next((network for network in networks if network.version == version), None)


_MANAGED = PREFIX + "kube-subnet-manager"
_KEYS = {
    4: (PREFIX + "backend-data", PREFIX + "public-ip"),
    6: (PREFIX + "backend-v6-data", PREFIX + "public-ipv6"),
}


def peer_of(node: Node, version: int = 4) -> Peer | None:
    """The lease a node announces; None until its agent annotated it."""
    notes = node.metadata.annotations
    data_key, address_key = _KEYS[version]
    address = notes.get(address_key, "")
    if not address or notes.get(_MANAGED) != "true":
        return None
    spec = node.spec
    cidrs = tuple(spec.pod_cidrs) or (spec.pod_cidr,)
    return _peer(node.metadata.name, cidrs, address, notes.get(data_key, ""), version)


@lru_cache(maxsize=8192)
def _peer(name: str, cidrs: tuple[str, ...], address: str, data: str, version: int) -> Peer | None:
    """All nodes' agents read the same announcement: it is understood once."""
    subnet = _subnet(cidrs, version)
    if subnet is None:
        return None
    about: JSON = msgspec.json.decode(data or "null") or {}
    return Peer(name, subnet, address, str(about.get("VtepMAC", "")))


def announcement(conf: NetConf, leases: Sequence[Me]) -> dict[str, str]:
    """What this node announces."""
    notes = {PREFIX + "backend-type": conf.backend, PREFIX + "kube-subnet-manager": "true"}
    for one in leases:
        data = f'{{"VNI":{conf.vni},"VtepMAC":"{one.mac}"}}'
        data_key, address_key = _KEYS[one.subnet.version]
        notes[data_key] = data if conf.backend == "vxlan" else "null"
        notes[address_key] = one.address
    return dict(sorted(notes.items()))


def subnet_env(conf: NetConf, leases: Sequence[Me], *, ip_masq: bool) -> str:
    """The text of /run/flannel/subnet.env."""
    lines = []
    for one in leases:
        infix = "IPV6_" if one.subnet.version == 6 else ""
        gateway = one.subnet.network_address + 1
        lines.append(f"FLANNEL_{infix}NETWORK={one.network(conf)}\n")
        lines.append(f"FLANNEL_{infix}SUBNET={gateway}/{one.subnet.prefixlen}\n")
    lines.append(f"FLANNEL_MTU={leases[0].mtu_bytes(conf)}\n")
    lines.append(f"FLANNEL_IPMASQ={str(ip_masq).lower()}\n")
    return "".join(lines)


def device(conf: NetConf, me: Me) -> LinkAdd:
    """The vxlan device; may exist already after a restart of the agent."""
    return LinkAdd(
        name=me.device(conf),
        kind="vxlan",
        mac=me.mac,
        mtu_bytes=me.mtu_bytes(conf),
        vni=conf.vni,
        local=me.address,
        dev=me.uplink,
        dst_port=conf.port,
        learning=False,
    )


def device_address(conf: NetConf, me: Me) -> AddrAdd:
    """flannel.1 carries the subnet's network address, which masqueraded packets show."""
    address = me.subnet.network_address
    return AddrAdd(dev=me.device(conf), cidr=f"{address}/{address.max_prefixlen}")


def device_up(conf: NetConf, me: Me) -> LinkSet:
    """``ip link set flannel.1 up``."""
    return LinkSet(name=me.device(conf), up=True)


def program(
    conf: NetConf, me: Me, programmed: Mapping[str, Peer], wanted: Mapping[str, Peer]
) -> list[Command]:
    """The commands that lead from the programmed peers to the wanted ones; removals first."""
    commands: list[Command] = []
    for name, peer in programmed.items():
        if wanted.get(name) != peer:
            commands.extend(_forget(conf, me, peer))
    for name, peer in wanted.items():
        if programmed.get(name) != peer:
            commands.extend(_reach(conf, me, peer))
    return commands


def join(
    conf: NetConf,
    me: Me,
    before: Mapping[str, Peer],
    after: Mapping[str, Peer],
    tunnel: tuple[TunnelPeer, ...],
) -> list[Command]:
    """``program`` for agents of one process, each of which is told of its own node too; ``tunnel``
    is ``after`` as kernels are told of it. Where all peers are reached by the tunnel, what is
    added is one command.
    """
    known = {name: peer for name, peer in before.items() if name != me.node}
    if conf.backend == "host-gw" or conf.direct_routing:
        wanted = {name: peer for name, peer in after.items() if name != me.node}
        return program(conf, me, known, wanted)
    own = after.get(me.node)
    commands = [command for peer in known.values() for command in _forget(conf, me, peer)]
    if len(tunnel) > (own is not None):
        skip = "" if own is None else str(own.subnet)
        commands.append(TunnelPeers(dev=me.device(conf), peers=tunnel, skip=skip))
    return commands


def _direct(conf: NetConf, me: Me, peer: Peer) -> bool:
    if conf.backend == "host-gw":
        return True
    return conf.direct_routing and ip_address(peer.address) in me.uplink_network


def _reach(conf: NetConf, me: Me, peer: Peer) -> Sequence[Command]:
    if _direct(conf, me, peer):
        return [RouteReplace(dst=str(peer.subnet), via=peer.address, dev=me.uplink)]
    return _tunnel(me.device(conf), peer)


@lru_cache(maxsize=8192)
def _tunnel(device: str, peer: Peer) -> tuple[Command, ...]:
    """What leads to a peer by the tunnel: every node is told the same."""
    vtep = str(peer.subnet.network_address)
    return (
        NeighReplace(dev=device, dst=vtep, mac=peer.mac),
        FdbReplace(dev=device, mac=peer.mac, dst=peer.address),
        RouteReplace(dst=str(peer.subnet), via=vtep, dev=device, onlink=True),
    )


def _forget(conf: NetConf, me: Me, peer: Peer) -> list[Command]:
    subnet = str(peer.subnet)
    if _direct(conf, me, peer):
        return [RouteDel(dst=subnet, via=peer.address, dev=me.uplink)]
    vtep = str(peer.subnet.network_address)
    return [
        NeighDel(dev=me.device(conf), dst=vtep),
        FdbDel(dev=me.device(conf), mac=peer.mac),
        RouteDel(dst=subnet, via=vtep, dev=me.device(conf)),
    ]


def masquerade_rules(network: str, subnet: Network) -> list[str]:
    """FLANNEL-POSTRTG in its order: service marks, pod traffic, then what needs masquerading."""
    head = f"-A {POSTRTG}"
    multicast = "ff00::/8" if subnet.version == 6 else "224.0.0.0/4"
    return [
        f"{head} -m mark --mark 0x4000/0x4000 {_MASQ} -j RETURN",
        f"{head} -s {subnet} -d {network} {_MASQ} -j RETURN",
        f"{head} -s {network} -d {subnet} {_MASQ} -j RETURN",
        f"{head} ! -s {network} -d {subnet} {_MASQ} -j RETURN",
        f"{head} -s {network} ! -d {multicast} {_MASQ} -j MASQUERADE --random-fully",
        f"{head} ! -s {network} -d {network} {_MASQ} -j MASQUERADE --random-fully",
    ]


def rules(
    network: str,
    subnet: Network,
    nat: Sequence[str],
    filter_: Sequence[str],
    *,
    ip_masq: bool,
) -> RulesRestore:
    """Flannel's chains; jumps are appended where ``nat`` and ``filter_`` (saved) lack them."""
    nat_lines = masquerade_rules(network, subnet)
    if POSTRTG not in jumps(nat, "POSTROUTING"):
        nat_lines.append(f"-A POSTROUTING {_MASQ} -j {POSTRTG}")
    filter_lines = [
        f"-A {FWD} -s {network} {_FORWARD} -j ACCEPT",
        f"-A {FWD} -d {network} {_FORWARD} -j ACCEPT",
    ]
    if FWD not in jumps(filter_, "FORWARD"):
        filter_lines.append(f"-A FORWARD {_FORWARD} -j {FWD}")
    tables: dict[str, tuple[Sequence[str], Sequence[str]]] = {"filter": ((FWD,), filter_lines)}
    if ip_masq:
        tables = {"nat": ((POSTRTG,), nat_lines), **tables}
    return RulesRestore(text=restore_text(tables), family=f"ipv{subnet.version}")
