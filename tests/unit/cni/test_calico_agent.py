"""The policy agent as a story: policies come and go, pods appear, others push in front."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from podwire.api import kinds
from podwire.api.view import to_json
from podwire.cni.calico.shell import Agent
from podwire.dataplane import commands as c
from podwire.runtime import sim
from podwire.runtime.env import Env
from podwire.runtime.tasks import Nursery
from tests.unit.client.fake_api import FakeApi, make_ctx
from tests.unit.cni.conftest import FakeFabric
from tests.unit.cni.test_flannel import FakeProcess
from tests.unit.netpol.conftest import API, SPACES, WEB, policy

Body = Callable[[Env, FakeApi, FakeFabric], Coroutine[Any, Any, None]]


def story(body: Body) -> None:
    async def main(env: Env) -> None:
        api, fabric = FakeApi(env), FakeFabric()
        ctx = make_ctx(env, api)
        object.__setattr__(ctx, "fabric", fabric)
        for space in SPACES:
            api.put(kinds.NAMESPACE, to_json(space))
        async with Nursery() as nursery:
            nursery.start(Agent(ctx, FakeProcess()).run(), name="calico-node")
            await body(env, api, fabric)
            nursery.cancel()

    sim.run(main, horizon_s=7200)


def test_a_policy_isolates_a_pod_as_soon_as_both_exist():
    """Policy first, pod later: the drop is there within milliseconds of the address."""

    async def body(env: Env, api: FakeApi, fabric: FakeFabric) -> None:
        api.put(kinds.NETWORK_POLICY, to_json(policy("lock", {})))
        await env.clock.sleep(5)
        filter_ = fabric.rules.tables["filter"]
        assert filter_["FORWARD"] == ["-j cali-FORWARD"]
        assert not any("DROP" in rule for rules in filter_.values() for rule in rules)
        api.put(kinds.POD, to_json(WEB))
        await env.clock.sleep(0.020)
        drops = [rule for rules in filter_.values() for rule in rules if rule.endswith("DROP")]
        assert drops == [
            '-m comment --comment "podwire:isolated default/web by default/lock" -j DROP'
        ]
        api.remove(kinds.NETWORK_POLICY, "default/lock")
        await env.clock.sleep(1)
        assert not any(name.startswith(("cali-tw", "cali-pi")) for name in filter_)

    story(body)


def test_heartbeats_of_pods_program_nothing():
    """A pod's status changes all the time; only address, labels and life matter."""

    async def body(env: Env, api: FakeApi, fabric: FakeFabric) -> None:
        api.put(kinds.NETWORK_POLICY, to_json(policy("lock", {})))
        api.put(kinds.POD, to_json(WEB))
        await env.clock.sleep(5)
        before = len(fabric.of(c.RulesRestore))
        changed = to_json(WEB)
        changed["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
        api.put(kinds.POD, changed)
        far = to_json(API)
        far["spec"]["nodeName"] = "node-2"
        api.put(kinds.POD, far)
        await env.clock.sleep(5)
        assert len(fabric.of(c.RulesRestore)) == before

    story(body)


def test_the_agent_keeps_its_jumps_in_front_and_takes_over_old_chains():
    """Chains of an earlier life are rewritten or deleted; a jump inserted later loses its place."""

    async def body(env: Env, api: FakeApi, fabric: FakeFabric) -> None:
        fabric.rules.restore("*filter\n:cali-tw-old - [0:0]\n-I FORWARD -j cali-FORWARD\nCOMMIT\n")
        await env.clock.sleep(1)
        filter_ = fabric.rules.tables["filter"]
        assert "cali-tw-old" not in filter_
        fabric.rules.restore("*filter\n-I FORWARD -j KUBE-FORWARD\nCOMMIT\n")
        await env.clock.sleep(91)
        assert filter_["FORWARD"] == ["-j cali-FORWARD", "-j KUBE-FORWARD"]

    story(body)


def test_the_agent_follows_kube_proxy_into_ipvs_mode_and_out_of_it():
    """Its device tells: the chains for IPVS and the set of own addresses come and go with it."""

    async def body(env: Env, api: FakeApi, fabric: FakeFabric) -> None:
        await env.clock.sleep(1)
        filter_ = fabric.rules.tables["filter"]
        assert "cali-forward-check" not in filter_
        await fabric.execute("node-1", [c.LinkAdd(name="kube-ipvs0", kind="dummy")])
        await env.clock.sleep(0.1)
        assert filter_["cali-OUTPUT"][0].endswith("-g cali-forward-endpoint-mark")
        assert fabric.sets == {"cali40this-host": ["192.168.0.11"]}
        await fabric.execute("node-1", [c.LinkDel(name="kube-ipvs0")])
        await env.clock.sleep(0.1)
        assert not any("endpoint-mark" in name for name in filter_)
        assert fabric.sets == {}

    story(body)
