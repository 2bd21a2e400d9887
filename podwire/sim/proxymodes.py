"""kube-proxy's modes side by side: what each puts into a node's kernel, what a packet pays there.

One node, one pod on its bridge, Services whose endpoints are pods of other nodes, native routing:
nothing but kube-proxy's state is in the kernel, and a packet is followed from the pod until it
leaves the node. The Services ask for nothing special (ClusterIP, TCP, one port). Nothing runs: the
modes' own plans, loaded into a modelled kernel, in no time at all; a sync's duration is the one
that kube-proxy takes in virtual time (``kube_proxy.mode.Mode.restore_base_s``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from podwire.api.views import EndpointSlice, Service
from podwire.dataplane import commands as c
from podwire.dataplane.cost import Cost, total
from podwire.dataplane.emit import Deliver, Recorder, ToWire
from podwire.dataplane.kernel import HOST, Kernel
from podwire.dataplane.nft.expr import Anonymous
from podwire.dataplane.nft.model import Rule
from podwire.dataplane.packet import ACK, SYN, Frame, Packet, answer_to, replace
from podwire.dataplane.verdict import Step
from podwire.kube_proxy.config import Config
from podwire.kube_proxy.core import Proxier, Shared
from podwire.kube_proxy.mode import Sync
from podwire.kube_proxy.model import NodeFacts
from podwire.kube_proxy.modes import MODES
from podwire.runtime.memory import fewer_collections
from podwire.runtime.rng import SeededRng

NODE, NODE_IP, ROUTER = "node-1", "192.168.0.11", "192.168.0.1"
ROUTER_MAC = "02:00:00:00:00:01"
POD, POD_IP = "pod", "10.128.0.2"
POD_CIDR, SERVICE_CIDR = "10.128.0.0/9", "10.96.0.0/12"
FIRST_ENDPOINT, FIRST_SERVICE = 0x0A810000, 0x0A600001
PORT, TARGET_PORT = 80, 8080
SERVICES_MOST, ENDPOINTS_MOST, TOGETHER_MOST = 100_000, 1_000, 500_000
CONNECTIONS = 101
"""How many Services of a size are spoken to: the first, the last, and evenly between."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be compared. Raises ValueError for what no cluster has."""

    services: tuple[int, ...] = (10, 100, 1_000, 10_000)
    endpoints: int = 5
    modes: tuple[str, ...] = ("iptables", "ipvs", "nftables", "ebpf")
    seed: int = 0

    def __post_init__(self) -> None:
        for mode in self.modes:
            if mode not in MODES:
                raise ValueError(f"modes: {mode!r} is not one of {', '.join(MODES)}")
        if not self.modes or not self.services:
            raise ValueError("nothing is asked for: name a mode and a number of Services")
        for number in self.services:
            if not 1 <= number <= SERVICES_MOST:
                raise ValueError(f"services: {number} is not between 1 and {SERVICES_MOST}")
        if not 1 <= self.endpoints <= ENDPOINTS_MOST:
            raise ValueError(f"endpoints: {self.endpoints} is not between 1 and {ENDPOINTS_MOST}")
        if max(self.services) * self.endpoints > TOGETHER_MOST:
            raise ValueError(f"services x endpoints: more than {TOGETHER_MOST} together")


