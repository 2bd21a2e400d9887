"""Every engine of the store, for the shared suite. A new engine is added to ENGINES only.

Engines without a wire run in virtual time; etcd is a real one, so its stories take real time.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from podwire.runtime import env as real_env
from podwire.runtime import sim
from podwire.runtime.env import Env
from podwire.store import Event, Store, StoreOptions, open_store
from tests.etcds import Etcd

ENGINES = ("embedded", "durable", "etcd")

Story = Callable[[Store, Env], Awaitable[None]]
_numbers = itertools.count()


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    """An etcd for the session, with short terms (so that leases may be as short as a second)."""
    member = Etcd(
        tmp_path_factory.mktemp("etcd"), "--heartbeat-interval", "10", "--election-timeout", "100"
    )
    yield member.start()
    member.kill()


@pytest.fixture(params=ENGINES)
def with_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Story], None]:
    """Run a story against a fresh engine."""

    def run(story: Story) -> None:
        options = StoreOptions()
        if request.param == "durable":
            options = StoreOptions(data_dir=tmp_path)
        elif request.param == "etcd":
            url = request.getfixturevalue("etcd").url
            options = StoreOptions(etcd_servers=(url,), etcd_prefix=f"{next(_numbers)}:")

        async def main(env: Env) -> None:
            store = await open_store(options, env.clock, env.trace, env.log)
            try:
                await story(store, env)
            finally:
                await store.close()

        if request.param == "etcd":
            asyncio.run(main(real_env.real(log_level="error")))
        else:
            sim.run(main)

    return run


class Told(list[Event]):
    """What a watch delivered, and how many calls it took; ``have`` waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[list[Event]] = []
        self._more = asyncio.Event()

    def __call__(self, events) -> None:
        self.calls.append(list(events))
        self.extend(events)
        self._more.set()

    async def have(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self) < count:
                self._more.clear()
                await self._more.wait()


@pytest.fixture
def told() -> type[Told]:
    return Told
