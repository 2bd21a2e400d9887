"""The flannel agent's life: configuration, lease, device, rules, then peers as Nodes change."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from ipaddress import ip_interface
from typing import NoReturn

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.api.times import format_time
from podwire.api.views import Node
from podwire.client.accounts import service_account
from podwire.client.api import STRATEGIC, Client
from podwire.client.common import Commons
from podwire.client.counters import Process
from podwire.client.ctx import Ctx
from podwire.client.hosting import Program
from podwire.client.informer import Informer, Informers
from podwire.client.klog import Klog
from podwire.cni.call import ABSENT, EXISTS, mac_of
from podwire.cni.flannel import core
from podwire.cni.flannel.peering import Peering, Place
from podwire.cni.iptables import saved_rules
from podwire.dataplane.commands import Command, CommandError
from podwire.runtime.tasks import Event, Nursery, first

NET_CONF = "/etc/kube-flannel/net-conf.json"
CNI_CONF = "/etc/kube-flannel/cni-conf.json"
CONFLIST = "/etc/cni/net.d/10-flannel.conflist"
SUBNET_FILE = "/run/flannel/subnet.env"
UPLINK = "eth0"
RETRY_S = 1.0
"""How long flannel waits after a failed call before it tries again."""


class Agent:
    """One running agent."""

    def __init__(
        self,
        ctx: Ctx,
        process: Process,
        commons: Commons | None = None,
        peering: Peering | None = None,
    ) -> None:
        self.ctx = ctx
        self.commons = commons
        self.peering = peering
        self.process = process
        self.node = process.spec.env.get("NODE_NAME") or process.spec.node
        self.klog = Klog(process, ctx.clock)
        account = service_account(process.spec.namespace, "flannel")
        self.client = Client(ctx.api, account, "flanneld/v0.28.9")
        self.programmed: dict[int, dict[str, core.Peer]] = {4: {}, 6: {}}
        """The peers that the kernel knows, by IP version."""

    async def run(self) -> int:
        """Until TERM; 1 when the configuration cannot be served."""
        try:
            conf = core.parse_net_conf(await self.process.read_file(NET_CONF))
            conflist = await self.process.read_file(CNI_CONF)
        except (core.NotModelledError, FileNotFoundError, ValueError, KeyError) as error:
            self.klog.error("main.go:366", f"Failed to create SubnetManager: {error}")
            return 1
        await self._copy(CONFLIST, conflist)
        await first(self._serve(conf), self._terminated())
        return 0

    async def _terminated(self) -> None:
        await self.process.terminated()
        self.klog.info("main.go:540", "shutdownHandler sent cancel signal...")

    async def _copy(self, path: str, data: bytes) -> None:
        """Write a file of the node unless it says the same already (kubelet watches it)."""
        try:
            same = await self.ctx.fabric.read_file(self.node, path) == data
        except FileNotFoundError:
            same = False
        if not same:
            await self.ctx.fabric.write_file(self.node, path, data)

    async def _serve(self, conf: core.NetConf) -> None:
        if self.commons is None:
            factory = Informers(self.client, self.ctx)
            nodes, following = factory.informer(kinds.NODE), factory.run()
        else:
            common = self.commons.of(kinds.NODE)
            nodes = common.informer(self.ctx)
            following = common.follow(self.client, self.ctx)
        wake = Event()
        changed: dict[str, None] = {}
        """The nodes whose leases are to be looked at."""
        peering = self.peering

        def notice(old: Node | None, new: Node | None) -> None:
            about = new or old
            if peering is not None:
                if about is not None and about.metadata.name == self.node:
                    wake.set()
            elif about is not None and _matters(old, new):
                changed[about.metadata.name] = None
                wake.set()

        nodes.on_change(notice)
        async with AsyncExitStack() as stack:
            hearing = stack.enter_context(ExitStack())
            hearing.callback(nodes.off_change, notice)
            nursery = await stack.enter_async_context(Nursery())
            nursery.start(following, name=f"flannel {self.node} informers")
            await nodes.synced.wait()
            self.klog.info(
                "main.go:232", f"Created subnet manager: Kubernetes Subnet Manager - {self.node}"
            )
            leases = [
                await self._lease(conf, nodes, wake, version)
                for version, network in ((4, conf.network), (6, conf.network6))
                if network
            ]
            await self._set_up(conf, leases)
            await self._announce(conf, leases)
            self.klog.info("main.go:482", "Running backend.")
            if peering is not None:
                hearing.close()
                place = peering.join()
                stack.callback(place.leave)
                await self._together(conf, leases, place)
            while True:
                wake.clear()
                names = sorted(name for name in changed if name != self.node)
                changed.clear()
                for one in leases:
                    await self._program(conf, one, names, nodes)
                await wake.wait()

    async def _together(
        self, conf: core.NetConf, leases: Sequence[core.Me], place: Place
    ) -> NoReturn:
        """Keep the kernel up to date about the leases that all agents of the process know."""
        while True:
            told = place.now
            turns = [(me, place.turn(me.subnet.version)) for me in leases]
            for me, turn in turns:
                for name, gone in turn.before.items():
                    if name not in turn.after:
                        self._removed(name, gone)
                await self._run(*core.join(conf, me, turn.before, turn.after, turn.tunnel))
            await place.next(told)

    def _removed(self, name: str, gone: core.Peer) -> None:
        self.klog.info("vxlan_network.go:218", f"Subnet removed: {gone.subnet} of {name}")

    async def _lease(
        self, conf: core.NetConf, nodes: Informer[Node], wake: Event, version: int
    ) -> core.Me:
        """This node's subnet of a family, once node IPAM gave it one."""
        info = await self.ctx.fabric.node(self.node)
        told = False
        while True:
            wake.clear()
            node = nodes.get("", self.node)
            subnet = core.subnet_of(node, version) if node is not None else None
            if subnet is not None:
                break
            if not told:
                told = True
                self.klog.error(
                    "main.go:353",
                    "Error registering network: failed to acquire lease: "
                    f'node "{self.node}" pod cidr not assigned',
                )
            await wake.wait()
        own = (ip for ip in info.addresses if (":" in ip) == (version == 6))
        address = next(own, "")
        if not address:
            raise CommandError(f"{UPLINK} has no IPv{version} address")
        network, mtu_bytes = await self._uplink(address)
        return core.Me(
            node=self.node,
            subnet=subnet,
            address=address,
            mac=await self._device_mac(conf.device(version), version),
            uplink=UPLINK,
            uplink_network=network,
            uplink_mtu_bytes=mtu_bytes,
        )

    async def _device_mac(self, device: str, version: int) -> str:
        """The tunnel device's address: an earlier flannel's device is kept, and so is its MAC."""
        answer = await self.ctx.fabric.tool(self.node, "", ("ip", "link", "show", "dev", device))
        found = re.search(r"link/ether (\S+)", answer.stdout)
        stream = f"flannel/{self.node}" if version == 4 else f"flannel-v6/{self.node}"
        return found[1] if found else mac_of(self.ctx.rng.child(stream))

    async def _uplink(self, address: str) -> tuple[core.Network, int]:
        """The network and MTU of the interface that carries the node's address."""
        answer = await self.ctx.fabric.tool(self.node, "", ("ip", "addr", "show", "dev", UPLINK))
        found = re.search(rf"inet6? ({re.escape(address)}/\d+)", answer.stdout)
        mtu = re.search(r"mtu (\d+)", answer.stdout)
        if found is None or mtu is None:
            raise CommandError(f"{UPLINK} does not carry {address}: {answer.stderr}")
        self.klog.info("match.go:211", f"Determining IP address of default interface: {UPLINK}")
        self.klog.info("match.go:264", f"Using interface with name {UPLINK} and address {address}")
        return ip_interface(found[1]).network, int(mtu[1])

    async def _set_up(self, conf: core.NetConf, leases: Sequence[core.Me]) -> None:
        if conf.backend == "vxlan":
            self.klog.info(
                "vxlan.go:141",
                f"VXLAN config: VNI={conf.vni} Port={conf.port} GBP=false Learning=false "
                f"DirectRouting={str(conf.direct_routing).lower()}",
            )
            for one in leases:
                address, up = core.device_address(conf, one), core.device_up(conf, one)
                await self._run(core.device(conf, one), address, up)
        argv = self.process.spec.argv
        masq = not argv or any(word in {"--ip-masq", "--ip-masq=true"} for word in argv)
        for one in leases:
            version = one.subnet.version
            nat = await saved_rules(self.ctx.fabric, self.node, "nat", version)
            filter_ = await saved_rules(self.ctx.fabric, self.node, "filter", version)
            rules = core.rules(one.network(conf), one.subnet, nat, filter_, ip_masq=masq)
            await self._run(rules)
        text = core.subnet_env(conf, leases, ip_masq=masq)
        await self._copy(SUBNET_FILE, text.encode())
        self.klog.info("main.go:460", f"Wrote subnet file to {SUBNET_FILE}")

    async def _announce(self, conf: core.NetConf, leases: Sequence[core.Me]) -> None:
        """Annotate the own Node and report its network as available; retried until it works."""
        now = format_time(self.ctx.clock.now_ns())
        condition = {
            "type": "NetworkUnavailable",
            "status": "False",
            "reason": "FlannelIsUp",
            "message": "Flannel is running on this node",
            "lastTransitionTime": now,
            "lastHeartbeatTime": now,
        }
        patch = {
            "metadata": {"annotations": core.announcement(conf, leases)},
            "status": {"conditions": [condition]},
        }
        while True:
            try:
                # By the status, as flannel does: its account may write no more of a Node.
                await self.client.patch(
                    kinds.NODE, self.node, patch, subresource="status", content_type=STRATEGIC
                )
            except (ApiError, ConnectionError) as error:
                self.klog.error("kube.go:544", f"Unable to annotate node {self.node}: {error}")
                await self.ctx.clock.sleep(RETRY_S)
            else:
                return

    async def _program(
        self, conf: core.NetConf, me: core.Me, names: Sequence[str], nodes: Informer[Node]
    ) -> None:
        """Bring the kernel up to date about the nodes of these names."""
        version = me.subnet.version
        programmed = self.programmed[version]
        known: dict[str, core.Peer] = {}
        wanted: dict[str, core.Peer] = {}
        for name in names:
            node = nodes.get("", name)
            peer = core.peer_of(node, version) if node is not None else None
            if peer is not None:
                wanted[name] = peer
            if name in programmed:
                known[name] = programmed[name]
        for name, gone in known.items():
            if name not in wanted:
                self._removed(name, gone)
        await self._run(*core.program(conf, me, known, wanted))
        for name in known:
            del programmed[name]
        programmed.update(wanted)

    async def _run(self, *commands: Command) -> None:
        """Commands in order; what is there already, or gone already, is as wanted."""
        if not commands:
            return
        try:
            await self.ctx.fabric.execute(self.node, commands)
        except CommandError as error:
            text = str(error)
            if len(commands) > 1:
                for command in commands:
                    await self._run(command)
            elif not any(word in text for word in (*EXISTS, *ABSENT)):
                raise


