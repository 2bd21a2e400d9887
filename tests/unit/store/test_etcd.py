"""What a real etcd does to its clients: it goes away, compacts, is shared, or is something else."""

from __future__ import annotations

import asyncio
import http.server
import itertools
import sys
import threading
from types import SimpleNamespace

import grpc
import pytest
from aetcd import rpc

from podwire.runtime import env as real_env
from podwire.store import (
    CompactedError,
    Compare,
    OutcomeUnknownError,
    Put,
    StoreError,
    StoreOpenError,
    StoreOptions,
    UnavailableError,
    open_store,
)
from podwire.store.etcdwatch import EtcdWatch
from tests.etcds import Etcd
from tests.unit.store.proxy import Proxy

_numbers = itertools.count()


def run(main):
    async def bounded():
        async with asyncio.timeout(60):
            return await main(real_env.real(log_level="off"))

    return asyncio.run(bounded())


async def opened(env, *urls, prefix=None):
    prefix = f"own-{next(_numbers)}:" if prefix is None else prefix
    options = StoreOptions(etcd_servers=urls, etcd_prefix=prefix)
    return await open_store(options, env.clock, env.trace, env.log)


async def put(store, key, value=b"v"):
    return (await store.txn([], [Put(key, value)])).revision


async def until_available(store):
    while True:
        try:
            return await store.check()
        except UnavailableError:
            await asyncio.sleep(0.02)


def test_a_watch_goes_on_behind_the_last_revision_it_told(etcd, told):
    """Whatever was written while the wire was cut, once and in order."""

    async def main(env):
        async with Proxy(etcd.port) as wire:
            store = await opened(env, wire.url, prefix="cut:")
            direct = await opened(env, etcd.url, prefix="cut:")
            seen = told()
            first = await put(store, "a")
            await store.watch("", first, seen)
            await seen.have(1)
            await wire.cut()
            for _ in range(20):
                await direct.txn([], [Put("b", b"1"), Put("a", b"2")])
            await wire.mend()
            last = await put(direct, "c")
            await seen.have(42)
            revisions = [event.revision for event in seen]
            assert revisions == [first, *(r for n in range(1, 21) for r in [first + n] * 2), last]
            for call in seen.calls[1:]:
                later = [event.revision for event in seen if event.revision > call[-1].revision]
                assert call[-1].revision not in later
            await store.close()
            await direct.close()

    run(main)


def test_a_watch_whose_history_was_compacted_is_lost(etcd, told):
    """It says so once, and is over."""

    async def main(env):
        async with Proxy(etcd.port) as wire:
            store = await opened(env, wire.url, prefix="compacted:")
            direct = await opened(env, etcd.url, prefix="compacted:")
            seen, lost = told(), asyncio.Queue()
            first = await put(store, "a")
            await store.watch("", first, seen, lost.put_nowait)
            await seen.have(1)
            await wire.cut()
            await put(direct, "a")
            await direct.compact(await put(direct, "a"))
            await wire.mend()
            error = await lost.get()
            assert isinstance(error, CompactedError)
            assert error.wanted == first + 1
            assert len(seen) == 1
            assert lost.empty()
            await store.close()
            await direct.close()

    run(main)


def test_a_transaction_that_was_under_way_is_unknown_and_not_repeated(etcd, told):
    """It happened here; the client cannot know."""

    async def main(env):
        async with Proxy(etcd.port) as wire:
            store = await opened(env, wire.url, prefix="unknown:")
            direct = await opened(env, etcd.url, prefix="unknown:")
            await store.check()
            seen = told()
            await direct.watch("a", await direct.revision() + 1, seen)
            wire.deaf = True
            writing = asyncio.create_task(store.txn([], [Put("a", b"1")]))
            await seen.have(1)
            await wire.cut()
            with pytest.raises(OutcomeUnknownError):
                await writing
            await wire.mend()
            await until_available(store)
            assert (await store.get("a")).version == 1
            await store.close()
            await direct.close()

    run(main)


