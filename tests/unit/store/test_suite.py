"""What every store engine must do: etcd's model, told as stories."""

from __future__ import annotations

import pytest

from podwire.store import (
    VALUE_LIMIT_BYTES,
    CompactedError,
    Compare,
    Delete,
    Event,
    FutureRevisionError,
    LeaseNotFoundError,
    Put,
    Store,
    ValueTooLargeError,
)


async def put(store: Store, key: str, value: bytes = b"v", lease: int = 0) -> int:
    return (await store.txn([], [Put(key, value, lease)])).revision


async def keys(store: Store, prefix: str = "", **options) -> list[str]:
    return [kv.key for kv in (await store.range(prefix, **options)).kvs]


def test_a_put_is_one_revision_and_counts_versions(with_store):
    """create_revision stays, mod_revision and version move."""

    async def story(store, env):
        first = await put(store, "a", b"1")
        second = await put(store, "a", b"2")
        assert second == first + 1 == await store.revision()
        kv = await store.get("a")
        assert kv == ("a", b"2", first, second, 2, 0)

    with_store(story)


def test_a_deleted_key_starts_again(with_store):
    """A new life has a new create_revision and version 1."""

    async def story(store, env):
        await put(store, "a")
        await store.txn([], [Delete("a")])
        assert await store.get("a") is None
        again = await put(store, "a")
        kv = await store.get("a")
        assert (kv.create_revision, kv.version) == (again, 1)

    with_store(story)


def test_deleting_what_is_not_there_is_no_revision(with_store):
    """Nothing changed, so nobody is told."""

    async def story(store, env):
        before = await store.revision()
        result = await store.txn([], [Delete("a")])
        assert result.succeeded
        assert await store.revision() == before

    with_store(story)


def test_create_if_absent_succeeds_once(with_store):
    """The loser learns which guard failed and changes nothing."""

    async def story(store, env):
        absent = [Compare("a", 0)]
        assert (await store.txn(absent, [Put("a", b"1")])).succeeded
        lost = await store.txn(absent, [Put("a", b"2"), Put("b", b"2")])
        assert (lost.succeeded, lost.failed) == (False, ("a",))
        assert await keys(store) == ["a"]
        assert (await store.get("a")).value == b"1"

    with_store(story)


def test_a_compare_on_mod_revision_guards_an_update(with_store):
    """Optimistic concurrency."""

    async def story(store, env):
        old = await put(store, "a", b"1")
        new = (await store.txn([Compare("a", old)], [Put("a", b"2")])).revision
        assert not (await store.txn([Compare("a", old)], [Delete("a")])).succeeded
        assert (await store.txn([Compare("a", new)], [Delete("a")])).succeeded

    with_store(story)


def test_a_transaction_of_many_keys_is_one_revision(with_store):
    """And a watch is told of it in one piece."""

    async def story(store, env):
        told: list[list[Event]] = []
        await store.watch("", await store.revision() + 1, lambda e: told.append(list(e)))
        result = await store.txn([], [Put("b", b"1"), Put("a", b"1")])
        assert [(kv.key, kv.mod_revision) for kv in (await store.range("")).kvs] == [
            ("a", result.revision),
            ("b", result.revision),
        ]
        assert [[e.key for e in events] for events in told] == [["b", "a"]]

    with_store(story)


def test_a_range_is_in_key_order_and_pages(with_store):
    """after and limit walk through it; more says whether to go on."""

    async def story(store, env):
        for key in ("/p/c", "/p/a", "/q/x", "/p/b", "/p"):
            await put(store, key)
        assert await keys(store, "/p/") == ["/p/a", "/p/b", "/p/c"]
        page = await store.range("/p/", limit=2)
        assert ([kv.key for kv in page.kvs], page.more) == (["/p/a", "/p/b"], True)
        page = await store.range("/p/", after="/p/b", limit=2)
        assert ([kv.key for kv in page.kvs], page.more) == (["/p/c"], False)

    with_store(story)


