"""The scheduler on 5,000 nodes: decisions alone, and with its API server beside it.

The shapes of pods are those of upstream's scheduler_perf (test/integration/scheduler_perf); all
filters and scores are on, as they always are. Upstream's thresholds measure several processes with
an etcd; what is told here is one process, by its processor time beside the wall's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from podwire.api import kinds, selectors
from podwire.api.view import JSON
from podwire.api.views import Node, Pod
from podwire.apiserver.config import Config
from podwire.apiserver.server import Apiserver, DirectApi
from podwire.client.api import STRATEGIC, Client
from podwire.client.counters import User
from podwire.client.ctx import Ctx
from podwire.runtime import sim
from podwire.runtime.clock import RealClock
from podwire.runtime.env import Env
from podwire.runtime.rng import SeededRng
from podwire.runtime.tasks import Nursery
from podwire.scheduler import shell
from podwire.scheduler.cluster import Cluster
from podwire.scheduler.core import Scheduler
from podwire.scheduler.hints import Change, What
from podwire.scheduler.preemption import preempt
from podwire.scheduler.queue import SchedulingQueue
from podwire.scheduler.terms import default_constraints, info
from podwire.store.embedded import EmbeddedStore

NODES, PODS = 5_000, 10_000
HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
ADMIN = User("admin", ("system:masters", "system:authenticated"))
ALLOCATABLE = {"cpu": "4", "memory": "32Gi", "pods": "110"}


def node(number: int) -> JSON:
    """A node of one of three zones."""
    name = f"node-{number}"
    return {
        "metadata": {"name": name, "labels": {HOST: name, ZONE: f"zone-{number % 3}"}},
        "status": {"allocatable": ALLOCATABLE, "capacity": ALLOCATABLE},
    }


def pod(number: int, **spec: Any) -> JSON:
    """A pod of one of ten applications."""
    container = {
        "name": "c", "image": "registry.k8s.io/pause:3.10",
        "resources": {"requests": {"cpu": "100m", "memory": "500Mi"}},
    }  # fmt: skip
    name = f"pod-{number}"
    return {
        "metadata": {
            "name": name, "uid": name, "namespace": "default", "labels": {"app": f"a{number % 10}"},
        },
        "spec": {"containers": [container], **spec},
    }  # fmt: skip


def _own(number: int) -> JSON:
    return {"matchLabels": {"app": f"a{number % 10}"}}


def _basic(number: int) -> JSON:
    return pod(number)


def _spread(number: int) -> JSON:
    constraint = {"maxSkew": 5, "topologyKey": ZONE, "labelSelector": _own(number)}
    wishes = {**constraint, "topologyKey": HOST, "whenUnsatisfiable": "ScheduleAnyway"}
    hard = {**constraint, "whenUnsatisfiable": "DoNotSchedule"}
    return pod(number, topologySpreadConstraints=[hard, wishes])


def _affinity(kind: str, strength: str, key: str) -> Callable[[int], JSON]:
    def made(number: int) -> JSON:
        term: Any = {"topologyKey": key, "labelSelector": _own(number)}
        if strength == "preferred":
            term = {"weight": 10, "podAffinityTerm": term}
        return pod(
            number, affinity={kind: {f"{strength}DuringSchedulingIgnoredDuringExecution": [term]}}
        )

    return made


def _everything(number: int) -> JSON:
    """Selector, tolerations, wishes, spreading, anti-affinity: every filter has something to do."""
    made = _spread(number)
    spec, apart = made["spec"], _affinity("podAntiAffinity", "required", HOST)(number)
    spec["tolerations"] = [{"key": "dedicated", "operator": "Exists"}]
    expression = {"key": ZONE, "operator": "In", "values": ["zone-0", "zone-1"]}
    preference = {"weight": 5, "preference": {"matchExpressions": [expression]}}
    spec["affinity"] = {
        **apart["spec"]["affinity"],
        "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [preference]},
    }
    spec["containers"][0]["ports"] = [{"containerPort": 80, "hostPort": 8000 + number % 10}]
    return made


SHAPES: dict[str, Callable[[int], JSON]] = {
    "plain pods": _basic,
    "topology spread, zones hard and hosts soft": _spread,
    "required anti-affinity by host": _affinity("podAntiAffinity", "required", HOST),
    "required affinity by zone": _affinity("podAffinity", "required", ZONE),
    "preferred affinity by host": _affinity("podAffinity", "preferred", HOST),
    "preferred anti-affinity by host": _affinity("podAntiAffinity", "preferred", HOST),
    "every filter at once": _everything,
}


def _cluster() -> Cluster:
    cluster = Cluster()
    cluster.set_namespace("default", {})
    for number in range(NODES):
        cluster.set_node(msgspec.convert(node(number), Node))
    return cluster


def _rate(pods: int, wall_s: float, cpu_s: float) -> str:
    return f"{pods / wall_s:,.0f} pods/s ({pods / cpu_s:,.0f} by processor time)"


def _decisions(shape: Callable[[int], JSON], there: int = 0) -> str:
    """Through the queue, decided and assumed; default spreading as for pods of a Service."""
    cluster, queue = _cluster(), SchedulingQueue(RealClock())
    for number in range(there):
        standing = msgspec.convert(pod(PODS + number), Pod)
        cluster.set_pod(standing, f"node-{number % NODES}")
    scheduler = Scheduler(
        cluster,
        SeededRng(1),
        lambda item: default_constraints(
            item, selectors.parse(f"app={item.metadata.labels['app']}")
        ),
    )
    pods = [msgspec.convert(shape(number), Pod) for number in range(PODS)]
    wall, cpu = time.perf_counter(), time.process_time()
    for item in pods:
        queue.add(info(item))
    while (waiting := queue.next()) is not None:
        made = waiting.info
        decision = scheduler.decide(made)
        assert decision.node, decision.message
        cluster.set_pod(made, decision.node)
        queue.changed(Change(What.POD_PLACED, None, made.pod))
        queue.remove(made.uid)
    return _rate(PODS, time.perf_counter() - wall, time.process_time() - cpu)


def _preemptions(pods: int = 50) -> str:
    """Every node is full of less important pods."""
    cluster = _cluster()
    for number in range(4 * NODES):
        victim = pod(number)
        victim["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "900m"}}
        cluster.set_pod(msgspec.convert(victim, Pod), f"node-{number % NODES}")
    scheduler = Scheduler(cluster, SeededRng(1))
    wall, cpu = time.perf_counter(), time.process_time()
    for number in range(pods):
        item = pod(4 * NODES + number, priority=10)
        item["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "3"}}
        made = info(msgspec.convert(item, Pod))
        found = preempt(scheduler, made, scheduler.decide(made), [])
        assert found.node
        for victim_info in found.victims:
            cluster.remove_pod(victim_info.uid)
        cluster.set_pod(made, found.node)
    return _rate(pods, time.perf_counter() - wall, time.process_time() - cpu)


def _with_api(pods: int = 5_000) -> str:
    """The room at work: watches, queue, decisions, bindings and events by the API server."""
    spent: list[float] = []

    async def main(env: Env) -> None:
        server = Apiserver(env, EmbeddedStore(env.clock, env.trace), Config())
        await server.start()
        nothing: Any = None
        ctx = Ctx(
            DirectApi(server, ADMIN), nothing, nothing, nothing, (), nothing, env.clock, env.rng,
            env.ids, env.trace, env.log, None,
        )  # fmt: skip
        client = Client(ctx.api)
        await client.create(kinds.NAMESPACE, {"metadata": {"name": "default"}})
        await client.create(kinds.SERVICE_ACCOUNT, {"metadata": {"name": "default"}}, "default")
        for number in range(NODES):
            body = node(number)
            name = body["metadata"]["name"]
            await client.create(kinds.NODE, body)
            status = {"status": body["status"]}
            await client.patch(
                kinds.NODE, name, status, subresource="status", content_type=STRATEGIC
            )
        for number in range(pods):
            body = pod(number)
            del body["metadata"]["uid"]
            await client.create(kinds.POD, body, "default")
        wall, cpu = time.perf_counter(), time.process_time()
        async with Nursery() as nursery:
            nursery.start(shell.run(ctx), name="scheduler")
            while any(not p.spec.node_name for p in (await client.list(kinds.POD)).items):
                await env.clock.sleep(5)
            spent.extend((time.perf_counter() - wall, time.process_time() - cpu))
            nursery.cancel()
        server.stop()

    sim.run(main, 1, horizon_s=100_000)
    return _rate(pods, *spent)


def scheduler() -> dict[str, str]:
    """Pods per second on 5,000 nodes."""
    told = {f"5,000 nodes, {name}": _decisions(shape) for name, shape in SHAPES.items()}
    told["5,000 nodes and 50,000 pods, plain pods"] = _decisions(_basic, 50_000)
    told["5,000 nodes, preemption on full nodes"] = _preemptions()
    told["5,000 nodes, with the API server in the same process"] = _with_api()
    return told
