"""One node's kernel: namespaces, the commands that change them, and packets in and out.

Everything between the namespaces of a node happens inside one call; only frames that leave
through a physical device come out. Forks are cheap: parent and fork share namespaces until one of
them touches one, and copies it first.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from podwire.dataplane import execute as commands_of
from podwire.dataplane.commands import Command, CommandError
from podwire.dataplane.ebpf import sock
from podwire.dataplane.ebpf.sock import Translated
from podwire.dataplane.emit import Emit, Recorder
from podwire.dataplane.link import Link
from podwire.dataplane.netfilter.env import Chance, RngChance
from podwire.dataplane.netns import Netns, digest
from podwire.dataplane.packet import Frame, Packet
from podwire.dataplane.paths.cache import PathCache
from podwire.dataplane.qdisc import Queue
from podwire.dataplane.run import Run
from podwire.dataplane.skb import Skb
from podwire.dataplane.stack import arp, ip, l2
from podwire.dataplane.verdict import Fate
from podwire.runtime.ports import Rng

HOST = ""
Tap = Callable[[str, str, Frame], None]
"""(device, "In" or "Out", frame)."""
GC_PAUSE_NS = 5_000_000_000


class Kernel:
    """The kernel of one host. ``rng`` is its only source of chance; ``shared`` is for forks.

    Not thread-safe and not reentrant: the fabric calls it from one loop.
    """

    __slots__ = (
        "_collected_ns",
        "_held",
        "_last_handle",
        "_namespaces",
        "_owned",
        "_queues",
        "_running",
        "_sequence",
        "chance",
        "ideal",
        "node",
        "paths",
        "rng",
        "taps",
    )

    def __init__(self, node: str, rng: Rng, shared: dict[str, Netns] | None = None) -> None:
        self.node = node
        self.rng = rng
        self.chance: Chance = RngChance(rng.child("statistic"))
        self._namespaces = {HOST: Netns(HOST)} if shared is None else shared
        self._collected_ns: dict[str, int] = {}
        self.ideal = False
        """Whether devices delay and lose nothing (netem): on forks, which ask what rules do."""
        self._queues: dict[tuple[str, str], Queue] = {}
        self._held: list[tuple[int, int, str, str, Frame, Skb | None]] = []
        self._sequence = self._last_handle = 0
        self._owned: dict[str, None] = {HOST: None} if shared is None else {}
        self._running = False
        self.paths: PathCache | None = PathCache() if shared is None else None
        """Paths that packets took (a fork, which sees few packets, keeps none)."""
        self.taps: dict[str, list[Tap]] = {}
        """Who is told of the frames of a namespace's devices. Then packets go the plain road, for
        on a kept path they pass no device.
        """

    # ------------------------------------------------------------ state

    def fork(self) -> Kernel:
        """A copy that shares nothing mutable with this kernel; its chance is a stream of its own.

        Frames that netem holds stay here. Both sides lose ownership of the shared namespaces, so
        whoever writes first copies.
        """
        self._owned = {}
        self.forget_paths()
        twin = Kernel(self.node, self.rng.child("fork"), dict(self._namespaces))
        twin.ideal = self.ideal
        return twin

    def find_netns(self, name: str) -> Netns | None:
        """A namespace to read or write, or None. It is this kernel's own afterwards.

        Whoever asks from outside a packet's run may change it: kept paths are forgotten.
        """
        if not self._running:
            self.forget_paths()
        return self._find(name)

    def netns(self, name: str) -> Netns:
        """``find_netns``. Raises CommandError in ``ip netns``' words when there is none."""
        if not self._running:
            self.forget_paths()
        return self._own(name)

    def _find(self, name: str) -> Netns | None:
        found = self._namespaces.get(name)
        if found is not None and name not in self._owned:
            found = self._namespaces[name] = found.clone()
            self._owned[name] = None
        return found

    def _own(self, name: str) -> Netns:
        found = self._find(name)
        if found is None:
            raise CommandError(f'Cannot open network namespace "{name}": No such file or directory')
        return found

    def peek(self, name: str) -> Netns | None:
        """A namespace to read only, or None. It may be shared with forks."""
        return self._namespaces.get(name)

    @property
    def spaces(self) -> dict[str, Netns]:
        """All namespaces by name, to read."""
        return self._namespaces

    def namespaces(self) -> list[str]:
        """The names of all namespaces, the node's own ("") first."""
        return list(self._namespaces)

    def add_netns(self, name: str) -> None:
        """Make a namespace with only ``lo``."""
        self.forget_paths()
        self._namespaces[name] = Netns(name)
        self._owned[name] = None

    def remove_netns(self, name: str) -> None:
        """Forget a namespace and all its state."""
        self.forget_paths()
        for dev in self._namespaces.pop(name).links:
            self.flush_queue(name, dev)
        self._owned.pop(name, None)

    def forget_paths(self) -> None:
        """Let every packet go the plain road again until its path is learnt anew."""
        if self.paths is not None:
            self.paths.forget()

    def peer_of(self, link: Link) -> tuple[Netns, Link] | None:
        """Where the other end of a veth is, and itself; None of other kinds and when it is gone."""
        ns = self.find_netns(link.peer_netns) if link.peer_name else None
        peer = ns.links.get(link.peer_name) if ns is not None else None
        return (ns, peer) if ns is not None and peer is not None else None

    def carrier(self, link: Link) -> bool:
        """Whether the far end of a device is there: a veth's peer must be up."""
        if link.beyond is not None:
            return link.beyond.carrier
        if link.kind != "veth":
            return True
        peer = self.peer_of(link)
        return peer is not None and peer[1].up

    def state_hash(self) -> str:
        """A digest of all state that can influence a packet."""
        return digest([self.node, *(ns.facts() for _, ns in sorted(self._namespaces.items()))])

    # ------------------------------------------------------------ frames that wait in netem

    def next_handle(self) -> int:
        """The handle of a new discipline: 8001:, 8002: ..."""
        self._last_handle += 1
        return 0x8000 + self._last_handle

    def queue(self, netns: str, dev: str) -> Queue:
        """The state of a device's netem, with a stream of chance of its own."""
        found = self._queues.get((netns, dev))
        if found is None:
            found = self._queues[netns, dev] = Queue(self.rng.child(f"netem/{netns}/{dev}"))
        return found

    def hold(self, due_ns: int, netns: str, dev: str, frame: Frame, skb: Skb | None) -> None:
        """Keep a frame until ``tick`` at its time."""
        self._sequence += 1
        heapq.heappush(self._held, (due_ns, self._sequence, netns, dev, frame, skb))

    @property
    def holding(self) -> bool:
        """Whether a frame waits for its time to leave."""
        return bool(self._held)

    def flush_queue(self, netns: str, dev: str) -> None:
        """Lose what a device's netem holds, and forget its state."""
        if self._queues.pop((netns, dev), None) is None:
            return
        self._held = [item for item in self._held if (item[2], item[3]) != (netns, dev)]
        heapq.heapify(self._held)

    def _release(self, run: Run) -> None:
        while self._held and self._held[0][0] <= run.now_ns:
            _, _, name, dev, frame, skb = heapq.heappop(self._held)
            queue = self._queues.get((name, dev))
            if queue is not None:
                queue.held -= 1
                queue.sent += 1
            ns = self.find_netns(name)
            link = ns.links.get(dev) if ns is not None else None
            if ns is not None and link is not None:
                l2.dequeue(run, ns, link, frame, skb)

    # ------------------------------------------------------------ the node's neighbours

    def neighbours_held(self, family: str, enough: int) -> int:
        """How many neighbours all namespaces know together (one table in Linux); below ``enough``
        only an upper bound.
        """
        most = sum(len(ns.neighbours.entries) for ns in self._namespaces.values())
        if most < enough:
            return most
        return sum(ns.neighbours.count(family) for ns in self._namespaces.values())

    def may_collect(self, family: str, now_ns: int) -> bool:
        """Whether the last forced collection is five seconds ago; if so, this is the next."""
        last = self._collected_ns.get(family)
        if last is not None and now_ns - last <= GC_PAUSE_NS:
            return False
        self._collected_ns[family] = now_ns
        return True

    def collect_neighbours(self, family: str, now_ns: int, most: int) -> int:
        """Forget up to ``most`` old neighbours, namespace by namespace; how many went."""
        gone = 0
        for name in list(self._namespaces):
            if gone < most and self._namespaces[name].neighbours.count(family):
                gone += self.netns(name).neighbours.collect(family, now_ns, most - gone)
        return gone

    # ------------------------------------------------------------ commands

    def execute(self, command: Command, now_ns: int) -> None:
        """Run one command. Raises CommandError with the tool's own words; then nothing changed."""
        commands_of.run(self, command, now_ns)

    def add_physical(self, name: str, mac: str, mtu_bytes: int = 1500, *, arp: bool = True) -> None:
        """Plug in a network card (up at once). ``arp`` False makes it point-to-point."""
        ns = self.netns(HOST)
        link = Link(name=name, index=0, kind="phys", mac=mac, mtu_bytes=mtu_bytes, up=True, arp=arp)
        ns.wake6(ns.add_link(link))

    def tool(self, netns: str, argv: list[str], stdin: str, now_ns: int) -> tuple[str, str, int]:
        """Run a network tool in a namespace: (stdout, stderr, exit code); 127 if not modelled."""
        from podwire.dataplane.tools import registry  # noqa: PLC0415  # loaded on first use

        return registry.run(self, netns, argv, stdin, now_ns)

    # ------------------------------------------------------------ packets

    def send(
        self, netns: str, packet: Packet, now_ns: int, recorder: Recorder | None = None
    ) -> list[Emit]:
        """Send a packet of a namespace's own; ``src`` "" lets routing pick the address."""
        if self.paths is not None and not self.taps:
            return self.paths.send(self, netns, packet, now_ns, recorder)
        return self.send_plainly(netns, packet, Run(self, now_ns, recorder))

    def send_plainly(self, netns: str, packet: Packet, run: Run) -> list[Emit]:
        """``send`` by the plain road, whatever paths are kept."""
        self._running = True
        try:
            ip.output(run, self.netns(netns), packet)
            return self._drain(run)
        finally:
            self._running = False

    def receive(
        self, device: str, frame: Frame, now_ns: int, recorder: Recorder | None = None
    ) -> list[Emit]:
        """A frame arrives from the wire at a physical device of the host."""
        if self.paths is not None and not self.taps:
            return self.paths.receive(self, device, frame, now_ns, recorder)
        return self.receive_plainly(device, frame, Run(self, now_ns, recorder))

    def receive_plainly(self, device: str, frame: Frame, run: Run) -> list[Emit]:
        """``receive`` by the plain road, whatever paths are kept."""
        self._running = True
        try:
            run.enqueue(HOST, device, frame)
            return self._drain(run)
        finally:
            self._running = False

    def _drain(self, run: Run) -> list[Emit]:
        queue = run.queue
        while queue:
            name, dev, frame, skb = queue.popleft()
            ns = self.find_netns(name)
            link = ns.links.get(dev) if ns is not None else None
            if ns is None or link is None:
                continue
            run.budget -= 1
            if run.budget < 0:
                if frame.packet is not None:
                    run.drop(ns, Fate.LOOP, frame.packet, "the packet circles inside the node")
                queue.clear()
                break
            packet = frame.packet
            if packet is not None and packet.protocol == "icmpv6" and packet.is_discovery:
                with run.aside():
                    l2.receive(run, ns, link, frame, skb)
            else:
                l2.receive(run, ns, link, frame, skb)
        if run.recorder is not None:
            run.recorder.settle()
        return run.emits

    def tick(self, now_ns: int, recorder: Recorder | None = None) -> list[Emit]:
        """Do what is due: repeat or give up questions for MACs. Call at ``deadline_ns``."""
        run = Run(self, now_ns, recorder)
        self._running = True
        try:
            for name, ns in list(self._namespaces.items()):
                due = ns.neighbours.deadline_ns()
                if due is not None and due <= now_ns:
                    arp.tick(run, self.netns(name))
            self._release(run)
            return self._drain(run)
        finally:
            self._running = False

    def forget_waiting(self) -> None:
        """Drop what waits for an unanswered ARP request. For forks: the live world's answer never
        reaches them, and a walk must not meet packets of others on its way.
        """
        for name, ns in list(self._namespaces.items()):
            if any(entry.waiting for entry in ns.neighbours.entries.values()):
                neighbours = self.netns(name).neighbours
                for key in [k for k, e in neighbours.entries.items() if e.waiting]:
                    neighbours.remove(key)

    def deadline_ns(self) -> int | None:
        """When ``tick`` is next needed; None while nothing waits."""
        dues = [ns.neighbours.deadline_ns() for ns in self._namespaces.values()]
        if self._held:
            dues.append(self._held[0][0])
        return min((due for due in dues if due is not None), default=None)

    # ------------------------------------------------------------ questions and sockets

    # Answers change nothing, and a path asks for the sockets it ends at: no path is forgotten.

    def source_address(self, netns: str, dst: str) -> str:
        """The source address routing picks for a destination; "" when there is no route."""
        return self.choose_route(netns, dst)[0]

    def choose_route(self, netns: str, dst: str) -> tuple[str, str]:
        """The source address toward a destination, and the errno that connect() gives without one
        ("" when there is one).
        """
        ns = self._own(netns)
        route = ns.fib_of(dst).lookup(dst)
        if route is None:
            return "", "ENETUNREACH"
        if route.type in ip.ERRNOS:
            return "", ip.refusal(route)
        source = ip.source_for(ns, route, dst)
        unusable = "EADDRNOTAVAIL" if ":" in dst else "ENETUNREACH"
        return source, "" if source else unusable

    def path_mtu(self, netns: str, dst: str) -> int:
        """The largest packet that may be sent to an address, in bytes; 0 without a route.

        A TCP's segment size is this less its headers. Learns from "fragmentation needed" and
        "packet too big".
        """
        ns = self._own(netns)
        route = ns.fib_of(dst).lookup(dst)
        return ip.mtu_for(ns, route, dst) if route is not None and route.dev else 0

    def translate_socket(
        self, packet: Packet, netns: str, now_ns: int, recorder: Recorder | None = None
    ) -> Translated | None:
        """What the cgroup programs make of the first packet of a socket, which says where it
        wants to go: before routing, and before any packet. None: nothing.
        """
        host = self._namespaces[HOST]
        if not host.ebpf.at_sockets:
            return None
        socket = sock.Socket(netns, packet.protocol, packet.src, packet.src_port)
        return sock.forward(
            self._own(HOST), socket, packet.dst, packet.dst_port, self.chance, now_ns, recorder
        )

    def heard_from(self, netns: str, port: int, source: str, source_port: int) -> tuple[str, int]:
        """Whom a datagram socket thinks it hears from (recvmsg)."""
        host = self._namespaces[HOST]
        if not host.ebpf.at_sockets:
            return source, source_port
        return sock.backward(host, sock.Socket(netns, "udp", "", port), source, source_port)

    def open_socket(self, netns: str, proto: str, address: str, port: int) -> None:
        """A socket listens (tcp) or is bound (udp). ``address`` "" is any.

        Raises CommandError ("Address already in use").
        """
        try:
            self._own(netns).sockets.bind(proto, address, port)
        except ValueError as error:
            raise CommandError(str(error)) from None

    def close_socket(self, netns: str, proto: str, address: str, port: int) -> None:
        """Undo ``open_socket``; harmless when the socket or the namespace is gone."""
        ns = self._find(netns)
        if ns is not None:
            ns.sockets.unbind(proto, address, port)

    def connect_socket(
        self, netns: str, proto: str, address: str, port: int, remote: str, remote_port: int
    ) -> None:
        """A connection exists (or is being made) from ``address:port`` to ``remote``.

        Its packets are delivered; without it (and without a listener) they are answered by RST.
        """
        key = (proto, address, port, remote, remote_port)
        self._own(netns).sockets.connected[key] = None

    def disconnect_socket(
        self, netns: str, proto: str, address: str, port: int, remote: str, remote_port: int
    ) -> None:
        """Undo ``connect_socket``; harmless when it or the namespace is gone."""
        ns = self._find(netns)
        if ns is not None:
            ns.sockets.connected.pop((proto, address, port, remote, remote_port), None)