def test_an_etcd_that_is_away_refuses_quickly_and_is_found_again(tmp_path):
    """What was never sent is known not to have happened."""
    member = Etcd(tmp_path)

    async def main(env):
        await asyncio.to_thread(member.start)
        store = await opened(env, member.url)
        await put(store, "a")
        member.kill()
        with pytest.raises(UnavailableError):
            await store.check()
        refused = []
        for call in (store.get("a"), store.range(""), store.revision(), put(store, "b")):
            with pytest.raises(UnavailableError) as error:
                await call
            refused.append(type(error.value))
        assert refused == [UnavailableError] * 4
        await asyncio.to_thread(member.start)
        await until_available(store)
        assert (await store.get("a")).value == b"v"
        assert await store.get("b") is None
        await store.close()

    try:
        run(main)
    finally:
        member.kill()


def test_another_url_is_used_when_one_is_away(etcd):
    """``--etcd A,B``: at the start, and later."""

    async def main(env):
        async with Proxy(etcd.port) as wire:
            store = await opened(env, "http://127.0.0.1:1", wire.url, etcd.url)
            await put(store, "a")
            await wire.cut()
            await until_available(store)
            assert (await store.get("a")).value == b"v"
            await store.close()

    run(main)


def test_revisions_of_others_do_not_keep_a_reader_waiting(etcd, told):
    """Two clusters in one etcd: a watch is told how far it has come without an event."""

    async def main(env):
        ours, theirs = await opened(env, etcd.url), await opened(env, etcd.url)
        seen, progress = told(), asyncio.Queue()
        first = await put(ours, "/registry/a")
        await ours.watch("/registry/", first, seen, None, progress.put_nowait)
        await seen.have(1)
        foreign = await put(theirs, "/registry/a")
        assert await ours.revision() >= foreign
        assert await progress.get() >= foreign
        assert [kv.key for kv in (await ours.range("")).kvs] == ["/registry/a"]
        assert [kv.key for kv in (await ours.range("", limit=1)).kvs] == ["/registry/a"]
        assert not (await ours.range("", limit=1)).more
        assert len(seen) == 1
        await ours.close()
        await theirs.close()

    run(main)


def test_history_is_compacted_by_one_server_of_several(etcd):
    """As kube-apiserver does it: at the revision of the turn before."""

    async def main(env):
        one = await opened(env, etcd.url, prefix="turns:")
        two = await opened(env, etcd.url, prefix="turns:")
        old = await put(one, "a")
        first = await one._compact_turn(0, 0)
        assert first[0] == 1
        assert (await two._compact_turn(0, 0))[0] == 1  # too late for this turn
        await put(one, "a")
        await put(one, "a")
        assert (await two._compact_turn(1, first[1]))[0] == 2
        with pytest.raises(CompactedError):
            await one.get("a", old)
        await one.close()
        await two.close()

    run(main)


class Stream:
    """A watch stream that says what it is given, then ends."""

    def __init__(self, *responses):
        self.responses = list(responses)
        self.asked = None

    async def write(self, request):
        self.asked = request.create_request

    async def read(self):
        return self.responses.pop(0) if self.responses else grpc.aio.EOF

    def cancel(self):
        pass


def response(*revisions, created=False, fragment=False, header=0, compacted=0):
    """A WatchResponse with a put of a key of its own per revision given."""
    answer = rpc.WatchResponse(created=created, fragment=fragment, compact_revision=compacted)
    answer.header.revision = header
    for number, revision in enumerate(revisions):
        event = answer.events.add(type=0)
        event.kv.key, event.kv.mod_revision = f"{revision}-{number}".encode(), revision
    return answer


def watch(seen, revision):
    env = real_env.real(log_level="off")
    return EtcdWatch(
        SimpleNamespace(), env.clock, env.log, (b"", b"\0"), bytes.decode, revision,
        seen, None, None, lambda _: None,
    )  # fmt: skip


