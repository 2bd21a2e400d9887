"""HTTP/1.1 as it comes over the wire: order, bounds, patience, and what is no HTTP."""

import asyncio
import gzip
import json
import re
import ssl
from contextlib import asynccontextmanager, suppress

import pytest

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.apiserver.http import connection, writing
from podwire.apiserver.http.duplex import Switch
from podwire.apiserver.http.parser import MAX_HEAD_BYTES, MAX_HEADERS, split_target
from podwire.client.counters import Frame, Response
from tests.unit.apiserver_http.conftest import PATIENCE_S, TOKEN

AUTH = f"Host: x\r\nAuthorization: Bearer {TOKEN}\r\n"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture(autouse=True)
def _short_linger(monkeypatch):
    """What a refused client may still send is read for a moment only."""
    monkeypatch.setattr(connection, "LINGER_S", 0.05)


@asynccontextmanager
async def wire(site):
    """A TLS connection on which the test writes bytes."""
    host, port = site.http.address
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection(host, port, ssl=site.tls(), limit=2**24)
        try:
            yield reader, writer
        finally:
            writer.close()
            with suppress(ConnectionError, ssl.SSLError):  # the server hung up first
                await writer.wait_closed()


async def talk(site, data):
    """Everything the server says to these bytes before it hangs up."""
    async with wire(site) as (reader, writer):
        writer.write(data.encode() if isinstance(data, str) else data)
        try:
            return await reader.read()
        except ConnectionError:
            return b""


async def until(condition):
    """What the loop brings about by itself."""
    while not condition():  # noqa: ASYNC110  the server's inside has no event for tests
        await asyncio.sleep(0.001)


async def settled(count):
    """Until a count that grows grows no more."""
    before = -1
    while count() != before or not before:
        before = count()
        await asyncio.sleep(0.1)


def statuses(answer):
    """The status codes in a conversation."""
    return [int(code) for code in re.findall(rb"HTTP/1\.1 (\d+)", answer)]


