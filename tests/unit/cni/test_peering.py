"""Agents that learn of each other together: told once, shared by their kernels, true on each."""

from __future__ import annotations

from podwire.api import kinds
from podwire.client.common import Commons
from podwire.client.ctx import Ctx
from podwire.cni.flannel import core, shell
from podwire.cni.flannel.peering import Peering
from podwire.cni.flannel.shell import Agent
from podwire.dataplane import commands as c
from podwire.runtime import sim
from podwire.runtime.env import Env
from podwire.runtime.tasks import Nursery
from tests.unit.client.fake_api import FakeApi, make_ctx
from tests.unit.cni.conftest import FakeFabric
from tests.unit.cni.test_flannel import FakeProcess, node


def on(env: Env, api: FakeApi, fabric: FakeFabric) -> Ctx:
    """What an agent gets that commands this kernel."""
    fabric.addresses.add(("", "eth0", "192.168.0.11/24"))
    ctx = make_ctx(env, api)
    object.__setattr__(ctx, "fabric", fabric)
    return ctx


def test_an_agent_that_hears_together_is_told_of_all_others_at_once_and_never_of_itself():
    """All that is there by one command; later what changed, removals first; heartbeats nothing;
    one that comes later is told the same by one command.
    """

    async def body(env: Env) -> None:
        api, fabric, late = FakeApi(env), FakeFabric(), FakeFabric()
        ctx = on(env, api, fabric)
        commons = Commons()
        peering = Peering(ctx, commons)
        for number in range(1, 5):
            api.put(kinds.NODE, node(number))
        async with Nursery() as nursery:
            nursery.start(Agent(ctx, FakeProcess(), commons, peering).run(), "one")
            await env.clock.sleep(1)
            [told] = fabric.of(c.TunnelPeers)
            assert [peer.subnet for peer in told.peers] == [f"10.244.{n}.0/24" for n in range(1, 5)]
            assert told.skip == "10.244.1.0/24"
            count = len(fabric.log)
            api.put(kinds.NODE, {**node(2), "status": {"conditions": [{"type": "Ready"}]}})
            await env.clock.sleep(1)
            assert len(fabric.log) == count
            moved = node(3)
            moved["metadata"]["annotations"][core.PREFIX + "public-ip"] = "192.168.0.99"
            api.put(kinds.NODE, moved)
            api.remove(kinds.NODE, "node-4")
            await env.clock.sleep(1)
            later = fabric.log[count:]
            assert [x.dst for x in later if isinstance(x, c.RouteDel)] == [
                "10.244.3.0/24", "10.244.4.0/24",
            ]  # fmt: skip
            assert isinstance(later[-1], c.TunnelPeers)
            assert [peer.address for peer in later[-1].peers] == ["192.168.0.99"]
            other = on(env, api, late)
            nursery.start(Agent(other, FakeProcess(), commons, peering).run(), "two")
            await env.clock.sleep(1)
            [told] = late.of(c.TunnelPeers)
            assert [peer.subnet for peer in told.peers] == [f"10.244.{n}.0/24" for n in range(1, 4)]
            nursery.cancel()

    sim.run(body, horizon_s=100)


def test_the_agents_of_all_nodes_of_a_process_have_one_account_of_leases(monkeypatch):
    """A thousand accounts would each be told of a thousand nodes."""
    made = []

    def counted(*args):
        made.append(Peering(*args))
        return made[-1]

    async def body(env: Env) -> None:
        monkeypatch.setattr(shell, "Peering", counted)
        commons = Commons()
        for _ in range(3):
            shell.program(on(env, FakeApi(env), FakeFabric()), commons)
        assert len(made) == 1

    sim.run(body)
