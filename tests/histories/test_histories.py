"""Ten writers and ten watchers on one server: nothing lost, doubled, reordered or resurrected."""

from __future__ import annotations

import asyncio
import os
import random
from dataclasses import replace

import msgspec
import pytest

from podwire.api import kinds
from podwire.apiserver.config import Config
from podwire.apiserver.server import Apiserver, DirectApi
from podwire.client.api import Client
from podwire.client.counters import User
from podwire.runtime import env as real_env
from podwire.runtime import sim
from podwire.runtime.rng import fresh_seed
from podwire.store import StoreOptions, open_store
from tests.etcds import Etcd
from tests.histories.workload import Plan, Workload

ADMIN = User("admin", ("system:masters", "system:authenticated"))
SWEEP = bool(os.environ.get("PODWIRE_SWEEP"))
OPERATIONS = 1_000_000 if SWEEP else 3_000
ROUND = 10_000 if SWEEP else 1_500


class Slow:
    """A binding with delay both ways, so that requests overlap in virtual time."""

    def __init__(self, api, clock, chance):
        self.api, self.clock, self.chance = api, clock, chance

    async def send(self, request):
        await self.clock.sleep(self.chance.random() * 0.01)
        response = await self.api.send(request)
        await self.clock.sleep(self.chance.random() * 0.01)
        return response


class Yielding:
    """A binding that gives others their turn: the memory engine alone would never wait, writers
    would be done before a watcher read anything, and nobody would have seen the deletions.
    """

    def __init__(self, api):
        self.api = api

    async def send(self, request):
        await asyncio.sleep(0)
        response = await self.api.send(request)
        await asyncio.sleep(0)
        return response


async def serve(env, options):
    store = await open_store(options, env.clock, env.trace, env.log)
    server = Apiserver(env, store, Config())
    await server.start()
    client = Client(DirectApi(server, ADMIN))
    await client.create(kinds.NAMESPACE, {"metadata": {"name": "default"}})
    return store, server


@pytest.mark.parametrize("number", range(200 if SWEEP else 4))
def test_in_virtual_time_every_interleaving_is_a_possible_history(number):
    """Requests overlap by seeded delays; watches are cut and resumed; lists come in pages."""
    seed = fresh_seed()
    print(f"seed {seed}, number {number}")  # noqa: T201  shown by a failure

    async def main(env):
        store, server = await serve(env, StoreOptions())
        chance = random.Random(seed)  # noqa: S311  a workload, no secret
        workload = Workload(Slow(DirectApi(server, ADMIN), env.clock, chance), Plan(), chance)
        for _ in range(2):
            assert await workload.round() == []
        assert {"AlreadyExists", "Conflict", "NotFound"} <= set(workload.refused)
        server.stop()
        await store.close()

    sim.run(main, seed, log_level="error")


@pytest.mark.parametrize("engine", ["embedded", "durable", "etcd"])
def test_on_every_engine_in_real_time(engine, tmp_path):
    """The same writers and watchers as fast as the engine goes."""
    member = Etcd(tmp_path / "etcd").start() if engine == "etcd" else None
    options = StoreOptions(
        data_dir=tmp_path if engine == "durable" else None,
        etcd_servers=(member.url,) if member else (),
    )

    async def main():
        env = real_env.real(log_level="error")
        store, server = await serve(env, options)
        plan = Plan(operations=ROUND, names=12, cut_every=100, lists_every=20)
        chance = random.Random()  # noqa: S311  a workload, no secret
        workload = Workload(Yielding(DirectApi(server, ADMIN)), plan, chance)
        for number in range(OPERATIONS // ROUND):
            assert await workload.round() == [], f"round {number}"
        server.stop()
        await store.close()

    try:
        asyncio.run(main())
    finally:
        if member is not None:
            member.kill()


# ---------------------------------------------------------------- the checker can fail


class Lying:
    """A server's answers, spoiled."""

    def __init__(self, api):
        self.api = api
        self.count = 0

    async def send(self, request):
        response = await self.api.send(request)
        if response.stream is not None:
            response.stream = self.spoil(response.stream)
        return response

    async def spoil(self, stream):
        raise NotImplementedError
        yield


class Loses(Lying):
    async def spoil(self, stream):
        async for frame in stream:
            self.count += 1
            if self.count % 40:
                yield frame


class Doubles(Lying):
    async def spoil(self, stream):
        async for frame in stream:
            self.count += 1
            yield frame
            if not self.count % 40:
                yield frame


class Swaps(Lying):
    async def spoil(self, stream):
        held = None
        async for frame in stream:
            self.count += 1
            if held is None and not self.count % 40:
                held = frame
                continue
            yield frame
            if held is not None:
                yield held
                held = None


class Forgets(Lying):
    """Every 40th object is missing from lists."""

    async def send(self, request):
        response = await self.api.send(request)
        if request.method == "GET" and response.stream is None and b'List"' in response.body[:60]:
            body = msgspec.json.decode(response.body)
            self.count += 1
            if body["items"] and not self.count % 5:
                body["items"].pop()
            response.body = msgspec.json.encode(body)
        return response


class Overwrites(Lying):
    """Updates lose their precondition."""

    async def send(self, request):
        if request.method == "PUT":
            body = msgspec.json.decode(request.body)
            del body["metadata"]["resourceVersion"]
            request = replace(request, body=msgspec.json.encode(body))
        return await self.api.send(request)


@pytest.mark.parametrize(
    ("lie", "complaint"),
    [
        (Loses, " missed "),
        (Doubles, "out of order"),
        (Swaps, "out of order"),
        (Forgets, " differs: "),
        (Overwrites, "an update was lost"),
    ],
)
def test_a_server_that_lies_is_caught(lie, complaint):
    """Each defect that the checker is there for, made on purpose."""

    async def main(env):
        store, server = await serve(env, StoreOptions())
        chance = random.Random(7)  # noqa: S311  a workload, no secret
        api = lie(Slow(DirectApi(server, ADMIN), env.clock, chance))
        found = []
        for _ in range(3):
            found += await Workload(api, Plan(), chance).round()
        server.stop()
        await store.close()
        return found

    assert any(complaint in line for line in sim.run(main, 7, log_level="error"))
