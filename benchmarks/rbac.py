"""What a decision costs: the bootstrap roles and 1,000 bindings, the node authorizer, a GET.

One process, no wire. Each figure is processor time, the best of five rounds: who else works on the
machine only makes them longer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import cycle
from typing import Any

from podwire.api import kinds
from podwire.apiserver.authorization import bootstrap
from podwire.apiserver.authorization.attributes import Attributes
from podwire.apiserver.config import Config
from podwire.apiserver.server import Apiserver, DirectApi
from podwire.client.accounts import node, service_account
from podwire.client.api import Client
from podwire.client.counters import Request, User
from podwire.runtime.env import real
from podwire.sim.addons import rbac as shapes
from podwire.sim.settings import APISERVER
from podwire.store.embedded import EmbeddedStore

BINDINGS, NAMESPACES, ROUNDS, CALLS = 1_000, 50, 5, 20_000
SCHEDULER = User("system:kube-scheduler")
ANN = User("ann", ("dev", "system:authenticated"))


def rbac() -> dict[str, str]:
    """Microseconds for one decision of each sort."""
    return asyncio.run(_measured())


async def _measured() -> dict[str, str]:
    server = await _server()
    allows = server.authorizer.allows
    pods = [
        Attributes(ANN, "list", "", "v1", "pods", "", f"team-{i}", "") for i in range(NAMESPACES)
    ]
    turns = cycle(pods)
    figures = {
        "an account's own kind, by ClusterRoleBinding": _us(
            lambda: allows(Attributes(SCHEDULER, "list", "", "v1", "pods"))
        ),
        "a user of 1,000 bindings, another namespace each time": _us(lambda: allows(next(turns))),
        "a refusal": _us(lambda: allows(Attributes(ANN, "delete", "", "v1", "nodes", "", "", "n"))),
        "a refusal in words": _us(
            lambda: server.authorizer.decide(
                Attributes(ANN, "delete", "", "v1", "nodes", "", "", "n")
            )
        ),
        "system:masters": _us(lambda: allows(Attributes(APISERVER, "list", "", "v1", "pods"))),
        "a node's ConfigMap, of 30 pods": _us(
            lambda: allows(
                Attributes(node("node-1"), "get", "", "v1", "configmaps", "", "default", "map-29")
            ),
            2_000,
        ),
        "the first decision after a change": _us(lambda: _cold(server), 500),
    }
    for name, user in (("system:masters", APISERVER), ("a service account", _READER)):
        path = "/api/v1/namespaces/default/pods/pod-1"
        request = Request("GET", path, (), {"accept": "application/json"}, b"", user)
        assert server.reads.answer(request) is not None
        figures[f"a whole GET, without the wire, by {name}"] = _us(
            lambda request=request: server.reads.answer(request)  # type: ignore[misc]
        )
    server.stop()
    return figures


_READER = service_account("default", "reader")


def _us(call: Callable[[], Any], calls: int = CALLS) -> str:
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(calls):
            call()
        best = min(best, time.process_time() - began)
    return f"{best / calls * 1e6:.2f} us"


def _cold(server: Apiserver) -> None:
    policy = server.authorizer.policy
    policy.role("", "changed", {"rules": []})
    policy.allows(Attributes(SCHEDULER, "list", "", "v1", "pods"))


async def _server() -> Apiserver:
    env = real(1, "off")
    server = Apiserver(env, EmbeddedStore(env.clock, env.trace), Config(authorization_mode="RBAC"))
    await server.start()
    client = Client(DirectApi(server, APISERVER))
    for name in (
        "default",
        "kube-system",
        "kube-public",
        *(f"team-{i}" for i in range(NAMESPACES)),
    ):
        await client.create(kinds.NAMESPACE, {"metadata": {"name": name}})
    await client.create(kinds.SERVICE_ACCOUNT, {"metadata": {"name": "default"}}, "default")
    ann, reader = shapes.subject("User", ANN.name), shapes.account("reader", "default")
    objects = [*bootstrap.objects(), shapes.binding("reader", "view", [reader])]
    rules = [shapes.rule([""], ["pods", "services"], ["get", "list", "watch"])]
    objects.append(shapes.role("lister", rules))
    objects += [
        shapes.binding(f"b{i}", "lister", [ann], f"team-{i % NAMESPACES}", "ClusterRole")
        for i in range(BINDINGS)
    ]
    for obj in objects:
        await client.create(kinds.named(obj["apiVersion"], obj["kind"]), obj)
    await client.patch(kinds.CLUSTER_ROLE, "view", {"rules": rules})
    for i in range(30):
        volume = {"name": "v", "configMap": {"name": f"map-{i}"}}
        spec = {
            "nodeName": "node-1", "containers": [{"name": "c", "image": "nginx"}],
            "volumes": [volume],
        }  # fmt: skip
        body = {"metadata": {"name": f"pod-{i}"}, "spec": spec}
        await client.create(kinds.POD, body, "default")
    return server
