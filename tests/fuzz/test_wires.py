"""Bytes that are no requests, clients that are slow, silent or many: the others do not notice."""

import asyncio
import base64
import os
import random
from contextlib import suppress

import pytest

from podwire.apiserver.http import connection
from tests.fuzz.door import Door, resident_bytes
from tests.fuzz.drawing import Asked
from tests.fuzz.values import Wild
from tests.unit.apiserver_http.talking import AUTH, statuses, wire

SWEEP = bool(os.environ.get("PODWIRE_SWEEP"))
CONVERSATIONS = 2_000 if SWEEP else 60
POD = "/api/v1/namespaces/default/pods/web"
HEADS = (
    f"GET /api/v1/pods HTTP/1.1\r\n{AUTH}\r\n",
    f"POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\n{AUTH}Content-Length: 2\r\n\r\n{{}}",
    f"POST / HTTP/1.1\r\n{AUTH}Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n",
    f"PUT / HTTP/1.1\r\n{AUTH}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n12345",
)
WEBSOCKET = (
    f"GET {POD}/exec?command=sh&stdin=true&stdout=true HTTP/1.1\r\n{AUTH}Connection: Upgrade\r\n"
    f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {'A' * 22}==\r\n"
    "Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n"
)
SPDY = (
    f"POST {POD}/exec?command=sh&stdin=true&stdout=true HTTP/1.1\r\n{AUTH}Connection: Upgrade\r\n"
    "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\nContent-Length: 0\r\n\r\n"
)


async def sane(target):
    """Somebody else is answered as ever."""
    door = Door(target)
    assert await door.ask(Asked("sane", "GET", "/api/v1/namespaces/default/pods", {})) == 200
    await door.close()


async def said(target, data):
    """All that comes back until the server, or we after a moment of silence, hang up."""
    heard = b""
    async with wire(target) as (reader, writer):
        writer.write(data)
        with suppress(ConnectionError, TimeoutError):
            while piece := await asyncio.wait_for(reader.read(65536), 0.02):
                heard += piece
        writer.transport.abort()
    return heard


async def test_spoilt_http_is_refused_or_waited_for(target, seed):
    """Bits flipped in heads, lengths and chunks: a 4xx, or a wait for the rest that ends."""
    wild = Wild(random.Random(seed))  # noqa: S311  what is tested is no secret
    for _ in range(CONVERSATIONS):
        data = wild.flipped(wild.rng.choice(HEADS).encode())
        if wild.rng.random() < 0.1:
            data = data.replace(b"Host: x", b"X: " + b"y" * wild.rng.choice((10_000, 2_000_000)))
        answers = statuses(await said(target, data))
        assert all(code < 500 or code in {501, 505} for code in answers), (
            seed,
            data[:500],
            answers,
        )
    await sane(target)
    assert "Traceback" not in target.told.getvalue()
    assert not target.complaints, seed


@pytest.mark.parametrize("opening", [WEBSOCKET, SPDY], ids=["websocket", "spdy"])
async def test_spoilt_frames_end_their_conversation_only(target, seed, opening):
    """Any bytes after the 101: the command is cancelled, nobody else is hurt."""
    await target.pod()
    wild = Wild(random.Random(seed))  # noqa: S311  what is tested is no secret
    frames = (
        b"\x82\x85abcd" + bytes(5), b"\x81\xfe\xff\xff", b"\x82\xff" + b"\xff" * 8, b"\x89\x80abcd",
        b"\x88\x82abcd\x00\x00", b"\x80\x03\x00\x01\x01\x00\x00\x12" + bytes(18),
        b"\x80\x03\x00\x04",
        b"\x00\x00\x00\x01\x00\xff\xff\xff", b"\x80\x03\x00\x06\x00\x00\x00\x04\x00\x00\x00\x01",
        base64.b85decode(b"0" * 100),
    )  # fmt: skip
    for _ in range(CONVERSATIONS // 2):
        data = b"".join(wild.rng.choice(frames) for _ in range(wild.rng.randrange(1, 6)))
        heard = await said(target, opening.encode() + wild.flipped(data))
        assert statuses(heard)[:1] == [101], heard[:300]
    await sane(target)
    assert "Traceback" not in target.told.getvalue(), target.told.getvalue()[-3000:]
    assert not target.complaints, (seed, target.complaints[:2])


async def test_one_byte_at_a_time_is_not_waited_for_forever(target, monkeypatch):
    """Neither a head nor a body may take longer than its time, however steadily it comes."""
    monkeypatch.setattr(connection, "HEAD_S", 0.3)
    monkeypatch.setattr(connection, "BODY_S", 0.3)
    for opening in ("", f"POST /api/v1/namespaces HTTP/1.1\r\n{AUTH}Content-Length: 1000\r\n\r\n"):
        async with wire(target) as (reader, writer):
            writer.write(opening.encode())
            gone = asyncio.create_task(reader.read())
            for byte in b"GET /version HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 5000:
                if gone.done():
                    break
                writer.write(bytes((byte,)))
                await asyncio.sleep(0.02)  # the slow sender himself
            with suppress(ConnectionError):
                await gone
    await sane(target)


async def test_idle_connections_and_watches_are_let_go(target):
    """Many at once, silent or watching; when they are gone memory is back and nothing is left."""
    count = 1_000 if SWEEP else 60
    await sane(target)
    before = resident_bytes()
    host, port = target.http.address
    watch = f"GET /api/v1/configmaps?watch=1 HTTP/1.1\r\n{AUTH}\r\n".encode()
    opened = [await asyncio.open_connection(host, port, ssl=target.tls()) for _ in range(count)]
    for number, (_, writer) in enumerate(opened):
        if number % 3 == 0:
            writer.write(watch)
        elif number % 3 == 1:
            writer.write(watch[:20])  # half a request
    door = Door(target)
    for number in range(count):
        body = b'{"metadata":{"name":"flood-%d"}}' % number
        headers = {"Content-Type": "application/json"}
        path = "/api/v1/namespaces/default/configmaps"
        assert await door.ask(Asked("flood", "POST", path, headers, body)) == 201
    await door.close()
    for _, writer in opened:
        writer.transport.abort()
    await sane(target)
    while target.http._connections:  # noqa: ASYNC110  the server's inside has no event for tests
        await asyncio.sleep(0.01)
    assert resident_bytes() - before < 64 * 2**20
