"""kube-proxy's life: configuration, watches, syncs, ports."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from podwire.api import kinds
from podwire.api.views import EndpointSlice, Node, Service, ServiceCIDR
from podwire.client import http1, images
from podwire.client.accounts import service_account
from podwire.client.api import Client
from podwire.client.counters import ContainerHost, Listener, Process
from podwire.client.ctx import Ctx
from podwire.client.hosting import RoomHost
from podwire.client.informer import Informer, Informers
from podwire.client.klog import Klog
from podwire.dataplane.commands import Command, CommandError, SysctlSet
from podwire.kube_proxy import config as configuration
from podwire.kube_proxy import conntrack
from podwire.kube_proxy.core import Proxier, Shared
from podwire.kube_proxy.family import Family
from podwire.kube_proxy.feed import Feed
from podwire.kube_proxy.health import CLUSTER_AUTOSCALER_TAINT, Health
from podwire.kube_proxy.healthcheck import HealthChecks
from podwire.kube_proxy.mode import FAMILIES, Answers, Argv, Chore, Mode, Sync
from podwire.kube_proxy.model import ADDRESS_TYPES, NodeFacts, node_facts
from podwire.kube_proxy.modes import MODES
from podwire.kube_proxy.runner import Runner
from podwire.kube_proxy.table import Table
from podwire.runtime.tasks import Nursery, first

CONFIG_PATH = "/var/lib/kube-proxy/config.conf"
VERSION = "v1.37.1"
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
        account = service_account(process.spec.namespace, "kube-proxy")
        self.client = Client(ctx.api, account, f"kube-proxy/{VERSION}")
        self.health = Health(ctx.clock, ctx.clock.now_ns())
        self.node = ""
        self.initialized = False

    async def run(self) -> int:
        """Until TERM; 1 when the configuration cannot be served."""
        argv = self.process.spec.argv
        try:
            path = configuration.flag(argv, "config") or CONFIG_PATH
            text = await self.process.read_file(path)
            config = configuration.with_flags(configuration.parse(text), argv)
            configuration.validate(config, tuple(MODES))
        except (configuration.ConfigError, FileNotFoundError) as error:
            self.klog.error_s("run.go:72", "command failed", err=str(error))
            return 1
        spec = self.process.spec
        self.node = config.hostname_override or spec.env.get("NODE_NAME") or spec.node
        index, code = await first(self._serve(config), self.process.terminated())
        return TERMINATED if index == 1 else int(code)

    # ------------------------------------------------------------ life

    async def _serve(self, config: configuration.Config) -> int:
        mode = MODES[config.mode]
        self.health.mode = mode.name
        factory = Informers(self.client, self.ctx)
        nodes = factory.informer(kinds.NODE, field_selector=f"metadata.name={self.node}")
        async with Nursery() as nursery:
            nursery.start(factory.run(), name=f"kube-proxy {self.node} informers")
            own = await self._own_node(nodes)
            await self._remove_leftovers(mode)
            self.klog.info_s("server_linux.go:132", f"Using {mode.title} Proxier")
            self.klog.info_s("server.go:529", "Version info", version=VERSION)
            await self._sysctls(config)
            checks = HealthChecks(nursery, self._listen_any, lambda: self.health.alive)
            self.health.timeout_ns = int(2 * config.rules.sync_period_s * 1e9)
            families = [
                await self._family(config, mode, own, family, checks) for family in own.families
            ]
            nodes.on_change(lambda _, new: self._node_changed(new, families))
            feeds = self._hear(families, nursery)
            if mode.knows_service_cidrs:
                _watch_cidrs(factory.informer(kinds.SERVICE_CIDR), families)
            await self._serve_ports(config, nursery)
            await factory.wait_synced()
            for feed in feeds:
                await feed.synced.wait()
            for name in ("service", "endpoint slice", "node"):
                self.klog.info(
                    "shared_informer.go:356", f'"Caches are synced" controller="{name} config"'
                )
            self.initialized = True
            for each in families:
                each.begin()
                each.runner.request()
                where = f"kube-proxy {self.node} {each.proxier.family}"
                for chore in mode.chores(each.proxier):
                    nursery.start(self._chore(each, chore), name=f"{where} {chore.name}")
                nursery.start(each.runner.loop(), name=f"{where} sync")
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                for each in families:
                    each.stop()
        return 0

    async def _serve_ports(self, config: configuration.Config, nursery: Nursery) -> None:
        for port, address, handler in (
            (config.healthz_port, config.healthz_address, self.health.healthz),
            (config.metrics_port, config.metrics_address, self.health.metrics),
        ):
            listener = await self._listen(address, port)
            if listener is not None:
                nursery.start(
                    http1.serve(listener, handler), name=f"kube-proxy {self.node} :{port}"
                )

    async def _own_node(self, nodes: Informer[Node]) -> NodeFacts:
        """This node's object, once it has an address."""
        found: asyncio.Future[Node] = asyncio.get_running_loop().create_future()

        def seen(_: Node | None, new: Node | None) -> None:
            if new is not None and new.internal_ip and not found.done():
                found.set_result(new)

        nodes.on_change(seen)
        node = node_facts(await found, self.node)
        nodes.off_change(seen)
        self.klog.info_s(
            "server.go:1068", "Successfully retrieved NodeIPs", NodeIPs=list(node.addresses)
        )
        return node

    async def _family(
        self,
        config: configuration.Config,
        mode: Mode,
        node: NodeFacts,
        family: str,
        checks: HealthChecks,
    ) -> Family:
        """The proxier of one family, its kernel prepared."""
        if config.detect_local_mode == "ClusterCIDR" and not config.cluster_cidr_of(family):
            self.klog.info_s(
                "server_linux.go:410",
                "Detect-local-mode set to ClusterCIDR, but no cluster CIDR for family",
                ipFamily=ADDRESS_TYPES[family],
            )
        settings = mode.settings(config, node, family)
        rules = config.rules
        proxier = Proxier(mode, settings, node, self.shared, family, rules.sync_period_s)
        await self._try(mode.prepare(settings))
        together = self.shared.together
        known = together.hearing.known(mode, family) if together is not None else None
        own_checks = checks if family == node.families[0] else None
        made = Family(self, proxier, config, own_checks, known)
        made.runner = Runner(
            self.ctx.clock,
            lambda: self._sync(made),
            min_interval_s=rules.min_sync_period_s,
            retry_s=rules.sync_period_s,
            lineup=together.lineup if together is not None else None,
        )
        return made

    async def _remove_leftovers(self, mode: Mode) -> None:
        """What other modes left in this kernel goes, so that no stale rule decides anything."""
        for other in MODES.values():
            if other is mode:
                continue
            for family in FAMILIES:
                answers = await self._ask(other.leftover_questions(family))
                commands = other.leftovers(family, answers)
                if commands:
                    self.klog.info_s(
                        "server_linux.go:460", "Removing what another proxy mode left",
                        mode=other.name, ipFamily=ADDRESS_TYPES[family],
                    )  # fmt: skip
                    await self._try(commands)

    async def _ask(self, questions: Sequence[Argv]) -> Answers:
        """What the node's tools print; "" where a tool is missing or fails."""
        answers: dict[Argv, str] = {}
        for argv in questions:
            answer = await self.ctx.fabric.tool(self.process.spec.node, "", argv)
            answers[argv] = "" if answer.code else answer.stdout
        return answers

    async def _try(self, commands: Sequence[Command]) -> None:
        """Execute commands; a failure is logged and leaves the rest undone."""
        if not commands:
            return
        try:
            await self.ctx.fabric.execute(self.process.spec.node, list(commands))
        except CommandError as error:
            self.klog.error_s("server.go:690", "Unable to prepare the node", err=str(error))

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
        commands = [SysctlSet(key=key, value=str(value)) for key, value in values.items()]
        try:
            await self.ctx.fabric.execute(self.process.spec.node, commands)
        except CommandError as error:
            self.klog.error_s("server.go:690", "Unable to set sysctl", err=str(error))

    async def _listen_any(self, port: int) -> Listener | None:
        return await self._listen("", port)

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

    def _hear(self, families: Sequence[Family], nursery: Nursery) -> tuple[Feed[Any], ...]:
        """Follow Services and EndpointSlices: alone, or together with others of this process."""
        together = self.shared.together
        if together is None:
            feeds = self._feeds(families)
            reading = [feed.run(self.client, self.ctx) for feed in feeds]
        else:
            feeds = together.hearing.feeds
            self.health.catch_up = lambda: _tell(families)
            reading = [
                together.commons.of(kind).follow(self.client, self.ctx)
                for kind in (kinds.SERVICE, kinds.ENDPOINT_SLICE)
            ]
        for one in reading:
            nursery.start(one, name=f"kube-proxy {self.node} reflector")
        return feeds

    def _feeds(self, families: Sequence[Family]) -> tuple[Feed[Any], ...]:
        """What tells the proxiers of Services and EndpointSlices."""

        def services(table: Table[Service]) -> None:
            for each in families:
                self.health.changed("service", each.proxier.family, len(table))
                each.proxier.all_services(table)

        def service(old: Service | None, new: Service | None) -> None:
            for each in families:
                self.health.changed("service", each.proxier.family)
                self._due(each, relevant=each.proxier.service(old, new))

        def slices(table: Table[EndpointSlice]) -> None:
            for each in families:
                self.health.changed("endpoint", each.proxier.family, len(table))
                each.proxier.all_slices(table)

        def endpoint_slice(old: EndpointSlice | None, new: EndpointSlice | None) -> None:
            for each in families:
                self.health.changed("endpoint", each.proxier.family)
                self._due(each, relevant=each.proxier.slice(old, new))

        return (
            Feed(self.shared, kinds.SERVICE, services, service),
            Feed(self.shared, kinds.ENDPOINT_SLICE, slices, endpoint_slice),
        )

    def _node_changed(self, new: Node | None, families: Sequence[Family]) -> None:
        self.health.node_eligible = new is not None and _eligible(new)
        if new is None:
            return
        fresh = node_facts(new, self.node)
        for each in families:
            if fresh == each.proxier.node:
                continue
            each.alone(full=True)
            self.klog.info_s("proxier.go:577", "Updated proxier node labels")
            each.proxier.node = fresh
            each.proxier.settings = each.proxier.mode.settings(
                each.config, fresh, each.proxier.family
            )
            self._due(each, relevant=True)

    def _due(self, family: Family, *, relevant: bool) -> None:
        if relevant and self.initialized:
            family.due()

    async def _sync(self, family: Family) -> bool:
        """Program what changed; whether it worked."""
        if family.part is not None:  # asked for before it joined
            family.part.group.runner.request()
            return True
        family.catch_up()
        clock, proxier = self.ctx.clock, family.proxier
        started_ns, full = clock.monotonic_ns(), family.full
        mode = proxier.mode
        try:
            existing = await self._ask(mode.questions(proxier, full=full))
            family.full = False
            plan = proxier.plan(full=full, existing=existing, now_ns=clock.monotonic_ns())
            if plan is not None:
                await clock.sleep(mode.restore_base_s + plan.changes * mode.restore_per_change_s)
                await self.ctx.fabric.execute(self.process.spec.node, list(plan.commands))
                proxier.committed(plan)
                await self.forget_flows(plan, proxier.family)
        except CommandError as error:
            self.failed(family, str(error), full=full)
            return False
        elapsed_s = (clock.monotonic_ns() - started_ns) / 1e9
        self.health.synced(proxier.family, plan, full=full, elapsed_s=elapsed_s)
        if family.checks is not None:
            await family.checks.sync(proxier.checks())
        if plan is not None and plan.again_s is not None:
            family.again(clock, plan.again_s)
        if not family.behind:
            self.health.updated(proxier.family)
        if self.shared.together is not None and not family.full:
            self.shared.together.join(family)
        return True

    def failed(self, family: Family, why: str, *, full: bool) -> None:
        """A sync of a family failed: the next one is full."""
        mode, family.full = family.proxier.mode, True
        self.health.failed(family.proxier.family, full=full)
        self.klog.error_s("proxier.go:1499", f"Failed to sync {mode.title}", err=why)

    async def forget_flows(self, plan: Sync, family: str) -> None:
        """UDP flows that lead to endpoints which are gone."""
        if plan.udp is None:
            return
        started_ns = self.ctx.clock.monotonic_ns()
        question = conntrack.question(family)
        listing = (await self._ask([question]))[question]
        flows = conntrack.stale(listing, plan.udp)
        if flows:
            await self.ctx.fabric.execute(self.process.spec.node, list(flows))
        elapsed_s = (self.ctx.clock.monotonic_ns() - started_ns) / 1e9
        self.health.reconciled(family, len(flows), elapsed_s=elapsed_s)

    async def _chore(self, family: Family, chore: Chore) -> None:
        """Do a chore of the mode each period."""
        proxier = family.proxier
        while True:
            await self.ctx.clock.sleep(chore.period_s)
            if family.full:
                continue
            done = chore.do(proxier, await self._ask(chore.asks(proxier)))
            await self._try(done.commands)
            if done.resync:
                self.klog.info_s("iptables.go:556", done.resync)
                family.alone(full=True)
                family.runner.request()


def _tell(families: Sequence[Family]) -> None:
    for each in families:
        each.tell()


def _watch_cidrs(cidrs: Informer[ServiceCIDR], families: Sequence[Family]) -> None:
    """Tell the proxiers where cluster IPs come from; used by the next full sync, as upstream."""
    known: dict[str, list[str]] = {}

    def changed(old: ServiceCIDR | None, new: ServiceCIDR | None) -> None:
        if old is not None:
            known.pop(old.metadata.name, None)
        if new is not None:
            known[new.metadata.name] = new.spec.cidrs
        all_of = sorted({cidr: None for found in known.values() for cidr in found})
        for each in families:
            each.proxier.service_cidrs = tuple(all_of)

    cidrs.on_change(changed)


def _eligible(node: Node) -> bool:
    """Whether load balancers should still send traffic here."""
    if node.metadata.deletion_timestamp:
        return False
    return all(taint.key != CLUSTER_AUTOSCALER_TAINT for taint in node.spec.taints)
