"""What every store engine must do: etcd's model, told as stories."""

from __future__ import annotations

import asyncio

import pytest

from podwire.store import (
    VALUE_LIMIT_BYTES,
    CompactedError,
    Compare,
    Delete,
    FutureRevisionError,
    KeyValue,
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
        assert kv == KeyValue("a", b"2", first, second, 2, 0)

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


def test_a_transaction_of_many_keys_is_one_revision(with_store, told):
    """And a watch is told of it in one piece."""

    async def story(store, env):
        seen = told()
        await store.watch("", await store.revision() + 1, seen)
        result = await store.txn([], [Put("b", b"1"), Put("a", b"1")])
        assert [(kv.key, kv.mod_revision) for kv in (await store.range("")).kvs] == [
            ("a", result.revision),
            ("b", result.revision),
        ]
        await seen.have(2)
        assert [sorted(e.key for e in events) for events in seen.calls] == [["a", "b"]]

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


def test_a_watch_starts_with_history_and_goes_on(with_store, told):
    """Every event once, in order, with what was there before."""

    async def story(store, env):
        first = await put(store, "/p/a", b"1")
        await put(store, "/q/x")
        seen = told()
        watch = await store.watch("/p/", first, seen)
        await put(store, "/p/a", b"2")
        await store.txn([], [Delete("/p/a")])
        await seen.have(3)
        watch.cancel()
        await put(store, "/p/b")
        assert [e.kv.value if e.kv else None for e in seen] == [b"1", b"2", None]
        assert [e.previous.value if e.previous else None for e in seen] == [None, b"1", b"2"]
        assert [e.revision for e in seen] == [first, first + 2, first + 3]

    with_store(story)


def test_compacted_history_cannot_be_read_or_watched(with_store, told):
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
        seen = told()
        await store.watch("", revisions[3], seen)
        await seen.have(2)
        assert [e.revision for e in seen] == revisions[3:]
        with pytest.raises(CompactedError):
            await store.compact(revisions[0])
        with pytest.raises(FutureRevisionError):
            await store.compact(revisions[4] + 1)

    with_store(story)


def test_a_lease_takes_its_keys_with_it(with_store, told):
    """In one revision, when the time has come."""

    async def story(store, env):
        lease = await store.grant(1)
        await put(store, "a", lease=lease)
        await put(store, "b", lease=lease)
        await put(store, "c")
        before = await store.revision()
        assert await keys(store) == ["a", "b", "c"]
        seen = told()
        await store.watch("", before + 1, seen)
        await seen.have(2)
        assert await keys(store) == ["c"]
        assert await store.revision() == before + 1
        assert len(seen.calls) == 1
        with pytest.raises(LeaseNotFoundError) as error:
            await put(store, "d", lease=lease)
        assert error.value.lease == lease

    with_store(story)


def test_a_put_without_the_lease_frees_the_key_of_it(with_store, told):
    """As does a put with another one."""

    async def story(store, env):
        short, long = await store.grant(1), await store.grant(1000)
        for key in ("a", "b", "c"):
            await put(store, key, lease=short)
        await put(store, "a")
        last = await put(store, "b", lease=long)
        seen = told()
        await store.watch("", last + 1, seen)
        await seen.have(1)
        assert await keys(store) == ["a", "b"]
        await store.revoke(long)
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


def test_a_range_larger_than_a_page_is_whole_and_of_one_revision(with_store):
    """However an engine reads it."""

    async def story(store, env):
        for first in range(0, 1200, 100):
            await store.txn([], [Put(f"/p/{i:05}", b"x") for i in range(first, first + 100)])
        page = await store.range("/p/")
        assert ([kv.key for kv in page.kvs], page.more) == (
            [f"/p/{i:05}" for i in range(1200)],
            False,
        )
        assert page.revision == await store.revision()
        page = await store.range("/p/", limit=1200)
        assert (len(page.kvs), page.more) == (1200, False)
        page = await store.range("/p/", limit=1199)
        assert (len(page.kvs), page.more) == (1199, True)

    with_store(story)


def test_large_values_come_back_in_one_range(with_store):
    """More than any default limit of a wire: twelve values of one megabyte."""

    async def story(store, env):
        for i in range(12):
            await put(store, f"/p/{i:02}", bytes([i]) * 1024 * 1024)
        page = await store.range("/p/")
        assert [kv.value[0] for kv in page.kvs] == list(range(12))

    with_store(story)


def test_the_revision_covers_what_was_written_before_it_was_asked(with_store):
    """For many who ask at once."""

    async def story(store, env):
        async def write_and_ask(number):
            written = await put(store, f"/p/{number}")
            assert await store.revision() >= written

        await asyncio.gather(*(write_and_ask(number) for number in range(50)))

    with_store(story)


def test_concurrent_creates_of_one_key_have_one_winner(with_store):
    """Revisions are distinct, and the losers hear of the winner's."""

    async def story(store, env):
        async def create(number):
            return await store.txn([Compare("a", 0)], [Put("a", str(number).encode())])

        results = await asyncio.gather(*(create(number) for number in range(20)))
        (winner,) = [number for number, result in enumerate(results) if result.succeeded]
        assert (await store.get("a")).value == str(winner).encode()
        assert all(result.failed == ("a",) for result in results if not result.succeeded)

    with_store(story)


def test_an_engine_that_works_passes_its_check(with_store):
    """What the health endpoints ask."""

    async def story(store, env):
        await store.check()

    with_store(story)