def test_the_past_can_be_read(with_store):
    """Values, deleted keys and later ones are as they were."""

    async def story(store, env):
        await put(store, "a", b"1")
        then = await put(store, "b", b"1")
        await put(store, "a", b"2")
        await store.txn([], [Delete("b")])
        await put(store, "c")
        page = await store.range("", revision=then)
        assert [(kv.key, kv.value) for kv in page.kvs] == [("a", b"1"), ("b", b"1")]
        assert (await store.get("b", then)).value == b"1"
        assert await store.get("c", then) is None
        with pytest.raises(FutureRevisionError):
            await store.range("", revision=await store.revision() + 1)

    with_store(story)


def test_a_watch_starts_with_history_and_goes_on(with_store):
    """Every event once, in order, with what was there before."""

    async def story(store, env):
        first = await put(store, "/p/a", b"1")
        await put(store, "/q/x")
        told: list[Event] = []
        watch = await store.watch("/p/", first, told.extend)
        await put(store, "/p/a", b"2")
        await store.txn([], [Delete("/p/a")])
        watch.cancel()
        await put(store, "/p/b")
        assert [e.kv.value if e.kv else None for e in told] == [b"1", b"2", None]
        assert [e.previous.value if e.previous else None for e in told] == [None, b"1", b"2"]
        assert [e.revision for e in told] == [first, first + 2, first + 3]

    with_store(story)


def test_compacted_history_cannot_be_read_or_watched(with_store):
    """Later revisions still can."""

    async def story(store, env):
        revisions = [await put(store, "a", str(i).encode()) for i in range(5)]
        await store.compact(revisions[2])
        with pytest.raises(CompactedError):
            await store.range("", revision=revisions[1])
        with pytest.raises(CompactedError):
            await store.get("a", revisions[0])
        with pytest.raises(CompactedError):
            await store.watch("", revisions[1], lambda _: None)
        assert (await store.get("a", revisions[3])).value == b"3"
        told: list[Event] = []
        await store.watch("", revisions[3], told.extend)
        assert [e.revision for e in told] == revisions[3:]
        with pytest.raises(CompactedError):
            await store.compact(revisions[0])
        with pytest.raises(FutureRevisionError):
            await store.compact(revisions[4] + 1)

    with_store(story)


def test_a_lease_takes_its_keys_with_it(with_store):
    """In one revision, when the time has come and not before."""

    async def story(store, env):
        lease = await store.grant(10)
        await put(store, "a", lease=lease)
        await put(store, "b", lease=lease)
        await put(store, "c")
        before = await store.revision()
        await env.clock.sleep(9.9)
        assert await keys(store) == ["a", "b", "c"]
        await env.clock.sleep(0.2)
        assert await keys(store) == ["c"]
        assert await store.revision() == before + 1
        with pytest.raises(LeaseNotFoundError):
            await put(store, "d", lease=lease)

    with_store(story)


def test_a_put_without_the_lease_frees_the_key_of_it(with_store):
    """As does a put with another one."""

    async def story(store, env):
        short, long = await store.grant(10), await store.grant(100)
        for key in ("a", "b", "c"):
            await put(store, key, lease=short)
        await put(store, "a")
        await put(store, "b", lease=long)
        await env.clock.sleep(11)
        assert await keys(store) == ["a", "b"]
        await env.clock.sleep(100)
        assert await keys(store) == ["a"]

    with_store(story)


def test_a_revoked_lease_ends_now(with_store):
    """And cannot be revoked twice."""

    async def story(store, env):
        lease = await store.grant(10)
        await put(store, "a", lease=lease)
        await store.revoke(lease)
        assert await keys(store) == []
        with pytest.raises(LeaseNotFoundError):
            await store.revoke(lease)

    with_store(story)


def test_a_value_has_one_limit_for_every_engine(with_store):
    """1.5 MiB fits, one byte more does not and changes nothing."""

    async def story(store, env):
        before = await put(store, "a", b"x" * VALUE_LIMIT_BYTES)
        with pytest.raises(ValueTooLargeError):
            await store.txn([], [Put("b", b"1"), Put("a", b"x" * (VALUE_LIMIT_BYTES + 1))])
        assert await store.revision() == before
        assert await keys(store) == ["a"]

    with_store(story)
