"""The tc programs at the node's devices: NodePorts, load balancers and external addresses.

A request is given a backend as it arrives; one on another node gets this node's address as source
(SNAT), or keeps its own and tells the backend's node by an option what it asked (DSR): that node
answers the client itself. Both ways bypass the host's stack (bpf_redirect). Source: cilium
bpf/lib/nodeport.h.
"""

from __future__ import annotations

from podwire.dataplane.cost import Meter
from podwire.dataplane.ebpf import lookup
from podwire.dataplane.ebpf.lookup import Found
from podwire.dataplane.ebpf.maps import Flow as Tracked
from podwire.dataplane.family import Trouble
from podwire.dataplane.link import Link
from podwire.dataplane.netns import Netns
from podwire.dataplane.packet import SYN, Dsr, Frame, Packet, replace
from podwire.dataplane.run import Run
from podwire.dataplane.skb import Skb
from podwire.dataplane.verdict import Fate

PROTOCOLS = ("tcp", "udp", "sctp")
FIRST_PORT, LAST_PORT = 32768, 65535
_PROGRAMS = {"phys": "cil_from_netdev", "veth": "cil_from_container", "vxlan": "cil_from_overlay"}


def _program(ns: Netns, link: Link) -> str:
    """The program at a device's ingress, "" if none."""
    name = _PROGRAMS.get(link.kind, "")
    where = ns.ebpf.attached.get(name, ())
    return name if where and (link.name in where or where == ("*",)) else ""


def ingress(run: Run, ns: Netns, link: Link, frame: Frame) -> Frame | None:
    """A frame arrived at a device; what goes on to the stack, None when the program took it."""
    packet, name = frame.packet, _program(ns, link)
    if packet is None or not name or packet.protocol not in PROTOCOLS:
        return frame
    if link.kind == "phys" and link.arp and frame.dst != link.mac:
        return frame
    lookup.asked(_meter(run))
    answer = ns.ebpf.answer_of(_key(packet), run.now_ns)
    if answer is not None:
        back = replace(
            packet, src=answer.frontend, src_port=answer.frontend_port,
            dst=answer.client, dst_port=answer.client_port,
        )  # fmt: skip
        _record(run, ns, name, "undo", "reverse NAT", packet, back)
        return _onward(run, ns, frame, back)
    inside = name == "cil_from_container"
    if not inside:
        _told_by_dsr(run, ns, name, packet)
    if name == "cil_from_overlay":
        return frame
    if inside and ns.ebpf.config.get("hostNamespaceOnly") != "true":
        return frame
    return _request(run, ns, frame, name, inside=inside)


def _told_by_dsr(run: Run, ns: Netns, name: str, packet: Packet) -> None:
    """Remember in whose name a backend here answers; a SYN without the option ends that
    (nodeport_extract_dsr_v4, snat_v4_create_dsr).
    """
    ebpf, option = ns.ebpf, packet.dsr
    if option is not None and _local(ns, packet.dst):
        flow = Tracked(
            packet.protocol, packet.src, packet.src_port, option.ip, option.port,
            packet.dst, packet.dst_port, packet.src, packet.src_port,
        )  # fmt: skip
        ebpf.remember(flow, run.now_ns)
        if run.recorder is not None:
            run.recorder.step("ebpf", name, "learn", str(option), netns=ns.name)
        return
    if option is None and packet.protocol == "tcp" and packet.tcp_flags == SYN:
        answered = (packet.protocol, packet.dst, packet.dst_port, packet.src, packet.src_port)
        asked = ebpf.reverse.get(answered)
        if asked is not None:
            ebpf.forget(asked)


def egress(run: Run, ns: Netns, link: Link, frame: Frame) -> Frame:
    """A frame leaves by a device: the answer of a backend in the node's own namespace."""
    packet = frame.packet
    where = ns.ebpf.attached.get("cil_to_netdev", ())
    if packet is None or link.name not in where or packet.protocol not in PROTOCOLS:
        return frame
    lookup.asked(_meter(run))
    answer = ns.ebpf.answer_of(_key(packet), run.now_ns)
    if answer is None or answer.backend not in ns.local:
        return frame
    back = replace(packet, src=answer.frontend, src_port=answer.frontend_port)
    _record(run, ns, "cil_to_netdev", "undo", "reverse NAT", packet, back)
    return replace_packet(frame, back)


def replace_packet(frame: Frame, packet: Packet) -> Frame:
    """The frame with another packet."""
    return Frame(src=frame.src, dst=frame.dst, packet=packet)


