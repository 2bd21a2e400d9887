"""A cluster deployed into the model by podwire's own cores; every command is handed on.

The same command objects (and so the same rule text) reach the model and whoever listens: the Linux
namespaces. A mutation changes what the model gets, and only that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import cast

import msgspec

from podwire.api.views import Namespace
from podwire.client.counters import Fabric, ToolResult
from podwire.cni.calico import core as calico
from podwire.cni.flannel import core as flannel
from podwire.cni.runtime import CniPlugins
from podwire.dataplane import commands as c
from podwire.dataplane.kernel import Kernel
from podwire.dataplane.world import World
from podwire.kube_proxy import conntrack
from podwire.runtime.rng import SeededRng
from tests.oracle import dualstack, proxying
from tests.oracle.cluster import (
    CLIENT,
    CLIENT_IP,
    CLIENT_IP6,
    GATEWAY,
    GATEWAY_IP,
    HOST_PORT,
    POD_NETWORK,
    TCP_PORTS,
    UDP_PORTS,
    Change,
    Cluster,
    Pod,
    node_ip,
    node_ip6,
    node_name,
)
from tests.oracle.policies import pods_of

SECOND_NS = 1_000_000_000
EDGE = """*filter
-A FORWARD -d 203.0.113.0/24 -j ACCEPT
-A FORWARD -d 198.51.100.0/24 -j ACCEPT
-A FORWARD -j REJECT --reject-with icmp-host-unreachable
COMMIT
"""
"""The gateway knows no world behind it. (It says so by a rule: Linux limits the rate at which an
``unreachable`` route is told of, per peer, and no namespace can switch that off.)
"""
Mutation = Callable[[c.Command], c.Command | None]
"""What the model gets instead of a command (None: nothing)."""
Listener = Callable[[str, c.Command], None]
"""Who hears of every command that the model took."""
Forget = Callable[[str, conntrack.Wanted, str], None]
"""Who cleans up UDP flows elsewhere: node, where flows may lead, family."""


@dataclass(frozen=True)
class Socket:
    """A program that answers, of every pod and host."""

    node: str
    netns: str
    protocol: str
    address: str
    port: int

    @property
    def name(self) -> str:
        """What it calls itself."""
        return self.netns or self.node


def sockets(cluster: Cluster) -> list[Socket]:
    """Everything that listens."""
    found = []
    for pod in cluster.pods:
        at = (node_name(pod.node), pod.name)
        for any_address in ("0.0.0.0", "::") if cluster.dual else ("0.0.0.0",):
            found += [Socket(*at, "tcp", any_address, port) for port in TCP_PORTS]
            found += [Socket(*at, "udp", any_address, port) for port in UDP_PORTS]
    indices = range(1, cluster.nodes + 1)
    hosts = [(node_name(i), node_ip(i)) for i in indices]
    hosts.append((CLIENT, CLIENT_IP))
    if cluster.dual:
        hosts += [(node_name(i), node_ip6(i)) for i in indices]
        hosts.append((CLIENT, CLIENT_IP6))
    for host, ip in hosts:
        found += [Socket(host, "", protocol, ip, HOST_PORT) for protocol in ("tcp", "udp")]
    return found


def mac(address: str) -> str:
    """The MAC of a host's card, told from its address."""
    return f"02:00:00:00:00:{int(address.rsplit('.', 1)[1]):02x}"


