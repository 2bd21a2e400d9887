"""The policy agent's life: watch, build, program the difference, keep the jumps in front."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from podwire.api import kinds
from podwire.api.views import Namespace, NetworkPolicy, Pod
from podwire.client.accounts import service_account
from podwire.client.api import Client
from podwire.client.counters import Process
from podwire.client.ctx import Ctx
from podwire.client.hosting import Program
from podwire.client.informer import Informer, Informers
from podwire.cni.calico import core, ipvs
from podwire.cni.calico.peers import addresses, is_workload
from podwire.cni.iptables import saved_rules
from podwire.cni.plugins.calico import ENDPOINTS_DIR, STATUS_DIR
from podwire.dataplane.commands import Command, CommandError, IpsetRestore, RulesRestore, SysctlSet
from podwire.runtime.tasks import Event, Nursery, first

T = TypeVar("T")

APPLY_BASE_S = 0.005
"""What an iptables-restore of one table costs."""
APPLY_PER_RULE_S = 0.000_15
CONFLIST = "/etc/cni/net.d/10-canal.conflist"
"""Sorts before flannel's own, which has no policy plugin."""
CONFLIST_TEXT = b"""{
  "name": "cbr0",
  "cniVersion": "0.3.1",
  "plugins": [
    {"type": "flannel", "delegate": {"hairpinMode": true, "isDefaultGateway": true}},
    {"type": "calico", "policy_setup_timeout_seconds": 10},
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
"""
DEVICES = "/sys/class/net/"
CHECK_FIRST_S = 0.05
CHECK_LAST_S = 90.0
"""After a write the rules are checked soon, then ever more seldom (felix: postWriteInterval up to
IptablesRefreshInterval); other agents insert their jumps in front."""


