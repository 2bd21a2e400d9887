"""Stories about informers: caches that stay true whatever the connection does."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.client.api import Client
from podwire.client.informer import Informer, Informers
from podwire.runtime import sim
from podwire.runtime.env import Env
from podwire.runtime.tasks import Nursery
from tests.unit.client.fake_api import FakeApi, make_ctx

ConfigMaps = Informer[Any]


def cm(name: str, namespace: str = "default", **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace}, "data": data}


def tell(heard: list[str]) -> Callable[[Any, Any], None]:
    def handler(old: Any, new: Any) -> None:
        verb = "add" if old is None else "delete" if new is None else "update"
        heard.append(f"{verb} {(new or old).key}")

    return handler


def story(
    body: Callable[[Env, FakeApi, Informers, ConfigMaps], Coroutine[Any, Any, None]],
    **options: Any,
) -> None:
    """Run a story with a started factory and a ConfigMap informer."""

    async def main(env: Env) -> None:
        api = FakeApi(env, **options)
        ctx = make_ctx(env, api)
        factory = Informers(Client(api), ctx)
        informer = factory.informer(kinds.CONFIG_MAP)
        async with Nursery() as nursery:
            nursery.start(factory.run(), name="informers")
            await body(env, api, factory, informer)
            nursery.cancel()

    sim.run(main, horizon_s=3600)


def test_the_initial_state_and_then_every_change_reach_the_handlers():
    """ADDED for what exists, then add, update, delete as they happen."""

    async def body(env, api, factory, informer):
        heard: list[str] = []
        api.put(kinds.CONFIG_MAP, cm("a"))
        informer.on_change(tell(heard))
        await factory.wait_synced()
        assert heard == ["add default/a"]
        api.put(kinds.CONFIG_MAP, cm("b"))
        api.put(kinds.CONFIG_MAP, cm("a", x="1"))
        api.remove(kinds.CONFIG_MAP, "default/b")
        await env.clock.sleep(1)
        assert heard[1:] == ["add default/b", "update default/a", "delete default/b"]
        assert informer.get("default", "a").data == {"x": "1"}
        assert informer.get("default", "b") is None
        assert [r.method for r in api.requests] == ["GET"], "one watch carried it all"

    story(body)


def test_a_server_without_watch_list_is_listed_and_watched():
    """422 for sendInitialEvents falls back to LIST and WATCH, once and for all."""

    async def body(env, api, factory, informer):
        api.put(kinds.CONFIG_MAP, cm("a"))
        await factory.wait_synced()
        api.put(kinds.CONFIG_MAP, cm("b"))
        await env.clock.sleep(1)
        assert [item.metadata.name for item in informer.list()] == ["a", "b"]
        assert ["watch" in dict(r.query) for r in api.requests] == [True, False, True]

    story(body, watch_list=False)


def test_a_stream_that_ends_is_resumed_where_it_stopped():
    """No relist: the second watch asks from the last revision seen."""

    async def body(env, api, factory, informer):
        await factory.wait_synced()
        api.put(kinds.CONFIG_MAP, cm("a"))
        await env.clock.sleep(0)
        api.end_watches()
        api.put(kinds.CONFIG_MAP, cm("b"))
        await env.clock.sleep(1)
        assert [item.metadata.name for item in informer.list()] == ["a", "b"]
        assert dict(api.requests[-1].query)["resourceVersion"] == "11"
        assert "sendInitialEvents" not in dict(api.requests[-1].query)

    story(body)


def test_deletions_missed_during_a_partition_are_delivered_as_deletes_after_410():
    """The relist tells what vanished, and a namesake with another uid as delete and add."""

    async def body(env, api, factory, informer):
        api.put(kinds.CONFIG_MAP, cm("gone"))
        api.put(kinds.CONFIG_MAP, cm("reborn"))
        api.put(kinds.CONFIG_MAP, cm("same"))
        await factory.wait_synced()
        heard: list[str] = []
        informer.on_change(tell(heard))
        del heard[:]

        def cut(_: Any) -> ApiError | None:
            raise ConnectionError("no route to host")

        api.refuse = cut
        api.break_watches()
        api.remove(kinds.CONFIG_MAP, "default/gone")
        api.remove(kinds.CONFIG_MAP, "default/reborn")
        api.put(kinds.CONFIG_MAP, cm("reborn"))
        await env.clock.sleep(20)
        assert heard == []
        api.compacted = api.revision + 1
        api.refuse = None
        await env.clock.sleep(60)
        assert heard == ["delete default/gone", "delete default/reborn", "add default/reborn"]

    story(body)


def test_a_handlers_bug_does_not_blind_the_others():
    """The exception is logged; the next handler still hears the event."""

    async def body(env, api, factory, informer):
        heard: list[str] = []

        def broken(old: Any, new: Any) -> None:
            raise ValueError("bug")

        informer.on_change(broken)
        informer.on_change(tell(heard))
        await factory.wait_synced()
        api.put(kinds.CONFIG_MAP, cm("a"))
        await env.clock.sleep(1)
        assert heard == ["add default/a"]

    story(body)


def test_indexes_follow_changes_and_lists_are_sorted_by_key():
    """An object moves between index values; namespaces are an index of their own."""

    async def body(env, api, factory, informer):
        informer.add_index("colour", lambda item: item.data.values())
        for name in ("c", "a", "b"):
            api.put(kinds.CONFIG_MAP, cm(name, colour="red"))
        api.put(kinds.CONFIG_MAP, cm("z", "other", colour="red"))
        await factory.wait_synced()
        reds = informer.by_index("colour", "red")
        assert [item.metadata.name for item in reds] == ["a", "b", "c", "z"]
        api.put(kinds.CONFIG_MAP, cm("a", colour="blue"))
        await env.clock.sleep(1)
        names = [item.key for item in informer.by_index("colour", "red")]
        assert names == ["default/b", "default/c", "other/z"]
        assert [i.key for i in informer.by_index("colour", "blue")] == ["default/a"]
        assert [i.key for i in informer.list("other")] == ["other/z"]

    story(body)


def test_an_informer_asked_for_while_the_factory_runs_is_started():
    """And the same arguments give the same informer."""

    async def body(env, api, factory, informer):
        api.put(kinds.SECRET, cm("s"))
        late = factory.informer(kinds.SECRET, "default")
        assert factory.informer(kinds.SECRET, "default") is late
        assert factory.informer(kinds.SECRET) is not late
        await factory.wait_synced()
        assert late.get("default", "s") is not None

    story(body)
