"""Every packet's way between sockets, kernels and the wire.

Kernels decide, the wire carries, sockets speak: this moves what one of them emits to the next, and
keeps the kernels' timers.
"""

from __future__ import annotations

import errno
from collections import deque

from podwire.dataplane.commands import CommandError
from podwire.dataplane.emit import Deliver, Drop, Emit, ToWire
from podwire.dataplane.kernel import Kernel
from podwire.dataplane.packet import ACK, ETHERNET_BYTES, SYN, Frame, Packet
from podwire.dataplane.world import World
from podwire.fabric.host import Host
from podwire.fabric.icmp import os_error
from podwire.fabric.sockets import SocketLayer
from podwire.fabric.wire import NIC, Wire
from podwire.runtime.ports import Clock, Rng, TraceLog


class Carriage:
    """Hosts on one wire, and what is on its way between them.

    ``link_delay_s`` is one way between hosts, ``local_delay_s`` between two sockets of one.
    """

    def __init__(
        self,
        clock: Clock,
        rng: Rng,
        trace: TraceLog,
        link_delay_s: float,
        link_jitter_s: float,
        local_delay_s: float,
    ) -> None:
        self.clock = clock
        self.trace = trace
        self.hosts: dict[str, Host] = {}
        self.world = World()
        self.wire = Wire(
            self.world, clock, rng.child("wire"), link_delay_s, link_jitter_s, self._lost
        )
        self.sockets = SocketLayer(clock, rng.child("sockets"), self)
        self._local_delay_s = local_delay_s
        self._local: dict[tuple[str, str], deque[Packet]] = {}

    # ------------------------------------------------------------ what sockets need

    def require_netns(self, node: str, netns: str) -> None:
        """Raises OSError when the node or the namespace does not exist."""
        host = self.hosts.get(node)
        if host is None or not host.powered:
            raise os_error(errno.ENODEV)
        if netns not in host.kernel.namespaces():
            raise os_error(errno.ENOENT)

    def route(self, node: str, netns: str, address: str) -> tuple[str, int]:
        """Source address and path MTU toward an address. Raises OSError (ENETUNREACH)."""
        kernel = self._kernel(node)
        try:
            source, refusal = kernel.choose_route(netns, address)
            mtu_bytes = kernel.path_mtu(netns, address)
        except CommandError:
            raise os_error(errno.ENETUNREACH) from None
        if refusal or not mtu_bytes:
            raise os_error(getattr(errno, refusal or "ENETUNREACH"))
        return source, mtu_bytes

    def translate(self, node: str, netns: str, packet: Packet) -> tuple[str, int]:
        """Where programs at connect() send a socket. Raises OSError (EHOSTUNREACH)."""
        done = self._kernel(node).translate_socket(packet, netns, self.clock.monotonic_ns())
        if done is None:
            return packet.dst, packet.dst_port
        if done.errno:
            raise os_error(getattr(errno, done.errno))
        return done.ip, done.port

    def heard_from(
        self, node: str, netns: str, port: int, source: str, source_port: int
    ) -> tuple[str, int]:
        """Whom a datagram socket thinks it hears from."""
        return self._kernel(node).heard_from(netns, port, source, source_port)

    def send(self, node: str, netns: str, packet: Packet) -> None:
        """Output of a locally made packet. Raises OSError when the kernel refuses it at once."""
        host = self._host(node)
        if not host.powered:
            return
        try:
            emits = host.kernel.send(netns, packet, self.clock.monotonic_ns())
        except CommandError:
            raise os_error(errno.ENETUNREACH) from None
        refused = self._carry(host, emits, packet)
        if refused:
            raise os_error(refused)

    def open_socket(
        self,
        node: str,
        netns: str,
        protocol: str,
        address: str,
        port: int,
        remote: str = "",
        remote_port: int = 0,
    ) -> None:
        """Tell the kernel of a socket. Raises OSError (EADDRINUSE)."""
        kernel = self._kernel(node)
        if remote:
            kernel.connect_socket(netns, protocol, address, port, remote, remote_port)
            return
        try:
            kernel.open_socket(netns, protocol, address, port)
        except CommandError:
            raise os_error(errno.EADDRINUSE) from None

    def close_socket(
        self,
        node: str,
        netns: str,
        protocol: str,
        address: str,
        port: int,
        remote: str = "",
        remote_port: int = 0,
    ) -> None:
        """Undo ``open_socket``; harmless when the node is gone."""
        host = self.hosts.get(node)
        if host is None:
            return
        if remote:
            host.kernel.disconnect_socket(netns, protocol, address, port, remote, remote_port)
        else:
            host.kernel.close_socket(netns, protocol, address, port)

    # ------------------------------------------------------------ packets on their way

    def _carry(self, host: Host, emits: list[Emit], sent: Packet | None = None) -> int:
        """Move emits on. The errno that ended ``sent`` at once, 0 if it was not refused."""
        refused = 0
        asks = True
        for emit in emits:
            if isinstance(emit, ToWire):
                asks = not emit.frame.carries
                self._to_wire(host, emit)
            elif isinstance(emit, Deliver):
                asks = False
                if sent is None:
                    self._record(host, emit.netns, "DELIVERED", emit.packet)
                    self.sockets.deliver(host.info.name, emit.netns, emit.packet)
                else:
                    self._deliver_soon(host.info.name, emit.netns, emit.packet)
            elif isinstance(emit, Drop):
                self._record(host, emit.netns, emit.fate.value, emit.packet)
                same = sent is not None and emit.packet.payload is sent.payload
                if same and emit.errno and emit.packet.ttl == 64:
                    refused = getattr(errno, emit.errno)
        if asks or host.kernel.holding:
            # nothing went anywhere, or a question did: something may wait for an answer, or time
            self._arm(host)
        return refused

    def _to_wire(self, host: Host, emit: ToWire) -> None:
        frame = emit.frame
        size_bytes = frame.size_bytes + ETHERNET_BYTES
        if emit.device == NIC:
            self.wire.transmit(host.info.name, frame.dst, frame, size_bytes)
        elif frame.packet is not None:
            self._record(host, "", "EXITS_CLUSTER", frame.packet)

    def _deliver_soon(self, node: str, netns: str, packet: Packet) -> None:
        key = (node, netns)
        queue = self._local.get(key)
        if queue is None:
            queue = self._local[key] = deque()
        queue.append(packet)
        self.clock.call_later(self._local_delay_s, self._deliver_next, key, queue)

    def _deliver_next(self, key: tuple[str, str], queue: deque[Packet]) -> None:
        packet = queue.popleft()
        host = self.hosts.get(key[0])
        if host is not None and host.powered:
            self._record(host, key[1], "DELIVERED", packet)
            self.sockets.deliver(*key, packet)

    def _receive(self, host: Host, frame: Frame) -> None:
        self._carry(host, host.kernel.receive(NIC, frame, self.clock.monotonic_ns()))

    def _arm(self, host: Host) -> None:
        """Keep a timer for the kernel's own next deadline (unanswered ARP requests)."""
        deadline_ns = host.kernel.deadline_ns()
        if deadline_ns is None:
            return
        if host.kernel_timer is not None:
            if host.kernel_timer_ns <= deadline_ns:
                return
            host.kernel_timer.cancel()
        host.kernel_timer_ns = deadline_ns
        delay_s = max(deadline_ns - self.clock.monotonic_ns(), 0) / 1e9
        host.kernel_timer = self.clock.call_later(delay_s, self._tick, host)

    def _tick(self, host: Host) -> None:
        host.kernel_timer = None
        if host.powered:
            self._carry(host, host.kernel.tick(self.clock.monotonic_ns()))
            self._arm(host)

    def _lost(self, node: str, frame: Frame, why: str) -> None:
        if frame.packet is not None and node in self.hosts:
            self._record(self.hosts[node], "", f"LOST {why}", frame.packet)

    def _record(self, host: Host, netns: str, fate: str, packet: Packet) -> None:
        """History hears of first packets and of what went wrong, not of every data segment."""
        if packet.protocol == "tcp" and packet.tcp_flags & (SYN | ACK) != SYN:
            return
        self.trace.record("verdict", host.info.name, netns, fate, str(packet))

    # ------------------------------------------------------------ small things

    def _host(self, node: str) -> Host:
        host = self.hosts.get(node)
        if host is None:
            raise LookupError(f"no node named {node!r}")
        return host

    def _running(self, node: str) -> Host:
        host = self._host(node)
        if not host.powered:
            raise ConnectionError(f"node {node} has no power")
        return host

    def _kernel(self, node: str) -> Kernel:
        return self._host(node).kernel
