"""Flannel's decisions: nodes in, kernel commands and files out.

Source: flannel-io/flannel v0.28 pkg/backend/vxlan, pkg/backend/hostgw, pkg/trafficmngr/iptables,
pkg/subnet/kube (annotations).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

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
)

PREFIX = "flannel.alpha.coreos.com/"
VXLAN_OVERHEAD_BYTES = 50
POSTRTG, FWD = "FLANNEL-POSTRTG", "FLANNEL-FWD"
_MASQ, _FORWARD = quoted("flanneld masq"), quoted("flanneld forward")


class NotModelledError(Exception):
    """The configuration asks for something podwire does not model."""


@dataclass(frozen=True, slots=True)
class NetConf:
    """net-conf.json."""

    network: str
    backend: str = "vxlan"
    vni: int = 1
    port: int = 8472
    mtu_bytes: int = 0
    direct_routing: bool = False

    @property
    def device(self) -> str:
        """``flannel.<VNI>``."""
        return f"flannel.{self.vni}"


def parse_net_conf(data: bytes) -> NetConf:
    """Raises NotModelledError for other backends and families, ValueError for broken text."""
    conf = msgspec.json.decode(data)
    backend = conf.get("Backend") or {}
    kind = str(backend.get("Type") or "vxlan")
    if kind not in {"vxlan", "host-gw"}:
        raise NotModelledError(f"backend {kind} is not modelled")
    if conf.get("EnableIPv6"):
        raise NotModelledError("EnableIPv6 is not modelled")
    return NetConf(
        network=str(IPv4Network(conf["Network"])),
        backend=kind,
        vni=int(backend.get("VNI") or 1),
        port=int(backend.get("Port") or 8472),
        mtu_bytes=int(backend.get("MTU") or 0),
        direct_routing=bool(backend.get("DirectRouting")),
    )


@dataclass(frozen=True, slots=True)
class Me:
    """This node: its lease, its address and its uplink."""

    node: str
    subnet: IPv4Network
    address: str
    mac: str
    """Of the vxlan device."""
    uplink: str
    uplink_network: IPv4Network
    uplink_mtu_bytes: int

    def mtu_bytes(self, conf: NetConf) -> int:
        """What a pod may send."""
        if conf.mtu_bytes:
            return conf.mtu_bytes
        overhead = VXLAN_OVERHEAD_BYTES if conf.backend == "vxlan" else 0
        return self.uplink_mtu_bytes - overhead


@dataclass(frozen=True, slots=True)
class Peer:
    """Another node's lease, as its annotations tell it."""

    node: str
    subnet: IPv4Network
    address: str
    mac: str


def peer_of(node: Node) -> Peer | None:
    """The lease a node announces; None until its agent annotated it."""
    notes = node.metadata.annotations
    if notes.get(PREFIX + "kube-subnet-manager") != "true" or not node.spec.pod_cidr:
        return None
    data: JSON = msgspec.json.decode(notes.get(PREFIX + "backend-data") or "null") or {}
    address = notes.get(PREFIX + "public-ip", "")
    if not address:
        return None
    return Peer(
        node.metadata.name, IPv4Network(node.spec.pod_cidr), address, str(data.get("VtepMAC", ""))
    )


def peers_of(nodes: Iterable[Node], me: str) -> dict[str, Peer]:
    """The leases of all other nodes, by node name."""
    found = (peer_of(node) for node in nodes if node.metadata.name != me)
    return {peer.node: peer for peer in found if peer is not None}


def announcement(conf: NetConf, me: Me) -> dict[str, str]:
    """What this node announces."""
    data = f'{{"VNI":{conf.vni},"VtepMAC":"{me.mac}"}}' if conf.backend == "vxlan" else "null"
    return {
        PREFIX + "backend-data": data,
        PREFIX + "backend-type": conf.backend,
        PREFIX + "kube-subnet-manager": "true",
        PREFIX + "public-ip": me.address,
    }


def subnet_env(conf: NetConf, me: Me, *, ip_masq: bool) -> str:
    """The text of /run/flannel/subnet.env."""
    gateway = me.subnet.network_address + 1
    return (
        f"FLANNEL_NETWORK={conf.network}\n"
        f"FLANNEL_SUBNET={gateway}/{me.subnet.prefixlen}\n"
        f"FLANNEL_MTU={me.mtu_bytes(conf)}\n"
        f"FLANNEL_IPMASQ={str(ip_masq).lower()}\n"
    )


def device(conf: NetConf, me: Me) -> LinkAdd:
    """The vxlan device; may exist already after a restart of the agent."""
    return LinkAdd(
        name=conf.device,
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
    return AddrAdd(dev=conf.device, cidr=f"{me.subnet.network_address}/32")


def device_up(conf: NetConf) -> LinkSet:
    """``ip link set flannel.1 up``."""
    return LinkSet(name=conf.device, up=True)


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


def _direct(conf: NetConf, me: Me, peer: Peer) -> bool:
    if conf.backend == "host-gw":
        return True
    return conf.direct_routing and IPv4Address(peer.address) in me.uplink_network


def _reach(conf: NetConf, me: Me, peer: Peer) -> list[Command]:
    subnet = str(peer.subnet)
    if _direct(conf, me, peer):
        return [RouteReplace(dst=subnet, via=peer.address, dev=me.uplink)]
    vtep = str(peer.subnet.network_address)
    return [
        NeighReplace(dev=conf.device, dst=vtep, mac=peer.mac),
        FdbReplace(dev=conf.device, mac=peer.mac, dst=peer.address),
        RouteReplace(dst=subnet, via=vtep, dev=conf.device, onlink=True),
    ]


def _forget(conf: NetConf, me: Me, peer: Peer) -> list[Command]:
    subnet = str(peer.subnet)
    if _direct(conf, me, peer):
        return [RouteDel(dst=subnet, via=peer.address, dev=me.uplink)]
    vtep = str(peer.subnet.network_address)
    return [
        NeighDel(dev=conf.device, dst=vtep),
        FdbDel(dev=conf.device, mac=peer.mac),
        RouteDel(dst=subnet, via=vtep, dev=conf.device),
    ]


def masquerade_rules(network: str, subnet: IPv4Network) -> list[str]:
    """FLANNEL-POSTRTG in its order: service marks, pod traffic, then what needs masquerading."""
    head = f"-A {POSTRTG}"
    return [
        f"{head} -m mark --mark 0x4000/0x4000 {_MASQ} -j RETURN",
        f"{head} -s {subnet} -d {network} {_MASQ} -j RETURN",
        f"{head} -s {network} -d {subnet} {_MASQ} -j RETURN",
        f"{head} ! -s {network} -d {subnet} {_MASQ} -j RETURN",
        f"{head} -s {network} ! -d 224.0.0.0/4 {_MASQ} -j MASQUERADE --random-fully",
        f"{head} ! -s {network} -d {network} {_MASQ} -j MASQUERADE --random-fully",
    ]


def rules(
    network: str,
    subnet: IPv4Network,
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
    return RulesRestore(text=restore_text(tables))