_told: tuple[Node | None, Node | None, bool] = (None, None, True)
"""The latest answer of ``_matters``: all nodes' agents ask about the same change in turn."""


def _matters(old: Node | None, new: Node | None) -> bool:
    """Heartbeats change Nodes all the time; only leases matter here."""
    global _told  # noqa: PLW0603  what it holds follows from its own first two alone
    if old is None or new is None:
        return True
    if _told[0] is not old or _told[1] is not new:
        _told = (old, new, _lease_changed(old, new))
    return _told[2]


def _lease_changed(old: Node, new: Node) -> bool:
    if old.metadata.annotations == new.metadata.annotations and old.spec == new.spec:
        return False
    if old.spec.pod_cidr != new.spec.pod_cidr or old.spec.pod_cidrs != new.spec.pod_cidrs:
        return True
    return any(core.peer_of(old, version) != core.peer_of(new, version) for version in (4, 6))


def program(ctx: Ctx, commons: Commons | None = None) -> Program:
    """The image's entrypoint: the agent, or ``cp`` as its init container calls it. Agents of
    nodes with the same ``commons`` follow Nodes together.
    """
    peering = commons.one(Peering, lambda: Peering(ctx, commons)) if commons is not None else None

    async def main(process: Process) -> int:
        argv = process.spec.argv
        if argv and argv[0].rpartition("/")[2] == "cp":
            return await _cp(process, argv[1:])
        return await Agent(ctx, process, commons, peering).run()

    return main


async def _cp(process: Process, argv: tuple[str, ...]) -> int:
    """``cp -f SOURCE TARGET``, with which install-cni puts the conflist into place."""
    source, target = [word for word in argv if not word.startswith("-")]
    try:
        data = await process.read_file(source)
    except FileNotFoundError:
        if source == "/flannel":
            return 0  # the plugin binary: podwire's nodes have it built in
        process.err(f"cp: can't stat '{source}': No such file or directory")
        return 1
    await process.write_file(target, data)
    return 0
