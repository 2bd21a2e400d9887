"""A store whose watch is late, as an etcd's is: answers are right all the same.

The engine is the embedded one in virtual time; its events arrive 50 ms after the commit, and the
reads of its revision are counted.
"""

from __future__ import annotations

import asyncio

import pytest

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.apiserver.server import Apiserver, DirectApi
from podwire.client.api import Client
from podwire.client.counters import Request
from podwire.runtime import sim
from podwire.store import CompactedError, LeaseNotFoundError, OutcomeUnknownError, UnavailableError
from podwire.store.embedded import EmbeddedStore
from tests.unit.apiserver.conftest import ADMIN, World

LAG_S = 0.05


class LateStore(EmbeddedStore):
    """Commits at once, tells late."""

    def __init__(self, env):
        super().__init__(env.clock, env.trace)
        self.clock = env.clock
        self.reads = 0
        self.stuck = False
        self.lost = []
        self.away = None

    async def revision(self):
        self.reads += 1
        if self.away:
            raise self.away
        return await super().revision()

    async def txn(self, compares, ops):
        if self.away:
            raise self.away
        return await super().txn(compares, ops)

    async def check(self):
        if self.away:
            raise self.away

    async def watch(self, prefix, revision, deliver, lost=None, progress=None):
        live = []

        def late(events):
            self.clock.call_later(LAG_S, lambda: live and not self.stuck and deliver(events))

        watch = await super().watch(prefix, revision, late)
        live.append(watch)
        self.lost.append(lambda error: (live.clear(), watch.cancel(), lost(error)))
        return watch


@pytest.fixture
def late():
    """Run a story against a server whose cache is always 50 ms behind."""

    def run(story, seed=0):
        async def main(env):
            store = LateStore(env)
            server = Apiserver(env, store)
            await server.start()
            w = World(env, store, server, Client(DirectApi(server, ADMIN)))
            await w.client.create(kinds.NAMESPACE, {"metadata": {"name": "default"}})
            await w.client.create(
                kinds.SERVICE_ACCOUNT, {"metadata": {"name": "default"}}, "default"
            )
            await env.clock.sleep(1)
            store.reads = 0
            await story(w)
            server.stop()
            await store.close()

        sim.run(main, seed, log_level="off")

    return run


async def gone(call):
    with pytest.raises(ApiError) as caught:
        await call
    return caught.value


def test_a_create_does_not_ask_the_store_for_its_revision(late):
    """Nor does an update of what the cache has."""

    async def story(w):
        for i in range(20):
            await w.config_map(f"a{i}")
        assert w.store.reads == 0
        await w.env.clock.sleep(1)
        patched = await w.client.patch(kinds.CONFIG_MAP, "a1", {"data": {"x": "y"}}, "default")
        assert patched.metadata.resource_version
        assert w.store.reads == 0

    late(story)


def test_a_client_reads_its_own_writes(late):
    """Get, list, update, patch, delete right after the create."""

    async def story(w):
        made = await w.config_map("a")
        got = await w.client.get(kinds.CONFIG_MAP, "a", "default")
        assert got.metadata.resource_version == made.metadata.resource_version
        await w.config_map("b")
        assert await w.names() == ["a", "b"]
        await w.config_map("c")
        await w.client.patch(kinds.CONFIG_MAP, "c", {"data": {"k": "new"}}, "default")
        body = {"metadata": {"name": "c", "namespace": "default"}, "data": {"k": "newer"}}
        await w.client.update(kinds.CONFIG_MAP, body)
        assert (await w.client.get_json(kinds.CONFIG_MAP, "c", "default"))["data"] == {"k": "newer"}
        await w.config_map("d")
        await w.client.delete(kinds.CONFIG_MAP, "d", "default")
        assert await w.names() == ["a", "b", "c"]
        assert (await gone(w.client.get(kinds.CONFIG_MAP, "d", "default"))).code == 404

    late(story)


def test_a_second_create_of_a_name_is_refused(late):
    """Whether or not the cache has the first; a dry run, too."""

    async def story(w):
        await w.config_map("a")
        assert (await gone(w.config_map("a"))).reason == "AlreadyExists"
        await w.config_map("b")
        path = kinds.CONFIG_MAP.path("default")
        body = {"metadata": {"name": "b"}}
        assert (await w.raw("POST", path, body, dryRun="All")).status == 409

    late(story)


