"""Commands to a node's kernel, netlink-shaped. Everything that changes a kernel is one of these.

``netns`` "" is the node's own network namespace. Addresses are strings in CIDR or plain form.
"""

from __future__ import annotations

from typing import Any

import msgspec


class CommandError(Exception):
    """A command failed; the message is the tool's own (``RTNETLINK answers: File exists``)."""


class Command(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag=True, omit_defaults=True
):
    """Base of all commands."""

    netns: str = ""


class NetnsAdd(Command, frozen=True, kw_only=True):
    """``ip netns add NAME``: a namespace with only ``lo`` (up, 127.0.0.1/8, ::1/128)."""

    name: str


class NetnsDel(Command, frozen=True, kw_only=True):
    """``ip netns del NAME``: its links (and their veth peers) vanish, its sockets reset."""

    name: str


class LinkAdd(Command, frozen=True, kw_only=True):
    """``ip link add``. ``kind``: veth | bridge | vxlan | geneve | ipip | wireguard | dummy.

    ``remote`` "" means: of VXLAN, the FDB says; of IPIP, the route's next hop. ``dst_port`` 0 is
    the kind's own default. ``key`` is WireGuard's public key (the model knows no private ones).
    ``exist``: one that is there with this name and kind is fine (what agents do that ensure one).
    """

    name: str
    kind: str
    mac: str = ""
    mtu_bytes: int = 1500
    peer_name: str = ""
    peer_netns: str = ""
    peer_mac: str = ""
    vni: int = 0
    local: str = ""
    dev: str = ""
    dst_port: int = 8472
    learning: bool = True
    remote: str = ""
    key: str = ""
    fwmark: int = 0
    exist: bool = False


class LinkSet(Command, frozen=True, kw_only=True):
    """``ip link set`` / ``bridge link set``; None leaves a property alone, master "" detaches."""

    name: str
    up: bool | None = None
    master: str | None = None
    mac: str | None = None
    mtu_bytes: int | None = None
    hairpin: bool | None = None


class WireguardPeer(Command, frozen=True, kw_only=True):
    """``wg set DEV peer KEY endpoint ADDRESS:PORT allowed-ips A,B``; ``remove`` forgets it."""

    dev: str
    key: str
    endpoint: str = ""
    port: int = 51820
    allowed: list[str] = []
    remove: bool = False


class LinkDel(Command, frozen=True, kw_only=True):
    """``ip link del NAME``."""

    name: str


class AddrAdd(Command, frozen=True, kw_only=True):
    """``ip addr add CIDR dev DEV`` (also makes the connected route); ``replace``: ``ip addr
    replace``, which is content with an address that is there.
    """

    dev: str
    cidr: str
    scope: str = "global"
    replace: bool = False


class AddrDel(Command, frozen=True, kw_only=True):
    """``ip addr del CIDR dev DEV``."""

    dev: str
    cidr: str


