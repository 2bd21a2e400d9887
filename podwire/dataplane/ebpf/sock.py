"""The cgroup programs: a socket that connects to a Service is given a backend before any packet.

Nothing is translated on the way: packets leave with the backend's address in them. Source: cilium
bpf/bpf_sock.c (cil_sock4_connect, _sendmsg, _recvmsg, _getpeername and their IPv6 twins).
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

from podwire.dataplane.addr import is_loopback
from podwire.dataplane.cost import Meter
from podwire.dataplane.ebpf import lookup
from podwire.dataplane.ebpf.lookup import Found
from podwire.dataplane.ebpf.maps import Ebpf
from podwire.dataplane.emit import Recorder
from podwire.dataplane.netfilter.env import Chance
from podwire.dataplane.netns import Netns
from podwire.dataplane.verdict import Flow

HOST = ""


class Socket(NamedTuple):
    """Who asks: a socket of a namespace."""

    netns: str
    protocol: str
    source: str
    source_port: int

    @property
    def cookie(self) -> int:
        """Tells this socket from others (bpf_get_socket_cookie)."""
        return zlib.crc32(f"{self.netns} {self.protocol} {self.source_port}".encode())


class Translated(NamedTuple):
    """What the program did: the address to use, or the errno that the system call fails with."""

    ip: str
    port: int
    errno: str = ""
    rule: str = ""


def program(socket: Socket, ip: str) -> str:
    """The program that a system call of this socket runs."""
    family = 6 if ":" in ip else 4
    return f"cil_sock{family}_{'connect' if socket.protocol == 'tcp' else 'sendmsg'}"


def forward(
    host: Netns,
    socket: Socket,
    ip: str,
    port: int,
    chance: Chance,
    now_ns: int,
    recorder: Recorder | None = None,
) -> Translated | None:
    """connect() or sendmsg() to an address; None when it is left alone."""
    ebpf = host.ebpf
    if program(socket, ip) not in ebpf.attached or socket.protocol not in {"tcp", "udp"}:
        return None
    if socket.netns != HOST and ebpf.config.get("hostNamespaceOnly") == "true":
        return None
    meter = recorder.meter if recorder is not None else None
    found = lookup.find(ebpf, ip, port, socket.protocol, meter, inside=True)
    if found is None:
        found = _wildcard(host, socket, ip, port, meter)
    if found is None:
        return None
    if found.service.type == "ExternalIPs" and ip not in host.local:
        return None  # a Service must not capture a public address of others
    number = _backend(ebpf, found, socket, chance, now_ns, meter)
    chosen = lookup.backend(ebpf, number, meter)
    if chosen is None:
        _record(recorder, socket, ip, port, found, None)
        return Translated(ip, port, "EHOSTUNREACH", found.rule)
    if found.service.affinity_s:
        lookup.keep(ebpf, found, f"netns {socket.netns}", number, now_ns, meter)
    to = (chosen.ip, chosen.port)
    lookup.asked(meter)
    ebpf.reverse_sk[socket.cookie, *to] = (ip, port)
    _record(recorder, socket, ip, port, found, to)
    return Translated(*to, rule=found.rule)


def _wildcard(host: Netns, socket: Socket, ip: str, port: int, meter: Meter | None) -> Found | None:
    """A NodePort at any address of this node; on loopback only for the node's own programs."""
    if is_loopback(ip) and socket.netns != HOST:
        return None
    if ip not in host.local and not is_loopback(ip):
        return None
    any_ip = "::" if ":" in ip else "0.0.0.0"
    found = lookup.find(host.ebpf, any_ip, port, socket.protocol, meter, inside=True)
    return found if found is not None and found.service.type == "NodePort" else None


def _backend(
    ebpf: Ebpf, found: Found, socket: Socket, chance: Chance, now_ns: int, meter: Meter | None
) -> int:
    count = found.service.active
    if not count:
        return 0
    if found.service.affinity_s:
        known = lookup.sticky(ebpf, found, f"netns {socket.netns}", now_ns, meter)
        if known:
            return known
    if socket.protocol == "tcp":
        slot = chance.choose(str(found.at), count)
    else:  # a datagram socket keeps its backend: its cookie says which
        slot = chance.pick(str(found.at), [1] * count, socket.cookie % count)
    return lookup.by_slot(ebpf, found, slot + 1, meter)


def _record(
    recorder: Recorder | None,
    socket: Socket,
    ip: str,
    port: int,
    found: Found,
    to: tuple[str, int] | None,
) -> None:
    if recorder is None:
        return
    ends = {"protocol": socket.protocol, "src": socket.source, "src_port": socket.source_port}
    before = Flow(**ends, dst=ip, dst_port=port)  # type: ignore[arg-type]
    if to is None:
        detail = "Service backend not found (158): EHOSTUNREACH"
        recorder.step("ebpf", program(socket, ip), "drop", detail, netns=socket.netns,
                      rule=found.rule, before=before)  # fmt: skip
        return
    after = Flow(**ends, dst=to[0], dst_port=to[1])  # type: ignore[arg-type]
    detail = f"{found.words}, one of {found.service.active} -> {to[0]} port {to[1]}"
    recorder.step("ebpf", program(socket, ip), "dnat", detail, netns=socket.netns,
                  rule=found.rule, before=before, after=after)  # fmt: skip


def backward(host: Netns, socket: Socket, ip: str, port: int) -> tuple[str, int]:
    """recvmsg() or getpeername(): the address that the program spoke to, of one it hears from."""
    return host.ebpf.reverse_sk.get((socket.cookie, ip, port), (ip, port))
