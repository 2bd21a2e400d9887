"""The hardware of the cluster: hosts, their tools and disks, and the doors to their sockets.

``Fabric`` implements counters 2 and 3. Kernels decide, the wire carries, sockets speak;
``carriage`` moves what one of them emits to the next.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from structlog.typing import FilteringBoundLogger

from podwire.client.counters import (
    CapturedFrame,
    NodeInfo,
    Probe,
    ProbeAnswer,
    Publication,
    ToolResult,
)
from podwire.dataplane.commands import (
    Command,
    CommandError,
    LinkAdd,
    LinkDel,
    NetnsDel,
    NftApply,
    RulesRestore,
)
from podwire.dataplane.kernel import Kernel
from podwire.dataplane.verdict import WalkAnswer, WalkRequest
from podwire.fabric import captures, facts
from podwire.fabric import commands as machine_commands
from podwire.fabric import host as hosts
from podwire.fabric.associations import SctpListener, SctpSocket
from podwire.fabric.carriage import Carriage
from podwire.fabric.host import GIB, KERNEL_VERSION, Host
from podwire.fabric.publications import Publications
from podwire.fabric.questions import Questions
from podwire.fabric.sockets import OwnedSockets
from podwire.fabric.streams import TcpListener, TcpSocket
from podwire.fabric.udp import UdpSocket
from podwire.runtime.history import NoHistory
from podwire.runtime.ports import Clock, Ids, Rng, TraceLog

DEVICES = "/sys/class/net/"
"""Whoever watches files below it hears of each device of a node that comes or goes, as netlink
tells of them.
"""
_DEVICES = (LinkAdd, LinkDel)
_RULES = (RulesRestore, NftApply)
"""Commands after which a kernel waits for nothing that it did not wait for before."""
LOCAL_DELAY_S = 20e-6
"""One way between two sockets of the same node."""


class Fabric(Carriage):
    """Counters 2 (``counters.Fabric``) and 3 (``counters.Sockets``) as one object.

    ``link_delay_s`` is one way between hosts; zero (with zero ``local_delay_s``) suits real time,
    where the machine's own latency is enough. ``prefix_length``: of the hosts' IPv4 network.
    """

    def __init__(
        self,
        clock: Clock,
        rng: Rng,
        ids: Ids,
        trace: TraceLog,
        log: FilteringBoundLogger,
        *,
        link_delay_s: float = 200e-6,
        link_jitter_s: float = 20e-6,
        local_delay_s: float = LOCAL_DELAY_S,
        prefix_length: int = hosts.PREFIX_LENGTH,
    ) -> None:
        super().__init__(clock, rng, trace, link_delay_s, link_jitter_s, local_delay_s)
        self.rng = rng
        self.ids = ids
        self.log = log
        self._recording = not isinstance(trace, NoHistory)
        self.real_sockets = Publications(self, clock, log)
        """What a Publisher opens."""
        self._questions = Questions(self)
        self._prefix_length = prefix_length

    # ------------------------------------------------------------ declaring hardware

    def add_node(
        self,
        name: str,
        address: str,
        mac: str = "",
        cpus: int = 4,
        memory_bytes: int = 8 * GIB,
        machine_id: str = "",
        *,
        family: str = "ipv4",
    ) -> NodeInfo:
        """A node on the underlay: eth0, default route by the gateway, forwarding on, a disk.

        ``machine_id`` is that of a machine which was there before; a new one has its own.
        ``family``: ``dual`` gives it an IPv6 address too (``hosts.address6_of``), ``ipv6`` that
        alone.
        """
        router = hosts.GATEWAY_ADDRESS
        return self._add_host(
            name, address, mac, cpus, memory_bytes, router, machine_id, family=family
        )

    def add_gateway(
        self, address: str = hosts.GATEWAY_ADDRESS, *, family: str = "ipv4"
    ) -> NodeInfo:
        """Host ``gateway``: routes the outside, and knows no route to any pod."""
        return self._add_host("gateway", address, "", 2, 2 * GIB, "", family=family)

    def add_control_plane(
        self, address: str = hosts.CONTROL_PLANE_ADDRESS, *, family: str = "ipv4"
    ) -> NodeInfo:
        """Host ``control-plane``: where the modelled API server's address lives."""
        router = hosts.GATEWAY_ADDRESS
        return self._add_host("control-plane", address, "", 4, 8 * GIB, router, family=family)

    def _add_host(
        self,
        name: str,
        address: str,
        mac: str,
        cpus: int,
        memory_bytes: int,
        router: str,
        machine_id: str = "",
        *,
        family: str,
    ) -> NodeInfo:
        six = hosts.address6_of(address) if family != "ipv4" else ""
        info = NodeInfo(
            name=name,
            address=six if family == "ipv6" else address,
            mac=mac or hosts.mac_of(address),
            boot_id=self.ids.uid(),
            machine_id=machine_id or self.ids.uid().replace("-", ""),
            cpus=cpus,
            memory_bytes=memory_bytes,
            kernel_version=KERNEL_VERSION,
            address6=six if family == "dual" else "",
        )
        host = Host(info, self._boot(info, router))
        hosts.write_boot_files(host)
        self.hosts[name] = host
        self.wire.attach(name, info.mac, lambda frame: self._receive(host, frame))
        return info

    def _boot(self, info: NodeInfo, router: str) -> Kernel:
        rng = self.rng.child(f"kernel/{info.name}/{info.boot_id}")
        now_ns, length = self.clock.monotonic_ns(), self._prefix_length
        kernel = hosts.boot_kernel(info, rng, now_ns, router=router, prefix_length=length)
        return self.world.add(kernel)

    def power_off(self, node: str) -> None:
        """Pull the plug: sockets vanish without a word, nothing answers any more."""
        host = self._host(node)
        host.powered = False
        self.wire.power(node, on=False)
        self.sockets.reset_node(node)
        self.trace.record("power", node, "off")

    def power_on(self, node: str) -> NodeInfo:
        """Boot again: a new boot id and an empty kernel; the disk is as it was."""
        host = self._host(node)
        info = host.info
        host.info = NodeInfo(
            name=info.name,
            address=info.address,
            mac=info.mac,
            boot_id=self.ids.uid(),
            machine_id=info.machine_id,
            cpus=info.cpus,
            memory_bytes=info.memory_bytes,
            kernel_version=info.kernel_version,
            address6=info.address6,
        )
        router = "" if node == "gateway" else hosts.GATEWAY_ADDRESS
        host.kernel = self._boot(host.info, router)
        host.powered = True
        self.wire.power(node, on=True)
        self.trace.record("power", node, "on")
        return host.info

    async def close(self) -> None:
        """Close what reaches into the real world."""
        await self.real_sockets.close()

    # ------------------------------------------------------------ counter 2: kernels

    async def node(self, node: str) -> NodeInfo:
        """Facts of a node. Raises LookupError for an unknown one."""
        return self._host(node).info

    async def execute(self, node: str, commands: Sequence[Command]) -> None:
        """Run kernel commands in order; stops at the first that fails. Raises CommandError."""
        self._execute(node, commands)

    async def execute_all(
        self, nodes: Sequence[str], commands: Sequence[Command]
    ) -> dict[str, str]:
        """The same on each of several nodes; what went wrong by node."""
        failed: dict[str, str] = {}
        for node in nodes:
            try:
                self._execute(node, commands)
            except (CommandError, LookupError, OSError) as error:
                failed[node] = str(error)
        return failed

    def _execute(self, node: str, commands: Sequence[Command]) -> None:
        host = self._running(node)
        now_ns = self.clock.monotonic_ns()
        for command in commands:
            if isinstance(command, NetnsDel):
                self.sockets.reset_netns(node, command.name)
            if self._recording:
                self.trace.record("node", node, facts.of_command(command))
            host.kernel.execute(command, now_ns)
            if isinstance(command, _DEVICES) and not command.netns:
                host.disk.tell(f"{DEVICES}{command.name}")
        if not all(isinstance(command, _RULES) for command in commands):
            self._arm(host)

    async def tool(self, node: str, netns: str, argv: Sequence[str], stdin: str = "") -> ToolResult:
        """Run a tool; network tools are the kernel's. Unknown ones exit 127."""
        host = self._running(node)
        found = self._about_sockets(host, netns, list(argv))
        if found is None:
            found = machine_commands.run(host, netns, argv, stdin)
        if found is not None:
            return found
        now_ns = self.clock.monotonic_ns()
        devices, spaces = _devices(host), host.kernel.namespaces()
        stdout, stderr, code = host.kernel.tool(netns, list(argv), stdin, now_ns)
        after = _devices(host)
        if after != devices:
            for name in {**devices, **after}:
                if (name in devices) != (name in after):
                    host.disk.tell(f"{DEVICES}{name}")
        left = host.kernel.namespaces()
        if left != spaces:
            for name in spaces:
                if name not in left:
                    self.sockets.reset_netns(node, name)
        return ToolResult(stdout, stderr, code)

    def _about_sockets(self, host: Host, netns: str, argv: list[str]) -> ToolResult | None:
        """``ss`` and ``netstat``, whose answers the sockets know; None for other tools."""
        # Loaded on first use, as all tools.
        from podwire.dataplane.tools import net_tools, statistics  # noqa: PLC0415
        from podwire.fabric import netstat, ss, tables  # noqa: PLC0415

        busybox = argv[:1] == ["busybox"]
        words = argv[1:] if busybox else argv
        name = words[0].rpartition("/")[2] if words else ""
        space = self.sockets.space(host.info.name, netns)
        if name == "ss":
            return ss.run(tables.rows(space), words[1:])
        if name != "netstat":
            return None
        letters = "".join(word.lstrip("-") for word in words[1:])
        if "r" in letters:
            routes = net_tools.netstat_routes(host.kernel, netns, numeric="n" in letters)
            return ToolResult(*routes)
        if "i" in letters and not busybox and not letters.strip("ian"):
            return ToolResult(statistics.netstat(host.kernel, netns, every="a" in letters))
        return netstat.run(tables.rows(space), words[1:], busybox=busybox)

    async def capture(
        self, node: str, netns: str, device: str
    ) -> AsyncGenerator[CapturedFrame, None]:
        """Frames at a device, or at all ("any"). Raises LookupError."""
        kernel = self._running(node).kernel
        space = kernel.peek(netns)
        if space is None or (device != "any" and device not in space.links):
            raise LookupError(device)
        frames = captures.frames(kernel, netns, device, self.clock)
        try:
            async for seen in frames:
                yield seen
        finally:
            await frames.aclose()

    # ------------------------------------------------------------ counter 2: disks

    async def read_file(self, node: str, path: str) -> bytes:
        """A file of the node's disk. Raises FileNotFoundError."""
        return self._host(node).disk.read(path)

    async def write_file(self, node: str, path: str, data: bytes) -> None:
        """Create or replace a file of the node's disk."""
        self._host(node).disk.write(path, data)

    async def remove_file(self, node: str, path: str) -> None:
        """Remove a file; harmless when absent."""
        self._host(node).disk.remove(path)

    async def list_files(self, node: str, prefix: str) -> list[str]:
        """Sorted paths below a prefix."""
        return self._host(node).disk.paths(prefix)

    def watch_files(self, node: str, prefix: str) -> AsyncIterator[str]:
        """Paths below a prefix as they change; starts with those that exist."""
        return self._host(node).disk.watch(prefix)

    # ------------------------------------------------------------ counter 2: questions

    async def walk(self, request: WalkRequest) -> WalkAnswer:
        """Walk a packet on a fork; leaves no counter and no conntrack entry behind."""
        return self._questions.walk(request)

    async def ask_datagram(
        self,
        node: str,
        netns: str,
        address: str,
        port: int,
        payload: bytes,
        timeout_s: float,
        draw: float | None = None,
    ) -> tuple[WalkAnswer, bytes | None]:
        """Ask a UDP program on a fork: the walk there and back, and its answer."""
        return await self._questions.ask_datagram(
            node, netns, address, port, payload, timeout_s, draw
        )

    async def publications(self) -> list[Publication]:
        """The real addresses that lead into the network, by their modelled ones."""
        return self.real_sockets.listing()

    # ------------------------------------------------------------ counter 3

    async def listen(self, node: str, netns: str, address: str, port: int) -> TcpListener:
        """Listen on TCP. Raises OSError (EADDRINUSE)."""
        return await self.sockets.listen(node, netns, address, port)

    async def connect(
        self, node: str, netns: str, address: str, port: int, timeout_s: float, source_port: int = 0
    ) -> TcpSocket:
        """Connect by TCP. Raises ConnectionRefusedError, TimeoutError, OSError."""
        return await self.sockets.connect(node, netns, address, port, timeout_s, source_port)

    async def bind_udp(self, node: str, netns: str, address: str = "", port: int = 0) -> UdpSocket:
        """Bind UDP; port 0 picks an ephemeral one. Raises OSError (EADDRINUSE)."""
        return await self.sockets.bind_udp(node, netns, address, port)

    async def listen_sctp(self, node: str, netns: str, address: str, port: int) -> SctpListener:
        """Listen on SCTP. Raises OSError (EADDRINUSE)."""
        return await self.sockets.listen_sctp(node, netns, address, port)

    async def connect_sctp(
        self, node: str, netns: str, address: str, port: int, timeout_s: float
    ) -> SctpSocket:
        """Make an association. Raises as ``connect``."""
        return await self.sockets.connect_sctp(node, netns, address, port, timeout_s)

    async def probe(self, node: str, netns: str, probe: Probe, timeout_s: float) -> ProbeAnswer:
        """Send one packet and wait for what it causes. Raises TimeoutError, OSError."""
        return await self.sockets.probe(node, netns, probe, timeout_s)

    def owned_by(self, owner: str) -> OwnedSockets:
        """Counter 3 for one process."""
        return self.sockets.owned_by(owner)

    def release(self, owner: str) -> None:
        """A process exited: its sockets close."""
        self.sockets.release(owner)

    def reset_owner(self, owner: str) -> None:
        """A process was lost with its kubelet: its connections are reset."""
        self.sockets.reset_owner(owner)


def _devices(host: Host) -> dict[str, None]:
    """The names of a node's own devices."""
    netns = host.kernel.peek("")
    return dict.fromkeys(netns.links) if netns is not None else {}
