"""The publisher opens a real door for every Service that wants one."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from podwire.api import kinds
from podwire.api.view import JSON
from podwire.client.counters import Publication
from podwire.fabric.hardware import Fabric
from podwire.fabric.publications import Publications
from podwire.fabric.publisher import Publisher
from podwire.runtime import env as environments
from podwire.runtime.tasks import Nursery
from tests.unit.client.fake_api import FakeApi, make_ctx
from tests.unit.fabric.world import bare


class Watched(Publications):
    """Publications that can be waited for."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.moved = asyncio.Event()

    async def publish(self, *arguments: Any, **options: Any) -> tuple[str, int]:
        found = await super().publish(*arguments, **options)
        self.moved.set()
        return found

    async def unpublish(self, *arguments: Any, **options: Any) -> None:
        await super().unpublish(*arguments, **options)
        self.moved.set()

    def refuse(self, *arguments: Any) -> None:
        super().refuse(*arguments)
        self.moved.set()


class Street:
    """A fabric, an API, a running publisher."""

    def __init__(self, api: FakeApi, fabric: Fabric, watched: Watched) -> None:
        self.api, self.fabric, self.watched = api, fabric, watched

    async def shows(self, condition: Callable[[list[Publication]], Any]) -> list[Publication]:
        """What counter 2 lists, as soon as it fulfils a condition."""
        async with asyncio.timeout(10):
            while not condition(found := await self.fabric.publications()):
                self.watched.moved.clear()
                await self.watched.moved.wait()
        return found


@asynccontextmanager
async def street(pool: tuple[int, ...] = ()) -> AsyncIterator[Street]:
    env = environments.real(seed=1, log_level="error")
    fabric = bare(env, link_delay_s=0.0, link_jitter_s=0.0, local_delay_s=0.0)
    fabric.real_sockets = watched = Watched(fabric, env.clock, env.log)
    api = FakeApi(env)
    ctx = dataclasses.replace(make_ctx(env, api), fabric=fabric, sockets=fabric)
    async with Nursery() as nursery:
        nursery.start(Publisher(ctx, watched, "node-1", pool=pool).run(), name="publisher")
        yield Street(api, fabric, watched)
        nursery.cancel()
    await fabric.close()


def service(name: str, *ports: int, labels: JSON | None = None, **spec: Any) -> JSON:
    namespace = spec.pop("namespace", "default")
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": labels or {}},
        "spec": {
            "type": "NodePort",
            "clusterIP": "10.96.1.1",
            "ports": [{"port": 80, "nodePort": port, "protocol": "TCP"} for port in ports],
            **spec,
        },
    }


def free_ports(count: int) -> tuple[int, ...]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = tuple(sorted(s.getsockname()[1] for s in held))
    for one in held:
        one.close()
    return found


async def test_a_node_port_is_published_under_its_own_number_and_withdrawn_with_its_service():
    (port,) = free_ports(1)
    async with street() as town:
        town.api.put(kinds.SERVICE, service("web", port))
        (found,) = await town.shows(len)
        assert found == Publication(
            "nodePort default/web", "tcp", f"127.0.0.1:{port}", f"192.168.0.11:{port}"
        )
        town.api.remove(kinds.SERVICE, "default/web")
        assert await town.shows(lambda shown: not shown) == []


async def test_a_taken_number_gives_way_to_any_free_one():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with street() as town:
            town.api.put(kinds.SERVICE, service("web", port))
            (found,) = await town.shows(len)
    assert found.address not in {"", f"127.0.0.1:{port}"}
    assert found.modelled == f"192.168.0.11:{port}"


async def test_dns_has_one_real_port_for_both_protocols():
    async with street() as town:
        dns = service("kube-dns", namespace="kube-system", type="ClusterIP")
        town.api.put(kinds.SERVICE, dns)
        found = await town.shows(lambda shown: len(shown) == 2)
    assert [(p.name, p.protocol, p.modelled) for p in found] == [
        ("dns", "tcp", "10.96.1.1:53"),
        ("dns", "udp", "10.96.1.1:53"),
    ]
    assert found[0].address == found[1].address


async def test_an_ingress_controllers_doors_are_known_by_their_labels():
    labels = {
        "app.kubernetes.io/name": "ingress-nginx",
        "app.kubernetes.io/component": "controller",
    }
    ports = [{"name": "https", "port": 443, "nodePort": 30443, "protocol": "TCP"}]
    async with street() as town:
        town.api.put(kinds.SERVICE, service("door", labels=labels, ports=ports))
        (found,) = await town.shows(len)
    assert found.name == "ingress https"


async def test_a_pool_is_shared_out_and_who_comes_too_late_is_told_and_waits():
    """30001 is no port of the pool: the pool's next free one stands for it."""
    pool = free_ports(2)
    async with street(pool) as town:
        town.api.put(kinds.SERVICE, service("a", pool[1]))
        town.api.put(kinds.SERVICE, service("b", 30001))
        town.api.put(kinds.SERVICE, service("c", 30002))
        shown = await town.shows(lambda shown: len(shown) == 3)
        where = {p.name: p.address for p in shown}
        assert where == {
            "nodePort default/a": f"127.0.0.1:{pool[1]}",
            "nodePort default/b": f"127.0.0.1:{pool[0]}",
            "nodePort default/c": "",
        }
        (refused,) = [p for p in shown if not p.address]
        assert "no port of the pool" in refused.message
        town.api.remove(kinds.SERVICE, "default/a")
        shown = await town.shows(lambda shown: len(shown) == 2 and all(p.address for p in shown))
        assert {p.name for p in shown} == {"nodePort default/b", "nodePort default/c"}


async def test_strangers_to_the_pool_leave_its_first_ports_to_those_who_want_them():
    """Who asked first for a number that the pool lacks does not take the one asked for next."""
    pool = free_ports(3)
    async with street(pool) as town:
        town.api.put(kinds.SERVICE, service("a", 30001))
        town.api.put(kinds.SERVICE, service("b", pool[0]))
        shown = await town.shows(lambda shown: len(shown) == 2)
        assert {p.name: p.address for p in shown} == {
            "nodePort default/a": f"127.0.0.1:{pool[2]}",
            "nodePort default/b": f"127.0.0.1:{pool[0]}",
        }