class _Record(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    pass


class Held(_Record, frozen=True, kw_only=True):
    """What a node's kernel holds. ``elements``: of ipsets, nft's sets and maps, eBPF's maps."""

    rules: int = 0
    elements: int = 0
    virtual_servers: int = 0
    real_servers: int = 0


class Spread(_Record, frozen=True, kw_only=True):
    """What packets of many connections cost: the one in the middle, and the dearest."""

    median: Cost
    most: Cost


class Row(_Record, frozen=True, kw_only=True):
    """One mode at one number of Services."""

    mode: str
    services: int
    kernel: Held
    text_bytes: int
    """What kube-proxy writes in a full sync."""
    first_packet: Spread
    established_packet: Spread
    full_sync_s: float
    endpoint_change_s: float
    """Until one endpoint less is programmed."""
    sync_source: str
    """Where the durations are from."""


@dataclass(slots=True)
class Objects:
    """Services and their slices, made once and used by all rows: the first so many of them."""

    endpoints: int
    services: list[Service] = field(default_factory=list)
    slices: list[EndpointSlice] = field(default_factory=list)

    def reach(self, number: int) -> None:
        """Make as many as that."""
        for n in range(len(self.services), number):
            self.services.append(_service(n))
            self.slices.append(endpoint_slice(n, self.endpoints, self.endpoints))


def _text(address: int) -> str:
    return ".".join(str(address >> shift & 255) for shift in (24, 16, 8, 0))


def name_of(number: int) -> str:
    """A Service's name; they sort as they are numbered."""
    return f"s{number:06}"


def cluster_ip(number: int) -> str:
    """A Service's address."""
    return _text(FIRST_SERVICE + number)


def _service(number: int) -> Service:
    name = name_of(number)
    meta = {"name": name, "namespace": "default", "uid": name, "resourceVersion": "1"}
    spec = {"clusterIP": cluster_ip(number), "ports": [{"port": PORT, "protocol": "TCP"}]}
    return msgspec.convert({"metadata": meta, "spec": spec}, Service)


def endpoint_slice(number: int, size: int, endpoints: int) -> EndpointSlice:
    """The first ``endpoints`` of a Service of ``size``, on nodes of their own each."""
    name = name_of(number)
    meta = {
        "name": name, "namespace": "default", "uid": f"{name}-x",
        "resourceVersion": str(1 + size - endpoints),
        "labels": {"kubernetes.io/service-name": name},
    }  # fmt: skip
    first = FIRST_ENDPOINT + number * size
    ends = [
        {"addresses": [_text(first + k)], "nodeName": f"node-{2 + k}"} for k in range(endpoints)
    ]
    ports = [{"port": TARGET_PORT, "protocol": "TCP"}]
    body = {"metadata": meta, "addressType": "IPv4", "endpoints": ends, "ports": ports}
    return msgspec.convert(body, EndpointSlice)


def compare(asked: Asked, progress: Callable[[str], None] = lambda _: None) -> Iterator[Row]:
    """The rows, size by size, each mode in turn. Raises RuntimeError if a packet gets lost."""
    objects = Objects(asked.endpoints)
    for number in sorted(asked.services):
        objects.reach(number)
        for mode in asked.modes:
            progress(f"{number:,} Services, {mode}")
            with fewer_collections():
                row = _row(asked, mode, objects, number)
            yield row


def _row(asked: Asked, mode: str, objects: Objects, number: int) -> Row:
    node = Node(mode, SeededRng(asked.seed, f"{asked.seed}/{mode}/{number}"))
    for service, made in zip(objects.services[:number], objects.slices[:number], strict=True):
        node.proxier.service(None, service)
        node.proxier.slice(None, made)
    full = node.sync(full=True)
    held, size_bytes = node.held(), _size_bytes(full)
    first, later = node.speak(number)
    changed = number // 2
    less = endpoint_slice(changed, asked.endpoints, asked.endpoints - 1)
    node.proxier.slice(objects.slices[changed], less)
    return Row(
        mode=mode,
        services=number,
        kernel=held,
        text_bytes=size_bytes,
        first_packet=first,
        established_packet=later,
        full_sync_s=node.duration_s(full),
        endpoint_change_s=node.duration_s(node.sync(full=False)),
        sync_source=MODES[mode].restore_source,
    )


def _size_bytes(sync: Sync) -> int:
    return sum(len(getattr(command, "text", "")) for command in sync.commands)


class Node:
    """The node that is looked at, with its kube-proxy."""

    def __init__(self, mode: str, rng: SeededRng) -> None:
        self.mode, self.rng = MODES[mode], rng
        facts = NodeFacts(NODE, "", (NODE_IP,))
        settings = self.mode.settings(Config(mode=mode, cluster_cidr=POD_CIDR), facts, "ipv4")
        self.proxier = Proxier(self.mode, settings, facts, Shared(), service_cidrs=(SERVICE_CIDR,))
        self.kernel = Kernel(NODE, rng)
        self.kernel.paths = None
        self.kernel.add_physical("eth0", "02:00:00:00:00:11")
        self._run(*_NETWORK, *self.mode.prepare(settings))

    def _run(self, *commands: c.AnyCommand) -> None:
        for command in commands:
            self.kernel.execute(command, 0)

    def sync(self, *, full: bool) -> Sync:
        """Ask, plan and program, as the shell does."""
        existing = {}
        for argv in self.mode.questions(self.proxier, full=full):
            out, _, code = self.kernel.tool(HOST, list(argv), "", 0)
            existing[argv] = "" if code else out
        plan = self.proxier.plan(full=full, existing=existing)
        if plan is None:
            raise RuntimeError(f"{self.mode.name}: a change that changes nothing")
        self._run(*plan.commands)
        self.proxier.committed(plan)
        return plan

    def duration_s(self, sync: Sync) -> float:
        """What the shell sleeps for it."""
        return self.mode.restore_base_s + sync.changes * self.mode.restore_per_change_s

    def held(self) -> Held:
        """What the kernel holds now."""
        ns = self.kernel.peek(HOST)
        assert ns is not None
        tables = list(ns.nft.ruleset.tables.values())
        rules = [r for table in tables for name in table.chains for r in table.chains[name].rules]
        iptables = [chain for table in ns.netfilter.tables.values() for chain in table.values()]
        maps = [name for name in ns.ebpf.TABLES if name not in {"attached", "config"}]
        return Held(
            rules=len(rules) + sum(len(chain.rules) for chain in iptables),
            elements=sum(len(s.elements) for s in ns.ipsets.table.values())
            + sum(len(members) for table in tables for members in table.members.values())
            + sum(_own_elements(rule) for rule in rules if rule.anonymous)
            + sum(len(getattr(ns.ebpf, name)) for name in maps),
            virtual_servers=len(ns.ipvs.services),
            real_servers=sum(len(service.dests) for service in ns.ipvs.services.values()),
        )

    # ------------------------------------------------------------ packets

    def speak(self, services: int) -> tuple[Spread, Spread]:
        """First and later packets of connections to Services all over the range."""
        number = min(services, CONNECTIONS)
        first, later = [], []
        for i in range(number):
            service = i * (services - 1) // max(number - 1, 1)
            opened, carried = self._connection(service, 10_000 + self.rng.below(50_000))
            first.append(opened)
            later.append(carried)
        return _spread(first), _spread(later)

    def _connection(self, service: int, port: int) -> tuple[Cost, Cost]:
        """What the first packet costs, and one after the handshake."""
        packet = Packet(POD_IP, cluster_ip(service), "tcp", port, PORT, SYN)
        recorder = Recorder()
        moved = self.kernel.translate_socket(packet, POD, 0, recorder)
        if moved is not None:
            packet = replace(packet, dst=moved.ip, dst_port=moved.port)
        ends = (packet.src, packet.src_port, packet.dst, packet.dst_port)
        self.kernel.connect_socket(POD, "tcp", *ends)
        asked = self._sent(packet, recorder)
        answer = Frame(ROUTER_MAC, "02:00:00:00:00:11", answer_to(asked))
        if not any(isinstance(e, Deliver) for e in self.kernel.receive("eth0", answer, 0)):
            raise RuntimeError(f"{self.mode.name}: the answer of {packet.dst} got lost")
        later = Recorder()
        self._sent(replace(packet, tcp_flags=ACK), later)
        return _sum(recorder.steps), _sum(later.steps)

    def _sent(self, packet: Packet, recorder: Recorder) -> Packet:
        """A packet as it left the node."""
        for emit in self.kernel.send(POD, packet, 0, recorder):
            if isinstance(emit, ToWire) and emit.frame.packet is not None:
                return emit.frame.packet
        raise RuntimeError(f"{self.mode.name}: the packet to {packet.dst} got lost")


def _own_elements(rule: Rule) -> int:
    """The elements of the sets and maps that a rule of nft brings along."""
    held = (getattr(stmt, name, None) for stmt in rule.stmts for name in ("container", "right"))
    return sum(len(found.members) for found in held if isinstance(found, Anonymous))


def _sum(steps: Sequence[Step]) -> Cost:
    return total(step.cost for step in steps)


def _spread(costs: Sequence[Cost]) -> Spread:
    ordered = sorted(costs, key=lambda cost: (cost.latency_ns, cost.rules_traversed))
    return Spread(median=ordered[(len(ordered) - 1) // 2], most=ordered[-1])


_NETWORK: tuple[c.AnyCommand, ...] = (
    c.SysctlSet(key="net.ipv4.ip_forward", value="1"),
    c.AddrAdd(dev="eth0", cidr=f"{NODE_IP}/24"),
    c.RouteReplace(dst="default", via=ROUTER, dev="eth0"),
    c.NeighReplace(dev="eth0", dst=ROUTER, mac=ROUTER_MAC),
    c.LinkAdd(name="cni0", kind="bridge", mtu_bytes=1500),
    c.LinkSet(name="cni0", up=True),
    c.AddrAdd(dev="cni0", cidr="10.128.0.1/24"),
    c.NetnsAdd(name=POD),
    c.LinkAdd(name="veth0", kind="veth", peer_name="eth0", peer_netns=POD, mtu_bytes=1500),
    c.LinkSet(name="veth0", master="cni0", hairpin=True, up=True),
    c.LinkSet(netns=POD, name="eth0", up=True),
    c.AddrAdd(netns=POD, dev="eth0", cidr=f"{POD_IP}/24"),
    c.RouteReplace(netns=POD, dst="default", via="10.128.0.1", dev="eth0"),
)
