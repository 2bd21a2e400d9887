"""IPVS in the hooks: requests at LOCAL_IN and LOCAL_OUT, answers there and at FORWARD.

A request that is sent on to a real server does not come back to its hook: it leaves through
LOCAL_OUT and POSTROUTING, as if this host had made it (ip_vs_nat_send_or_cont). Sources: Linux
net/netfilter/ipvs/ip_vs_core.c, ip_vs_xmit.c, ip_vs_nfct.c, ip_vs_conn.c.
"""

from __future__ import annotations

from podwire.dataplane.addr import is_loopback
from podwire.dataplane.family import Trouble
from podwire.dataplane.fib import Route
from podwire.dataplane.ipset.address import BITS, family_of, masked, number, text
from podwire.dataplane.ipvs.model import SECOND_NS, Address, Conn, ConnKey, Dest, Service
from podwire.dataplane.ipvs.schedulers import HASHING, SCHEDULERS, Ask
from podwire.dataplane.ipvs.show import service_rule
from podwire.dataplane.ipvs.states import next_state
from podwire.dataplane.netfilter import hooks
from podwire.dataplane.netns import Netns
from podwire.dataplane.packet import RST, SYN, Packet, replace
from podwire.dataplane.run import Run
from podwire.dataplane.skb import Skb
from podwire.dataplane.verdict import Fate, Flow

PROTOCOLS = ("tcp", "udp", "sctp")
REUSABLE = ("TIME_WAIT", "CLOSE")
STAGE = "ipvs"


def _flag(ns: Netns, name: str) -> int:
    return ns.sysctls.number(f"net.ipv4.vs.{name}")


def _key(packet: Packet) -> ConnKey:
    return (packet.protocol, packet.src, packet.src_port, packet.dst, packet.dst_port)


def _inverse(packet: Packet) -> ConnKey:
    return (packet.protocol, packet.dst, packet.dst_port, packet.src, packet.src_port)


def _asked(run: Run) -> None:
    """One of IPVS' hash tables is asked."""
    if run.recorder is not None:
        run.recorder.meter.asked("ipvs")


# ---------------------------------------------------------------- requests


def incoming(run: Run, ns: Netns, skb: Skb, hook: str) -> bool:
    """A packet that may be for a virtual server (ip_vs_in); False when it went on or ended."""
    if skb.ipvs:
        return True
    packet = skb.packet
    if packet.protocol not in PROTOCOLS:
        return packet.original is None or _incoming_error(run, ns, skb, hook)
    ns.expire_ipvs(run.now_ns)
    _asked(run)
    conn = ns.ipvs.conns.get(_key(packet))
    if conn is not None:
        conn, passed = _reused(run, ns, skb, conn)
        if not passed:
            return False
    if conn is not None:
        conn, passed = _served(run, ns, skb, conn)
        if not passed:
            return False
    if conn is None:
        conn, passed = _scheduled(run, ns, skb, hook)
        if conn is None:
            return passed
    way = "in" if conn.answered else "only"
    state = next_state(packet.protocol, conn.state, packet.tcp_flags, way)
    conn = ns.ipvs.seen(conn, run.now_ns, packet.size_bytes, state=state, out=False)
    return _transmit(run, ns, skb, conn, hook)


def _old_conntrack(conn: Conn, skb: Skb) -> bool:
    """Whether a confirmed entry of conntrack holds the packet to the old server."""
    return conn.tracked and skb.ct is not None and skb.ct.confirmed


def _dropped(run: Run, ns: Netns, skb: Skb, why: str) -> tuple[None, bool]:
    run.drop(ns, Fate.LOST, skb.packet, why, stage=STAGE, object="ip_vs")
    return None, False


def _reused(run: Run, ns: Netns, skb: Skb, conn: Conn) -> tuple[Conn | None, bool]:
    """A SYN on a port pair that was used before: schedule it anew (conn_reuse_mode)."""
    mode = _flag(ns, "conn_reuse_mode")
    if not mode or skb.packet.protocol != "tcp" or not skb.packet.tcp_flags & SYN:
        return conn, True
    dest, _ = ns.ipvs.dest_of(conn)
    quiesced = dest is not None and not dest.weight and _flag(ns, "expire_nodest_conn") != 0
    ended = conn.control is None and (
        conn.state in REUSABLE or (mode & 2 and conn.state == "FIN_WAIT" and not conn.answered)
    )
    if not quiesced and not ended:
        return conn, True
    if _old_conntrack(conn, skb):
        ns.ipvs.remove(conn, ns.forget_flow)
        return _dropped(run, ns, skb, "the port pair's old connection is still tracked")
    ns.ipvs.remove(conn, None)
    return None, True


