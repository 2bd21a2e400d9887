"""What can be read by name from a packet, its devices, its connection and the routing tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from podwire.dataplane.addr import is_multicast
from podwire.dataplane.conntrack import Entry
from podwire.dataplane.fib import Route
from podwire.dataplane.netdb import OF_PACKETS
from podwire.dataplane.nft import types as t
from podwire.dataplane.nft.env import Env
from podwire.dataplane.nft.expr import Code, Simple, unmodelled
from podwire.dataplane.packet import Packet
from podwire.dataplane.skb import Skb

ICMP6 = ("icmpv6", "ipv6-icmp")
_CT_STATE = {name.upper(): bit for name, bit in t.SYMBOLS["ct_state"].items()}
_ETHER = t.SYMBOLS["ether_type"]


def _of_family(family: str, read: Callable[[Packet], Any]) -> Code:
    return lambda skb, env: read(skb.packet) if env.family == family else None


def _of_protocol(protocols: tuple[str, ...], read: Callable[[Packet], Any]) -> Code:
    def run(skb: Skb, _env: Env) -> Any:
        packet = skb.packet
        return read(packet) if packet.protocol in protocols else None

    return run


def l4_name(packet: Packet) -> str:
    """The transport protocol as nft names it."""
    return OF_PACKETS.get(packet.protocol, packet.protocol)


def _payload() -> dict[str, Simple]:
    found: dict[str, Simple] = {}

    def add(
        proto: str, name: str, kind: t.DataType, run: Code | None = None, gate: str = ""
    ) -> None:
        text = f"{proto} {name}"
        run = run if run is not None else unmodelled(text)
        found[text] = Simple(text, (kind,), run, gate or proto)

    for family, kind in (("ip", t.IPV4), ("ip6", t.IPV6)):
        add(family, "saddr", kind, _of_family(family, lambda p: p.src))
        add(family, "daddr", kind, _of_family(family, lambda p: p.dst))
        add(family, "dscp", t.DSCP)
        add(family, "version", t.INT8, _of_family(family, lambda p: 6 if ":" in p.dst else 4))
    add("ip", "protocol", t.PROTO, _of_family("ip", l4_name))
    add("ip", "ttl", t.INT8, _of_family("ip", lambda p: p.ttl))
    add("ip", "length", t.INT16, _of_family("ip", lambda p: p.size_bytes))
    for name, kind in (("id", t.INT16), ("frag-off", t.INT16), ("hdrlength", t.INT8),
                       ("checksum", t.INT16), ("ecn", t.INT8)):  # fmt: skip
        add("ip", name, kind)
    add("ip6", "nexthdr", t.PROTO, _of_family("ip6", l4_name))
    add("ip6", "hoplimit", t.INT8, _of_family("ip6", lambda p: p.ttl))
    add("ip6", "length", t.INT16, _of_family("ip6", lambda p: p.size_bytes - 40))
    add("ip6", "flowlabel", t.INT32)
    add("ip6", "ecn", t.INT8)
    for proto in ("tcp", "udp", "sctp", "dccp", "udplite"):
        add(proto, "sport", t.SERVICE, _of_protocol((proto,), lambda p: p.src_port))
        add(proto, "dport", t.SERVICE, _of_protocol((proto,), lambda p: p.dst_port))
    ports = ("tcp", "udp", "sctp", "dccp", "udplite")
    add("th", "sport", t.SERVICE, _of_protocol(ports, lambda p: p.src_port))
    add("th", "dport", t.SERVICE, _of_protocol(ports, lambda p: p.dst_port))
    add("tcp", "flags", t.TCP_FLAG, _of_protocol(("tcp",), lambda p: p.tcp_flags))
    rest = (("sequence", t.INT32), ("ackseq", t.INT32), ("doff", t.INT8), ("window", t.INT16),
            ("checksum", t.INT16), ("urgptr", t.INT16))  # fmt: skip
    for name, kind in rest:
        add("tcp", name, kind)
    add("udp", "length", t.INT16, _of_protocol(("udp",), lambda p: p.size_bytes - 20))
    for proto, kind, code in (("icmp", t.ICMP_TYPE, t.ICMP_CODE),
                              ("icmpv6", t.ICMPV6_TYPE, t.ICMPV6_CODE)):  # fmt: skip
        names = (proto,) if proto == "icmp" else ICMP6
        add(proto, "type", kind, _of_protocol(names, lambda p: p.icmp_type))
        add(proto, "code", code, _of_protocol(names, lambda p: p.icmp_code))
        add(proto, "id", t.INT16, _of_protocol(names, lambda p: p.icmp_id))
        add(proto, "sequence", t.INT16, _of_protocol(names, lambda p: p.icmp_seq))
        add(proto, "mtu", t.INT16, _of_protocol(names, lambda p: p.icmp_mtu_bytes))
    for name in ("saddr", "daddr"):
        add("ether", name, t.ETHER_ADDR)
    add("ether", "type", t.ETHER_TYPE)
    return found


PAYLOAD = _payload()
PROTOCOL_WORDS = tuple(dict.fromkeys(key.split()[0] for key in PAYLOAD))


def _meta() -> dict[str, Simple]:
    table: dict[str, tuple[t.DataType, Code | None]] = {
        "l4proto": (t.PROTO, lambda skb, _: l4_name(skb.packet)),
        "nfproto": (t.NF_PROTO, lambda _, env: 10 if env.family == "ip6" else 2),
        "protocol": (t.ETHER_TYPE, lambda _, env: _ETHER[env.family]),
        "length": (t.INT32, lambda skb, _: skb.packet.size_bytes),
        "mark": (t.MARK, lambda skb, _: skb.packet.mark),
        "iifname": (t.IFNAME, lambda skb, _: skb.in_dev),
        "oifname": (t.IFNAME, lambda skb, _: skb.out_dev),
        "iif": (t.IFINDEX, lambda skb, _: skb.in_dev or "0"),
        "oif": (t.IFINDEX, lambda skb, _: skb.out_dev or "0"),
        "ibrname": (t.IFNAME, None),
        "obrname": (t.IFNAME, None),
        "iiftype": (t.RAW, None),
        "oiftype": (t.RAW, None),
        "skuid": (t.INT32, None),
        "skgid": (t.INT32, None),
        "pkttype": (t.PKT_TYPE, None),
        "priority": (t.RAW, None),
        "random": (t.INT32, None),
        "cpu": (t.INT32, None),
        "nftrace": (t.INT8, None),
        "rtclassid": (t.RAW, None),
        "cgroup": (t.INT32, None),
        "time": (t.RAW, None),
        "hour": (t.RAW, None),
        "day": (t.RAW, None),
        "secmark": (t.RAW, None),
        "ipsec": (t.BOOLEAN, None),
    }
    bare = {"iif", "oif", "iifname", "oifname"}
    return {
        name: Simple(
            name if name in bare else f"meta {name}",
            (kind,),
            run if run is not None else unmodelled(f"meta {name}"),
        )
        for name, (kind, run) in table.items()
    }


META = _meta()
BARE_META = ("mark", "iif", "oif", "iifname", "oifname", "iiftype", "oiftype", "skuid", "skgid",
             "nftrace", "rtclassid", "ibriport", "pkttype", "cpu", "cgroup")  # fmt: skip
"""Keys that may stand without ``meta``."""


def _ct_state(skb: Skb, _env: Env) -> int:
    return _CT_STATE.get(skb.ct_state, 1)


def _ct(read: Callable[[Entry, Skb, Env], Any]) -> Code:
    return lambda skb, env: None if skb.ct is None else read(skb.ct, skb, env)


def _status(entry: Entry, _skb: Skb, _env: Env) -> int:
    return (
        8 * entry.confirmed
        + 2 * entry.seen_reply
        + 4 * entry.assured
        + 16 * entry.snat
        + 32 * entry.dnat
    )


def _ct_table() -> dict[str, Simple]:
    table: dict[str, tuple[t.DataType, Code]] = {
        "state": (t.CT_STATE, _ct_state),
        "status": (t.CT_STATUS, _ct(_status)),
        "mark": (t.MARK, _ct(lambda e, _s, _n: e.mark)),
        "direction": (t.CT_DIR, _ct(lambda _e, skb, _n: int(skb.ct_reply))),
        "l3proto": (t.NF_PROTO, _ct(lambda e, _s, _n: 10 if ":" in e.orig[1] else 2)),
        "protocol": (t.PROTO, _ct(lambda e, _s, _n: e.orig[0])),
        "expiration": (
            t.TIME, _ct(lambda e, _s, env: max(e.expires_ns - env.now_ns, 0) // 1_000_000)
        ),
        "zone": (t.INT16, _ct(lambda e, _s, _n: e.zone)),
    }  # fmt: skip
    found = {name: Simple(f"ct {name}", (kind,), run) for name, (kind, run) in table.items()}
    for name, kind in (("helper", t.STRING), ("label", t.STRING), ("bytes", t.INT64),
                       ("packets", t.INT64), ("avgpkt", t.INT64), ("id", t.INT32)):  # fmt: skip
        found[name] = Simple(f"ct {name}", (kind,), unmodelled(f"ct {name}"))
    for side in ("original", "reply"):
        found |= {f"{side} {k}": v for k, v in _ct_side(side).items()}
    return found


def _ct_side(side: str) -> dict[str, Simple]:
    attribute = "orig" if side == "original" else "reply"

    def item(index: int) -> Code:
        return _ct(lambda e, _s, _n: getattr(e, attribute)[index])

    found: dict[str, Simple] = {}
    for family, kind in (("ip", t.IPV4), ("ip6", t.IPV6)):
        for name, index in (("saddr", 1), ("daddr", 3)):
            run = item(index)
            found[f"{family} {name}"] = Simple(
                f"ct {side} {family} {name}",
                (kind,),
                lambda skb, env, run=run, family=family: (  # type: ignore[misc]
                    run(skb, env) if env.family == family else None
                ),
            )
    for name, index in (("proto-src", 2), ("proto-dst", 4)):
        found[name] = Simple(f"ct {side} {name}", (t.SERVICE,), item(index))
    found["protocol"] = Simple(f"ct {side} protocol", (t.PROTO,), item(0))
    for name in ("bytes", "packets"):
        found[name] = Simple(f"ct {side} {name}", (t.INT64,), unmodelled(f"ct {side} {name}"))
    return found


CT = _ct_table()


# ---------------------------------------------------------------- fib

_ADDR_TYPES = t.SYMBOLS["fib_addrtype"]


def fib(flags: tuple[str, ...], result: str) -> Simple:
    """``fib daddr . iif type``: what the routing tables say of an address of the packet."""
    text = f"fib {' . '.join(flags)} {result}"
    kind = {"type": t.ADDR_TYPE, "oif": t.IFINDEX, "oifname": t.IFNAME}[result]
    source = "saddr" in flags
    dev_in, dev_out, mark = "iif" in flags, "oif" in flags, "mark" in flags

    def run(skb: Skb, env: Env) -> Any:
        packet = skb.packet
        address = packet.src if source else packet.dst
        dev = skb.in_dev if dev_in else skb.out_dev if dev_out else ""
        route = env.ns.fib_of(address).lookup(address, "", packet.mark if mark else 0)
        if result == "type":
            return _address_type(address, route, dev)
        found = "" if route is None or route.type not in _FORWARDS else route.dev
        if dev and found != dev:
            found = ""
        return found if result == "oifname" else found or "0"

    return Simple(text, (kind,), run)


_FORWARDS = ("unicast", "local")


def _address_type(address: str, route: Route | None, dev: str) -> int:
    if address == "255.255.255.255":
        return _ADDR_TYPES["broadcast"]
    if is_multicast(address):
        return _ADDR_TYPES["multicast"]
    if route is None:
        return _ADDR_TYPES["unreachable"]
    elsewhere = route.type == "local" and dev and route.dev != dev
    return _ADDR_TYPES["unicast" if elsewhere else route.type]