def test_objects_are_created_in_a_namespace_made_a_moment_ago(late):
    """And by another server over the same store."""

    async def story(w):
        other = Apiserver(w.env, w.store)
        await other.start()
        elsewhere = Client(DirectApi(other, ADMIN))
        await elsewhere.create(kinds.NAMESPACE, {"metadata": {"name": "new"}})
        await w.config_map("a", "new")
        other.stop()

    late(story)


def test_nothing_is_created_in_a_namespace_deleted_a_moment_ago(late):
    """What this server acknowledged decides, although its cache shows the namespace Active."""

    async def story(w):
        await w.client.create(kinds.NAMESPACE, {"metadata": {"name": "old"}})
        await w.env.clock.sleep(1)
        await w.client.delete(kinds.NAMESPACE, "old")
        assert (await gone(w.config_map("a", "old"))).reason == "Forbidden"

    late(story)


def test_a_body_without_a_revision_wins_over_a_newer_object_it_never_saw(late):
    """ "Nothing to do" is decided on the present: another server changed it meanwhile."""

    async def story(w):
        other = Apiserver(w.env, w.store)
        await other.start()
        elsewhere = Client(DirectApi(other, ADMIN))
        await w.config_map("a")
        await w.env.clock.sleep(1)
        await elsewhere.patch(kinds.CONFIG_MAP, "a", {"data": {"k": "theirs"}}, "default")
        body = {"metadata": {"name": "a", "namespace": "default"}, "data": {"k": "a"}}
        await w.client.update(kinds.CONFIG_MAP, body)
        assert (await w.client.get_json(kinds.CONFIG_MAP, "a", "default"))["data"] == {"k": "a"}
        other.stop()

    late(story)


def test_a_conflict_is_judged_on_the_present(late):
    """The right revision is accepted before the cache knows it; the wrong one never is."""

    async def story(w):
        old = await w.config_map("a")
        await w.env.clock.sleep(1)
        new = await w.client.patch(kinds.CONFIG_MAP, "a", {"data": {"k": "2"}}, "default")

        def body(version):
            meta = {"name": "a", "namespace": "default", "resourceVersion": version}
            return {"metadata": meta, "data": {"k": "3"}}

        stale = w.client.update(kinds.CONFIG_MAP, body(old.metadata.resource_version))
        assert (await gone(stale)).reason == "Conflict"
        await w.client.patch(kinds.CONFIG_MAP, "a", {"data": {"k": "2b"}}, "default")
        newest = await w.client.get(kinds.CONFIG_MAP, "a", "default")
        assert newest.metadata.resource_version != new.metadata.resource_version
        await w.client.update(kinds.CONFIG_MAP, body(newest.metadata.resource_version))

    late(story)


def test_services_created_at_once_get_addresses_of_their_own(late):
    """The allocation's key is guarded by the store, not by the cache."""

    async def story(w):
        async def create(number):
            body = {
                "metadata": {"name": f"s{number}"},
                "spec": {"type": "NodePort", "ports": [{"port": 80}]},
            }
            return await w.client.create(kinds.SERVICE, body, "default")

        made = await asyncio.gather(*(create(number) for number in range(40)))
        assert len({service.spec.cluster_ip for service in made}) == 40
        assert len({service.spec.ports[0].node_port for service in made}) == 40

    late(story)


def test_a_refusal_stands_on_a_busy_cluster(late):
    """404 stays 404 while others write without pause."""

    async def story(w):
        async def noise():
            number = 0
            while True:
                number += 1
                await w.config_map(f"noise-{number}")
                await w.env.clock.sleep(0.001)

        task = asyncio.get_running_loop().create_task(noise())
        for _ in range(5):
            patch = w.client.patch(kinds.CONFIG_MAP, "none", {"data": {}}, "default")
            assert (await gone(patch)).reason == "NotFound"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    late(story)


