"""What only the embedded engine promises: bounded history, recorded facts."""

from __future__ import annotations

import pytest

from podwire.runtime import sim
from podwire.store import CompactedError, Put
from podwire.store.embedded import EmbeddedStore


def test_history_is_bounded_by_count():
    """Long runs do not grow without end."""

    async def main(env):
        store = EmbeddedStore(env.clock, env.trace, keep_revisions=100)
        for i in range(1000):
            await store.txn([], [Put("a", str(i).encode())])
        now = await store.revision()
        assert (await store.get("a", now - 100)).value == b"899"
        with pytest.raises(CompactedError):
            await store.get("a", now - 400)

    sim.run(main)


def test_history_is_bounded_by_age():
    """What is older than five minutes is forgotten at the next trim."""

    async def main(env):
        store = EmbeddedStore(env.clock, env.trace)
        old = (await store.txn([], [Put("a", b"old")])).revision
        await store.txn([], [Put("a", b"still the state of five minutes ago")])
        await env.clock.sleep(301)
        for _ in range(300):
            await store.txn([], [Put("a", b"new")])
        with pytest.raises(CompactedError):
            await store.get("a", old)

    sim.run(main)


def test_every_committed_write_is_a_fact_of_history():
    """With key, revision and digest; a refused transaction is none."""

    async def main(env):
        store = EmbeddedStore(env.clock, env.trace)
        before = env.trace.hash
        await store.txn([], [Put("a", b"1")])
        once = env.trace.hash
        assert once != before
        await store.txn([("a", 99)], [Put("a", b"2")])
        assert env.trace.hash == once

    sim.run(main)


def test_a_lease_ends_to_the_nanosecond_and_not_before():
    """Virtual time shows it."""

    async def main(env):
        store = EmbeddedStore(env.clock, env.trace)
        lease = await store.grant(10)
        await store.txn([], [Put("a", b"", lease)])
        await env.clock.sleep(9.999999)
        assert await store.get("a") is not None
        await env.clock.sleep(0.000001)
        assert await store.get("a") is None

    sim.run(main)
