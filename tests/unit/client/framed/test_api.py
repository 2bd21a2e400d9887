"""Counter 1 over a pipe to a real API server: watches that are slow, too old, closed or lost."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.apiserver.server import Apiserver, DirectApi
from podwire.client.api import Client
from podwire.client.counters import ANONYMOUS, User
from podwire.client.framed.api import FramedApi, serve_api
from podwire.client.framed.methods import Table
from podwire.client.framed.pipe import PipeEnd, pipe
from podwire.client.identity import GROUP, speaker
from podwire.runtime import sim
from podwire.runtime.env import Env
from podwire.store.embedded import EmbeddedStore

ADMIN = User("admin", ("system:masters", "system:authenticated"))
MANAGER = User("system:kube-controller-manager")
CM = kinds.CONFIG_MAP


class World:
    """A server; ``client`` reaches it through frames, ``admin`` directly."""

    def __init__(self, env: Env, server: Apiserver) -> None:
        self.env, self.server = env, server
        self.admin = Client(DirectApi(server, ADMIN))
        self.near, self.far = self._pipe()
        self.client = Client(FramedApi(self.near), MANAGER)
        self.made = 0

    def _pipe(self) -> tuple[PipeEnd, PipeEnd]:
        def serve(session: Any) -> Table:
            table = Table()
            serve_api(table, DirectApi(self.server, ANONYMOUS), session)
            return table

        return pipe(self.env.clock, self.env.log, ("controllers", "apiserver"), (None, serve))

    async def make(self, n: int = 1) -> None:
        for _ in range(n):
            self.made += 1
            await self.admin.create(CM, {"metadata": {"name": f"c{self.made}"}}, "default")

    def watchers(self) -> int:
        return len(list(self.server.caches.of(CM).watchers()))


def story(body: Callable[[World], Awaitable[None]]) -> None:
    async def main(env: Env) -> None:
        store = EmbeddedStore(env.clock, env.trace)
        server = Apiserver(env, store)
        await server.start()
        world = World(env, server)
        await world.admin.create(kinds.NAMESPACE, {"metadata": {"name": "default"}})
        await body(world)
        for end in (world.near, world.far):
            if end.up:
                end.session().close()
        server.stop()
        await store.close()
        await env.clock.sleep(0)

    sim.run(main, horizon_s=3600)


def test_a_request_without_a_user_is_the_rooms_own():
    """Its certificate's name, and nobody's privileges beyond that room's group."""

    async def body(world: World) -> None:
        asked: list[User | None] = []

        class Listening:
            async def send(self, request: Any) -> Any:
                asked.append(request.user)
                raise ApiError("Forbidden", "no")

            async def restored(self) -> None:
                await asyncio.get_running_loop().create_future()

        def serve(session: Any) -> Table:
            table = Table()
            serve_api(table, Listening(), session)
            return table

        near, _ = pipe(world.env.clock, world.env.log, ("coredns", "apiserver"), (None, serve))
        with pytest.raises(ApiError, match="no"):
            await Client(FramedApi(near)).list(CM)
        assert asked == [User("system:podwire:coredns", (GROUP, "system:authenticated"))]
        near.session().close()

    story(body)


@pytest.mark.parametrize(
    ("room", "name", "groups"),
    [
        ("kubelet", "system:node:node-1", ("system:nodes", "system:authenticated")),
        ("kubelet", "system:kube-scheduler", None),
        ("controllers", "system:kube-controller-manager", ("system:authenticated",)),
        ("controllers", "system:serviceaccount:shop:default", None),
        (
            "kube-proxy",
            "system:serviceaccount:kube-system:kube-proxy",
            (
                "system:serviceaccounts",
                "system:serviceaccounts:kube-system",
                "system:authenticated",
            ),
        ),
        ("kube-proxy", "system:serviceaccount:kube-system:deployment-controller", None),
        ("scheduler", "kubernetes-admin", None),
        ("fabric", "system:node:node-1", None),
    ],
)
def test_a_room_speaks_only_for_those_whose_work_it_does(room, name, groups):
    """With the groups that belong to the name: a request cannot bring its own."""
    found = speaker(room, name)
    assert (found.groups if found is not None else None) == groups