def _meter(run: Run) -> Meter | None:
    return run.recorder.meter if run.recorder is not None else None


def _key(packet: Packet) -> tuple[str, str, int, str, int]:
    return (packet.protocol, packet.src, packet.src_port, packet.dst, packet.dst_port)


def _request(run: Run, ns: Netns, frame: Frame, name: str, *, inside: bool) -> Frame | None:
    packet, ebpf, meter = frame.packet, ns.ebpf, _meter(run)
    assert packet is not None
    found = lookup.find(ebpf, packet.dst, packet.dst_port, packet.protocol, meter, inside=inside)
    if found is None:
        return frame
    if not inside:
        if found.service.has("non-routable"):
            _drop(run, ns, packet, name, found, Fate.DROPPED_BY_RULE, "Is a ClusterIP (174)")
            return None
        ranged = found.service.has("check source-range")
        lookup.asked(meter, int(ranged))
        if ranged and not ebpf.in_ranges(found.service, packet.src):
            why = "Not in src range (177)"
            _drop(run, ns, packet, name, found, Fate.DROPPED_BY_RULE, why)
            return None
    lookup.asked(meter)
    flow = ebpf.flow_of(_key(packet), run.now_ns)
    begins = packet.protocol == "tcp" and packet.tcp_flags == SYN
    if flow is not None and begins and not _stands(ns, flow):
        ebpf.forget(flow.asked)
        flow = None
    if flow is None:
        flow = _new_flow(run, ns, packet, found, inside=inside)
    if flow is None:
        why = "Service backend not found (158)"
        _drop(run, ns, packet, name, found, Fate.NO_ENDPOINTS, why)
        _refuse(run, ns, packet, frame)
        return None
    onward = replace(
        packet, src=flow.source, src_port=flow.source_port,
        dst=flow.backend, dst_port=flow.backend_port,
    )  # fmt: skip
    detail = f"{found.words}, one of {found.service.active}"
    far = not inside and not _local(ns, flow.backend)
    if far and _mode(ns, found, packet.protocol) == "dsr" and (begins or packet.protocol != "tcp"):
        option = Dsr(packet.dst, packet.dst_port)
        onward = replace(onward, dsr=option, size_bytes=packet.size_bytes + option.size_bytes)
        detail += f", {option}"
        if _too_big(run, ns, packet, onward, name, found):
            return None
    result = "dnat" if flow.source == packet.src else "snat"
    _record(run, ns, name, result, detail, packet, onward, found.rule)
    return _onward(run, ns, frame, onward)


def _too_big(
    run: Run, ns: Netns, packet: Packet, onward: Packet, name: str, found: Found
) -> bool:  # fmt: skip
    """Whether the option makes a packet too large for its way: the client is told (dsr_is_too_big,
    dsr_reply_icmp4).
    """
    from podwire.dataplane.stack import icmp, ip  # noqa: PLC0415  # the stack calls the programs

    route = ns.fib_of(onward.dst).lookup(onward.dst)
    if route is None or not route.dev or not onward.dont_fragment:
        return False
    mtu_bytes = ip.mtu_for(ns, route, onward.dst)
    if max(onward.largest_bytes, onward.size_bytes) <= mtu_bytes:
        return False
    assert onward.dsr is not None
    why = f"Fragmentation needed (183): {onward.size_bytes} bytes, {route.dev} takes {mtu_bytes}"
    _drop(run, ns, packet, name, found, Fate.MTU_EXCEEDED, why)
    left = mtu_bytes - onward.dsr.size_bytes
    icmp.tell(run, ns, Skb(packet, in_dev="lo"), Trouble.TOO_BIG, left)
    return True


def _stands(ns: Netns, flow: Tracked) -> bool:
    """Whether a flow's backend is one still."""
    return any(b.ip == flow.backend and b.port == flow.backend_port
               for b in ns.ebpf.backends.values())  # fmt: skip


def _mode(ns: Netns, found: Found, protocol: str) -> str:
    """Snat or dsr; the Service may say so itself."""
    if found.service.has("dsr"):
        return "dsr"
    mode = ns.ebpf.config.get("mode", "snat")
    if mode == "hybrid":
        return "dsr" if protocol == "tcp" else "snat"
    return mode


def _local(ns: Netns, ip: str) -> bool:
    return ip in ns.ebpf.endpoints or ip in ns.local


