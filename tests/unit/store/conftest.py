"""Every engine of the store, for the shared suite. A new engine is added to ENGINES only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from podwire.runtime import sim
from podwire.runtime.env import Env
from podwire.store import Store
from podwire.store.embedded import EmbeddedStore


async def embedded(env: Env, **options: Any) -> EmbeddedStore:
    return EmbeddedStore(env.clock, env.trace, **options)


ENGINES: dict[str, Callable[..., Awaitable[Any]]] = {"embedded": embedded}

Story = Callable[[Store, Env], Awaitable[None]]


@pytest.fixture(params=ENGINES)
def with_store(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Run a story against a fresh engine in virtual time."""
    engine = ENGINES[request.param]

    def run(story: Story, **options: Any) -> None:
        async def main(env: Env) -> None:
            store = await engine(env, **options)
            try:
                await story(store, env)
            finally:
                store.close()

        sim.run(main)

    return run
