"""Stories about collections that many components of a process follow together."""

from __future__ import annotations

from typing import Any

from podwire.api import kinds
from podwire.client.api import Client
from podwire.client.common import Commons
from podwire.client.informer import Informer
from podwire.runtime import sim
from podwire.runtime.env import Env
from podwire.runtime.tasks import Nursery
from tests.unit.client.fake_api import FakeApi, make_ctx


def cm(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default"}, "data": {}}


def test_one_reads_for_all_and_the_next_one_reads_on_when_it_ends():
    """Who comes late is told what there is; the reader's end costs the others no event."""

    async def main(env: Env) -> None:
        api = FakeApi(env)
        ctx, client = make_ctx(env, api), Client(api)
        common = Commons().of(kinds.CONFIG_MAP)
        sinks = [Informer(ctx, kinds.CONFIG_MAP) for _ in range(3)]
        heard: list[str] = []
        common.informer(ctx).on_change(lambda _, new: heard.append(new.key if new else "gone"))
        api.put(kinds.CONFIG_MAP, cm("a"))
        async with Nursery() as nursery:
            first, _ = (
                nursery.start(common.follow(client, ctx, sink), name="follows")
                for sink in sinks[:2]
            )
            await env.clock.sleep(1)
            api.put(kinds.CONFIG_MAP, cm("b"))
            await env.clock.sleep(1)
            nursery.start(common.follow(client, ctx, sinks[2]), name="follows late")
            await env.clock.sleep(1)
            assert [[one.key for one in sink.list()] for sink in sinks] == [
                ["default/a", "default/b"]
            ] * 3
            first.cancel()
            api.put(kinds.CONFIG_MAP, cm("c"))
            api.remove(kinds.CONFIG_MAP, "default/a")
            await env.clock.sleep(1)
            keys = [[one.key for one in sink.list()] for sink in sinks]
            assert keys == [["default/a", "default/b"], *[["default/b", "default/c"]] * 2]
            assert heard.count("default/b") == 1
            assert sorted(heard) == ["default/a", "default/b", "default/c", "gone"]
            nursery.cancel()

    sim.run(main, horizon_s=3600)


def test_what_nobody_follows_is_known_no_longer():
    """Its informer is empty and not synced; whoever follows next is told what there is then."""

    async def main(env: Env) -> None:
        api = FakeApi(env)
        ctx, client = make_ctx(env, api), Client(api)
        common = Commons().of(kinds.CONFIG_MAP)
        informer = common.informer(ctx)
        api.put(kinds.CONFIG_MAP, cm("a"))
        async with Nursery() as nursery:
            follower = nursery.start(common.follow(client, ctx), name="follows")
            await informer.synced.wait()
            follower.cancel()
            await env.clock.sleep(1)
            assert (informer.list(), informer.synced.is_set()) == ([], False)
            api.remove(kinds.CONFIG_MAP, "default/a")
            api.put(kinds.CONFIG_MAP, cm("b"))
            nursery.start(common.follow(client, ctx), name="follows again")
            await informer.synced.wait()
            assert [one.key for one in informer.list()] == ["default/b"]
            nursery.cancel()

    sim.run(main, horizon_s=3600)


def test_what_is_about_one_object_is_new_once_nobody_followed_it():
    """There may be any number of objects, one after the other."""

    async def main(env: Env) -> None:
        api = FakeApi(env)
        ctx, client = make_ctx(env, api), Client(api)
        commons = Commons()
        common = commons.of(kinds.CONFIG_MAP, "default", "a")
        assert commons.of(kinds.CONFIG_MAP, "default", "a") is common
        assert commons.of(kinds.CONFIG_MAP, "default", "b") is not common
        async with Nursery() as nursery:
            nursery.start(common.follow(client, ctx), name="follows")
            await env.clock.sleep(1)
            nursery.cancel()
        assert commons.of(kinds.CONFIG_MAP, "default", "a") is not common

    sim.run(main, horizon_s=3600)
