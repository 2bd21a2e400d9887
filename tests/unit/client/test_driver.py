"""Stories about the driver: queue, retries, effects, events, own writes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.api.views import Object
from podwire.client.api import Client
from podwire.client.driver import Driver
from podwire.client.effects import (
    Announce,
    Create,
    Delete,
    Effect,
    Emit,
    Patch,
    RequeueAfter,
    Together,
)
from podwire.client.informer import Informers
from podwire.runtime import sim
from podwire.runtime.env import Env
from podwire.runtime.tasks import Nursery
from tests.unit.client.fake_api import FakeApi, make_ctx

Pass = Callable[[str], Sequence[Effect]]


class World:
    """A fake API, informers over ConfigMaps, and drivers started on demand."""

    def __init__(self, env: Env, nursery: Nursery, **options: Any) -> None:
        self.env = env
        self.nursery = nursery
        self.api = FakeApi(env, **options)
        self.ctx = make_ctx(env, self.api)
        self.client = Client(self.api)
        self.informers = Informers(self.client, self.ctx)
        self.config_maps = self.informers.informer(kinds.CONFIG_MAP)
        nursery.start(self.informers.run(), name="informers")

    def driver(self, reconcile: Pass, **options: Any) -> Driver:
        driver = Driver(self.ctx, self.client, "tester", reconcile, **options)
        self.nursery.start(driver.run(), name="driver")
        return driver

    def events(self) -> list[str]:
        return [
            f"{e['type']} {e['reason']} x{e['count']}: {e['message']}"
            for e in self.api.all(kinds.EVENT)
        ]


def story(body: Callable[[World], Coroutine[Any, Any, None]], **options: Any) -> None:
    async def main(env: Env) -> None:
        async with Nursery() as nursery:
            world = World(env, nursery, **options)
            await world.informers.wait_synced()
            await body(world)
            nursery.cancel()

    sim.run(main, horizon_s=100_000)


def cm(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default"}}


def test_a_failing_key_backs_off_from_5_ms_doubling_and_is_forgotten_on_success():
    """As client-go's ItemExponentialFailureRateLimiter."""

    async def body(w: World) -> None:
        at: list[int] = []

        def reconcile(key: str) -> list[Effect]:
            at.append(w.env.clock.monotonic_ns())
            if len(at) in {1, 2, 3, 5}:
                raise ValueError("bug")
            return []

        driver = w.driver(reconcile)
        driver.add("a")
        await w.env.clock.sleep(1)
        driver.add("a")
        await w.env.clock.sleep(1)
        gaps = [(b - a) // 1_000_000 for a, b in itertools.pairwise(at)]
        assert gaps[:3] == [5, 10, 20]
        assert gaps[4] == 5, "success forgot the failures"
        assert len(at) == 6

    story(body)


def test_a_key_added_while_processed_runs_once_more_and_never_concurrently():
    """Two workers, one key: the second pass waits for the first."""

    async def body(w: World) -> None:
        passes: list[str] = []

        def reconcile(key: str) -> list[Effect]:
            passes.append(key)
            return [Create(kinds.CONFIG_MAP, cm(f"made-{len(passes)}"), "default")]

        driver = w.driver(reconcile, workers=2)
        order: list[str] = []

        def watch_requests(request: Any) -> ApiError | None:
            if request.method == "POST" and "configmaps" in request.path:
                order.append("write")
                if len(order) == 1:
                    driver.add("k")
                    driver.add("k")
            return None

        w.api.refuse = watch_requests
        driver.add("k")
        driver.add("k")
        await w.env.clock.sleep(1)
        assert passes == ["k", "k"]

    story(body)


def test_conflicts_and_missing_objects_come_back_and_later_effects_wait():
    """The effect after a conflicting patch is not performed in that pass."""

    async def body(w: World) -> None:
        w.api.put(kinds.CONFIG_MAP, cm("a"))
        revisions = iter(["1", None])

        def reconcile(key: str) -> list[Effect]:
            meta = {"resourceVersion": next(revisions)}
            return [
                Patch(kinds.CONFIG_MAP, "a", {"metadata": meta, "data": {"x": "1"}}, "default"),
                Patch(kinds.CONFIG_MAP, "missing", {}, "default", missing_ok=True),
                Delete(kinds.CONFIG_MAP, "missing", "default", uid="u"),
                Create(kinds.CONFIG_MAP, cm("a"), "default", exists_ok=True),
            ]

        w.driver(reconcile).add("k")
        await w.env.clock.sleep(0.004)
        assert w.api.writes() == ["PATCH /api/v1/namespaces/default/configmaps/a"]
        await w.env.clock.sleep(1)
        assert w.api.get(kinds.CONFIG_MAP, "default/a")["data"] == {"x": "1"}
        assert len(w.api.writes()) == 5

    story(body)


def test_requeue_after_comes_back_at_that_time():
    """The earliest of several delays counts."""

    async def body(w: World) -> None:
        at: list[int] = []

        def reconcile(key: str) -> list[Effect]:
            at.append(w.env.clock.monotonic_ns() // 1_000_000_000)
            return [RequeueAfter(30), RequeueAfter(10)] if len(at) == 1 else []

        w.driver(reconcile).add("k")
        await w.env.clock.sleep(100)
        assert [second - at[0] for second in at] == [0, 10]

    story(body)


def test_the_same_event_again_is_counted_not_repeated():
    """count and lastTimestamp are patched; another message is another event."""

    async def body(w: World) -> None:
        about = w.config_maps
        w.api.put(kinds.CONFIG_MAP, cm("a"))
        await w.env.clock.sleep(1)
        item = about.get("default", "a")
        assert item is not None
        messages = iter(["hello", "hello", "bye"])
        driver = w.driver(lambda _: [Emit(item, "Normal", "Greeted", next(messages))])
        for _ in range(3):
            driver.add("k")
            await w.env.clock.sleep(2)
        assert sorted(w.events()) == ["Normal Greeted x1: bye", "Normal Greeted x2: hello"]
        first = next(e for e in w.api.all(kinds.EVENT) if e["count"] == 2)
        assert first["firstTimestamp"] < first["lastTimestamp"]
        assert first["metadata"]["name"].startswith("a.")
        assert first["involvedObject"]["kind"] == "ConfigMap"
        assert first["source"] == {"component": "tester"}

    story(body)


def test_slow_start_stops_after_the_first_batch_with_a_failure():
    """1, 2, 4: the third batch meets the refusal, the fourth is never sent."""

    async def body(w: World) -> None:
        posts: list[str] = []
        failures: list[str] = []

        def refuse(request: Any) -> ApiError | None:
            if request.method == "POST" and "configmaps" in request.path:
                posts.append(request.path)
                if len(posts) == 5:
                    return ApiError("Forbidden", "exceeded quota")
            return None

        w.api.refuse = refuse
        about = Object()
        words = Announce(about, ("Made", "Created {name}"), ("Failed", "Error creating: {error}"))
        effects = tuple(
            Create(kinds.CONFIG_MAP, cm(f"c{n}"), "default", announce=words) for n in range(12)
        )
        w.driver(
            lambda _: [Together(effects, slow_start=True)],
            on_failure=lambda key, _, error: failures.append(f"{key}: {error.message}"),
        ).add("k")
        await w.env.clock.sleep(0.004)
        assert len(posts) == 7
        assert failures == ["k: exceeded quota"]
        assert "Warning Failed x1: Error creating: exceeded quota" in w.events()
        assert "Normal Made x1: Created c0" in w.events()

    story(body)


def test_no_second_decision_before_the_cache_shows_the_first():
    """Watch events arrive 2 s late: one creation, not one per wake-up."""

    async def body(w: World) -> None:
        def reconcile(key: str) -> list[Effect]:
            if len(w.config_maps.list()) < 1:
                body = {"metadata": {"generateName": "x-", "namespace": "default"}}
                return [Create(kinds.CONFIG_MAP, body, "default")]
            return []

        driver = w.driver(reconcile, expect=[w.config_maps])
        for _ in range(10):
            driver.add("k")
            await w.env.clock.sleep(0.1)
        await w.env.clock.sleep(10)
        assert len(w.api.all(kinds.CONFIG_MAP)) == 1

    story(body, watch_delay_s=2.0)


def test_an_object_created_and_deleted_unseen_blocks_nobody():
    """A relist that is past the creation's revision satisfies the expectation."""

    async def body(w: World) -> None:
        passes: list[str] = []

        def reconcile(key: str) -> list[Effect]:
            passes.append(key)
            return [Create(kinds.CONFIG_MAP, cm("x"), "default")] if len(passes) == 1 else []

        def blocked(request: Any) -> ApiError | None:
            if request.method == "GET":
                raise ConnectionError("partition")
            return None

        w.api.refuse = blocked
        w.api.break_watches()
        driver = w.driver(reconcile, expect=[w.config_maps])
        driver.add("k")
        await w.env.clock.sleep(1)
        driver.add("k")
        w.api.remove(kinds.CONFIG_MAP, "default/x")
        w.api.compacted = w.api.revision + 1
        await w.env.clock.sleep(1)
        assert passes == ["k"]
        w.api.refuse = None
        await w.env.clock.sleep(60)
        assert passes == ["k", "k"]

    story(body)


def test_events_survive_a_short_partition():
    """An unreachable server is asked again; the event keeps the time at which it happened."""

    async def body(w: World) -> None:
        w.api.put(kinds.CONFIG_MAP, cm("a"))
        await w.env.clock.sleep(1)
        item = w.config_maps.get("default", "a")
        assert item is not None

        def cut(request: Any) -> ApiError | None:
            if request.method == "POST":
                raise ConnectionError("no route to host")
            return None

        w.api.refuse = cut
        driver = w.driver(lambda _: [Emit(item, "Normal", "Greeted", "hello")])
        driver.add("k")
        await w.env.clock.sleep(30)
        assert w.events() == []
        w.api.refuse = None
        await w.env.clock.sleep(15)
        assert w.events() == ["Normal Greeted x1: hello"]
        (event,) = w.api.all(kinds.EVENT)
        assert event["firstTimestamp"] == "2026-01-01T00:00:01Z"

    story(body)
