"""kube-proxies that sync together: each kernel holds what it would hold alone."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podwire.api import kinds
from podwire.api.view import to_json
from podwire.client import http1
from podwire.client.common import Commons
from podwire.dataplane.commands import Command, CommandError, RulesRestore
from podwire.fabric.hardware import Fabric
from podwire.kube_proxy.core import Shared
from podwire.kube_proxy.group import Together
from podwire.kube_proxy.shell import KubeProxy
from podwire.runtime import sim
from podwire.runtime.env import Env
from podwire.runtime.tasks import Nursery
from tests.unit.client.fake_api import FakeApi, make_ctx
from tests.unit.kube_proxy.conftest import endpoints, service
from tests.unit.kube_proxy.test_sharing import HINTS
from tests.unit.kube_proxy.test_shell import FakeProcess

NODES = ("node-1", "node-2", "node-3", "node-4")
NAMES = ("a", "b", "c")
CONFIG = "kind: KubeProxyConfiguration\nclusterCIDR: 10.244.0.0/16\nmode: {}\n"
QUIET_S = 75
"""More than two syncPeriods: whoever failed or was flushed has synced in full."""


class Fleet:
    """A kernel and a kube-proxy on each node."""

    def __init__(self, env: Env, api: FakeApi, mode: str, *, together: bool) -> None:
        self.env, self.api, self.mode = env, api, mode
        name = f"fabric {together}"
        self.fabric = Fabric(env.clock, env.rng.child(name), env.ids, env.trace, env.log)
        self.together = Together(env.clock, Commons()) if together else None
        self.ctx = make_ctx(env, api)
        object.__setattr__(self.ctx, "fabric", self.fabric)
        self.proxies: dict[str, KubeProxy] = {}
        self.failing: dict[str, None] = {}
        """Nodes whose next restore fails."""
        self.calls: list[Sequence[str]] = []
        """The nodes of each call that brought rules."""
        self._execute = self.fabric.execute
        self.fabric.execute = self._one  # type: ignore[method-assign]
        self.fabric.execute_all = self._all  # type: ignore[method-assign]

    def start(self, nursery: Nursery) -> None:
        self.nursery, self.shared = nursery, Shared(self.together)
        if self.together is not None:
            nursery.start(self.together.run(), name="together")
        for number, node in enumerate(NODES):
            self.fabric.add_node(node, f"192.168.0.{number + 11}")
            self.begin(node)

    def begin(self, node: str) -> None:
        """A kube-proxy starts."""
        process = FakeProcess(CONFIG.format(self.mode).encode())
        argv = ("kube-proxy", "--config=/c", f"--hostname-override={node}")
        process.spec = replace(process.spec, node=node, argv=argv)
        self.proxies[node] = KubeProxy(self.ctx, process, self.shared)
        self.nursery.start(self.proxies[node].run(), name=f"{node} {self.together}")

    def end(self, node: str) -> None:
        """A kube-proxy ends."""
        process: Any = self.proxies[node].process
        process.deliver("TERM")

    async def _one(self, node: str, commands: Sequence[Command]) -> None:
        failed = await self._all([node], commands)
        if failed:
            raise CommandError(failed[node])

    async def _all(self, nodes: Sequence[str], commands: Sequence[Command]) -> dict[str, str]:
        failed = {}
        if any(isinstance(command, RulesRestore) for command in commands):
            self.calls.append(nodes)
        for node in nodes:
            if node in self.failing:
                del self.failing[node]
                failed[node] = "iptables-restore: line 3 failed"
                continue
            try:
                await self._execute(node, commands)
            except CommandError as error:  # its rules were flushed
                failed[node] = str(error)
        return failed

    async def told(self, node: str) -> dict[str, Any]:
        """What the node's tools and kube-proxy's ports tell."""
        argv = ("iptables-save",) if self.mode == "iptables" else ("nft", "list", "ruleset")
        rules = await self.fabric.tool(node, "", argv)
        health = self.proxies[node].health
        health.catch_up()
        counts = [
            health.metrics_of.value(f"sync_proxy_rules_{what}_changes_total")
            for what in ("service", "endpoint")
        ]
        healthz = await health.healthz(http1.Request("GET", "/healthz"))
        gauges = [
            line for line in health.metrics_of.text().splitlines()
            if "iptables_total" in line or "no_local" in line
        ]  # fmt: skip
        return {
            "rules": sorted(rules.stdout.splitlines()),
            "counts": counts,
            "healthz": healthz.status,
            "gauges": gauges,
        }


def node_body(number: int, zone: str) -> dict[str, Any]:
    return {
        "metadata": {"name": NODES[number], "labels": {"topology.kubernetes.io/zone": zone}},
        "spec": {"podCIDR": f"10.244.{number}.0/24"},
        "status": {"addresses": [{"type": "InternalIP", "address": f"192.168.0.{number + 11}"}]},
    }


Body = Callable[[Env, FakeApi, Fleet, Fleet], Coroutine[Any, Any, None]]


def story(mode: str, body: Body) -> None:
    """One API, two fleets that hear of it: the first one's proxies sync together."""

    async def main(env: Env) -> None:
        api = FakeApi(env)
        for number in range(len(NODES)):
            api.put(kinds.NODE, node_body(number, f"zone-{'ab'[number % 2]}"))
        one, two = (Fleet(env, api, mode, together=each) for each in (True, False))
        async with Nursery() as nursery:
            for fleet in (one, two):
                fleet.start(nursery)
            await env.clock.sleep(3)
            await body(env, api, one, two)
            nursery.cancel()

    sim.run(main, horizon_s=7200)


