"""What managedFields cost: on a create, on a status update, and in a server-side apply."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from copy import deepcopy
from typing import Any

import msgspec

from podwire.api import codec, kinds, objects
from podwire.api.managed import managers
from podwire.api.managed.managers import UPDATE, Manager
from podwire.api.managed.plans import plan_of
from podwire.apiserver.config import Config
from podwire.apiserver.registry import ownership
from podwire.apiserver.server import Apiserver, DirectApi
from podwire.client.api import Client
from podwire.client.counters import Request, User
from podwire.runtime import sim
from podwire.runtime.env import Env
from podwire.store.embedded import EmbeddedStore

ROUNDS, CALLS = 300, 10
ADMIN = User("admin", ("system:masters", "system:authenticated"))
TIME = "2026-01-01T00:00:00Z"

POD: Any = {
    "metadata": {
        "name": "web-7d9f8c6b5d-x2k4p", "generateName": "web-7d9f8c6b5d-", "namespace": "default",
        "labels": {"app": "web", "pod-template-hash": "7d9f8c6b5d"},
        "ownerReferences": [
            {
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-7d9f8c6b5d",
                "uid": "0b8c4b8e-1111-2222-3333-444455556666", "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    },
    "spec": {
        "containers": [
            {
                "name": "web", "image": "nginx:1.27",
                "ports": [{"containerPort": 80, "name": "http"}],
                "env": [
                    {"name": "LEVEL", "value": "info"},
                    {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                ],
                "resources": {
                    "requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"},
                },
                "readinessProbe": {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 5},
                "volumeMounts": [{"name": "config", "mountPath": "/etc/web"}],
            }
        ],
        "volumes": [{"name": "config", "configMap": {"name": "web"}}],
    },
}  # fmt: skip
"""As a ReplicaSet makes it."""


def _status(ready: bool) -> Any:
    truth = "True" if ready else "False"
    types = ("PodReadyToStartContainers", "Initialized", "PodScheduled")
    conditions = [{"type": t, "status": "True", "lastTransitionTime": TIME} for t in types]
    conditions += [
        {"type": t, "status": truth, "lastTransitionTime": f"2026-01-01T00:00:0{int(ready)}Z"}
        for t in ("Ready", "ContainersReady")
    ]
    return {
        "phase": "Running", "hostIP": "10.0.0.1", "hostIPs": [{"ip": "10.0.0.1"}],
        "podIP": "10.244.1.5", "podIPs": [{"ip": "10.244.1.5"}], "startTime": TIME,
        "conditions": conditions,
        "containerStatuses": [
            {"name": "web", "ready": ready, "restartCount": 0, "image": "nginx:1.27",
             "imageID": "sha256:1", "state": {"running": {"startedAt": TIME}}}
        ],
    }  # fmt: skip


def _best_us(call: Callable[[], object]) -> float:
    """The best mean of several rounds: what it costs when nothing else runs."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(CALLS):
            call()
        best = min(best, (time.perf_counter() - began) / CALLS)
    return best * 1e6


def tracking() -> dict[str, str]:
    """Microseconds that tracking adds to a create and to a kubelet's status update of a Pod."""
    kind = kinds.POD
    step, zero = plan_of(kind), ownership.zero(kind)
    main, status = ownership.reset(kind, ""), ownership.reset(kind, "status")
    obj = codec.check(POD, "v1", "Pod").obj
    objects.default(kind, obj)
    creator = Manager("kube-controller-manager", UPDATE, "v1")
    kubelet = Manager("kubelet", UPDATE, "v1", "status")

    def create() -> Any:
        return managers.created(step, zero, obj, creator, TIME, main)

    pending = {**obj, "status": {"phase": "Pending"}}
    running = {**obj, "status": _status(ready=False)}
    entries = managers.sealed(
        managers.updated(step, pending, running, create(), kubelet, TIME, status)
    )
    ready = deepcopy({**obj, "status": _status(ready=True)})

    def update() -> Any:
        return managers.sealed(
            managers.updated(step, running, ready, entries, kubelet, TIME, status)
        )

    assert [e["fieldsV1"] for e in update()] == [e["fieldsV1"] for e in entries]
    plain = msgspec.json.encode(running)
    full = {**running, "metadata": {**running["metadata"], "managedFields": entries}}
    value = msgspec.json.encode(full)
    decode = managers.stored_decoder(kind)
    there = _best_us(lambda: msgspec.json.encode(decode(value)))
    before = _best_us(lambda: msgspec.json.encode(msgspec.json.decode(plain)))
    return {
        "create of a Pod: managedFields add": f"{_best_us(create):.0f} us",
        "status update of a Pod: managedFields add": f"{_best_us(update):.0f} us",
        "decoding and encoding the larger object adds": f"{there - before:.0f} us",
        "bytes of a running Pod without and with them": f"{len(plain)} and {len(value)}",
    }


Ask = Callable[[Any], Awaitable[int]]


def requests() -> dict[str, str]:
    """Milliseconds of whole server-side apply requests, from bytes to bytes."""
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": deepcopy(POD["spec"]),
        },
    }
    config = {
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "labels": {"app": "web"}}, "spec": spec,
    }  # fmt: skip
    told: dict[str, str] = {}

    async def main(env: Env) -> None:
        store = EmbeddedStore(env.clock, env.trace)
        server = Apiserver(env, store, Config())
        await server.start()
        client = Client(DirectApi(server, ADMIN))
        await client.create(kinds.NAMESPACE, {"metadata": {"name": "default"}})
        path = kinds.DEPLOYMENT.path("default", "web")
        headers = {"content-type": "application/apply-patch+yaml"}

        async def apply(body: Any) -> int:
            query = (("fieldManager", "bench"), ("force", "false"))
            data = msgspec.json.encode(body)
            answer = await server.handle(Request("PATCH", path, query, headers, data, ADMIN))
            return answer.status

        assert await apply(config) == 201
        told["apply of an unchanged Deployment"] = await _best_ms(apply, [config])
        changes = [{**config, "spec": {**spec, "replicas": n}} for n in (1, 2)]
        told["apply that changes a Deployment"] = await _best_ms(apply, changes)
        dropped = [{**config, "metadata": {"name": "web"}}, config]
        told["apply that drops a label, and back"] = await _best_ms(apply, dropped)
        server.stop()
        await store.close()

    sim.run(main, 0, log_level="error")
    return told


async def _best_ms(ask: Ask, bodies: list[Any]) -> str:
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for number in range(2):
            assert await ask(bodies[number % len(bodies)]) == 200
        best = min(best, (time.perf_counter() - began) / 2)
    return f"{best * 1000:.2f} ms"


def apply() -> dict[str, str]:
    """All of it."""
    return {**tracking(), **requests()}