def test_a_room_that_says_to_be_somebody_else_is_refused():
    """Before the server is asked."""

    async def body(world: World) -> None:
        client = Client(FramedApi(world.near), ADMIN)
        with pytest.raises(ApiError, match='room "controllers" may not speak as user "admin"'):
            await client.list(CM)

    story(body)


@settings(max_examples=10)
@given(st.lists(st.tuples(st.integers(0, 150), st.integers(0, 150)), min_size=1, max_size=4))
def test_watches_one_after_the_other_give_all_of_history_once(turns):
    """In order, without a gap, whoever stops reading and resumes behind what it has.

    A turn makes objects and then reads up to so many events.
    """

    async def body(world: World) -> None:
        seen: list[str] = []
        version = (await world.client.list(CM, "default")).resource_version
        for create, read in [*turns, (0, 10_000)]:
            async with aclosing(
                world.client.watch(CM, "default", resource_version=version)
            ) as events:
                reading = asyncio.get_running_loop().create_task(anext(events))
                await world.make(create)
                for _ in range(read):
                    try:
                        async with asyncio.timeout(0.5):
                            event = await asyncio.shield(reading)
                    except (TimeoutError, StopAsyncIteration):
                        break
                    reading = asyncio.get_running_loop().create_task(anext(events))
                    version = event.object.metadata.resource_version
                    if event.type != "BOOKMARK":
                        seen.append(event.object.metadata.name)
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
            await world.env.clock.sleep(0.1)
            assert world.watchers() == 0
        assert seen == [f"c{n + 1}" for n in range(world.made)]

    story(body)


def test_a_slow_watch_is_cut_off_and_holds_nothing_up():
    """What its reader and the server hold for it is bounded; writers do not wait."""

    async def body(world: World) -> None:
        events = world.client.watch(CM, "default")
        reading = asyncio.get_running_loop().create_task(anext(events))
        await world.env.clock.sleep(0.1)
        await world.make()
        first = await reading
        await world.make(3000)
        assert world.watchers() == 0, "cut off"
        rest = [event.object.metadata.name async for event in events]
        assert first.object.metadata.name == "c1"
        assert rest == [f"c{n + 2}" for n in range(len(rest))]
        assert len(rest) < 3000

    story(body)


def test_a_revision_that_is_too_old_is_410():
    """Told on the stream, as over HTTPS; an unknown path is told in the answer."""

    async def body(world: World) -> None:
        version = (await world.client.list(CM, "default")).resource_version
        await world.make(1100)  # more than the window
        async with aclosing(world.client.watch(CM, "default", resource_version=version)) as events:
            with pytest.raises(ApiError) as caught:
                await anext(events)
        assert (caught.value.code, caught.value.reason) == (410, "Expired")
        with pytest.raises(ApiError) as missing:
            await world.client.get(CM, "nosuch", "default")
        assert missing.value.code == 404

    story(body)


@pytest.mark.parametrize("how", ["aclose", "cancel", "forget", "near", "far"])
def test_a_watch_that_ends_on_either_side_ends_on_the_other(how: str):
    """Closed, cancelled, forgotten, or its connection lost: the server keeps no watcher."""

    async def body(world: World) -> None:
        events: Any = world.client.watch(CM, "default")
        reading: asyncio.Task[Any] = asyncio.get_running_loop().create_task(anext(events))
        await world.env.clock.sleep(0.1)
        assert world.watchers() == 1
        if how in {"near", "far"}:
            (world.near if how == "near" else world.far).session().close("cut")
            with pytest.raises(ConnectionError):
                await reading
        elif how == "cancel":
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        else:
            await world.make()
            await reading
            if how == "aclose":
                await events.aclose()
            else:
                del events, reading  # the task holds its generator, too
                await world.env.clock.sleep(0.1)
                gc.collect()
        await world.env.clock.sleep(0.1)
        assert world.watchers() == 0

    story(body)
