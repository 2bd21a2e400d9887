"""kube-proxy's life as a story: start, first sync, bursts, a flush, its ports, its refusals."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from podwire.api import kinds
from podwire.api.view import to_json
from podwire.client import http1
from podwire.client.counters import ContainerSpec
from podwire.dataplane import commands as c
from podwire.kube_proxy.core import Shared
from podwire.kube_proxy.health import Health
from podwire.kube_proxy.healthcheck import HealthChecks
from podwire.kube_proxy.lineup import Lineup
from podwire.kube_proxy.model import Check
from podwire.kube_proxy.modes import MODES
from podwire.kube_proxy.runner import Runner
from podwire.kube_proxy.shell import TERMINATED, KubeProxy
from podwire.runtime import sim
from podwire.runtime.env import Env
from podwire.runtime.tasks import Nursery
from tests.unit.client.fake_api import FakeApi, make_ctx
from tests.unit.cni.conftest import FakeFabric
from tests.unit.kube_proxy.conftest import endpoints, service

CONFIG = b"kind: KubeProxyConfiguration\nclusterCIDR: 10.244.0.0/16\nmode: iptables\n"


class NoListener:
    local = ("", 0)

    async def accept(self) -> Any:
        await asyncio.get_running_loop().create_future()

    def close(self) -> None:
        """Nothing is open."""


class FakeSockets:
    def __init__(self) -> None:
        self.ports: list[tuple[str, int]] = []

    async def listen(self, node: str, netns: str, address: str, port: int) -> NoListener:
        self.ports.append((address, port))
        return NoListener()


class FakeProcess:
    def __init__(self, config: bytes = CONFIG) -> None:
        self.spec = ContainerSpec(
            "id", "node-1", "", "kube-system", "kube-proxy-x", "uid", "192.168.0.11",
            "kube-proxy", "registry.k8s.io/kube-proxy:v1.37.1",
            ("/usr/local/bin/kube-proxy", "--config=/c", "--hostname-override=node-1"),
        )  # fmt: skip
        self.sockets: Any = FakeSockets()
        self.config = config
        self.lines: list[str] = []
        self.signal = asyncio.Event()

    def out(self, line: str) -> None:
        self.lines.append(line)

    err = out

    async def read_file(self, path: str) -> bytes:
        if path != "/c":
            raise FileNotFoundError(path)
        return self.config

    async def list_files(self, prefix: str) -> list[str]:
        return [prefix]

    async def write_file(self, path: str, data: bytes) -> None:
        raise PermissionError(path)

    async def remove_file(self, path: str) -> None:
        raise PermissionError(path)

    async def terminated(self) -> str:
        await self.signal.wait()
        return "TERM"

    def deliver(self, signal: str) -> None:
        self.signal.set()


def node(name: str = "node-1", **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"podCIDR": "10.244.1.0/24"},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.168.0.11"}]},
    }


Body = Callable[[Env, FakeApi, FakeFabric, KubeProxy], Coroutine[Any, Any, None]]


def story(body: Body) -> None:
    async def main(env: Env) -> None:
        api, fabric = FakeApi(env), FakeFabric()
        ctx = make_ctx(env, api)
        object.__setattr__(ctx, "fabric", fabric)
        process = FakeProcess()
        proxy = KubeProxy(ctx, process, Shared())
        async with Nursery() as nursery:
            task = nursery.start(proxy.run(), name="kube-proxy")
            await body(env, api, fabric, proxy)
            process.deliver("TERM")
            assert await task == TERMINATED

    sim.run(main, horizon_s=3600)


def web(api: FakeApi, *ips: str) -> None:
    api.put(kinds.SERVICE, to_json(service("web", "10.96.0.50")))
    api.put(kinds.ENDPOINT_SLICE, to_json(endpoints("web", *ips)))


def restores(fabric: FakeFabric) -> list[str]:
    return [command.text for command in fabric.of(c.RulesRestore)]


def test_the_first_sync_waits_for_the_node_and_all_caches():
    """No rule before the Node exists; then jumps, sysctls and one full input."""

    async def body(env: Env, api: FakeApi, fabric: FakeFabric, proxy: KubeProxy) -> None:
        web(api, "10.244.2.4")
        await env.clock.sleep(5)
        assert restores(fabric) == []
        api.put(kinds.NODE, node())
        await env.clock.sleep(1)
        jumps, rules = restores(fabric)
        assert "-I FORWARD" in jumps
        assert "-d 10.96.0.50 --dport 80 -j KUBE-SVC-" in rules
        written = {command.key: command.value for command in fabric.of(c.SysctlSet)}
        assert written["net.ipv4.conf.all.route_localnet"] == "1"
        assert written["net.netfilter.nf_conntrack_max"] == "131072"
        assert sorted(proxy.process.sockets.ports) == [("", 10256), ("127.0.0.1", 10249)]  # type: ignore[attr-defined]
        assert any('"Using iptables Proxier"' in line for line in proxy.process.lines)  # type: ignore[attr-defined]

    story(body)


def test_many_changes_fold_into_few_syncs():
    """Twenty changes within 200 ms: at most the burst, then one per second, and the last wins."""

    async def body(env: Env, api: FakeApi, fabric: FakeFabric, proxy: KubeProxy) -> None:
        api.put(kinds.NODE, node())
        web(api, "10.244.2.4")
        await env.clock.sleep(10)
        before = len(restores(fabric))
        for i in range(20):
            web(api, f"10.244.2.{i + 10}")
            await env.clock.sleep(0.010)
        await env.clock.sleep(5)
        texts = restores(fabric)[before:]
        assert 2 <= len(texts) <= 4
        assert "--to-destination 10.244.2.29:8080" in texts[-1]
        assert sum(text.count("--to-destination") for text in texts[-1:]) == 1

    story(body)


def test_an_idle_proxy_writes_nothing():
    """Ten quiet minutes, heartbeats of the Node included: not one more command."""

    async def body(env: Env, api: FakeApi, fabric: FakeFabric, proxy: KubeProxy) -> None:
        api.put(kinds.NODE, node())
        web(api, "10.244.2.4")
        await env.clock.sleep(10)
        before = len(fabric.log)
        for _ in range(10):
            beat = node()
            beat["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
            api.put(kinds.NODE, beat)
            await env.clock.sleep(60)
        assert len(fabric.log) == before

    story(body)


def test_flushed_rules_come_back_within_a_sync_period():
    """The canary vanished: a full sync restores jumps and services."""

    async def body(env: Env, api: FakeApi, fabric: FakeFabric, proxy: KubeProxy) -> None:
        api.put(kinds.NODE, node())
        web(api, "10.244.2.4")
        await env.clock.sleep(10)
        for chains in fabric.rules.tables.values():
            for name in [n for n in chains if n.startswith("KUBE-")]:
                del chains[name]
            for rules in chains.values():
                rules.clear()
        await env.clock.sleep(35)
        nat = fabric.rules.tables["nat"]
        assert any(name.startswith("KUBE-SVC-") for name in nat)
        assert len(nat["PREROUTING"]) == 1
        assert any("Reloading after iptables flush" in line for line in proxy.process.lines)  # type: ignore[attr-defined]

    story(body)


def test_a_failed_restore_is_repeated_in_full():
    """The kernel refuses once: the error is logged, and after syncPeriod all is written."""

    async def body(env: Env, api: FakeApi, fabric: FakeFabric, proxy: KubeProxy) -> None:
        api.put(kinds.NODE, node())
        web(api, "10.244.2.4")
        await env.clock.sleep(10)
        working = fabric.execute

        async def failing(node: str, commands: Any) -> None:
            raise c.CommandError("iptables-restore: line 3 failed")

        fabric.execute = failing  # type: ignore[method-assign]
        web(api, "10.244.2.5")
        await env.clock.sleep(2)
        fabric.execute = working  # type: ignore[method-assign]
        failures = 'sync_proxy_rules_iptables_restore_failures_total{ip_family="IPv4"}'
        assert proxy.health.metrics_of.value(failures) == 1
        assert 'le="0.016"' in proxy.health.metrics_of.text()
        await env.clock.sleep(31)
        assert "10.244.2.5:8080" in restores(fabric)[-1]
        assert "--to-destination" in restores(fabric)[-1]

    story(body)


def test_an_unknown_mode_is_refused_in_upstreams_words():
    """mode: ipvz ends the program with exit code 1 and a reason."""

    async def main(env: Env) -> None:
        process = FakeProcess(b"mode: ipvz")
        assert await KubeProxy(make_ctx(env, FakeApi(env)), process, Shared()).run() == 1
        known = f"must be {', '.join(sorted(MODES))} or blank"
        assert f'Mode.ProxyMode: Invalid value: \\"ipvz\\": {known}' in process.lines[-1]

    sim.run(main)


def test_healthz_speaks_as_upstream_and_knows_the_autoscalers_taint():
    """200 while synced, 503 when the node is to be deleted; livez does not care."""

    async def main(env: Env) -> None:
        health = Health(env.clock, env.clock.now_ns())
        ask = http1.Request("GET", "/healthz")
        assert (await health.healthz(ask)).status == 503, "never synced"
        health.updated("ipv4")
        answer = await health.healthz(ask)
        assert answer.status == 200
        assert answer.body == (
            b'{"lastUpdated": "2026-01-01 00:00:00 +0000 UTC",'
            b'"currentTime": "2026-01-01 00:00:00 +0000 UTC", "nodeEligible": true}'
        )
        health.node_eligible = False
        assert (await health.healthz(ask)).status == 503
        assert (await health.healthz(http1.Request("GET", "/livez"))).status == 200
        mode = await health.metrics(http1.Request("GET", "/proxyMode"))
        assert mode.body == b"iptables"

    sim.run(main)


def test_a_health_check_port_tells_whether_the_node_serves_the_service():
    """As upstream's service_health.go: 200 with local endpoints, 503 without, or when kube-proxy
    does not keep up; weight in a header, tabs in the body.
    """

    async def main(env: Env) -> None:
        opened: list[NoListener] = []
        alive = True

        async def listen(port: int) -> NoListener:
            assert port == 30999
            opened.append(NoListener())
            return opened[-1]

        async with Nursery() as nursery:
            checks = HealthChecks(nursery, listen, lambda: alive)
            await checks.sync({"shop/edge": Check(30999, 2)})
            answer = checks.answer("shop/edge")
            assert (answer.status, answer.header("X-Load-Balancing-Endpoint-Weight")) == (200, "2")
            assert answer.body == (
                b'{\n\t"service": {\n\t\t"namespace": "shop",\n\t\t"name": "edge"\n\t},\n'
                b'\t"localEndpoints": 2,\n\t"serviceProxyHealthy": true\n}'
            )
            await checks.sync({"shop/edge": Check(30999, 0)})
            assert checks.answer("shop/edge").status == 503
            await checks.sync({"shop/edge": Check(30999, 1)})
            alive = False
            assert checks.answer("shop/edge").status == 503
            assert len(opened) == 1, "the port stays open while endpoints come and go"
            await checks.sync({})
            nursery.cancel()

    sim.run(main)


def test_the_runner_holds_two_runs_and_refills_one_per_interval():
    """Requests at once: two immediate runs are possible, the third waits for its second."""

    async def main(env: Env) -> None:
        at: list[float] = []

        async def run() -> bool:
            at.append(env.clock.monotonic_ns() / 1e9)
            return True

        runner = Runner(env.clock, run, min_interval_s=1.0, retry_s=30)
        start = env.clock.monotonic_ns() / 1e9
        async with Nursery() as nursery:
            nursery.start(runner.loop(), name="runner")
            for _ in range(40):
                runner.request()
                await env.clock.sleep(0.1)
            nursery.cancel()
        moments = [round(t - start, 1) for t in at]
        assert moments[:2] == [0.0, 0.1]
        assert moments[2:] == [1.0, 2.0, 3.0]

    sim.run(main)


def test_many_runners_of_a_process_begin_together_and_keep_their_rate():
    """Forty that are asked at forty moments run at few; none more often than its tokens allow."""

    async def main(env: Env) -> None:
        lineup = Lineup(env.clock)
        at: dict[int, list[float]] = {number: [] for number in range(40)}

        def runner(number: int) -> Runner:
            async def run() -> bool:
                at[number].append(env.clock.monotonic_ns() / 1e9)
                return True

            return Runner(env.clock, run, min_interval_s=1.0, retry_s=30, lineup=lineup)

        runners = [runner(number) for number in at]
        async with Nursery() as nursery:
            for one in runners:
                nursery.start(one.loop(), name="runner")
            for _ in range(200):
                for one in runners:
                    one.request()
                    await env.clock.sleep(0.001)
            nursery.cancel()
        later = {round(t, 3) for moments in at.values() for t in moments[3:]}
        assert len(later) <= 8, "a common moment each second of eight"
        assert all(8 <= len(moments) <= 10 for moments in at.values())

    sim.run(main)


def test_metrics_have_upstreams_names_and_labels():
    """Changes carry no label, syncs and the conntrack reconciler the family's; what was taken in
    is pending until it is programmed.
    """

    async def body(env: Env, api: FakeApi, fabric: FakeFabric, proxy: KubeProxy) -> None:
        api.put(kinds.NODE, node())
        dns = service("dns", "10.96.0.53", [("", 53, 0, "UDP")])
        api.put(kinds.SERVICE, to_json(dns))
        api.put(
            kinds.ENDPOINT_SLICE, to_json(endpoints("dns", "10.244.2.4", ports=[("", 53, "UDP")]))
        )
        await env.clock.sleep(10)
        metrics = proxy.health.metrics_of
        assert metrics.value("sync_proxy_rules_service_changes_total") == 1
        assert metrics.value("sync_proxy_rules_endpoint_changes_pending") == 0
        proxy.health.changed("endpoint", "ipv4", 2)
        assert metrics.value("sync_proxy_rules_endpoint_changes_pending") == 2
        text = metrics.text()
        assert 'kubeproxy_conntrack_reconciler_deleted_entries_total{ip_family="IPv4"} 0' in text
        count = 'kubeproxy_conntrack_reconciler_sync_duration_seconds_count{ip_family="IPv4"} 1'
        assert count in text

    story(body)
