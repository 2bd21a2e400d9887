"""A small API server in virtual time, and a client on its direct binding."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.api.status import ApiError
from podwire.apiserver.config import Config
from podwire.apiserver.server import Apiserver, DirectApi
from podwire.client.api import Client, WatchEvent
from podwire.client.counters import Request, Response, User
from podwire.runtime import sim
from podwire.runtime.env import Env
from podwire.store.embedded import EmbeddedStore

ADMIN = User("admin", ("system:masters", "system:authenticated"))


@dataclass
class World:
    """What a story has to work with."""

    env: Env
    store: EmbeddedStore
    server: Apiserver
    client: Client

    async def raw(
        self,
        method: str,
        path: str,
        body: Any = None,
        content_type: str = "application/json",
        user: User | None = ADMIN,
        accept: str = "application/json",
        **query: str,
    ) -> Response:
        """A request as a foreign client would send it; never raises for a failure."""
        headers = {"accept": accept}
        data = b""
        if body is not None:
            headers["content-type"] = content_type
            data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        pairs = tuple((name.rstrip("_"), value) for name, value in query.items())
        return await self.server.handle(Request(method, path, pairs, headers, data, user))

    async def json(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """The decoded answer of ``raw``."""
        return msgspec.json.decode((await self.raw(method, path, body, **query)).body)

    async def refused(self, call: Awaitable[Any]) -> ApiError:
        """The ApiError a call ends with."""
        with pytest.raises(ApiError) as caught:
            await call
        return caught.value

    async def config_map(self, name: str, namespace: str = "default", **meta: Any) -> Any:
        """Create a ConfigMap."""
        body = {"metadata": {"name": name, **meta}, "data": {"k": name}}
        return await self.client.create(kinds.CONFIG_MAP, body, namespace)

    async def names(self, kind: Kind[Any] = kinds.CONFIG_MAP, **options: Any) -> list[str]:
        """The names a list shows."""
        return [o.metadata.name for o in (await self.client.list(kind, **options)).items]


Story = Callable[[World], Awaitable[None]]


async def build(env: Env, **config: Any) -> World:
    store = EmbeddedStore(env.clock, env.trace)
    server = Apiserver(env, store, Config(**config))
    await server.start()
    client = Client(DirectApi(server, ADMIN))
    for name in ("default", "kube-system"):
        await client.create(kinds.NAMESPACE, {"metadata": {"name": name}})
        await client.create(kinds.SERVICE_ACCOUNT, {"metadata": {"name": "default"}}, name)
    return World(env, store, server, client)


@pytest.fixture
def simulate() -> Callable[..., None]:
    """Run a story against a fresh server in virtual time."""

    def run(story: Story, seed: int = 0, **config: Any) -> None:
        async def main(env: Env) -> None:
            world = await build(env, **config)
            await story(world)
            world.server.stop()
            await world.store.close()

        sim.run(main, seed, log_level="error")

    return run


async def take(stream: AsyncIterator[WatchEvent[Any]], n: int) -> list[tuple[str, str]]:
    """The next ``n`` events as (type, name)."""
    found = []
    for _ in range(n):
        event = await anext(stream)
        found.append((event.type, event.object.metadata.name))
    return found


@pytest.fixture(name="take")
def take_fixture() -> Callable[..., Awaitable[list[tuple[str, str]]]]:
    return take