def _served(run: Run, ns: Netns, skb: Skb, conn: Conn) -> tuple[Conn | None, bool]:
    """A connection whose real server was removed (expire_nodest_conn)."""
    _, available = ns.ipvs.dest_of(conn)
    if available:
        return conn, True
    if not _flag(ns, "expire_nodest_conn"):
        return _dropped(run, ns, skb, f"real server {conn.dest} was removed")
    if _old_conntrack(conn, skb):
        ns.ipvs.remove(conn, ns.forget_flow)
        return _dropped(run, ns, skb, f"real server {conn.dest} was removed; the flow starts anew")
    ns.ipvs.remove(conn, None)
    return None, True


def _scheduled(run: Run, ns: Netns, skb: Skb, hook: str) -> tuple[Conn | None, bool]:
    """Give a new connection a real server; without one the packet passes or ends."""
    packet, ipvs = skb.packet, ns.ipvs
    if packet.protocol == "tcp":
        begins = packet.tcp_flags & SYN or _flag(ns, "sloppy_tcp")
        if not begins or packet.tcp_flags & RST:
            return None, True
    _asked(run)
    service = ipvs.find(packet.protocol, packet.dst, packet.dst_port, packet.mark)
    if service is None:
        return None, True
    if hook == "OUTPUT" or skb.in_dev == "lo":
        _asked(run)
        if _inverse(packet) in ipvs.conns:
            return None, True  # an answer of a real server on this host
    service = ipvs.own(service.key)
    service.stats.settle(run.now_ns)
    if service.timeout_s:
        conn = _sticky(run, ns, skb, service)
    else:
        dest = _choose(run, ns, skb, service)
        conn = _connect(run, ns, skb, service, dest) if dest is not None else None
    if conn is None:
        return None, _leave(run, ns, skb, service)
    service.stats.conns += 1
    return conn, True


def _choose(run: Run, ns: Netns, skb: Skb, service: Service) -> Dest | None:
    packet = skb.packet
    keep = "lblcr_expiration" if service.scheduler == "lblcr" else "lblc_expiration"
    ask = Ask(packet.src, packet.src_port, packet.dst, run.now_ns, _flag(ns, keep) * SECOND_NS)
    wanted = SCHEDULERS[service.scheduler](service, ask)
    if wanted is None or service.scheduler in HASHING:
        return wanted
    usable = sorted((d for d in service.dests if d.usable), key=lambda d: d.at)
    if len(usable) < 2:
        return wanted
    index = usable.index(wanted)
    chosen = usable[run.kernel.chance.pick(service.title, [d.weight for d in usable], index)]
    if chosen is not wanted:
        service.memory.last = chosen.at
    return chosen


def _connect(
    run: Run,
    ns: Netns,
    skb: Skb,
    service: Service,
    dest: Dest,
    control: ConnKey | None = None,
) -> Conn:
    packet = skb.packet
    port = dest.at.port
    if service.timeout_s and packet.dst_port != service.key.port:
        port = packet.dst_port
    conn = Conn(
        key=_key(packet),
        service=service.key,
        dest=dest.at,
        to=Address(dest.at.ip, port or packet.dst_port),
        forward=dest.forward,
        state="NONE" if packet.protocol != "udp" else "UDP",
        expires_ns=run.now_ns + SECOND_NS,
        tracked=_flag(ns, "conntrack") != 0,
        control=control,
        answered=dest.forward == "masq",
    )
    ns.ipvs.add(conn, run.now_ns)
    if run.recorder is not None:
        names = {"masq": "Masq", "gate": "Route", "ipip": "Tunnel"}
        sticks = f", persistent {service.timeout_s}" if service.timeout_s else ""
        detail = (
            f"-> {conn.to} {names[dest.forward]} weight {dest.weight}, "
            f"one of {len(service.dests)}{sticks}"
        )
        run.recorder.step(STAGE, service.title, "schedule", detail, netns=ns.name)
    return conn


def _sticky(run: Run, ns: Netns, skb: Skb, service: Service) -> Conn | None:
    """Persistence: a client's template says which server (ip_vs_sched_persist)."""
    packet, ipvs = skb.packet, ns.ipvs
    family = family_of(packet.src)
    client = packet.src
    if service.netmask:
        bits = BITS[family]
        client = text(masked(number(client, family), service.netmask, bits), family)
    if service.key.protocol == "fwm":
        key: ConnKey = ("fwm", client, 0, text(service.key.port, family), 0)
    else:
        key = (packet.protocol, client, 0, packet.dst, service.key.port)
    _asked(run)
    template = ipvs.templates.get(key)
    dest = None
    if template is not None:
        dest, available = ipvs.dest_of(template)
        quiet = dest is not None and not dest.weight and _flag(ns, "expire_quiescent_template") != 0
        if not available or quiet:
            ipvs.remove(template, None)
            dest = None
    if dest is None:
        dest = _choose(run, ns, skb, service)
        if dest is None:
            return None
        made = Conn(
            key=key,
            service=service.key,
            dest=dest.at,
            to=dest.at if service.key.port == packet.dst_port else Address(dest.at.ip, 0),
            forward=dest.forward,
            state="NONE",
            expires_ns=run.now_ns + service.timeout_s * SECOND_NS,
            timeout_s=service.timeout_s,
            template=True,
        )
        ipvs.add(made, run.now_ns)
    conn = _connect(run, ns, skb, service, dest, key)
    ipvs.refresh_template(key, run.now_ns)
    return conn