def test_a_revision_that_came_in_pieces_is_told_whole_or_not_at_all(told):
    """The connection breaks between the pieces: resume in front of it."""

    async def main(_env):
        seen = told()
        watching = watch(seen, 5)
        torn = Stream(response(created=True, header=7), response(5), response(6, 6, fragment=True))
        await watching._follow(torn)
        assert [event.revision for event in seen] == [5]
        again = Stream(
            response(created=True, header=7), response(6, 6, fragment=True), response(6, 7)
        )
        await watching._follow(again)
        assert again.asked.start_revision == 6
        assert [[e.revision for e in call] for call in seen.calls] == [[5], [6, 6, 6, 7]]

    run(main)


def test_an_etcd_whose_data_was_replaced_is_not_trusted(told):
    """Its revisions are behind what was seen: events would be missing for ever."""

    async def main(_env):
        with pytest.raises(StoreError, match="its data was replaced"):
            await watch(told(), 100)._follow(Stream(response(created=True, header=3)))

    run(main)


class NotEtcd:
    """An ordinary web server."""

    def __enter__(self):
        self.server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler
        )
        self.server.RequestHandlerClass.log_message = lambda *_: None
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def refusal(**options):
    async def main(env):
        with pytest.raises(StoreOpenError) as error:
            await open_store(StoreOptions(**options), env.clock, env.trace, env.log)
        return str(error.value)

    return run(main)


@pytest.mark.parametrize(
    ("options", "told_"),
    [
        ({"etcd_servers": ("http://127.0.0.1:1",)}, "http://127.0.0.1:1: nothing listens there"),
        ({"etcd_servers": ("ftp://x",)}, "use http://HOST:PORT or https://HOST:PORT"),
        ({"etcd_servers": ("http://x:99999",)}, "use http://HOST:PORT"),
        ({"etcd_servers": ("http://u:p@x:1",)}, "neither user nor path"),
        ({"etcd_servers": ("http://x:1",), "etcd_cafile": "ca"}, "so use https://"),
        ({"etcd_servers": ("http://x:1", "https://x:1")}, "for all URLs"),
        ({"etcd_servers": ("https://x:1",), "etcd_certfile": "c"}, "belong together"),
        ({"etcd_servers": ("https://x:1",), "etcd_cafile": "/no"}, "name a readable PEM file"),
    ],
)
def test_an_etcd_that_cannot_be_used_is_told_in_one_line(options, told_):
    """With the URL or the flag, and what to do."""
    line = refusal(**options)
    assert told_ in line
    assert "\n" not in line


def test_what_is_no_etcd_is_recognised(etcd):
    """A web server, and an etcd asked for TLS that it does not have."""
    with NotEtcd() as url:
        assert "does not speak the etcd v3 API" in refusal(etcd_servers=(url,))
    secure = etcd.url.replace("http:", "https:")
    assert f"{secure}: TLS failed; check --etcd-cafile" in refusal(etcd_servers=(secure,))


def test_without_the_extra_one_line_says_what_to_install(monkeypatch):
    """``podwire[etcd]``."""
    for name in ("podwire.store.etcd", "podwire.store.etcdlink", "podwire.store.etcdwatch"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "aetcd", None)
    assert refusal(etcd_servers=("http://127.0.0.1:1",)).endswith("pip install 'podwire[etcd]'")


def test_a_guard_of_an_absent_key_is_told_as_such(etcd):
    """The keys that were not as expected, and only those."""

    async def main(env):
        store = await opened(env, etcd.url)
        revision = await put(store, "a")
        guards = [Compare("a", revision), Compare("b", 7), Compare("c", 0)]
        assert (await store.txn(guards, [Put("d", b"")])).failed == ("b",)
        await store.close()

    run(main)