class Agent:
    """One running agent."""

    def __init__(self, ctx: Ctx, process: Process) -> None:
        self.ctx, self.process = ctx, process
        spec = process.spec
        self.node = spec.env.get("NODENAME") or spec.env.get("NODE_NAME") or spec.node
        account = service_account(spec.namespace, "calico-node")
        self.client = Client(ctx.api, account, "calico-node/v3.32.0")
        self.programmed: dict[int, core.Chains] = {}
        """What the kernel holds, by IP version of the node."""
        self.ipvs = False
        """Whether kube-proxy runs in IPVS mode, as its device tells."""
        self.host_set: dict[int, list[str]] = {}
        """What the sets of the node's own addresses hold."""
        self.endpoints: dict[str, core.Endpoint] = {}
        """By container id, as the CNI plugin announced them; the newest last."""
        self.answered: dict[str, None] = {}
        self.dirty = Event()
        self.written = Event()

    def say(self, level: str, source: str, text: str) -> None:
        """One line as felix writes them."""
        seconds, rest = divmod(self.ctx.clock.now_ns(), 1_000_000_000)
        moment = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
        self.process.out(f"{moment}.{rest // 1_000_000:03d} [{level}][1] felix/{source}: {text}")

    async def run(self) -> int:
        """Until TERM; the rules stay."""
        await first(self._serve(), self.process.terminated())
        return 0

    async def _serve(self) -> None:
        factory = Informers(self.client, self.ctx)
        pods = factory.informer(kinds.POD)
        namespaces = factory.informer(kinds.NAMESPACE)
        policies = factory.informer(kinds.NETWORK_POLICY)
        pods.on_change(self._when(_pod_matters))
        namespaces.on_change(self._when(_namespace_matters))
        policies.on_change(self._when(_policy_matters))
        async with Nursery() as nursery:
            nursery.start(factory.run(), name=f"calico-node {self.node} informers")
            await factory.wait_synced()
            self.say("INFO", "int_dataplane.go 1234", "Received in-sync message from datastore")
            await self._start()
            nursery.start(self._follow_endpoints(), name=f"calico-node {self.node} endpoints")
            nursery.start(self._follow_ipvs(), name=f"calico-node {self.node} devices")
            nursery.start(self._stay_first(), name=f"calico-node {self.node} checks")
            while True:
                await self.dirty.wait()
                self.dirty.clear()
                await self._apply(pods, namespaces, policies)

    def _when(self, matters: Callable[[T, T], bool]) -> Callable[[T | None, T | None], None]:
        """A handler that wakes the agent for changes that can change rules."""

        def handler(old: T | None, new: T | None) -> None:
            if old is None or new is None or matters(old, new):
                self.dirty.set()

        return handler

    async def _start(self) -> None:
        """Bridged packets must meet iptables; chains of an earlier life are taken over."""
        info = await self.ctx.fabric.node(self.node)
        versions = dict.fromkeys(6 if ":" in address else 4 for address in info.addresses)
        for version in versions:
            saved = await saved_rules(self.ctx.fabric, self.node, "filter", version)
            self.programmed[version] = core.leftovers(saved)
        keys = {4: "net.bridge.bridge-nf-call-iptables", 6: "net.bridge.bridge-nf-call-ip6tables"}
        commands = [SysctlSet(key=keys[version], value="1") for version in versions]
        await self.ctx.fabric.execute(self.node, commands)
        self.ipvs = await self._has_ipvs()
        await self.ctx.fabric.write_file(self.node, CONFLIST, CONFLIST_TEXT)
        self.dirty.set()

    async def _has_ipvs(self) -> bool:
        answer = await self.ctx.fabric.tool(self.node, "", ("ip", "link", "show", ipvs.DEVICE))
        return answer.code == 0

    async def _follow_ipvs(self) -> None:
        """kube-proxy's device comes with IPVS mode and goes with it; felix starts anew then."""
        async for _ in self.ctx.fabric.watch_files(self.node, f"{DEVICES}{ipvs.DEVICE}"):
            before, self.ipvs = self.ipvs, await self._has_ipvs()
            if before != self.ipvs:
                self.say("INFO", "int_dataplane.go 1870", "kube-proxy's IPVS interface changed")
                self.dirty.set()

    async def _follow_endpoints(self) -> None:
        """Pods that are being set up have an address before the API knows it."""
        fabric = self.ctx.fabric
        async for path in fabric.watch_files(self.node, ENDPOINTS_DIR):
            container_id = path.removeprefix(ENDPOINTS_DIR)
            self.endpoints.pop(container_id, None)
            try:
                data = await fabric.read_file(self.node, path)
            except FileNotFoundError:
                if container_id in self.answered:
                    del self.answered[container_id]
                    await fabric.remove_file(self.node, STATUS_DIR + container_id)
            else:
                self.endpoints[container_id] = msgspec.json.decode(data, type=core.Endpoint)
            self.dirty.set()

    async def _answer(self, announced: list[str]) -> None:
        """Tell the plugin that these endpoints' policies are in force."""
        for container_id in announced:
            if container_id not in self.endpoints or container_id in self.answered:
                continue
            self.answered[container_id] = None
            path = STATUS_DIR + container_id
            await self.ctx.fabric.write_file(self.node, path, b"programmed\n")

    async def _apply(
        self,
        pods: Informer[Pod],
        namespaces: Informer[Namespace],
        policies: Informer[NetworkPolicy],
    ) -> None:
        announced = [
            container_id
            for container_id, endpoint in self.endpoints.items()
            if pods.get(endpoint.namespace, endpoint.pod) is not None
        ]
        current = core.with_endpoints(pods.list(), self.endpoints.values())
        updates = {
            version: core.update(
                held,
                core.build(
                    self.node, current, namespaces.list(), policies.list(), version, ipvs=self.ipvs
                ),
            )
            for version, held in self.programmed.items()
        }
        try:
            if self.ipvs:
                await self._tell_own_addresses()
            await self._restore(updates)
            if not self.ipvs:
                await self._forget_own_addresses()
        except CommandError as error:
            self.say("ERROR", "table.go 980", f"Failed to execute iptables-restore: {error}")
            self.ctx.clock.call_later(1.0, self.dirty.set)
            return
        await self._answer(announced)

    async def _restore(self, updates: dict[int, core.Update | None]) -> None:
        """Program what changed, family by family. Raises CommandError."""
        for version, update in updates.items():
            if update is None:
                continue
            await self.ctx.clock.sleep(APPLY_BASE_S + update.rules * APPLY_PER_RULE_S)
            await self._run(RulesRestore(text=update.text, family=f"ipv{version}"))
            self.programmed[version] = update.chains
            await self._hook(version)
            self.written.set()

    async def _run(self, command: Command) -> None:
        await self.ctx.fabric.execute(self.node, [command])

    async def _tell_own_addresses(self) -> None:
        """Fill the sets that the rules for IPVS ask. Raises CommandError."""
        answer = await self.ctx.fabric.tool(self.node, "", ("ip", "addr", "show"))
        for version in self.programmed:
            own = ipvs.own_addresses(answer.stdout, version)
            if self.host_set.get(version) != own:
                await self._run(IpsetRestore(text=ipvs.host_set_text(version, own), exist=True))
                self.host_set[version] = own

    async def _forget_own_addresses(self) -> None:
        """Destroy these sets, an earlier life's too. Raises CommandError."""
        if self.host_set.keys() == self.programmed.keys() and not any(self.host_set.values()):
            return
        answer = await self.ctx.fabric.tool(self.node, "", ("ipset", "list", "-n"))
        for version in self.programmed:
            name = ipvs.host_set(version)
            if name in answer.stdout.split():
                await self._run(IpsetRestore(text=f"destroy {name}\n"))
            self.host_set[version] = []

    async def _hook(self, version: int) -> None:
        saved = await saved_rules(self.ctx.fabric, self.node, "filter", version)
        text = core.hook_text(saved)
        if text:
            await self._run(RulesRestore(text=text, family=f"ipv{version}"))

    async def _stay_first(self) -> None:
        """Check that nobody inserted a jump in front of the agent's."""
        while True:
            await self.written.wait()
            self.written.clear()
            delay_s = CHECK_FIRST_S
            while not self.written.is_set():
                await self.ctx.clock.sleep(delay_s)
                delay_s = min(delay_s * 2, CHECK_LAST_S)
                try:
                    for version in self.programmed:
                        await self._hook(version)
                except CommandError as error:
                    self.say("ERROR", "table.go 720", f"Failed to check the rules: {error}")


def _pod_matters(old: Pod, new: Pod) -> bool:
    if is_workload(old) != is_workload(new):
        return True
    return is_workload(new) and (
        addresses(old) != addresses(new)
        or old.metadata.labels != new.metadata.labels
        or old.metadata.uid != new.metadata.uid
    )


def _namespace_matters(old: Namespace, new: Namespace) -> bool:
    return old.metadata.labels != new.metadata.labels


def _policy_matters(old: NetworkPolicy, new: NetworkPolicy) -> bool:
    return old.spec != new.spec


def program(ctx: Ctx) -> Program:
    """The image's entrypoint."""

    async def main(process: Process) -> int:
        return await Agent(ctx, process).run()

    return main