def test_a_store_that_is_away_is_a_5xx_status_and_shows_in_health(late):
    """Known not to have happened: 500. Unknown: 504. Neither invites a retry."""

    async def story(w):
        path = kinds.CONFIG_MAP.path("default")
        w.store.away = UnavailableError("etcdserver: request timed out")
        answer = await w.raw("POST", path, {"metadata": {"name": "a"}})
        assert answer.status == 500
        assert b"etcdserver: request timed out" in answer.body
        assert b"retryAfterSeconds" not in answer.body
        assert (await w.raw("GET", path)).status == 500
        for endpoint in ("/readyz", "/livez"):
            health = await w.raw("GET", endpoint)
            assert health.status == 500
            assert b"[-]etcd failed: reason withheld\n" in health.body
        w.store.away = OutcomeUnknownError("context deadline exceeded")
        assert (await w.raw("POST", path, {"metadata": {"name": "a"}})).status == 504
        w.store.away = None
        assert (await w.raw("GET", "/readyz")).status == 200
        assert (await w.raw("POST", path, {"metadata": {"name": "a"}})).status == 201

    late(story)


def test_who_takes_any_state_is_served_while_the_store_is_away(late):
    """resourceVersion 0 asks for no particular one: the cache has what it had."""

    async def story(w):
        path = kinds.CONFIG_MAP.path("default")
        assert (await w.raw("POST", path, {"metadata": {"name": "a"}})).status == 201
        await w.env.clock.sleep(1)
        w.store.away = UnavailableError("etcdserver: request timed out")
        for url in (path, kinds.CONFIG_MAP.path("default", "a")):
            request = Request("GET", url, (("resourceVersion", "0"),))
            answer = await w.client.api.send(request)
            assert answer.status == 200
            assert b'"name":"a"' in answer.body
        assert (await w.raw("GET", path)).status == 500

    late(story)


def test_a_cache_that_stays_behind_refuses_instead_of_hanging(late):
    """After three seconds, as upstream's."""

    async def story(w):
        w.store.stuck = True
        await w.config_map("a")
        began = w.env.clock.monotonic_ns()
        answer = await w.raw("GET", kinds.CONFIG_MAP.path("default", "a"))
        assert answer.status == 500
        assert b"the watch cache is at revision" in answer.body
        assert w.env.clock.monotonic_ns() - began == 3_000_000_000

    late(story)


def test_a_lost_watch_reloads_the_cache_and_ends_the_watches_of_clients(late, take):
    """They come back with a revision that is too old: 410, list again."""

    async def story(w):
        made = await w.config_map("a")
        await w.env.clock.sleep(1)
        stream = w.client.watch(
            kinds.CONFIG_MAP, "default", resource_version=made.metadata.resource_version
        )
        reading = asyncio.get_running_loop().create_task(take(stream, 1))
        await w.env.clock.sleep(0.001)
        w.store.stuck = True
        await w.client.create(kinds.SERVICE, {
            "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]},
        }, "default")  # fmt: skip
        await w.config_map("b")
        await w.env.clock.sleep(1)
        w.store.stuck = False
        w.store.lost[0](CompactedError(1, 2))
        await w.env.clock.sleep(0.001)
        with pytest.raises(StopAsyncIteration):
            await reading
        assert await w.names() == ["a", "b"]
        again = w.client.watch(
            kinds.CONFIG_MAP, "default", resource_version=made.metadata.resource_version
        )
        assert (await gone(anext(again))).code == 410
        service = await w.client.get(kinds.SERVICE, "s", "default")
        taken = w.client.create(kinds.SERVICE, {
            "metadata": {"name": "t"},
            "spec": {"ports": [{"port": 80}], "clusterIP": service.spec.cluster_ip},
        }, "default")  # fmt: skip
        assert "already allocated" in (await gone(taken)).message

    late(story)


def test_an_event_is_written_although_the_store_forgot_the_shared_lease(late):
    """A new lease is taken."""

    async def story(w):
        def event(name):
            about = {"kind": "Pod", "namespace": "default", "name": "p"}
            body = {"metadata": {"name": name}, "involvedObject": about, "reason": "Test"}
            return w.client.create(kinds.EVENT, body, "default")

        await event("a")
        await w.store.revoke(w.server._lease)
        await event("b")
        assert await w.names(kinds.EVENT) == ["b"]
        with pytest.raises(LeaseNotFoundError):
            await w.store.revoke(12345)

    late(story)
