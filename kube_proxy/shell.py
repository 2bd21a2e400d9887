"""kube-proxy's life: configuration, watches, syncs, ports."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from podwire.api import kinds
from podwire.api.views import EndpointSlice, Node, Service
from podwire.client import http1, images
from podwire.client.api import Client
from podwire.client.counters import ContainerHost, Listener, Process, User
from podwire.client.ctx import Ctx
from podwire.client.hosting import RoomHost
from podwire.client.informer import Informer, Informers
from podwire.client.klog import Klog
from podwire.dataplane.commands import CommandError, RulesRestore, SysctlSet
from podwire.kube_proxy import config as configuration
from podwire.kube_proxy.core import Proxier, Shared, Sync, settings_of
from podwire.kube_proxy.health import CLUSTER_AUTOSCALER_TAINT, Health
from podwire.kube_proxy.model import ZONE_LABEL, NodeFacts
from podwire.kube_proxy.runner import Runner
from podwire.kube_proxy.text import CANARY, jump_text
from podwire.runtime.tasks import Nursery, first

CONFIG_PATH = "/var/lib/kube-proxy/config.conf"
VERSION = "v1.37.1"
RESTORE_BASE_S = 0.010
"""What starting iptables-restore costs."""
RESTORE_PER_RULE_S = 0.000_15
"""iptables-nft took 1.64 s for 1000 Services of three endpoints, about 11,000 rules."""
TERMINATED = 143


def host(ctx: Ctx, shared: Shared | None = None) -> ContainerHost:
    """The container host of kube-proxy; nodes given the same ``shared`` share what is rendered."""
    shared = shared if shared is not None else Shared()

    async def program(process: Process) -> int:
        return await KubeProxy(ctx, process, shared).run()

    return RoomHost(images.KUBE_PROXY, program)


class KubeProxy:
    """One running kube-proxy."""

    def __init__(self, ctx: Ctx, process: Process, shared: Shared) -> None:
        self.ctx, self.process, self.shared = ctx, process, shared
        self.klog = Klog(process, ctx.clock)
        account = f"system:serviceaccount:{process.spec.namespace}"
        groups = (
            "system:serviceaccounts",
            f"system:serviceaccounts:{process.spec.namespace}",
            "system:authenticated",
        )
        self.client = Client(
            ctx.api, User(f"{account}:kube-proxy", groups), f"kube-proxy/{VERSION}"
        )
        self.health = Health(ctx.clock, ctx.clock.now_ns())
        self.node = ""
        self.full = True
        self.initialized = False

    async def run(self) -> int:
        """Until TERM; 1 when the configuration cannot be served."""
        argv = self.process.spec.argv
        try:
            path = configuration.flag(argv, "config") or CONFIG_PATH
            text = await self.process.read_file(path)
            config = configuration.with_flags(configuration.parse(text), argv)
            if config.mode != "iptables":
                raise configuration.ConfigError(f'mode "{config.mode}" is not modelled')  # noqa: TRY301
        except (configuration.ConfigError, FileNotFoundError) as error:
            self.klog.error_s("run.go:72", "command failed", err=str(error))
            return 1
        spec = self.process.spec
        self.node = config.hostname_override or spec.env.get("NODE_NAME") or spec.node
        index, code = await first(self._serve(config), self.process.terminated())
        return TERMINATED if index == 1 else int(code)

    # ------------------------------------------------------------ life

    async def _serve(self, config: configuration.Config) -> int:
        factory = Informers(self.client, self.ctx)
        services = factory.informer(kinds.SERVICE)
        slices = factory.informer(kinds.ENDPOINT_SLICE)
        nodes = factory.informer(kinds.NODE, field_selector=f"metadata.name={self.node}")
        self.klog.info_s("server_linux.go:53", "Using iptables proxy")
        async with Nursery() as nursery:
            nursery.start(factory.run(), name=f"kube-proxy {self.node} informers")
            own = await self._own_node(nodes)
            proxier = self._proxier(config, own)
            await self._sysctls(config)
            runner = Runner(
                self.ctx.clock,
                lambda: self._sync(proxier),
                min_interval_s=config.min_sync_period_s,
                retry_s=config.sync_period_s,
            )
            self._watch(services, slices, nodes, proxier, runner)
            for port, address, handler in (
                (config.healthz_port, "", self.health.healthz),
                (config.metrics_port, config.metrics_address, self.health.metrics),
            ):
                listener = await self._listen(address, port)
                if listener is not None:
                    nursery.start(
                        http1.serve(listener, handler), name=f"kube-proxy {self.node} :{port}"
                    )
            await factory.wait_synced()
            for name in ("service", "endpoint slice", "node"):
                self.klog.info(
                    "shared_informer.go:356", f'"Caches are synced" controller="{name} config"'
                )
            self.initialized = True
            runner.request()
            nursery.start(self._monitor(config, runner), name=f"kube-proxy {self.node} monitor")
            await runner.loop()
        return 0

    async def _own_node(self, nodes: Informer[Node]) -> Node:
        """This node's object, once it has an address."""
        found: asyncio.Future[Node] = asyncio.get_running_loop().create_future()

        def seen(_: Node | None, new: Node | None) -> None:
            if new is not None and new.internal_ip and not found.done():
                found.set_result(new)

        nodes.on_change(seen)
        node = await found
        self.klog.info_s(
            "server.go:1068", "Successfully retrieved NodeIPs", NodeIPs=[node.internal_ip]
        )
        return node

    def _proxier(self, config: configuration.Config, node: Node) -> Proxier:
        if not config.cluster_cidr and config.detect_local_mode == "ClusterCIDR":
            self.klog.info_s(
                "server_linux.go:410",
                "Detect-local-mode set to ClusterCIDR, but no cluster CIDR for family",
                ipFamily="IPv4",
            )
        settings = settings_of(config, (node.internal_ip,), node.spec.pod_cidr)
        self.klog.info_s("server_linux.go:132", "Using iptables Proxier")
        self.klog.info_s("server.go:529", "Version info", version=VERSION)
        return Proxier(settings, facts(node, self.node), self.shared)

    async def _sysctls(self, config: configuration.Config) -> None:
        info = await self.ctx.fabric.node(self.process.spec.node)
        wanted = max(config.conntrack_max_per_core * info.cpus, config.conntrack_min)
        self.klog.info_s("conntrack.go:60", "Setting nf_conntrack_max", nfConntrackMax=wanted)
        values = {
            "net.netfilter.nf_conntrack_max": wanted,
            "net.netfilter.nf_conntrack_tcp_timeout_established": int(
                config.conntrack_established_s
            ),
            "net.netfilter.nf_conntrack_tcp_timeout_close_wait": int(config.conntrack_close_wait_s),
        }
        if config.localhost_node_ports:
            self.klog.info_s(
                "proxier.go:243",
                "Setting route_localnet=1 to allow node-ports on localhost; to change this either "
                "disable iptables.localhostNodePorts (--iptables-localhost-nodeports) or set "
                "nodePortAddresses (--nodeport-addresses) to filter loopback addresses",
                ipFamily="IPv4",
            )
            values["net.ipv4.conf.all.route_localnet"] = 1
        commands = [SysctlSet(key=key, value=str(value)) for key, value in values.items()]
        try:
            await self.ctx.fabric.execute(self.process.spec.node, commands)
        except CommandError as error:
            self.klog.error_s("server.go:690", "Unable to set sysctl", err=str(error))

    async def _listen(self, address: str, port: int) -> Listener | None:
        spec = self.process.spec
        try:
            return await self.process.sockets.listen(
                spec.node, spec.netns, "" if address == "0.0.0.0" else address, port
            )
        except OSError as error:
            self.klog.error_s("server.go:405", "Unable to listen", port=port, err=str(error))
            return None

    # ------------------------------------------------------------ changes

    def _watch(
        self,
        services: Informer[Service],
        slices: Informer[EndpointSlice],
        nodes: Informer[Node],
        proxier: Proxier,
        runner: Runner,
    ) -> None:
        def due(relevant: bool) -> None:
            if relevant and self.initialized:
                self.health.queued()
                runner.request()

        def node_changed(_: Node | None, new: Node | None) -> None:
            self.health.node_eligible = new is not None and _eligible(new)
            if new is None:
                return
            fresh = facts(new, self.node)
            if fresh != proxier.node:
                self.klog.info_s("proxier.go:577", "Updated proxier node labels")
                proxier.node = fresh
                self.full = True
                due(relevant=True)

        services.on_change(lambda old, new: due(proxier.service(old, new)))
        slices.on_change(lambda old, new: due(proxier.slice(old, new)))
        nodes.on_change(node_changed)

    async def _sync(self, proxier: Proxier) -> bool:
        """Program what changed; whether it worked."""
        clock, started_ns = self.ctx.clock, self.ctx.clock.monotonic_ns()
        full = self.full
        try:
            existing = await self._prepare() if full else ()
            self.full = False
            plan = proxier.plan(full=full, existing=existing)
            if plan is not None:
                await clock.sleep(RESTORE_BASE_S + plan.rules * RESTORE_PER_RULE_S)
                await self.ctx.fabric.execute(
                    self.process.spec.node, [RulesRestore(text=plan.text), *plan.conntrack]
                )
                proxier.committed(plan)
        except CommandError as error:
            self.full = True
            self.health.failures += 1
            self.klog.error_s(
                "proxier.go:1499", "Failed to execute iptables-restore", err=str(error)
            )
            return False
        self._count(plan, clock.monotonic_ns() - started_ns)
        if not proxier.dirty and not self.full:
            self.health.updated()
        return True

    def _count(self, plan: Sync | None, elapsed_ns: int) -> None:
        health = self.health
        health.syncs += 1
        health.sync_seconds += elapsed_ns / 1e9
        if plan is not None:
            health.full_syncs += int(plan.full)
            health.rules, health.services = plan.rules, plan.services
            health.endpoints = plan.endpoints

    async def _prepare(self) -> Sequence[str]:
        """Jumps and canaries where they are missing; the nat chains that exist."""
        saved = await self._saved()
        text = jump_text(saved)
        if text:
            await self.ctx.fabric.execute(self.process.spec.node, [RulesRestore(text=text)])
        nat = saved.get("nat", ())
        return [line[1:].partition(" ")[0] for line in nat if line.startswith(":")]

    async def _saved(self, *arguments: str) -> dict[str, list[str]]:
        """What iptables-save prints, by table. Raises CommandError."""
        answer = await self.ctx.fabric.tool(
            self.process.spec.node, "", ("iptables-save", *arguments)
        )
        if answer.code:
            raise CommandError(answer.stderr.strip() or f"iptables-save exited {answer.code}")
        tables: dict[str, list[str]] = {}
        table: list[str] = []
        for line in answer.stdout.splitlines():
            if line.startswith("*"):
                table = tables.setdefault(line[1:], [])
            elif line.startswith((":", "-A")):
                table.append(line)
        return tables

    async def _monitor(self, config: configuration.Config, runner: Runner) -> None:
        """Each syncPeriod, look whether someone flushed the rules (upstream's canary)."""
        canary = f":{CANARY} "
        while True:
            await self.ctx.clock.sleep(config.sync_period_s)
            try:
                saved = await self._saved("-t", "mangle")
            except CommandError as error:
                self.klog.error_s(
                    "iptables.go:545", "Could not check for iptables canary", err=str(error)
                )
                continue
            present = any(line.startswith(canary) for line in saved.get("mangle", ()))
            if not present and not self.full and self.health.syncs:
                self.klog.info_s("iptables.go:556", "Reloading after iptables flush")
                self.full = True
                runner.request()


def facts(node: Node, name: str) -> NodeFacts:
    """What endpoint choice uses of a Node."""
    addresses = tuple(a.address for a in node.status.addresses if a.type == "InternalIP")
    return NodeFacts(name, node.metadata.labels.get(ZONE_LABEL, ""), addresses)


def _eligible(node: Node) -> bool:
    """Whether load balancers should still send traffic here."""
    if node.metadata.deletion_timestamp:
        return False
    return all(taint.key != CLUSTER_AUTOSCALER_TAINT for taint in node.spec.taints)
