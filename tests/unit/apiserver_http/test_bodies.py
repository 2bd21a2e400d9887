"""Answers that are made while they are sent: large bodies, and watches."""

import asyncio
import gzip
import json
from contextlib import suppress

import pytest

from podwire.api import kinds
from podwire.apiserver.http import writing
from podwire.client.counters import Frame, Response
from tests.unit.apiserver_http.talking import (
    AUTH,
    CONFIG_MAPS,
    Big,
    answered,
    settled,
    talk,
    wire,
)


async def test_old_clients_get_no_chunks(site):
    """HTTP/1.0: the end of the connection ends a body of unknown length."""
    site.http.api = Big(3)
    answer = await talk(site, f"GET /one HTTP/1.0\r\n{AUTH}\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in head
    assert body == Big(3).whole()


async def test_a_large_body_is_made_while_it_is_read(site):
    """A client that reads nothing keeps the server from making more than a few hundred KB."""
    site.http.api = big = Big(300)
    async with wire(site) as (reader, writer):
        writer.transport.pause_reading()
        writer.write(f"GET /one HTTP/1.1\r\n{AUTH}\r\n".encode())
        await settled(lambda: big.made)
        assert big.made < 150  # socket buffers and 256 KiB, not 30 MB
        writer.transport.resume_reading()
        _, headers, body = await answered(reader)
    assert headers["transfer-encoding"] == "chunked"
    assert body == big.whole()


class Broken(Big):
    """A body whose maker fails at its last chunk."""

    def chunks(self):
        yield from super().chunks()
        raise ValueError("made to fail")


async def test_a_body_that_fails_is_a_status_while_nothing_is_written(site):
    """Afterwards the connection breaks: half an answer must not look like a whole one."""
    for count, told in ((1, True), (3, False)):
        site.http.api = Broken(count)
        async with wire(site) as (reader, writer):
            writer.write(f"GET /one HTTP/1.1\r\n{AUTH}\r\n".encode())
            if told:
                status, _, body = await answered(reader)
                assert (status, json.loads(body)["reason"]) == (500, "InternalError")
            else:
                with suppress(ConnectionError):
                    assert not (await reader.read()).endswith(b"0\r\n\r\n")


async def test_large_bodies_are_compressed_for_who_accepts_it(site):
    """gzip above 128 KiB; small ones are sent as they are."""
    for count, accepted, compressed in (
        (1, "deflate, gzip;q=1.0", False), (3, "deflate, gzip;q=0.5", True), (3, "gzip", True),
        (3, "gzip;q=0.0, deflate", False),
    ):  # fmt: skip
        site.http.api = big = Big(count)
        async with wire(site) as (reader, writer):
            gzips = f"Accept-Encoding: {accepted}\r\n"
            writer.write(f"GET /one HTTP/1.1\r\n{AUTH}{gzips}\r\n".encode())
            _, headers, body = await answered(reader)
        assert (headers.get("content-encoding") == "gzip") is compressed
        assert (headers.get("vary") == "accept-encoding") is compressed
        assert (gzip.decompress(body) if compressed else body) == big.whole()


async def test_a_large_object_is_compressed_for_who_accepts_it(site):
    """Objects are read by GETs that need no waiting; that makes no difference to their bytes."""
    data = {"k": "x" * 2 * writing.GZIP_BYTES}
    for name in ("small", "large"):
        body = {"metadata": {"name": name}, "data": data if name == "large" else {}}
        await site.client.create(kinds.CONFIG_MAP, body, "default")
    async with wire(site) as (reader, writer):
        for name, compressed in (("small", False), ("large", True), ("small", False)):
            target = f"/api/v1/namespaces/default/configmaps/{name}"
            asked = f"GET {target} HTTP/1.1\r\n{AUTH}Accept-Encoding: gzip\r\n\r\n"
            writer.write(asked.encode())
            _, headers, body = await answered(reader)
            assert (headers.get("content-encoding") == "gzip") is compressed
            found = json.loads(gzip.decompress(body) if compressed else body)
            assert found["metadata"]["name"] == name


@pytest.mark.parametrize("encoding", ["", "Accept-Encoding: gzip\r\n"])
@pytest.mark.parametrize("pieces", [[b""] * 99, [b"", b"a" * 70_000] * 3, [b"abcd" * 999] * 99])
async def test_a_body_that_takes_its_time_lets_others_go_first(site, monkeypatch, encoding, pieces):
    """Between any two pieces; and a piece that is empty does not end it."""
    monkeypatch.setattr(writing, "_TURN_S", 0.0)
    turns, seen = 0, []

    async def others():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def made():
        for piece in pieces:
            seen.append(turns)
            yield piece

    class Slow:
        async def send(self, _request):
            return Response(200, b"", {"vary": "Accept"}, None, made())

    site.http.api = Slow()
    async with wire(site) as (reader, writer):
        rival = asyncio.create_task(others())
        await asyncio.sleep(0)
        writer.write(f"GET /one HTTP/1.1\r\n{AUTH}{encoding}\r\n".encode())
        _, headers, body = await answered(reader)
        rival.cancel()
    compressed = "content-encoding" in headers
    assert headers["vary"] == ("accept, accept-encoding" if compressed else "accept")
    assert (gzip.decompress(body) if compressed else body) == b"".join(pieces)
    assert len(dict.fromkeys(seen)) == len(pieces)


# ------------------------------------------------------------------------- watches


async def test_a_slow_watcher_is_cut_off_and_resumes_or_is_told_410(site):
    """Bounded buffers: the watch ends, and where it stopped is too old by then."""
    big = "x" * 100_000
    async with wire(site) as (reader, writer):
        writer.write(f"GET {CONFIG_MAPS}?watch=1 HTTP/1.1\r\n{AUTH}\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()
        body = {"metadata": {"name": "a"}, "data": {"v": big}}
        await site.client.create(kinds.CONFIG_MAP, body, "default")
        cache = site.server.caches.of(kinds.CONFIG_MAP)
        written = 0
        while cache.watchers():
            patch = {"data": {"v": f"{written}{big}"}}
            await site.client.patch(kinds.CONFIG_MAP, "a", patch, "default")
            written += 1
            assert written < 2500, "a watcher that reads nothing must be cut off"
            await asyncio.sleep(0)
        writer.transport.resume_reading()
        events = []
        while size := int(await reader.readline(), 16):
            events += (await reader.readexactly(size)).splitlines()
            await reader.readline()
    last = json.loads(events[-1])["object"]["metadata"]["resourceVersion"]
    for _ in range(1100):
        await site.client.patch(kinds.CONFIG_MAP, "a", {"data": {"w": str(_)}}, "default")
    resumed = await talk(
        site,
        f"GET {CONFIG_MAPS}?watch=1&resourceVersion={last} HTTP/1.1\r\n{AUTH}"
        "Connection: close\r\n\r\n",
    )
    assert b'"code":410' in resumed


async def test_a_watch_starts_with_a_state_that_is_made_while_it_is_read(site):
    """Every object once, then the bookmark, then what happens afterwards."""
    for i in range(300):
        body = {"metadata": {"name": f"cm-{i:03}"}, "data": {"v": "x" * 2000}}
        await site.client.create(kinds.CONFIG_MAP, body, "default")
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    async with site.admin() as http:
        url = f"{CONFIG_MAPS}?{query}&allowWatchBookmarks=true"
        async with http.get(url) as answer:
            events = [json.loads(await answer.content.readline()) for _ in range(301)]
            body = {"metadata": {"name": "later"}}
            await site.client.create(kinds.CONFIG_MAP, body, "default")
            events.append(json.loads(await answer.content.readline()))
    names = [event["object"]["metadata"].get("name") for event in events]
    assert names == [*(f"cm-{i:03}" for i in range(300)), None, "later"]
    assert events[300]["type"] == "BOOKMARK"


async def test_a_watch_that_fails_ends_alone(site):
    """Its connection ends without the last chunk; another one goes on."""
    async with (
        wire(site) as (reader, writer),
        site.admin() as http,
        http.get(f"{CONFIG_MAPS}?watch=1") as answer,
    ):
        watch = f"GET {CONFIG_MAPS}?watch=1 HTTP/1.1\r\n{AUTH}\r\n"
        writer.write(watch.encode())
        await reader.readuntil(b"\r\n\r\n")
        failing = site.server.caches.of(kinds.CONFIG_MAP).watchers()[-1]
        failing.take = Failing()
        await site.client.create(kinds.CONFIG_MAP, {"metadata": {"name": "a"}}, "default")
        assert json.loads(await answer.content.readline())["type"] == "ADDED"
        with suppress(ConnectionError):
            assert not (await reader.read()).endswith(b"0\r\n\r\n")
        assert failing.ended


class Failing:
    """A ``take`` that cannot make its frames."""

    def __call__(self, _limit):
        raise ValueError("made to fail")


async def test_a_stream_that_is_an_iterator_is_slowed_down_by_its_reader(site):
    """What makes frames waits while nobody reads them."""
    made = 0

    async def frames():
        nonlocal made
        while made < 300:
            made += 1
            yield Frame(b"x" * 100_000)

    class Streaming:
        async def send(self, _request):
            return Response(200, stream=frames())

    site.http.api = Streaming()
    async with wire(site) as (reader, writer):
        writer.transport.pause_reading()
        writer.write(f"GET /one HTTP/1.1\r\n{AUTH}\r\n".encode())
        await settled(lambda: made)
        assert made < 150
        writer.transport.resume_reading()
        assert len((await answered(reader))[2]) == 30_000_000