def _new_flow(run: Run, ns: Netns, packet: Packet, found: Found, *, inside: bool) -> Tracked | None:
    ebpf, number, meter = ns.ebpf, 0, _meter(run)
    if found.service.active:
        if found.service.affinity_s:
            number = lookup.sticky(ebpf, found, packet.src, run.now_ns, meter)
        tuple5 = (packet.src, packet.src_port, packet.dst, packet.dst_port, packet.protocol)
        number = number or lookup.choose(ebpf, found, tuple5, run.kernel.chance, meter)
    chosen = lookup.backend(ebpf, number, meter)
    if chosen is None:
        return None
    if found.service.affinity_s:
        lookup.keep(ebpf, found, packet.src, number, run.now_ns, meter)
    source, port = packet.src, packet.src_port
    remote = not inside and not _local(ns, chosen.ip)
    if remote and _mode(ns, found, packet.protocol) == "snat":
        source = _source(ns, chosen.ip)
        port = _free_port(ns, packet, chosen.ip, chosen.port, source)
    flow = Tracked(
        packet.protocol, packet.src, packet.src_port, packet.dst, packet.dst_port,
        chosen.ip, chosen.port, source, port,
    )  # fmt: skip
    lookup.asked(meter)
    ebpf.remember(flow, run.now_ns)
    return flow


def _source(ns: Netns, toward: str) -> str:
    """This node's address on the way to a backend (IPV4_DIRECT_ROUTING, or the tunnel's own)."""
    from podwire.dataplane.stack import ip  # noqa: PLC0415  # the stack calls the programs

    route = ns.fib_of(toward).lookup(toward)
    return ip.source_for(ns, route, toward) if route is not None and route.dev else ""


def _free_port(ns: Netns, packet: Packet, backend: str, port: int, source: str) -> int:
    """The client's own port unless another flow to this backend has it (snat_v4_new_mapping)."""
    taken = ns.ebpf.reverse
    wanted = packet.src_port
    for step in range(LAST_PORT - FIRST_PORT + 1):
        if (packet.protocol, backend, port, source, wanted) not in taken:
            return wanted
        wanted = FIRST_PORT + (packet.src_port + step) % (LAST_PORT - FIRST_PORT + 1)
    return packet.src_port


def _onward(run: Run, ns: Netns, frame: Frame, packet: Packet) -> Frame | None:
    """Route by the FIB and leave, past netfilter; what is for this host goes up its stack."""
    from podwire.dataplane.stack import icmp, ip  # noqa: PLC0415

    route = ns.fib_of(packet.dst).lookup(packet.dst)
    if route is not None and route.type == "local":
        return replace_packet(frame, packet)
    if route is None or not route.dev:
        run.drop(ns, Fate.NO_ROUTE, packet, f"FIB lookup failed (169): {packet.dst}",
                 stage="ebpf", object="fib")  # fmt: skip
        return None
    if packet.ttl <= 1:
        run.drop(ns, Fate.TTL_EXCEEDED, packet, "ttl reached zero", stage="ebpf", object="fib")
        icmp.tell(run, ns, Skb(packet, in_dev=route.dev), Trouble.TIME_EXCEEDED)
        return None
    skb = Skb(replace(packet, ttl=packet.ttl - 1), out_dev=route.dev)
    if run.recorder is not None:
        via = f" via {route.via}" if route.via else ""
        detail = f"{route.dst}{via} dev {route.dev}"
        run.recorder.step("route", route.table, "redirect", detail, netns=ns.name)
    ip.finish(run, ns, skb, route)
    return None


def _drop(
    run: Run, ns: Netns, packet: Packet, name: str, found: Found, fate: Fate, why: str
) -> None:
    run.drop(ns, fate, packet, why, stage="ebpf", object=name, rule=found.rule, chain=name)


def _refuse(run: Run, ns: Netns, packet: Packet, frame: Frame) -> None:
    """ICMP port unreachable (--service-no-backend-response=reject, the default)."""
    from podwire.dataplane.stack import icmp  # noqa: PLC0415

    del frame
    icmp.tell(run, ns, Skb(packet, in_dev="lo"), Trouble.PORT_UNREACHABLE)


def _record(
    run: Run, ns: Netns, name: str, result: str, detail: str, before: Packet, after: Packet,
    rule: str = "",
) -> None:  # fmt: skip
    if run.recorder is not None:
        run.recorder.step("ebpf", name, result, detail, netns=ns.name, rule=rule,
                          before=before.flow, after=after.flow)  # fmt: skip
