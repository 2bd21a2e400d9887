"""Tunnels of packets, without Ethernet inside: IPIP (RFC 2003) and WireGuard.

WireGuard's handshake, keys' lifetimes and roaming are not modelled: a peer that both ends name is
there. Its cryptokey routing is: AllowedIPs choose the peer of what leaves and judge what arrives.
No kernel at hand here knows either kind of device: both follow net/ipv4/ipip.c and
drivers/net/wireguard.
"""

from __future__ import annotations

from podwire.dataplane import family as families
from podwire.dataplane.addr import ZERO_MAC, family_of, ip_int
from podwire.dataplane.family import Trouble
from podwire.dataplane.link import Link, Peer
from podwire.dataplane.netns import Netns
from podwire.dataplane.packet import Encapsulated, Frame, Packet, replace
from podwire.dataplane.run import Run
from podwire.dataplane.skb import Skb
from podwire.dataplane.verdict import Fate

IPIP_BYTES = 20
WIREGUARD_BYTES = {"ipv4": 60, "ipv6": 80}
"""Outer IP (20 or 40), UDP 8, WireGuard's header and tag 32."""
TAG_BYTES, DATA_BYTES = 16, 32
"""What the device counts beside the padded packet: sending, receiving (update_rx_stats)."""


def ipip(run: Run, ns: Netns, link: Link, packet: Packet, hop: str) -> None:
    """Wrap a packet for the tunnel's far end: its own, or the next hop of the route (tunl0)."""
    remote = link.remote or hop
    if ":" in packet.dst or ":" in remote:
        run.drop(ns, Fate.LOST, packet, f"{link.name} carries IPv4 only", object=link.name)
        return
    outer = Packet(
        src=link.local,
        dst=remote,
        protocol="ipip",
        size_bytes=packet.size_bytes + IPIP_BYTES,
        gso_bytes=packet.gso_bytes + IPIP_BYTES if packet.gso_bytes else 0,
        dont_fragment=packet.dont_fragment,
        mark=packet.mark,
        payload=Encapsulated(packet=replace(packet, mark=0)),
    )
    _send(run, ns, link, packet, outer, packet.size_bytes)


def wireguard(run: Run, ns: Netns, link: Link, packet: Packet) -> None:
    """Wrap a packet for the peer that its destination is allowed to (wg_xmit)."""
    peer = _peer_of(link, packet.dst)
    if peer is None or not peer.endpoint:
        why = "Required key not available" if peer is None else "Destination address required"
        run.drop(
            ns,
            Fate.NEIGHBOR_UNREACHABLE,
            packet,
            f"{link.name}: {why}: no peer's AllowedIPs hold {packet.dst}"
            if peer is None
            else f"{link.name}: {why}: {peer.key} has no endpoint",
            stage="encap",
            object=link.name,
        )
        from podwire.dataplane.stack import icmp  # noqa: PLC0415  # the layers call each other

        icmp.tell(run, ns, Skb(packet, in_dev=link.name), Trouble.HOST_UNREACHABLE)
        return
    overhead = WIREGUARD_BYTES[family_of(peer.endpoint)]
    # data is padded to 16 bytes, but never beyond the device's MTU
    padded = min(-(-packet.size_bytes // 16) * 16, max(link.mtu_bytes, packet.size_bytes))
    outer = Packet(
        src="",
        dst=peer.endpoint,
        protocol="udp",
        src_port=link.dst_port,
        dst_port=peer.port,
        size_bytes=padded + overhead,
        gso_bytes=packet.gso_bytes + overhead if packet.gso_bytes else 0,
        dont_fragment=False,
        mark=link.fwmark,
        payload=Encapsulated(packet=replace(packet, mark=0), key=link.key, to=peer.key),
    )
    _send(run, ns, link, packet, outer, padded + TAG_BYTES)


def _peer_of(link: Link, address: str) -> Peer | None:
    """The peer with the longest AllowedIPs prefix around an address."""
    value, bits = ip_int(address), families.of(address).bits
    best, length = None, -1
    for peer in link.peers:
        for prefix in peer.allowed:
            if prefix.bits == bits and prefix.length > length and prefix.holds(value):
                best, length = peer, prefix.length
    return best


def _send(
    run: Run, ns: Netns, link: Link, inner: Packet, outer: Packet, counted_bytes: int
) -> None:
    from podwire.dataplane.stack import ip  # noqa: PLC0415  # the layers call each other

    route = ns.fib_of(outer.dst).route(outer)
    if route is not None and route.dev == link.name:
        end = f"the tunnel endpoint {outer.dst} is routed into the tunnel"
        run.drop(ns, Fate.LOOP, inner, end, stage="encap", object=link.name)
        return
    run.sent(link, counted_bytes)
    if run.recorder is not None:
        run.recorder.meter.wrapped(outer.size_bytes - inner.size_bytes)
        detail = f"{outer.src or link.dev or 'routed'} -> {outer.dst} {outer.protocol}"
        run.recorder.step(
            "encap",
            link.name,
            "wrap",
            f"{detail}, mtu {link.mtu_bytes} ok",
            netns=ns.name,
            before=inner.flow,
            after=outer.flow,
        )
    ip.output(run, ns, outer)


def receive(run: Run, ns: Netns, outer: Packet, payload: Encapsulated) -> bool:
    """Unwrap for one of this namespace's devices; False when it has none that fits."""
    inner = payload.packet
    for link in ns.links.values():
        if not link.up or not _fits(link, outer, payload):
            continue
        if link.kind == "wireguard":
            allowed = _peer_of(link, inner.src)
            if allowed is None or allowed.key != payload.key:
                why = f"{inner.src} is not among the AllowedIPs of peer {payload.key}"
                run.drop(ns, Fate.MARTIAN, inner, why, stage="decap", object=link.name)
                return True
            run.came(link, outer.size_bytes - WIREGUARD_BYTES[family_of(outer.dst)] + DATA_BYTES)
        if run.recorder is not None:
            run.recorder.step(
                "decap",
                link.name,
                "unwrap",
                f"inner {inner.flow}",
                netns=ns.name,
                before=outer.flow,
                after=inner.flow,
            )
        run.enqueue(ns.name, link.name, Frame(src=ZERO_MAC, dst=link.mac, packet=inner))
        return True
    return False


def _fits(link: Link, outer: Packet, payload: Encapsulated) -> bool:
    if link.kind == "ipip":
        return (
            outer.protocol == "ipip"
            and link.remote in {"", outer.src}
            and link.local in {"", outer.dst}
        )
    return (
        link.kind == "wireguard"
        and outer.dst_port == link.dst_port
        and payload.to == link.key
        and any(peer.key == payload.key for peer in link.peers)
    )
