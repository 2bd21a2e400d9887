"""What a data directory promises: nothing told is lost, nothing refused comes back."""

from __future__ import annotations

import asyncio
import errno
import os

import pytest

from podwire.runtime import env as real_env
from podwire.runtime import sim
from podwire.store import (
    Compare,
    Delete,
    OutcomeUnknownError,
    Put,
    StoreOpenError,
    UnavailableError,
)
from podwire.store import journal as journal_module
from podwire.store.durable import DurableStore


def lives(tmp_path, *stories, **options):
    """Run stories one after the other, each with the store opened anew."""

    async def main(env):
        for story in stories:
            store = DurableStore.open(tmp_path, env.clock, env.trace, env.log, **options)
            try:
                await story(store, env)
            finally:
                await store.close()

    sim.run(main)


async def put(store, key, value=b"v", lease=0):
    return (await store.txn([], [Put(key, value, lease)])).revision


async def state(store):
    page = await store.range("")
    return page.revision, {kv.key: kv for kv in page.kvs}


def test_a_store_goes_on_where_it_ended(tmp_path):
    """Values, revisions, versions; the next revision is the next number."""
    before = {}

    async def first(store, env):
        await put(store, "a", b"1")
        await put(store, "a", b"2")
        await store.txn([], [Put("b", b"1"), Put("c", b"1")])
        await store.txn([], [Delete("c")])
        before["state"] = await state(store)

    async def second(store, env):
        assert await state(store) == before["state"]
        assert await put(store, "d") == before["state"][0] + 1
        assert not (await store.txn([Compare("b", 0)], [Delete("b")])).succeeded

    lives(tmp_path, first, second)


def test_a_lease_keeps_its_remaining_time(tmp_path):
    """It neither starts again nor lives for ever."""

    async def first(store, env):
        lease = await store.grant(100)
        await put(store, "a", lease=lease)
        await put(store, "b")
        await env.clock.sleep(60)

    async def second(store, env):
        assert sorted((await state(store))[1]) == ["a", "b"]
        await env.clock.sleep(39)
        assert sorted((await state(store))[1]) == ["a", "b"]
        await env.clock.sleep(2)
        assert sorted((await state(store))[1]) == ["b"]

    async def third(store, env):
        assert sorted((await state(store))[1]) == ["b"]

    lives(tmp_path, first, second, third)


def test_a_lease_that_ended_meanwhile_ends_at_the_start(tmp_path):
    """And new leases do not take the ids of old ones."""
    ids = []

    async def first(store, env):
        ids.append(await store.grant(100))
        await put(store, "a", lease=ids[0])
        ids.append(await store.grant(1000))
        await store.revoke(ids[1])

    async def pause(store, env):
        store._disarm()  # as if no process ran
        await env.clock.sleep(200)

    async def second(store, env):
        await env.clock.sleep(0.001)
        assert (await state(store))[1] == {}
        assert await store.grant(10) not in ids

    lives(tmp_path, first, pause, second)


def test_snapshots_replace_old_log_segments(tmp_path):
    """However often: the directory does not grow with history, and nothing is lost."""
    before = {}

    async def first(store, env):
        lease = await store.grant(5000)
        for i in range(400):
            await put(store, f"k{i % 7}", b"x" * 1000, lease if i % 2 else 0)
            await env.clock.sleep(0.001)
        before["state"] = await state(store)

    async def second(store, env):
        assert await state(store) == before["state"]
        for i in range(400):
            await put(store, f"k{i % 5}", b"y" * 1000)
        before["state"] = await state(store)

    async def third(store, env):
        assert await state(store) == before["state"]

    lives(tmp_path, first, second, third, rotate_bytes=20_000)
    names = sorted(path.name.partition("-")[0] for path in (tmp_path / "store").iterdir())
    assert names.count("snapshot") == 1
    assert sum(path.stat().st_size for path in (tmp_path / "store").iterdir()) < 100_000


def real(main):
    """Run in real time, where batches are written by a thread."""
    asyncio.run(main(real_env.real(log_level="off")))