def web(api: FakeApi, name: str, *ips: Any, **spec: Any) -> None:
    at = NAMES.index(name)
    port = 0 if spec.get("type", "ClusterIP") == "ClusterIP" else 30000 + at
    api.put(
        kinds.SERVICE, to_json(service(name, f"10.96.0.{at + 50}", [("", 80, port, "UDP")], **spec))
    )
    api.put(kinds.ENDPOINT_SLICE, to_json(endpoints(name, *ips, ports=[("", 8080, "UDP")])))


SPEC = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["ClusterIP", "NodePort"]),
        "externalTrafficPolicy": st.sampled_from(["Cluster", "Local"]),
        "internalTrafficPolicy": st.sampled_from(["Cluster", "Cluster", "Local"]),
    }
)
ENDS = st.lists(
    st.builds(
        lambda i, node, ready, hints: {
            "addresses": [f"10.244.9.{i}"], "nodeName": node,
            "conditions": {"ready": ready, "serving": True}, "hints": hints,
        },
        st.integers(1, 4), st.sampled_from(["node-1", "node-2", "node-9"]), st.booleans(), HINTS,
    ),
    max_size=3,
)  # fmt: skip
STEP = st.one_of(
    st.tuples(st.just("web"), st.sampled_from(NAMES), SPEC, ENDS),
    st.tuples(st.just("web"), st.sampled_from(NAMES), SPEC, ENDS),
    st.tuples(st.just("delete"), st.sampled_from(NAMES)),
    st.tuples(st.just("fail"), st.sampled_from(NODES)),
    st.tuples(st.just("flush"), st.sampled_from(NODES)),
    st.tuples(st.just("restart"), st.sampled_from(NODES)),
    st.tuples(st.just("zone"), st.integers(0, 3), st.sampled_from(["zone-a", "zone-b"])),
    st.tuples(st.just("wait"), st.sampled_from([0.005, 0.02, 0.3, 1.1, 31.0])),
)
FLUSH = {
    "iptables": [("iptables", "-t", table, verb) for table in ("mangle", "nat", "filter")
                 for verb in ("-F", "-X")],
    "nftables": [],
}  # fmt: skip


async def play(env: Env, api: FakeApi, fleets: Sequence[Fleet], step: tuple[Any, ...]) -> None:
    what, *rest = step
    if what == "web":
        name, spec, ends = rest
        web(api, name, *ends, **spec)
    elif what == "delete":
        for kind, key in ((kinds.SERVICE, rest[0]), (kinds.ENDPOINT_SLICE, f"{rest[0]}-x")):
            if (kind, f"default/{key}") in api.objects:
                api.remove(kind, f"default/{key}")
    elif what == "zone":
        api.put(kinds.NODE, node_body(*rest))
    elif what == "wait":
        await env.clock.sleep(rest[0])
    for fleet in fleets:
        if what == "restart":
            fleet.end(rest[0])
            await env.clock.sleep(0)
            fleet.begin(rest[0])
        if what == "fail":
            fleet.failing[rest[0]] = None
        for argv in FLUSH[fleet.mode] if what == "flush" else ():
            assert (await fleet.fabric.tool(rest[0], "", argv)).code == 0


@pytest.mark.parametrize("mode", list(FLUSH))
@settings(max_examples=8, deadline=None)
@given(steps=st.lists(STEP, min_size=3, max_size=14))
def test_each_kernel_holds_what_it_would_hold_alone(mode, steps):
    """Whatever comes and fails: once all is quiet, tools and ports of each node tell the same."""

    async def body(env: Env, api: FakeApi, one: Fleet, two: Fleet) -> None:
        for step in steps:
            await play(env, api, (one, two), step)
        await env.clock.sleep(QUIET_S)
        for fleet in (one, two):
            fleet.failing.clear()
        for end in ("10.244.9.7", "10.244.9.8"):  # nftables mode deletes stale chains when it syncs
            web(api, "a", end)
            await env.clock.sleep(QUIET_S)
        for node in NODES:
            told = [await fleet.told(node) for fleet in (one, two)]
            for each in told:  # one that starts finds an object or hears of it, as it happens
                del each["counts"]
            assert told[0] == told[1]

    story(mode, body)


