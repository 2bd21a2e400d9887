"""An API server of its own process for the figures: prefilled, HTTPS on loopback, no rooms.

``python -m benchmarks.apihost FOLDER PODS BYTES ENGINE`` prints one JSON line (port, pid), then
serves until its stdin ends; a line ``EVENTS PER_TURN`` there makes events. ENGINE is ``memory``,
``durable``, ``held`` (with nodes and services, too) or ``bare``: aiohttp returning one pod's bytes.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from podwire.api import kinds
from podwire.apiserver.certs import Authority
from podwire.apiserver.http.authn import Authenticator
from podwire.apiserver.http.server import HttpServer, tls_context
from podwire.apiserver.http.upgrade import Upgrader
from podwire.apiserver.server import Apiserver, DirectApi
from podwire.client.api import Client
from podwire.client.counters import User
from podwire.runtime.env import Env, real
from podwire.runtime.memory import fewer_collections, keep_what_lives
from podwire.runtime.usage import process_usage
from podwire.store import Put, Store, StoreOptions, open_store

ADMIN = User("bench", ("system:masters", "system:authenticated"))
TOKEN = "a-token-for-figures-only"  # noqa: S105


def pod(name: str, size: int = 0, node: str = "") -> dict[str, Any]:
    """A pod as people write them, of about 4.5 KB once it is stored (or ``size`` bytes)."""
    containers: list[dict[str, Any]] = [
        {
            "name": f"{name}-{part}",
            "image": f"registry.example.com/team/{part}:1.27.3",
            "command": ["/bin/server", "--listen=:8080", f"--name={name}"],
            "env": [{"name": f"SETTING_{i}", "value": f"value-{i}-of-{name}"} for i in range(3)],
            "ports": [{"containerPort": port, "name": part}],
            "resources": {
                "requests": {"cpu": "100m", "memory": "128Mi"},
                "limits": {"cpu": "500m", "memory": "256Mi"},
            },
            "volumeMounts": [{"name": "config", "mountPath": "/etc/config", "readOnly": True}],
        }
        for part, port in (("web", 8080), ("sidecar", 9090))
    ]
    containers[0]["readinessProbe"] = {
        "httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 5,
    }  # fmt: skip
    spec: dict[str, Any] = {
        "containers": containers,
        "volumes": [{"name": "config", "configMap": {"name": "settings"}}],
        "terminationGracePeriodSeconds": 30,
    }
    if node:
        spec["nodeName"] = node
    meta = {
        "name": name,
        "namespace": "default",
        "labels": {"app": "bench", "tier": "front", "pod": name},
        "annotations": {"example.com/padding": "x" * max(0, size - 4700)},
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def certificates(env: Env, folder: Path) -> ssl.SSLContext:
    """Server TLS; the authority is left in the folder for the client."""
    authority = Authority(env.secret, env.clock.now_ns())
    pair = authority.server(["127.0.0.1"])
    (folder / "ca.crt").write_bytes(authority.pem)
    (folder / "server.crt").write_bytes(pair.certificate)
    (folder / "server.key").write_bytes(pair.key)
    return tls_context(str(folder / "server.crt"), str(folder / "server.key"), authority.pem)


async def templates(server: Apiserver, size: int) -> dict[str, bytes]:
    """A pod, a node and a service as the server stores them; their names are all that differs
    between those of a kind. Keys are those of the store, names are written ``NAME-000000``.
    """
    client = Client(DirectApi(server, ADMIN))
    await client.create(kinds.NAMESPACE, {"metadata": {"name": "default"}})
    await client.create(kinds.SERVICE_ACCOUNT, {"metadata": {"name": "default"}}, "default")
    await client.create(kinds.POD, pod("pod-000000", size, "node-000"), "default")
    await client.create(kinds.NODE, {"metadata": {"name": "node-000000"}})
    ports = [{"port": 80, "targetPort": 8080}]
    service = {"metadata": {"name": "svc-000000"}, "spec": {"clusterIP": "None", "ports": ports}}
    await client.create(kinds.SERVICE, service, "default")
    found = {}
    for kind, namespace, name in (
        (kinds.POD, "default", "pod-000000"), (kinds.NODE, "", "node-000000"),
        (kinds.SERVICE, "default", "svc-000000"),
    ):  # fmt: skip
        entry = server.caches.of(kind).get(namespace, name)
        assert entry is not None
        found[entry.key] = entry.value
    return found


async def fill(store: Store, key: str, value: bytes, objects: int) -> None:
    """Put objects into the store, each distinct, in transactions of their own."""
    old = key.rpartition("/")[2]
    for i in range(1, objects):
        name = f"{old[:-6]}{i:06}"
        put = Put(key.replace(old, name), value.replace(old.encode(), name.encode()))
        await store.txn([], [put])


HELD = {"pod": 150_000, "node": 5_000, "svc": 10_000}
"""The thresholds up to which upstream is tested."""


def rss_bytes() -> int:
    """Resident memory of this process."""
    return int(process_usage()["process_resident_memory_bytes"])


async def serve(folder: Path, objects: int, size: int, engine: str) -> None:
    """Until stdin ends."""
    env = real(7, "error")
    longest = watch_collections(env)
    tls = certificates(env, folder)
    data = folder / f"data-{engine}-{objects}"
    options = StoreOptions(data_dir=data) if engine == "durable" else StoreOptions()
    store = await open_store(options, env.clock, env.trace, env.log)
    server = Apiserver(env, store)
    await server.start()
    made = await templates(server, size)
    (key, value), *others = made.items()
    told: dict[str, Any] = {"pid": os.getpid(), "value_bytes": len(value), "objects": objects}
    if engine == "bare":
        address, stop = await bare(tls, value)
    else:
        gc.collect()
        before = rss_bytes()
        if engine == "held":
            for other, what in others:
                await fill(store, other, what, HELD[other.rpartition("/")[2][:-7]])
            told["rss_before_pods"] = rss_bytes()
        await fill(store, key, value, objects)
        told |= {"rss_before": before, "rss_after": rss_bytes()}
        upgrade = Upgrader(server)
        tokens = {TOKEN: ADMIN}
        http = HttpServer(DirectApi(server, ADMIN), Authenticator(tokens), upgrade, tls, env)
        await http.start("127.0.0.1", 0)
        address, stop = http.address, http.stop
    began = env.clock.monotonic_ns()
    gc.collect()
    told["full_collection_ms"] = (env.clock.monotonic_ns() - began) / 1e6
    told["longest_collection_ms"] = longest() / 1e6
    keep_what_lives()
    told["port"] = address[1]
    print(json.dumps(told), flush=True)
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        await put(store, value, *map(int, line.split()))
    server.stop()
    await stop()
    await store.close()


def watch_collections(env: Env) -> Callable[[], int]:
    """How long the longest collection of garbage took, in nanoseconds."""
    began, longest = [0], [0]

    def told(phase: str, _info: dict[str, int]) -> None:
        now = env.clock.monotonic_ns()
        if phase == "start":
            began[0] = now
        else:
            longest[0] = max(longest[0], now - began[0])

    gc.callbacks.append(told)
    return lambda: longest[0]


async def put(store: Store, value: bytes, events: int, per_turn: int) -> None:
    """Change one pod so many times; others get a turn after each ``per_turn``."""
    for i in range(events):
        await store.txn([], [Put("/registry/pods/default/pod-000000", value)])
        if i % per_turn == per_turn - 1:
            await asyncio.sleep(0)


async def bare(tls: ssl.SSLContext, body: bytes) -> tuple[tuple[str, int], Any]:
    """The low-level server of aiohttp, answering everything with the same bytes."""
    from aiohttp import web  # noqa: PLC0415  only the peer needs it

    async def answer(_request: web.BaseRequest) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    return runner.addresses[0][:2], runner.cleanup


if __name__ == "__main__":
    with fewer_collections():
        asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
