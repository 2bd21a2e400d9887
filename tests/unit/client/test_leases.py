"""Stories about a Lease holder."""

from __future__ import annotations

from typing import Any

from podwire.api import kinds
from podwire.api.times import parse_micro_time
from podwire.client.api import Client
from podwire.client.leases import LeaseHolder
from podwire.runtime import sim
from podwire.runtime.env import Env
from podwire.runtime.tasks import Nursery
from tests.unit.client.fake_api import FakeApi, make_ctx


def test_a_lease_is_created_and_renewed_through_a_partition():
    """MicroTime with six decimals; a lost server is retried, not mourned."""

    async def main(env: Env) -> None:
        api = FakeApi(env)
        holder = LeaseHolder(
            make_ctx(env, api), Client(api), "node-1", namespace="kube-node-lease", identity="me"
        )

        def spec() -> dict[str, Any]:
            found: dict[str, Any] = api.get(kinds.LEASE, "kube-node-lease/node-1")["spec"]
            return found

        def cut(_: object) -> None:
            raise ConnectionError("no route")

        async with Nursery() as nursery:
            nursery.start(holder.run(), name="holder")
            await env.clock.sleep(5)
            first = parse_micro_time(spec()["renewTime"])
            assert spec()["holderIdentity"] == "me"
            await env.clock.sleep(30)
            second = parse_micro_time(spec()["renewTime"])
            assert 20e9 < second - first <= 32e9
            api.refuse = cut
            await env.clock.sleep(60)
            assert parse_micro_time(spec()["renewTime"]) == second
            api.refuse = None
            await env.clock.sleep(18)
            assert parse_micro_time(spec()["renewTime"]) > second
            nursery.cancel()

    sim.run(main)