def _leave(run: Run, ns: Netns, skb: Skb, service: Service) -> bool:
    """No real server takes it: port unreachable, for TCP too (ip_vs_leave). Always False."""
    from podwire.dataplane.stack import icmp  # noqa: PLC0415  # the stack calls the hooks

    why = "no destination available"
    if not service.dests:
        why = "no real servers: no destination available"
    rule = service_rule(service)
    run.drop(ns, Fate.NO_ENDPOINTS, skb.packet, why, stage=STAGE, object=service.title, rule=rule)
    icmp.tell(run, ns, skb, Trouble.PORT_UNREACHABLE)
    return False


# ---------------------------------------------------------------- sending on


def _route(ns: Netns, packet: Packet, dst: str) -> Route | None:
    return ns.fib_of(dst).route(replace(packet, dst=dst))


def _transmit(run: Run, ns: Netns, skb: Skb, conn: Conn, hook: str) -> bool:
    """Send a packet to its real server; True when that is this host and the hook goes on."""
    packet = skb.packet
    if conn.forward == "ipip":
        why = f"not modelled: IPVS tunnelling to {conn.to.ip}"
        run.drop(ns, Fate.UNKNOWN, packet, why, stage=STAGE, object="ip_vs")
        return False
    route = _route(ns, packet, conn.to.ip)
    if route is not None and route.type == "local":
        return _local(run, ns, skb, conn)
    if not _passable(run, ns, skb, conn, route, hook):
        return False
    assert route is not None
    if conn.forward == "masq":
        skb.packet = replace(packet, dst=conn.to.ip, dst_port=conn.to.port, ttl=packet.ttl - 1)
        _record(run, ns, conn, "dnat", packet.flow, skb.packet.flow)
    else:
        skb.packet = replace(packet, ttl=packet.ttl - 1)
        route = replace(route, via=route.via or conn.to.ip)
        _record(run, ns, conn, "route", packet.flow, packet.flow)
    _along(skb, conn)
    skb.in_dev, skb.out_dev, skb.ipvs = "", route.dev, True
    if not hooks.run(run, ns, skb, "OUTPUT"):
        return False
    if run.recorder is not None:
        via = f" via {route.via}" if route.via else ""
        run.recorder.step(
            "route", route.table, "out", f"{route.dst}{via} dev {route.dev}", netns=ns.name
        )
    if hooks.run(run, ns, skb, "POSTROUTING"):
        from podwire.dataplane.stack import ip  # noqa: PLC0415  # the stack calls the hooks

        ip.finish(run, ns, skb, route)
    return False


def _local(run: Run, ns: Netns, skb: Skb, conn: Conn) -> bool:
    """The real server is this host: the packet goes on where it is."""
    before = skb.packet
    if conn.forward == "masq":
        skb.packet = replace(before, dst=conn.to.ip, dst_port=conn.to.port)
        _record(run, ns, conn, "dnat", before.flow, skb.packet.flow)
    _along(skb, conn)
    skb.ipvs = True
    return True


def _passable(run: Run, ns: Netns, skb: Skb, conn: Conn, route: Route | None, hook: str) -> bool:
    """Whether a packet may leave for its real server; otherwise it ends here, with its error."""
    from podwire.dataplane.stack import icmp  # noqa: PLC0415  # the stack calls the hooks

    packet = skb.packet
    if route is None or route.type != "unicast":
        why = f"no route to real server {conn.to.ip}"
        run.drop(ns, Fate.NO_ROUTE, packet, why, stage=STAGE, object="ip_vs")
        icmp.tell(run, ns, skb, Trouble.HOST_UNREACHABLE)
        return False
    if is_loopback(packet.src) and hook == "OUTPUT":
        why = f"loopback source cannot leave for {conn.to.ip}"
        run.drop(ns, Fate.MARTIAN, packet, why, stage=STAGE, object="ip_vs")
        return False
    if packet.ttl <= 1:
        run.drop(ns, Fate.TTL_EXCEEDED, packet, "ttl reached zero", stage=STAGE, object="ip_vs")
        icmp.tell(run, ns, skb, Trouble.TIME_EXCEEDED)
        return False
    mtu = route.mtu_bytes or ns.links[route.dev].mtu_bytes
    if packet.largest_bytes > mtu and packet.dont_fragment:
        why = f"{packet.largest_bytes} bytes, {route.dev} takes {mtu}, and DF is set"
        run.drop(ns, Fate.MTU_EXCEEDED, packet, why, stage=STAGE, object=route.dev)
        icmp.tell(run, ns, skb, Trouble.TOO_BIG, mtu)
        return False
    return True


