"""Watches: resume, selectors, bookmarks, WatchList, shared frames."""

from __future__ import annotations

from podwire.api import kinds
from podwire.client.counters import Frame

CM = kinds.CONFIG_MAP


def test_a_watch_without_a_revision_starts_with_the_state(simulate, take):
    """Synthetic ADDED events come first, then what happens."""

    async def story(w):
        await w.config_map("a")
        stream = w.client.watch(CM)
        assert await take(stream, 1) == [("ADDED", "a")]
        await w.config_map("b")
        await w.client.patch(CM, "a", {"data": {"k": "2"}}, "default")
        await w.client.delete(CM, "a", "default")
        assert await take(stream, 3) == [("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "a")]

    simulate(story)


def test_a_watch_resumes_behind_a_revision(simulate, take):
    """Nothing is lost and nothing is repeated."""

    async def story(w):
        made = await w.config_map("a")
        await w.config_map("b")
        stream = w.client.watch(CM, resource_version=made.metadata.resource_version)
        assert await take(stream, 1) == [("ADDED", "b")]

    simulate(story)


def test_the_old_paths_of_watches_are_served(simulate):
    """/api/v1/watch/... of a namespace, of all and of one object, without ?watch=."""

    async def story(w):
        await w.config_map("a")
        await w.config_map("b")
        for path, seen in (
            ("configmaps", 2),
            ("namespaces/default/configmaps", 2),
            ("namespaces/default/configmaps/b", 1),
        ):
            answer = await w.raw("GET", f"/api/v1/watch/{path}", timeoutSeconds="1")
            frames = [frame.data async for frame in answer.stream]
            assert sum(b'"ADDED"' in frame for frame in frames) == seen
        assert (await w.raw("POST", "/api/v1/watch/namespaces/default/configmaps")).status == 405
        assert (await w.raw("GET", "/api/v1/watch")).status == 404
        assert (await w.raw("GET", "/api/v1/watch/namespaces/default/pods/a/log")).status == 404

    simulate(story)


def test_all_watchers_are_handed_the_same_frame(simulate):
    """An event is encoded once; readers in this process share its decoded view too."""

    async def story(w):
        streams = [(await w.raw("GET", CM.path(), watch="true")).stream for _ in range(3)]
        await w.config_map("a")
        frames: list[Frame] = [await anext(stream) for stream in streams]
        assert frames[0] is frames[1] is frames[2]

    simulate(story)


def test_an_object_that_leaves_the_selector_is_deleted_for_the_watcher(simulate, take):
    """And ADDED when it comes back."""

    async def story(w):
        await w.config_map("a", labels={"app": "web"})
        stream = w.client.watch(CM, label_selector="app=web")
        assert await take(stream, 1) == [("ADDED", "a")]
        await w.client.patch(CM, "a", {"metadata": {"labels": {"app": "db"}}}, "default")
        await w.client.patch(CM, "a", {"metadata": {"labels": {"app": "web"}}}, "default")
        assert await take(stream, 2) == [("DELETED", "a"), ("ADDED", "a")]

    simulate(story)


def test_watch_list_ends_its_state_with_a_marked_bookmark(simulate):
    """kubectl 1.37 and client-go >= 0.35 wait for it."""

    async def story(w):
        await w.config_map("a")
        stream = w.client.watch(CM, initial_events=True)
        assert (await anext(stream)).type == "ADDED"
        end = await anext(stream)
        assert end.type == "BOOKMARK"
        assert end.object.metadata.annotations == {"k8s.io/initial-events-end": "true"}
        assert int(end.object.metadata.resource_version) == await w.store.revision()

    simulate(story)


def test_a_quiet_watch_gets_a_bookmark_about_every_minute(simulate):
    """So that a reader can resume although nothing of its kind changed."""

    async def story(w):
        stream = w.client.watch(CM, resource_version=str(await w.store.revision()))
        start_ns = w.env.clock.monotonic_ns()
        waiting = anext(stream)
        assert (await waiting).type == "BOOKMARK"
        waited_s = (w.env.clock.monotonic_ns() - start_ns) / 1e9
        assert 50 < waited_s < 70

    simulate(story)


def test_a_revision_before_the_window_is_gone(simulate):
    """An ERROR event with 410 Expired ends the stream, in upstream's words."""

    async def story(w):
        await w.config_map("a")
        for i in range(1100):
            await w.client.patch(CM, "a", {"data": {"k": str(i)}}, "default")
        answer = await w.raw("GET", CM.path(), watch="true", resourceVersion="2")
        frames = [frame.data async for frame in answer.stream]
        assert len(frames) == 1
        assert frames[0].startswith(b'{"type":"ERROR"')
        assert b"too old resource version: 2 (" in frames[0]
        error = await w.refused(anext(w.client.watch(CM, resource_version="2")))
        assert (error.reason, error.code) == ("Expired", 410)

    simulate(story)


def test_a_reader_that_leaves_is_forgotten(simulate, take):
    """Neither its buffer nor its deadline outlives it."""

    async def story(w):
        stream = w.client.watch(CM)
        await w.config_map("a")
        assert await take(stream, 1) == [("ADDED", "a")]
        assert len(w.server.caches.of(CM).watchers()) == 1
        await stream.aclose()
        assert w.server.caches.of(CM).watchers() == []

    simulate(story)


def test_a_revision_from_the_future_is_a_timeout(simulate):
    """504 with a cause that clients look for."""

    async def story(w):
        answer = await w.raw("GET", CM.path(), resourceVersion="99999")
        assert answer.status == 504
        assert b"ResourceVersionTooLarge" in answer.body
        assert answer.headers["retry-after"] == "1"

    simulate(story)


def test_a_watch_ends_after_its_timeout(simulate):
    """timeoutSeconds, with a last bookmark when those are wanted."""

    async def story(w):
        answer = await w.raw(
            "GET", CM.path(), watch="1", timeoutSeconds="5", allowWatchBookmarks="true",
            resourceVersion=str(await w.store.revision()),
        )  # fmt: skip
        start_ns = w.env.clock.monotonic_ns()
        frames = [frame async for frame in answer.stream]
        assert (w.env.clock.monotonic_ns() - start_ns) / 1e9 == 5
        assert len(frames) == 1

    simulate(story)


def test_a_slow_reader_is_cut_off_not_buffered(simulate):
    """It keeps what fitted and must resume from there."""

    async def story(w):
        await w.config_map("a")
        answer = await w.raw("GET", CM.path(), watch="true")
        for i in range(1500):
            await w.client.patch(CM, "a", {"data": {"k": str(i)}}, "default")
        assert answer.stream.cut_off
        frames = [frame async for frame in answer.stream]
        assert len(frames) == 1025

    simulate(story)