def test_nothing_is_told_before_it_is_on_the_disk(tmp_path, monkeypatch):
    """Not to watchers, not to readers, not to those who lost against it."""
    synced = []
    inner = os.fdatasync

    def fdatasync(descriptor):
        inner(descriptor)
        synced.append((tmp_path / "store" / "log-00000000000000000001").stat().st_size)

    monkeypatch.setattr(journal_module.os, "fdatasync", fdatasync)

    async def main(env):
        store = DurableStore.open(tmp_path, env.clock, env.trace, env.log)
        told = []
        await store.watch("", 2, lambda events: told.append((len(synced), events[-1].revision)))
        winner = asyncio.create_task(store.txn([Compare("a", 0)], [Put("a", b"1")]))
        loser = asyncio.create_task(store.txn([Compare("a", 0)], [Put("a", b"2")]))
        await asyncio.sleep(0)
        assert await store.get("a") is None
        assert await store.revision() == 1
        assert not (await loser).succeeded
        assert len(synced) == 1
        assert (await winner).revision == 2
        assert told == [(1, 2)]
        await store.close()

    real(main)


def test_a_watch_hears_every_revision_once_and_in_order(tmp_path):
    """Whether it begins in the middle of a batch or after it."""

    async def main(env):
        store = DurableStore.open(tmp_path, env.clock, env.trace, env.log)
        early, late = [], []
        await store.watch("", 2, lambda events: early.extend(e.revision for e in events))

        async def write(number):
            for i in range(20):
                await put(store, f"{number}/{i}")

        writers = asyncio.gather(*(write(number) for number in range(10)))
        await asyncio.sleep(0.002)
        await store.watch("", 2, lambda events: late.extend(e.revision for e in events))
        await writers
        assert early == late == list(range(2, 202))
        await store.close()

    real(main)


@pytest.mark.parametrize("broken", ["writev", "fdatasync"])
def test_after_a_failed_write_the_store_takes_no_more(tmp_path, monkeypatch, broken):
    """The write is refused and does not come back; reading goes on; nothing is tried again."""
    calls = []

    def fail(*_):
        calls.append(1)
        raise OSError(errno.ENOSPC, "No space left on device")

    async def main(env):
        store = DurableStore.open(tmp_path, env.clock, env.trace, env.log)
        told = []
        await store.watch("", 2, told.extend)
        good = await put(store, "a", b"1")
        with monkeypatch.context() as patch:
            patch.setattr(journal_module.os, broken, fail)
            with pytest.raises(OutcomeUnknownError, match="No space left on device"):
                await put(store, "a", b"2")
        for _ in range(3):
            with pytest.raises(UnavailableError, match="start podwire again"):
                await put(store, "b")
        with pytest.raises(UnavailableError):
            await store.check()
        with pytest.raises(UnavailableError):
            await store.grant(10)
        assert (await store.get("a")).value == b"1"
        assert await store.revision() == good == told[-1].revision
        assert len(calls) == 1
        await store.close()
        again = DurableStore.open(tmp_path, env.clock, env.trace, env.log)
        assert (await again.get("a")).value == b"1"
        assert await again.revision() == good
        await again.close()

    real(main)


def test_many_callers_share_a_sync(tmp_path, monkeypatch):
    """Group commit: a hundred transactions in a turn of the loop cost one or two."""
    syncs = []
    inner = os.fdatasync
    monkeypatch.setattr(journal_module.os, "fdatasync", lambda d: (syncs.append(1), inner(d))[1])

    async def main(env):
        store = DurableStore.open(tmp_path, env.clock, env.trace, env.log)
        await asyncio.gather(*(put(store, str(i)) for i in range(100)))
        assert len(syncs) == 1
        await store.close()

    real(main)


def test_a_cancelled_writer_does_not_harm_the_others(tmp_path):
    """Its write may have happened; theirs are acknowledged."""

    async def main(env):
        store = DurableStore.open(tmp_path, env.clock, env.trace, env.log)
        tasks = [asyncio.create_task(put(store, str(i))) for i in range(10)]
        await asyncio.sleep(0)
        tasks[3].cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in done].count(int) == 9
        await store.close()

    real(main)


def test_a_directory_has_one_owner(tmp_path):
    """The second one is told who."""

    async def main(env):
        store = DurableStore.open(tmp_path, env.clock, env.trace, env.log)
        with pytest.raises(StoreOpenError, match=f"in use by process {os.getpid()}; stop that one"):
            DurableStore.open(tmp_path, env.clock, env.trace, env.log)
        await store.close()
        await DurableStore.open(tmp_path, env.clock, env.trace, env.log).close()

    sim.run(main)


def test_everything_is_for_its_owner_only(tmp_path):
    """Secrets are stored here."""

    async def first(store, env):
        await put(store, "a")

    lives(tmp_path / "new", first)
    for path in (tmp_path / "new").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