async def answered(reader):
    """One answer: its status, headers and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    headers = dict(field.lower().split(": ", 1) for field in fields if field)
    body = b""
    if "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    elif headers.get("transfer-encoding") == "chunked":
        parts = []
        while size := int(await reader.readline(), 16):
            parts.append(await reader.readexactly(size))
            await reader.readline()
        await reader.readline()
        body = b"".join(parts)
    return int(line.split(" ")[1]), headers, body


class Echo:
    """Counter 1: answers with what was asked, later requests sooner."""

    def __init__(self):
        self.asked = []

    async def send(self, request):
        """The path, after as many turns as it ends in."""
        self.asked.append(request)
        for _ in range(int(request.path[-1]) if request.path[-1].isdigit() else 0):
            await asyncio.sleep(0)
        return Response(200, request.path.encode() + b"|" + request.body)


async def test_pipelined_requests_are_answered_in_order(site):
    """However long each takes, and one at a time."""
    site.http.api = Echo()
    asked = [f"/{i}/{9 - i}" for i in range(9)]
    end = "Connection: close\r\n"
    data = "".join(
        f"GET {path} HTTP/1.1\r\n{AUTH}{end if path == asked[-1] else ''}\r\n" for path in asked
    )
    answer = await talk(site, data)
    assert re.findall(rb"/\d/\d", answer) == [path.encode() for path in asked]


async def test_a_request_may_come_byte_by_byte(site):
    """Head and body in single bytes are one request."""
    site.http.api = Echo()
    request = f"POST /one HTTP/1.1\r\n{AUTH}Content-Length: 5\r\n\r\nhello".encode()
    async with wire(site) as (reader, writer):
        for byte in request:
            writer.write(bytes((byte,)))
            await writer.drain()
        assert (await answered(reader))[2] == b"/one|hello"


async def test_chunks_and_trailers_make_one_body(site):
    """Transfer-Encoding: chunked; trailers are no headers."""
    site.http.api = echo = Echo()
    body = "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nAuthorization: Bearer no\r\n\r\n"
    async with wire(site) as (reader, writer):
        head = f"POST /one HTTP/1.1\r\n{AUTH}Transfer-Encoding: chunked\r\n\r\n"
        writer.write((head + body).encode())
        assert (await answered(reader))[2] == b"/one|abcde"
    assert echo.asked[0].headers["authorization"] == f"Bearer {TOKEN}"


async def test_continue_is_said_before_the_body_is_sent(site):
    """Expect: 100-continue: a client waits for it; a body that is too large is refused instead."""
    site.http.api = Echo()
    async with wire(site) as (reader, writer):
        expect = "Expect: 100-continue\r\n"
        writer.write(f"POST /one HTTP/1.1\r\n{AUTH}{expect}Content-Length: 2\r\n\r\n".encode())
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"ok")
        assert (await answered(reader))[2] == b"/one|ok"
        writer.write(
            f"POST /one HTTP/1.1\r\n{AUTH}{expect}Content-Length: 9999999\r\n\r\n".encode()
        )
        assert (await answered(reader))[0] == 413
        assert await reader.read() == b""


SMUGGLED = [
    "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    "Content-Length: +5\r\n\r\nabcde",
    "Content-Length: 5 5\r\n\r\nabcde",
    "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n1\na\n0\n\n",
    "Content-Length : 5\r\n\r\nabcde",
    "A: b\r\n Content-Length: 5\r\n\r\nabcde",
    "A: b\nContent-Length: 5\r\n\r\nabcde",
    "A: b\0c\r\n\r\n",
    "Host: y\r\n\r\n",
    "Authorization: Bearer other\r\n\r\n",
    "Connection: Upgrade\r\nUpgrade: x\r\nContent-Length: 5\r\n\r\nabcde",
]


@pytest.mark.parametrize("rest", SMUGGLED)
async def test_what_two_servers_could_read_differently_is_refused(site, rest):
    """4xx or 501, the connection ends, and what follows is not taken for a request."""
    site.http.api = echo = Echo()
    hidden = f"GET /hidden HTTP/1.1\r\n{AUTH}\r\n"
    answer = await talk(site, f"POST /one HTTP/1.1\r\n{AUTH}{rest}{hidden}")
    assert statuses(answer) in ([400], [501])
    assert echo.asked == []


MANY_HEADERS = "".join(f"h{i}: 1\r\n" for i in range(MAX_HEADERS))


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        ("nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00", 400),
        ("GET /ü HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (f"GET ftp://x/ HTTP/1.1\r\n{AUTH}\r\n", 400),
        (f"GET / HTTP/1.1\r\n{AUTH}{MANY_HEADERS}\r\n", 431),
        (f"GET /{'a' * (MAX_HEAD_BYTES + 300_000)} HTTP/1.1\r\n{AUTH}\r\n", 431),
        (f"GET /?{'a&' * 2000} HTTP/1.1\r\n{AUTH}\r\n", 400),
    ],
    ids=["no host", "2.0", "prior knowledge", "nonsense", "tls in tls", "bytes", "connect",
         "scheme", "many headers", "long target", "many parameters"],
)  # fmt: skip
async def test_what_is_no_request_is_told_so_once(site, data, status):
    """One answer in Go's words, then the end."""
    answer = await talk(site, data)
    assert statuses(answer) == [status]
    assert b"Connection: close\r\n" in answer


@pytest.mark.parametrize(
    ("size", "rest", "status"),
    [
        (1, "0\r\nTrailer: " + "x" * (MAX_HEAD_BYTES + 300_000), 431),
        (1, "0\r\n" + "T: x\r\n" * (MAX_HEAD_BYTES // 5), 431),
        (1, "1;" + "x" * (MAX_HEAD_BYTES + 300_000), 431),
        (300_000, "0\r\nConnection: close\r\n\r\n", 200),
    ],
    ids=["one trailer", "many trailers", "a chunk's extension", "small chunks"],
)
async def test_what_frames_a_body_is_bounded(site, size, rest, status):
    """Nothing that is kept or read for nothing comes without end; chunks of one byte may."""
    site.http.api = Echo()
    async with wire(site) as (reader, writer):
        writer.write(f"POST /one HTTP/1.1\r\n{AUTH}Transfer-Encoding: chunked\r\n\r\n".encode())
        writer.write(b"1\r\na\r\n" * size + rest.encode())
        assert (await reader.readuntil(b"\r\n")).split()[1] == b"%d" % status


async def test_requests_before_a_malformed_one_are_answered(site):
    """In order: 200, then 400."""
    answer = await talk(site, f"GET /readyz HTTP/1.1\r\n{AUTH}\r\nnonsense\r\n\r\n")
    assert statuses(answer) == [200, 400]


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/api/v1/", "/api/v1", ()),
        ("/", "/", ()),
        ("//", "/", ()),
        ("//host/%2e%2e//x", "/host/..//x", ()),
        ("/%2F/host/x", "/host/x", ()),
        ("https://host/api?a=b", "/api", (("a", "b"),)),
        ("/a%2Fb/%c3%bc/system%3Anode", "/a/b/%C3%BC/system:node", ()),
        ("/x?a=1&a=2&b&c=%41+%2b", "/x", (("a", "1"), ("a", "2"), ("b", ""), ("c", "A +"))),
    ],
)
def test_a_target_is_a_path_and_parameters(target, path, query):
    """Escapes have one form; a slash is a slash however it was written, as Go reads it."""
    assert split_target(target) == (path, query)


