"""Which components live is judged by this server's clock, whatever the clocks of others say."""

from __future__ import annotations

import msgspec
import pytest

from podwire.api import kinds
from podwire.api.times import format_micro_time
from podwire.api.views import Lease
from podwire.apiserver.components import (
    READY,
    STOPPED,
    UNKNOWN,
    Component,
    Renewals,
    listing,
    of_leases,
)
from podwire.client.api import Client
from podwire.client.leases import COMPONENT, COMPONENT_NAMESPACE
from podwire.runtime import sim
from tests.unit.client.fake_api import FakeApi

HOUR_NS = 3600 * 10**9


def lease(renewed_ns: int, holder: str = "host") -> Lease:
    return msgspec.convert(
        {
            "metadata": {
                "name": "podwire-cni", "namespace": COMPONENT_NAMESPACE, "uid": "u",
                "labels": {COMPONENT: "cni"},
            },
            "spec": {
                "holderIdentity": holder, "leaseDurationSeconds": 15,
                "renewTime": format_micro_time(renewed_ns),
            },
        },
        Lease,
    )  # fmt: skip


@pytest.mark.parametrize("skew_ns", [-HOUR_NS, -20 * 10**9, 0, 20 * 10**9, HOUR_NS])
def test_a_component_whose_clock_is_wrong_is_alive_as_long_as_it_renews(skew_ns):
    """And no longer: a clock that is ahead keeps nobody alive."""

    async def main(env):
        renewals, before = Renewals(env.clock), None
        for _ in range(4):
            now = lease(env.clock.now_ns() + skew_ns)
            renewals.observe(before, now)
            before = now
            await env.clock.sleep(5)
        assert of_leases([before], renewals)["cni"].status == READY
        await env.clock.sleep(11)
        gone = of_leases([before], renewals)["cni"]
        assert (gone.status, gone.message) == (UNKNOWN, "its Lease was last renewed 16s ago")
        released = lease(env.clock.now_ns() + skew_ns, holder="")
        renewals.observe(before, released)
        assert of_leases([released], renewals)["cni"].status == STOPPED
        renewals.observe(released, None)
        assert not renewals._seen

    sim.run(main, horizon_s=3600)


def test_of_a_lease_that_was_never_seen_renewed_renew_time_is_all_that_is_known():
    """A server that just started over a store with Leases of rooms long gone."""

    async def main(env):
        renewals = Renewals(env.clock)
        old, young = lease(env.clock.now_ns() - HOUR_NS), lease(env.clock.now_ns())
        renewals.observe(None, old)
        assert of_leases([old], renewals)["cni"].status == UNKNOWN
        assert of_leases([young], renewals)["cni"].status == READY

    sim.run(main, horizon_s=3600)


def test_a_room_that_never_came_is_told_and_one_kubelet_per_node_is_the_kubelet():
    """Who looks for a missing service must not have to know what should be there."""

    async def main(env):
        api = FakeApi(env)
        for name in ("scheduler", "kubelet-node-1"):
            held = {"holderIdentity": "h", "leaseDurationSeconds": 15,
                    "renewTime": format_micro_time(env.clock.now_ns())}  # fmt: skip
            meta = {"name": f"podwire-{name}", "namespace": COMPONENT_NAMESPACE,
                    "labels": {COMPONENT: name}}  # fmt: skip
            api.put(kinds.LEASE, {"metadata": meta, "spec": held})
        own = [Component("apiserver", READY)]
        expected = ("apiserver", "scheduler", "kubelet", "coredns")
        told = await listing(Client(api), Renewals(env.clock), own, expected)
        assert {item["name"]: item["status"] for item in told["items"]} == {
            "apiserver": READY, "scheduler": READY, "kubelet-node-1": READY, "coredns": UNKNOWN,
        }  # fmt: skip

    sim.run(main, horizon_s=3600)