def test_a_change_is_planned_once_and_brought_to_all_by_one_call():
    """Nodes that hold the same are one part; a Service that is local to a node divides them until
    it is gone.
    """

    async def body(env: Env, api: FakeApi, one: Fleet, _: Fleet) -> None:
        web(api, "a", "10.244.9.1")
        await env.clock.sleep(3)
        assert sorted(one.calls[-1]) == list(NODES)
        web(api, "b", "10.244.9.2@node-2", internalTrafficPolicy="Local")
        await env.clock.sleep(3)
        assert sorted(map(len, one.calls[-2:])) == [1, 3]
        web(api, "b", "10.244.9.2@node-2")
        await env.clock.sleep(3)
        web(api, "a", "10.244.9.3")
        await env.clock.sleep(3)
        assert sorted(one.calls[-1]) == list(NODES)

    story("iptables", body)


def test_who_fails_syncs_alone_and_comes_back():
    """The others are not held up; the one that failed is repaired by a full sync of its own."""

    async def body(env: Env, api: FakeApi, one: Fleet, _: Fleet) -> None:
        web(api, "a", "10.244.9.1")
        await env.clock.sleep(3)
        one.failing["node-3"] = None
        web(api, "a", "10.244.9.2")
        await env.clock.sleep(3)
        held = [
            "10.244.9.2:8080" in (await one.fabric.tool(node, "", ("iptables-save",))).stdout
            for node in NODES
        ]
        assert held == [True, True, False, True]
        assert one.proxies["node-3"].health.metrics_of.value(
            'sync_proxy_rules_iptables_restore_failures_total{ip_family="IPv4"}'
        )
        await env.clock.sleep(31)
        assert one.calls[-1] == ["node-3"]
        web(api, "a", "10.244.9.3")
        await env.clock.sleep(3)
        assert sorted(one.calls[-1]) == list(NODES)

    story("iptables", body)


def test_many_changes_are_as_many_rounds_as_the_token_bucket_allows():
    """Twenty changes within 0.2 s: two rounds at once, then one a second, for all nodes."""

    async def body(env: Env, api: FakeApi, one: Fleet, _: Fleet) -> None:
        web(api, "a", "10.244.9.1")
        await env.clock.sleep(5)
        before = len(one.calls)
        for number in range(20):
            web(api, "a", f"10.244.9.{number + 2}")
            await env.clock.sleep(0.01)
        await env.clock.sleep(5)
        assert len(one.calls) - before <= 4
        assert all(len(nodes) == len(NODES) for nodes in one.calls[before:])

    story("iptables", body)


def test_a_proxy_that_ends_is_missed_by_nobody():
    """The reader of all was its task: another one reads on, and the others go on syncing. One that
    starts later counts what it found and what it heard itself.
    """

    async def body(env: Env, api: FakeApi, one: Fleet, two: Fleet) -> None:
        web(api, "a", "10.244.9.1")
        await env.clock.sleep(3)
        for fleet in (one, two):
            fleet.end("node-1")
        await env.clock.sleep(1)
        web(api, "a", "10.244.9.2")
        await env.clock.sleep(3)
        assert sorted(one.calls[-1]) == list(NODES[1:])
        for fleet in (one, two):
            fleet.begin("node-1")
        await env.clock.sleep(3)
        web(api, "a", "10.244.9.3")
        await env.clock.sleep(3)
        assert sorted(one.calls[-1]) == list(NODES)
        for node in NODES:
            assert await one.told(node) == await two.told(node)

    story("iptables", body)


def test_who_joins_while_a_plan_is_under_way_is_not_given_it():
    """A node that was alone sees another side of the Service that the others are about to program:
    it has the endpoint.
    """

    async def body(env: Env, api: FakeApi, one: Fleet, two: Fleet) -> None:
        web(api, "a", "10.244.9.1")
        web(api, "b", "10.244.9.2@node-9", internalTrafficPolicy="Local")
        await env.clock.sleep(5)
        for early_s in (0.001, 0.003, 0.005, 0.007, 0.009):
            api.put(kinds.NODE, node_body(0, f"zone-{early_s}"))
            await env.clock.sleep(early_s)
            web(
                api, "b", f"10.244.9.{early_s * 1000 + 3:.0f}@node-1", internalTrafficPolicy="Local"
            )
            await env.clock.sleep(10)
            for node in NODES:
                told = [await fleet.told(node) for fleet in (one, two)]
                assert told[0]["rules"] == told[1]["rules"]

    story("iptables", body)
