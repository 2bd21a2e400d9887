"""The laboratory of reference C2 in the model: nodes with cni0 and flannel.1, pods, a client."""

from typing import NamedTuple

from podwire.dataplane import commands as c
from podwire.dataplane.emit import Deliver, Drop, Recorder, ToWire
from podwire.dataplane.kernel import Kernel
from podwire.dataplane.packet import Packet
from podwire.dataplane.world import World
from podwire.runtime.rng import SeededRng

SECOND = 1_000_000_000


class Flannel(NamedTuple):
    """flannel in one family; ``net`` and ``mac`` take a node's number, ``host`` ten more."""

    dev: str
    vni: int
    mtu: int
    mac: str
    host: str
    net: str
    vtep: str
    gateway: str
    length: int
    single: int


FLANNEL = Flannel(
    "flannel.1", 1, 1450, "02:00:00:00:01:0{}", "192.168.0.{}", "10.244.{}.", "0", "1", 24, 32
)
FLANNEL6 = Flannel(
    "flannel-v6.1", 2, 1430, "02:00:00:00:06:0{}", "fd00:a8::{}", "fd00:244:{}::", "", "1", 64, 128
)


class Lab:
    """``n`` nodes, a gateway and an external client on one segment.

    Node i has 192.168.0.1i, pods 10.244.i.2 and upward in namespaces "a<i>", "b<i>", ...
    With ``dual`` everybody has IPv6 too: fd00:a8::1i, fd00:244:i::2 and upward, by flannel-v6.1.
    """

    def __init__(self, nodes=2, pods=2, seed=1, hairpin=True, pod_mtu=1450, dual=False):
        self.world = self.empty_world()
        self.dual = dual
        self.now = SECOND
        self.nodes = nodes
        self.host("gateway", "192.168.0.1", router="")
        self.world.kernels["gateway"].add_physical("wan0", "02:00:00:00:ff:01", arp=False)
        self.run("gateway", c.RouteReplace(dst="default", dev="wan0"))
        self.run("gateway", c.RouteReplace(dst="10.0.0.0/8", type="unreachable"))
        if dual:
            self.run("gateway", c.RouteReplace(dst="::/0", dev="wan0"))
            self.run("gateway", c.RouteReplace(dst="fd00::/16", type="unreachable"))
        self.host("client", "192.168.0.100", seed=seed)
        for i in range(1, nodes + 1):
            self.node(i, seed)
            for k in range(pods):
                self.pod(i, "abcdefgh"[k], k + 2, hairpin=hairpin, mtu=pod_mtu)

    def empty_world(self):
        return World()

    def kernel(self, name, seed):
        return self.world.add(Kernel(name, SeededRng(seed, f"{seed}/{name}")))

    def run(self, node, *commands):
        for command in commands:
            self.world.kernels[node].execute(command, self.now)

    def host(self, name, address, router="192.168.0.1", seed=1):
        kernel = self.kernel(name, seed)
        last = int(address.rsplit(".", 1)[1])
        kernel.add_physical("eth0", f"02:00:00:00:00:{last:02x}")
        self.world.attach(name, "eth0")
        self.run(name, c.SysctlSet(key="net.ipv4.ip_forward", value="1"))
        self.run(name, c.AddrAdd(dev="eth0", cidr=f"{address}/24"))
        if router:
            self.run(name, c.RouteReplace(dst="default", via=router, dev="eth0"))
        if self.dual:
            self.run(name, c.SysctlSet(key="net.ipv6.conf.all.forwarding", value="1"))
            self.run(name, c.AddrAdd(dev="eth0", cidr=f"fd00:a8::{last}/64"))
            if router:
                self.run(name, c.RouteReplace(dst="::/0", via="fd00:a8::1", dev="eth0"))

    def node(self, i, seed):
        name = f"node-{i}"
        self.host(name, f"192.168.0.{10 + i}", seed=seed)
        self.run(
            name,
            c.LinkAdd(name="cni0", kind="bridge", mtu_bytes=1450),
            c.LinkSet(name="cni0", up=True),
        )
        for flannel in (FLANNEL, FLANNEL6) if self.dual else (FLANNEL,):
            self.tunnel(i, flannel)

    def tunnel(self, i, flannel):
        """One family's half: cni0's address, a tunnel over the same family."""
        name, dev = f"node-{i}", flannel.dev
        host, net, mac = flannel.host.format, flannel.net.format, flannel.mac.format
        self.run(
            name,
            c.AddrAdd(dev="cni0", cidr=f"{net(i)}{flannel.gateway}/{flannel.length}"),
            c.LinkAdd(
                name=dev,
                kind="vxlan",
                vni=flannel.vni,
                local=host(10 + i),
                dev="eth0",
                learning=False,
                mac=mac(i),
                mtu_bytes=flannel.mtu,
            ),
            c.LinkSet(name=dev, up=True),
            c.AddrAdd(dev=dev, cidr=f"{net(i)}{flannel.vtep}/{flannel.single}"),
        )
        for j in range(1, self.nodes + 1):
            if j == i:
                continue
            via = f"{net(j)}{flannel.vtep}"
            self.run(
                name,
                c.RouteReplace(dst=f"{via}/{flannel.length}", via=via, dev=dev, onlink=True),
                c.NeighReplace(dev=dev, dst=via, mac=mac(j)),
                c.FdbReplace(dev=dev, mac=mac(j), dst=host(10 + j)),
            )

    def pod(self, i, letter, last, *, hairpin=True, mtu=1450):
        ns, host = f"{letter}{i}", f"veth{letter}{i}"
        self.run(
            f"node-{i}",
            c.NetnsAdd(name=ns),
            c.LinkAdd(name=host, kind="veth", peer_name="eth0", peer_netns=ns, mtu_bytes=mtu),
            c.LinkSet(name=host, master="cni0", hairpin=hairpin, up=True),
            c.LinkSet(netns=ns, name="eth0", up=True),
            c.AddrAdd(netns=ns, dev="eth0", cidr=f"10.244.{i}.{last}/24"),
            c.RouteReplace(netns=ns, dst="default", via=f"10.244.{i}.1", dev="eth0"),
            c.RouteReplace(netns=ns, dst="10.244.0.0/16", via=f"10.244.{i}.1", dev="eth0"),
        )
        if self.dual:
            self.run(
                f"node-{i}",
                c.AddrAdd(netns=ns, dev="eth0", cidr=f"fd00:244:{i}::{last}/64"),
                c.RouteReplace(netns=ns, dst="::/0", via=f"fd00:244:{i}::1", dev="eth0"),
            )

    def listen(self, node, netns, port, proto="tcp", address=""):
        self.world.kernels[node].open_socket(netns, proto, address, port)

    # ------------------------------------------------------------ moving packets

    def send(self, node, netns, packet, recorder=None):
        """Send and carry everything until the wires are quiet; all emits with their node."""
        emits = self.world.kernels[node].send(netns, packet, self.now, recorder)
        return self.settle([(node, e) for e in emits], recorder)

    def settle(self, pending, recorder=None):
        seen = []
        while pending:
            node, emit = pending.pop(0)
            seen.append((node, emit))
            if not isinstance(emit, ToWire):
                continue
            for target in self.world.targets(node, emit.device, emit.frame):
                if target.up:
                    kernel = self.world.kernels[target.node]
                    more = kernel.receive(target.device, emit.frame, self.now, recorder)
                    pending += [(target.node, e) for e in more]
        return seen

    def tick(self, seconds):
        """Let time pass, second by second."""
        seen = []
        for _ in range(seconds):
            self.now += SECOND
            for name, kernel in self.world.kernels.items():
                seen += self.settle([(name, e) for e in kernel.tick(self.now)])
        return seen


def delivered(seen):
    return [(node, e.netns, e.packet) for node, e in seen if isinstance(e, Deliver)]


def drops(seen):
    return [(node, e.fate.value) for node, e in seen if isinstance(e, Drop)]


def syn(dst, port, src="", sport=40000):
    return Packet(src=src, dst=dst, protocol="tcp", src_port=sport, dst_port=port, tcp_flags=2)


def udp(dst, port, src="", sport=40000, size=60):
    return Packet(src=src, dst=dst, protocol="udp", src_port=sport, dst_port=port, size_bytes=size)


def record():
    return Recorder()