class Hop(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One ``nexthop via ADDRESS dev DEV weight N`` of a multipath route."""

    via: str = ""
    dev: str = ""
    weight: int = 1
    onlink: bool = False


class RouteReplace(Command, frozen=True, kw_only=True):
    """``ip route add|replace|change|append``. ``type``: unicast | local | broadcast | blackhole |
    unreachable | prohibit | throw.

    ``verb`` says which; the family is that of ``dst`` (write IPv6's default as ``::/0``) or of the
    gateway.
    """

    dst: str
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
    nexthops: list[Hop] = []
    verb: str = "replace"


class RouteDel(Command, frozen=True, kw_only=True):
    """``ip route del``."""

    dst: str
    dev: str = ""
    via: str = ""
    table: str = "main"
    metric: int = 0


class RuleAdd(Command, frozen=True, kw_only=True):
    """``ip rule add``. ``action``: lookup | goto | blackhole | unreachable | prohibit | nop.

    ``priority`` 0 takes the one below the first rule that is not 0's. ``sport`` and ``dport`` are
    ``N`` or ``N-M``.
    """

    priority: int = 0
    table: str = "main"
    src: str = ""
    dst: str = ""
    mark: int = 0
    mask: int = 0
    action: str = "lookup"
    target: int = 0
    iif: str = ""
    oif: str = ""
    inverted: bool = False
    protocol: str = ""
    sport: str = ""
    dport: str = ""
    suppress_prefixlength: int = -1
    family: str = "ipv4"


class RuleDel(Command, frozen=True, kw_only=True):
    """``ip rule del``: the first rule that has all that is given."""

    priority: int = -1
    table: str = ""
    src: str = ""
    dst: str = ""
    mark: int = 0
    mask: int = 0
    iif: str = ""
    oif: str = ""
    family: str = "ipv4"


class NeighReplace(Command, frozen=True, kw_only=True):
    """``ip neigh replace DST lladdr MAC dev DEV nud STATE``."""

    dev: str
    dst: str
    mac: str
    state: str = "PERMANENT"


class NeighDel(Command, frozen=True, kw_only=True):
    """``ip neigh del DST dev DEV``."""

    dev: str
    dst: str


class FdbReplace(Command, frozen=True, kw_only=True):
    """``bridge fdb replace MAC dev DEV dst DST self permanent``."""

    dev: str
    mac: str
    dst: str = ""


class FdbDel(Command, frozen=True, kw_only=True):
    """``bridge fdb del MAC dev DEV``."""

    dev: str
    mac: str


class TunnelPeer(msgspec.Struct, frozen=True):
    """The far end of a VXLAN and the pods' network behind it."""

    subnet: str
    """``10.244.3.0/24``; its network address is the next hop."""
    mac: str
    address: str


class TunnelPeers(Command, frozen=True, kw_only=True):
    """For each peer in turn but the one of the subnet ``skip`` what NeighReplace, FdbReplace and
    an onlink RouteReplace do, all or nothing. Kernels that are given the very same ``peers`` in
    the same order share what comes of it.
    """

    dev: str
    peers: tuple[TunnelPeer, ...]
    skip: str = ""


class RulesRestore(Command, frozen=True, kw_only=True):
    """``iptables-restore [--noflush]`` of real text; all tables in it commit together or not.

    ``family`` ipv6 is ip6tables-restore.
    """

    text: str
    noflush: bool = True
    family: str = "ipv4"


class QdiscReplace(Command, frozen=True, kw_only=True):
    """``tc qdisc add|change|replace dev DEV root netem ...``. Shares are in [0, 1]."""

    dev: str
    verb: str = "replace"
    limit: int = 1000
    delay_ns: int = 0
    jitter_ns: int = 0
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    gap: int = 0
    corrupt: float = 0.0
    rate_bits: int = 0


class QdiscDel(Command, frozen=True, kw_only=True):
    """``tc qdisc del dev DEV root``."""

    dev: str


class FdbAgeing(Command, frozen=True, kw_only=True):
    """``ip link set BRIDGE type bridge ageing_time N``: how long a learned MAC is believed."""

    bridge: str
    seconds: int


class NftApply(Command, frozen=True, kw_only=True):
    """``nft -f`` of real text, all or nothing. ``own`` follows it in the same transaction.

    What nodes have in common belongs into ``text``: it is parsed and applied once for all of them.
    """

    text: str
    own: str = ""


class IpvsRestore(Command, frozen=True, kw_only=True):
    """``ipvsadm -R`` of real text, all lines or none."""

    text: str


class EbpfMapUpdate(Command, frozen=True, kw_only=True):
    """Map entries, programs and their options, as lines (``ebpf.text``): all of them or none."""

    text: str


class IpsetRestore(Command, frozen=True, kw_only=True):
    """``ipset restore`` of real text, all or nothing; ``exist`` is ``-exist`` for every line."""

    text: str
    exist: bool = False


class SysctlSet(Command, frozen=True, kw_only=True):
    """``sysctl -w KEY=VALUE`` (dots, as sysctl prints them)."""

    key: str
    value: str


class ConntrackDelete(Command, frozen=True, kw_only=True):
    """``conntrack -D``: entries matching every field that is given."""

    proto: str
    orig_dst: str = ""
    orig_dport: int = 0
    reply_src: str = ""
    reply_sport: int = 0


AnyCommand = (
    NetnsAdd
    | NetnsDel
    | LinkAdd
    | LinkSet
    | LinkDel
    | WireguardPeer
    | AddrAdd
    | AddrDel
    | RouteReplace
    | RouteDel
    | RuleAdd
    | RuleDel
    | NeighReplace
    | NeighDel
    | FdbReplace
    | FdbDel
    | TunnelPeers
    | RulesRestore
    | NftApply
    | IpsetRestore
    | IpvsRestore
    | EbpfMapUpdate
    | SysctlSet
    | FdbAgeing
    | QdiscReplace
    | QdiscDel
    | ConntrackDelete
)


def encode(command: Command) -> bytes:
    """A command as JSON, for the command log and the wire."""
    return msgspec.json.encode(command)


def decode(data: bytes) -> Any:
    """The command that ``encode`` wrote. Raises msgspec.ValidationError."""
    return msgspec.json.decode(data, type=AnyCommand)
