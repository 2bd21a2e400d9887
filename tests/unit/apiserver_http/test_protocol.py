"""HTTP/1.1 as it comes over the wire: order, bounds, patience, and what is no HTTP."""

import asyncio
import re
from contextlib import suppress

import pytest

from podwire.apiserver.http import connection
from podwire.apiserver.http.parser import MAX_HEAD_BYTES, MAX_HEADERS, split_target
from podwire.client.counters import Response
from tests.unit.apiserver_http.conftest import TOKEN
from tests.unit.apiserver_http.talking import (
    AUTH,
    Big,
    answered,
    statuses,
    talk,
    until,
    wire,
)


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