async def test_old_clients_get_no_chunks(site):
    """HTTP/1.0: the end of the connection ends a body of unknown length."""
    site.http.api = Big(3)
    answer = await talk(site, f"GET /one HTTP/1.0\r\n{AUTH}\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in head
    assert body == Big(3).whole()


class Big:
    """Counter 1: a body in chunks of 100,000 bytes; counts those that were made."""

    def __init__(self, chunks):
        self.count = chunks
        self.made = 0

    async def send(self, _request):
        """The body, made while it is sent."""
        return Response(200, b"", {"content-type": "text/plain"}, None, self.chunks())

    def chunks(self):
        for i in range(self.count):
            self.made += 1
            yield b"%d" % (i % 10) * 100_000

    def whole(self):
        return b"".join(self.chunks())


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


async def test_what_every_answer_says(site):
    """Audit-Id (the client's own if it has one), Cache-Control, Date."""
    async with wire(site) as (reader, writer):
        seen = {}
        for own in ("", "", "Audit-Id: mine\r\n"):
            writer.write(f"GET /version HTTP/1.1\r\n{AUTH}{own}\r\n".encode())
            _, headers, _ = await answered(reader)
            assert headers["cache-control"] == "no-cache, private"
            assert headers["date"].endswith(" gmt")
            seen[headers["audit-id"]] = None
    assert len(seen) == 3
    assert "mine" in seen


async def test_a_header_value_cannot_begin_another_header(site):
    """What a handler quotes of a request stays in its line."""

    class Quoting:
        async def send(self, _request):
            return Response(200, b"ok", {"warning": "a\r\nSet-Cookie: b\r\n\r\n<html>"})

    site.http.api = Quoting()
    async with wire(site) as (reader, writer):
        writer.write(f"GET /one HTTP/1.1\r\n{AUTH}\r\n".encode())
        _, headers, body = await answered(reader)
    assert "set-cookie" not in headers
    assert body == b"ok"


# ------------------------------------------------------------------------- patience and limits


@pytest.mark.parametrize(
    ("limit", "data"),
    [
        ("HEAD_S", ""),
        ("HEAD_S", "GET / HTTP/1.1\r\nHost"),
        ("BODY_S", f"POST /one HTTP/1.1\r\n{AUTH}Content-Length: 9\r\n\r\nab"),
        ("IDLE_S", f"GET /readyz HTTP/1.1\r\n{AUTH}\r\n"),
    ],
)
async def test_patience_ends(site, monkeypatch, limit, data):
    """No request, half a head, half a body, no further request: the connection ends."""
    monkeypatch.setattr(connection, limit, 0.05)
    async with wire(site) as (reader, writer):
        writer.write(data.encode())
        try:
            rest = await reader.read()
        except ConnectionError:
            rest = b""
    assert statuses(rest) == ([200] if limit == "IDLE_S" else [])
    await until(lambda: not site.http._connections)


async def test_slow_bytes_do_not_renew_patience(site, monkeypatch):
    """A head has its time as a whole (slowloris)."""
    monkeypatch.setattr(connection, "HEAD_S", 0.2)
    async with wire(site) as (reader, writer):
        reading = asyncio.create_task(reader.read())
        while not reading.done():
            writer.write(b"G" if writer.transport.is_closing() else b"A")
            await asyncio.sleep(0.01)
        with suppress(ConnectionError):
            await reading


async def test_a_client_that_takes_nothing_is_hung_up_on(site, monkeypatch):
    """Its answer waits no longer than this."""
    monkeypatch.setattr(connection, "STALL_S", 0.1)
    site.http.api = Big(500)
    async with wire(site) as (_, writer):
        writer.transport.pause_reading()
        writer.write(f"GET /one HTTP/1.1\r\n{AUTH}\r\n".encode())
        await until(lambda: site.http._connections)
        await until(lambda: not site.http._connections)


async def test_connections_are_limited(site):
    """Those beyond it are told 429 and when to come again; then there is room again."""
    site.http._max_connections = 1
    async with wire(site) as (reader, writer):
        writer.write(f"GET /readyz HTTP/1.1\r\n{AUTH}\r\n".encode())
        assert (await answered(reader))[0] == 200
        refused = await talk(site, "")
        assert statuses(refused) == [429]
        assert b"Retry-After: 1\r\n" in refused
    await until(lambda: not site.http._connections)
    async with wire(site) as (reader, writer):
        writer.write(f"GET /readyz HTTP/1.1\r\n{AUTH}\r\n".encode())
        assert (await answered(reader))[0] == 200


async def test_stopping_lets_short_requests_finish(site):
    """Idle connections close, running requests are answered and told to close."""
    release = asyncio.Event()

    class Slow:
        async def send(self, _request):
            await release.wait()
            return Response(200, b"done")

    site.http.api = Slow()
    async with wire(site) as (reader, writer), wire(site) as (idle, _):
        writer.write(f"GET /one HTTP/1.1\r\n{AUTH}\r\n".encode())
        await until(lambda: any(c._busy for c in site.http._connections))
        stopping = asyncio.create_task(site.http.stop())
        assert await idle.read() == b""
        release.set()
        _, headers, body = await answered(reader)
        assert (headers["connection"], body) == ("close", b"done")
        await stopping
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*site.http.address)


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