def _along(skb: Skb, conn: Conn) -> None:
    """Conntrack goes along: a new entry expects its answers from the real server
    (ip_vs_update_conntrack). Without vs.conntrack the packet is not tracked any further.
    """
    if not conn.tracked:
        skb.ct, skb.ct_reply, skb.ct_state = None, False, "UNTRACKED"
        return
    entry = skb.ct
    if entry is None or entry.confirmed or skb.ct_reply or conn.forward != "masq":
        return
    protocol, _, _, client, port = entry.reply
    entry.reply = (protocol, conn.to.ip, conn.to.port, client, port)


def _record(run: Run, ns: Netns, conn: Conn, result: str, before: Flow, after: Flow) -> None:
    if run.recorder is None:
        return
    service = ns.ipvs.services.get(conn.service)
    title = service.title if service is not None else str(conn.service)
    run.recorder.step(
        STAGE,
        title,
        result,
        f"{before} -> {after}" if before != after else f"via {conn.to.ip}",
        netns=ns.name,
        before=before,
        after=after,
    )


# ---------------------------------------------------------------- answers


def outgoing(run: Run, ns: Netns, skb: Skb, hook: str) -> bool:
    """An answer of a real server gets the virtual address as its source (ip_vs_out)."""
    del hook
    if skb.ipvs:
        return True
    packet, ipvs = skb.packet, ns.ipvs
    if packet.protocol not in PROTOCOLS:
        return packet.original is None or _outgoing_error(run, ns, skb)
    ns.expire_ipvs(run.now_ns)
    _asked(run)
    key = ipvs.back.get(_key(packet))
    conn = ipvs.conns.get(key) if key is not None else None
    if conn is None or conn.forward != "masq":
        return True
    _, _, _, virtual, port = conn.key
    skb.packet = replace(packet, src=virtual, src_port=port)
    state = next_state(packet.protocol, conn.state, packet.tcp_flags, "out")
    conn = ipvs.seen(conn, run.now_ns, packet.size_bytes, state=state, out=True)
    _record(run, ns, conn, "undo", packet.flow, skb.packet.flow)
    skb.ipvs = True
    if not conn.tracked:
        skb.ct, skb.ct_reply, skb.ct_state = None, False, "UNTRACKED"
    return True


def _outgoing_error(run: Run, ns: Netns, skb: Skb) -> bool:
    """An ICMP error about a request, from the real server's side (ip_vs_out_icmp)."""
    packet = skb.packet
    quoted = packet.original
    if quoted is None or not packet.is_icmp_error or quoted.protocol not in PROTOCOLS:
        return True
    key = ns.ipvs.back.get(_inverse(quoted))
    conn = ns.ipvs.conns.get(key) if key is not None else None
    if conn is None or conn.forward != "masq":
        return True
    _, _, _, virtual, port = conn.key
    quoted = replace(quoted, dst=virtual, dst_port=port)
    skb.packet = replace(packet, src=virtual, original=quoted)
    _record(run, ns, conn, "undo", packet.flow, skb.packet.flow)
    skb.ipvs = True
    return True


def _incoming_error(run: Run, ns: Netns, skb: Skb, hook: str) -> bool:
    """An ICMP error about an answer, from the client's side (ip_vs_in_icmp)."""
    packet = skb.packet
    quoted = packet.original
    if quoted is None or not packet.is_icmp_error or quoted.protocol not in PROTOCOLS:
        return True
    conn = ns.ipvs.conns.get(_inverse(quoted))
    if conn is None or conn.forward != "masq":
        return True
    route = _route(ns, packet, conn.to.ip)
    quoted = replace(quoted, src=conn.to.ip, src_port=conn.to.port)
    after = replace(packet, dst=conn.to.ip, original=quoted)
    if route is not None and route.type == "local":
        skb.packet, skb.ipvs = after, True
        return True
    if not _passable(run, ns, skb, conn, route, hook):
        return False
    assert route is not None
    skb.packet = replace(after, ttl=packet.ttl - 1)
    skb.in_dev, skb.out_dev, skb.ipvs = "", route.dev, True
    _record(run, ns, conn, "dnat", packet.flow, after.flow)
    if hooks.run(run, ns, skb, "OUTPUT") and hooks.run(run, ns, skb, "POSTROUTING"):
        from podwire.dataplane.stack import ip  # noqa: PLC0415  # the stack calls the hooks

        ip.finish(run, ns, skb, route)
    return False
