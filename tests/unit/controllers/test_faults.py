"""Safety while the network misbehaves, liveness after it healed."""

from __future__ import annotations

import pytest

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.client.counters import Request
from tests.unit.controllers.cluster import Cluster, play, template, workload


@pytest.mark.parametrize("seed", range(6))
def test_everything_converges_after_lost_requests_lost_answers_and_broken_watches(
    seed: int,
) -> None:
    """A tenth of the requests fail, a tenth of the answers are lost, watches break and expire."""

    async def story(c: Cluster) -> None:
        rng = c.env.rng.child("faults")
        for n in range(1, 4):
            c.node(f"node-{n}")
        c.namespace("default")

        def refuse(_: Request) -> ApiError | None:
            roll = rng.random()
            if roll < 0.1:
                raise ConnectionError("no route to host")
            return ApiError("InternalError", "etcdserver: leader changed") if roll < 0.13 else None

        c.api.refuse = refuse
        c.api.lose = lambda request: request.method != "GET" and rng.random() < 0.1
        c.api.put(kinds.DEPLOYMENT, workload("web", 5))
        c.api.put(kinds.STATEFUL_SET, workload("db", 3))
        c.api.put(kinds.DAEMON_SET, workload("agent", 0))
        meta = {"name": "web", "namespace": "default"}
        spec = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
        c.api.put(kinds.SERVICE, {"metadata": meta, "spec": spec})
        for step in range(30):
            await c.env.clock.sleep(rng.uniform(1, 10))
            c.api.break_watches() if step % 3 else c.api.end_watches()
            if step % 5 == 0:
                c.api.compacted = c.api.revision
            if step == 15:
                c.change(kinds.DEPLOYMENT, "default/web", template=template("web", "nginx:2"))
                c.change(kinds.STATEFUL_SET, "default/db", template=template("db", "db:2"))
            names = [p["metadata"]["name"] for p in c.live_pods()]
            assert len(names) == len(dict.fromkeys(names))
        c.api.refuse = None
        c.api.lose = lambda _: False
        await c.env.clock.sleep(600)
        found = sorted(
            (p["metadata"]["labels"]["app"], p["spec"]["containers"][0]["image"])
            for p in c.live_pods()
        )
        assert found == [("agent", "nginx:1")] * 3 + [("db", "db:2")] * 3 + [("web", "nginx:2")] * 5
        agents = [p for p in c.live_pods() if p["metadata"]["labels"]["app"] == "agent"]
        assert len({p["spec"]["nodeName"] for p in agents}) == 3
        endpoints = [e for s in c.api.all(kinds.ENDPOINT_SLICE) for e in s["endpoints"]]
        assert len(endpoints) == 5
        assert len({n["spec"]["podCIDR"] for n in c.api.all(kinds.NODE)}) == 3

    play(story, seed)