# ------------------------------------------------------------------------- upgrades


def upgrading(path="/x"):
    """A request for another protocol."""
    return f"GET {path} HTTP/1.1\r\n{AUTH}Connection: Upgrade\r\nUpgrade: shout\r\n\r\n"


def shouting(seen):
    """An Upgrade that answers in capitals until it is told to stop."""

    async def upgrade(request):
        seen.append(request)
        if request.path == "/plain":
            return Response(200, b"no thanks")
        if request.path == "/wrong":
            raise ApiError("BadRequest", "unable to upgrade")

        async def serve(duplex):
            while data := await duplex.read():
                await duplex.write(data.upper())
                if data.endswith(b"."):
                    duplex.close()

        return Switch({"Upgrade": "shout", "Connection": "Upgrade"}, serve)

    return upgrade


async def test_an_upgraded_connection_carries_bytes_both_ways(site):
    """101, then what came with the request, then what comes later; either side ends it."""
    seen = []
    site.http.upgrade = shouting(seen)
    async with wire(site) as (reader, writer):
        writer.write(upgrading().encode() + b"early ")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        assert b"Upgrade: shout\r\n" in head
        assert await reader.readexactly(6) == b"EARLY "
        writer.write(b"late.")
        assert await reader.read() == b"LATE."
    assert seen[0].user.name == "robot"
    assert seen[0].headers["upgrade"] == "shout"


async def test_what_comes_before_the_101_is_kept_for_the_other_protocol(site):
    """However many pieces it comes in while the upgrade is being decided."""
    decide, asked = asyncio.Event(), asyncio.Event()
    shout = shouting([])

    async def upgrade(request):
        asked.set()
        await decide.wait()
        return await shout(request)

    site.http.upgrade = upgrade
    async with wire(site) as (reader, writer):
        writer.write(upgrading().encode() + b"one ")
        await asked.wait()
        for piece in (b"two ", b"three "):
            writer.write(piece)
            await writer.drain()
        decide.set()
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"four.")
        assert await reader.read() == b"ONE TWO THREE FOUR."


async def test_an_upgrade_may_be_answered_plainly(site):
    """A Response or an ApiError is an answer, and the connection ends."""
    site.http.upgrade = shouting([])
    assert (await talk(site, upgrading("/plain"))).endswith(b"no thanks")
    assert statuses(await talk(site, upgrading("/wrong"))) == [400]


async def test_an_upgraded_connection_waits_for_a_slow_reader(site):
    """write() waits; nothing is buffered without bound."""
    sent = 0

    async def upgrade(_request):
        async def serve(duplex):
            nonlocal sent
            while sent < 300:
                await duplex.write(b"x" * 100_000)
                sent += 1

        return Switch({"Upgrade": "flood"}, serve)

    site.http.upgrade = upgrade
    async with wire(site) as (reader, writer):
        writer.transport.pause_reading()
        writer.write(upgrading().encode())
        await settled(lambda: sent)
        assert sent < 150
        writer.transport.resume_reading()
        await reader.readuntil(b"\r\n\r\n")
        assert len(await reader.read()) == 30_000_000


async def test_an_upgraded_connection_ends_with_its_client(site):
    """read() gives b"", write() raises ConnectionError."""
    told = asyncio.get_running_loop().create_future()

    async def upgrade(_request):
        async def serve(duplex):
            assert await duplex.read() == b""
            try:
                while True:
                    await duplex.write(b"x")
                    await asyncio.sleep(0)
            except ConnectionError as error:
                told.set_result(error)

        return Switch({"Upgrade": "x"}, serve)

    site.http.upgrade = upgrade
    async with wire(site) as (reader, writer):
        writer.write(upgrading().encode())
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()
        assert isinstance(await told, ConnectionError)
    await until(lambda: not site.http._connections)
