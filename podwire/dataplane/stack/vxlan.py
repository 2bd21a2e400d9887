"""VXLAN and Geneve: frames in UDP datagrams between nodes (RFC 7348, RFC 8926; Linux' devices).

A Geneve device has one far end and no options; its FDB is not asked.
"""

from __future__ import annotations

import zlib

from podwire.dataplane.addr import ZERO_MAC, family_of
from podwire.dataplane.link import FdbEntry, Link
from podwire.dataplane.netns import Netns
from podwire.dataplane.packet import VXLAN_BYTES, Frame, Packet, Vxlan, replace
from podwire.dataplane.run import Run
from podwire.dataplane.skb import Skb
from podwire.dataplane.verdict import Fate, Flow

FIRST_PORT, PORTS = 32768, 28232


def transmit(run: Run, ns: Netns, link: Link, frame: Frame, skb: Skb | None = None) -> None:
    """Wrap a frame for the tunnel endpoint that the FDB names, and send that as our own packet.

    The skb's mark stays on the outer packet, so netfilter rules about marks see it again; so does
    IPVS' note that it is done with it (skb_scrub_packet).
    """
    from podwire.dataplane.stack import ip  # noqa: PLC0415  # the layers call each other

    inner = frame.packet
    remote = _remote(ns, link, frame)
    if not remote:
        link.stats.tx_dropped += 1
        if inner is not None:
            run.drop(
                ns,
                Fate.NEIGHBOR_UNREACHABLE,
                inner,
                f"{link.name} has no FDB entry for {frame.dst}",
                stage="encap",
                object=link.name,
            )
        return
    route = ns.fib_of(remote).lookup(remote)
    if route is not None and route.dev == link.name:
        if inner is not None:
            run.drop(
                ns,
                Fate.LOOP,
                inner,
                f"the tunnel endpoint {remote} is routed into the tunnel",
                stage="encap",
                object=link.name,
            )
        return
    run.sent(link, frame.size_bytes)
    overhead = VXLAN_BYTES[family_of(remote)]
    outer = Packet(
        src=link.local,
        dst=remote,
        protocol="udp",
        src_port=source_port(frame),
        dst_port=link.dst_port,
        size_bytes=frame.size_bytes + overhead,
        gso_bytes=inner.gso_bytes + overhead if inner and inner.gso_bytes else 0,
        dont_fragment=False,
        mark=inner.mark if inner else 0,
        payload=Vxlan(link.vni, _unmarked(frame), link.kind),
    )
    if run.recorder is not None and inner is not None:
        run.recorder.meter.wrapped(overhead)
        run.recorder.step(
            "encap",
            f"{link.name} vni {link.vni}",
            "wrap",
            f"{link.local} -> {remote} udp/{link.dst_port}, mtu {link.mtu_bytes} ok",
            netns=ns.name,
            before=inner.flow,
            after=outer.flow,
        )
    ip.output(run, ns, outer, ipvs=skb is not None and skb.ipvs)


def _remote(ns: Netns, link: Link, frame: Frame) -> str:
    if link.kind == "geneve":
        return link.remote
    table = ns.fdb.get(link.name, {})
    entry = table.get(frame.dst) or table.get(ZERO_MAC)
    return entry.dst if entry is not None else ""


def _unmarked(frame: Frame) -> Frame:
    if frame.packet is None or not frame.packet.mark:
        return frame
    return replace(frame, packet=replace(frame.packet, mark=0))


def source_port(frame: Frame) -> int:
    """The outer source port: a hash of the inner flow, so that paths and queues can spread."""
    packet = frame.packet
    if packet is None:
        key = f"{frame.src}{frame.dst}"
    else:
        key = f"{packet.src} {packet.src_port} {packet.dst} {packet.dst_port} {packet.protocol}"
    return FIRST_PORT + zlib.crc32(key.encode()) % PORTS


def receive(run: Run, ns: Netns, outer: Packet, payload: Vxlan) -> bool:
    """Unwrap a datagram for one of this namespace's VXLAN devices; False when it has none."""
    for link in ns.links.values():
        if link.kind != payload.kind or link.dst_port != outer.dst_port or link.vni != payload.vni:
            continue
        if family_of(link.local or link.remote) != family_of(outer.dst):
            continue  # one socket per family: flannel.1 and flannel-v6.1 share number and port
        frame = payload.frame
        if link.learning and link.kind == "vxlan":
            known = ns.fdb.setdefault(link.name, {}).get(frame.src)
            if known is None or (not known.permanent and known.dst != outer.src):
                run.stir()
                ns.fdb[link.name][frame.src] = FdbEntry(
                    port=link.name, dst=outer.src, seen_ns=run.now_ns
                )
        if run.recorder is not None:
            inner: Flow | None = frame.packet.flow if frame.packet else None
            run.recorder.step(
                "decap",
                f"{link.name} vni {link.vni}",
                "unwrap",
                f"inner {inner}" if inner else "inner arp",
                netns=ns.name,
                before=outer.flow,
                after=inner,
            )
        run.enqueue(ns.name, link.name, frame)
        return True
    return False