@dataclass
class Deployment:
    """The model of a cluster, and its agents."""

    cluster: Cluster
    listener: Listener = lambda _node, _command: None
    forget: Forget = lambda _node, _wanted, _family: None
    mutation: Mutation = lambda command: command
    world: World = field(default_factory=World)
    now_ns: int = SECOND_NS
    others: list[World] = field(default_factory=list)
    """Further worlds that the model may be in: they get every command too."""
    proxies: dict[tuple[str, str], proxying.NodeProxy] = field(default_factory=dict)

    def run(self, node: str, *commands: c.Command) -> None:
        """Give commands to a node, in both worlds. Raises CommandError: then Linux hears nothing.

        (CNI plugins try to make the bridge that is there already, and are told so.)
        """
        for command in commands:
            changed = self.mutation(command)
            if changed is not None:
                for world in (self.world, *self.others):
                    world.kernels[node].execute(changed, self.now_ns)
            self.listener(node, command)

    def build(self) -> None:
        """Hosts, network, pods, policies and the first sync of every kube-proxy."""
        cluster = self.cluster
        self._host(GATEWAY, GATEWAY_IP)
        self._host(CLIENT, CLIENT_IP)
        self.run(GATEWAY, c.RouteReplace(dst="default", via="192.168.50.254", dev="eth0"))
        self.run(GATEWAY, c.RulesRestore(text=EDGE))
        self.run(CLIENT, c.RouteReplace(dst="default", via=GATEWAY_IP, dev="eth0"))
        for ip, index in cluster.entries.items():
            for host in (GATEWAY, CLIENT) if ":" not in ip else ():
                route = c.RouteReplace(dst=f"{ip}/32", via=node_ip(index), dev="eth0")
                self.run(host, route)
        for index in range(1, cluster.nodes + 1):
            self._host(node_name(index), node_ip(index))
            default = c.RouteReplace(dst="default", via=GATEWAY_IP, dev="eth0")
            self.run(node_name(index), default)
            self._flannel(index)
        asyncio.run(self._pods())
        if cluster.dual:
            for host, command in (*dualstack.hosts(cluster), *dualstack.pods(cluster)):
                self.run(host, command)
        if cluster.policies:
            self._policies()
        for index in range(1, cluster.nodes + 1):
            self._kube_proxy(index)
        for s in sockets(cluster):
            if not (cluster.dual and s.address == "0.0.0.0"):  # "::" takes both, in the model
                self.world.kernels[s.node].open_socket(s.netns, s.protocol, s.address, s.port)

    def _host(self, name: str, address: str) -> None:
        path = f"{self.cluster.seed}/{name}"
        kernel = self.world.add(Kernel(name, SeededRng(self.cluster.seed, path)))
        kernel.add_physical("eth0", mac(address))
        self.world.attach(name, "eth0")
        for key in ("all", "default", "eth0"):
            self.run(name, c.SysctlSet(key=f"net.ipv4.conf.{key}.rp_filter", value="0"))
        self.run(name, c.SysctlSet(key="net.ipv4.ip_forward", value="1"))
        self.run(name, c.AddrAdd(dev="eth0", cidr=f"{address}/24"))

    # ------------------------------------------------------------ the network

    def _me(self, index: int) -> flannel.Me:
        return flannel.Me(
            node=node_name(index),
            subnet=IPv4Network(f"10.244.{index}.0/24"),
            address=node_ip(index),
            mac=f"02:00:00:00:01:{index:02x}",
            uplink="eth0",
            uplink_network=IPv4Network("192.168.50.0/24"),
            uplink_mtu_bytes=1500,
        )

    def _conf(self) -> flannel.NetConf:
        kind, _, direct = self.cluster.backend.partition("+")
        return flannel.NetConf(POD_NETWORK, backend=kind, direct_routing=bool(direct))

    def _flannel(self, index: int) -> None:
        """What the agent does on a node that knows all its peers."""
        conf, me = self._conf(), self._me(index)
        name = me.node
        if conf.backend == "vxlan":
            setup = (flannel.device(conf, me), flannel.device_address(conf, me))
            self.run(name, *setup, flannel.device_up(conf, me))
        others = [self._me(i) for i in range(1, self.cluster.nodes + 1) if i != index]
        peers = {o.node: flannel.Peer(o.node, o.subnet, o.address, o.mac) for o in others}
        self.run(name, *flannel.program(conf, me, {}, peers))
        self.run(name, flannel.rules(conf.network, me.subnet, (), (), ip_masq=True))
        key = "net.bridge.bridge-nf-call-iptables"
        self.run(name, c.SysctlSet(key=key, value=str(int(self.cluster.bridge_nf))))

    async def _pods(self) -> None:
        disks = Disks(self)
        for index in range(1, self.cluster.nodes + 1):
            env = flannel.subnet_env(self._conf(), [self._me(index)], ip_masq=True)
            await disks.write_file(node_name(index), "/run/flannel/subnet.env", env.encode())
        for pod in self.cluster.pods:
            await self._plug(disks, pod)

    async def _plug(self, disks: Disks, pod: Pod) -> None:
        """What kubelet does: make the sandbox, run the CNI plugin."""
        node = node_name(pod.node)
        self.run(node, c.NetnsAdd(name=pod.name))
        delegate = {"hairpinMode": self.cluster.hairpin, "isDefaultGateway": True}
        conf = {"cniVersion": "1.0.0", "name": "cbr0", "type": "flannel", "delegate": delegate}
        env = {
            "CNI_COMMAND": "ADD",
            "CNI_CONTAINERID": f"container-{pod.name}",
            "CNI_NETNS": f"/var/run/netns/{pod.name}",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": "/opt/cni/bin",
        }
        done = await disks.plugins.execute(node, "flannel", env, msgspec.json.encode(conf))
        assert done.code == 0, done.stdout
        given = msgspec.json.decode(done.stdout)["ips"][0]["address"].partition("/")[0]
        assert given == pod.ip, f"{pod.name} was given {given}, the cluster says {pod.ip}"

    def _policies(self) -> None:
        namespaces = [Namespace()]
        pods = pods_of(self.cluster.pods)
        for index in range(1, self.cluster.nodes + 1):
            name = node_name(index)
            self.run(name, c.RulesRestore(text=calico.hook_text(())))
            rules = calico.full_text(name, pods, namespaces, self.cluster.policies)
            self.run(name, c.RulesRestore(text=rules))

    # ------------------------------------------------------------ kube-proxy

    def _kube_proxy(self, index: int) -> None:
        name = node_name(index)
        start = Change("start", dict(self.cluster.services), dict(self.cluster.slices))
        for family in ("ipv4", "ipv6") if self.cluster.dual else ("ipv4",):
            proxy = proxying.NodeProxy(self.cluster, index, family)
            self.proxies[name, family] = proxy
            self.run(name, *proxy.preparation)
            self._sync(name, proxy, start, full=True)

    def change(self, change: Change) -> None:
        """Every kube-proxy takes over a change and syncs."""
        for (name, _), proxy in self.proxies.items():
            self._sync(name, proxy, change, full=False)

    def _sync(self, name: str, proxy: proxying.NodeProxy, change: Change, *, full: bool) -> None:
        proxy.take(change)
        plan = proxy.plan(lambda argv: self._tool(self.world, name, argv), self.now_ns, full=full)
        if plan is None:
            return
        self.run(name, *plan.commands)
        proxy.proxier.committed(plan)
        if plan.udp:
            self._forget_flows(name, plan.udp, proxy.proxier.family)

    def _forget_flows(self, name: str, wanted: conntrack.Wanted, family: str) -> None:
        """UDP flows to lost endpoints: each world forgets those that its own table shows."""
        for world in (self.world, *self.others):
            listing = self._tool(world, name, conntrack.question(family))
            for found in conntrack.stale(listing, wanted):
                command = self.mutation(found)
                if command is not None:
                    world.kernels[name].execute(command, self.now_ns)
        self.forget(name, wanted, family)

    def _tool(self, world: World, node: str, argv: Sequence[str]) -> str:
        out, err, code = world.kernels[node].tool("", list(argv), "", self.now_ns)
        assert code == 0, f"{argv}: {err}"
        return out


class Disks:
    """The fabric as a CNI plugin needs it: files in memory, commands to the deployment."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._files: dict[tuple[str, str], bytes] = {}
        rng = SeededRng(deployment.cluster.seed, f"{deployment.cluster.seed}/oracle/cni")
        self.plugins = CniPlugins(cast("Fabric", self), rng)

    async def execute(self, node: str, commands: Sequence[c.Command]) -> None:
        self._deployment.run(node, *commands)

    async def tool(self, node: str, netns: str, argv: Sequence[str], stdin: str = "") -> ToolResult:
        kernel = self._deployment.world.kernels[node]
        return ToolResult(*kernel.tool(netns, list(argv), stdin, self._deployment.now_ns))

    async def read_file(self, node: str, path: str) -> bytes:
        try:
            return self._files[node, path]
        except KeyError:
            raise FileNotFoundError(path) from None

    async def write_file(self, node: str, path: str, data: bytes) -> None:
        self._files[node, path] = data

    async def remove_file(self, node: str, path: str) -> None:
        self._files.pop((node, path), None)

    async def list_files(self, node: str, prefix: str) -> list[str]:
        return sorted(p for n, p in self._files if n == node and p.startswith(prefix))
