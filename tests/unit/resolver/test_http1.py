"""HTTP/1.1 over the sockets counter."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwire.client import http1


class Pipe:
    """One end of an in-memory connection."""

    def __init__(self) -> None:
        self.local = ("10.244.1.2", 80)
        self.remote = ("10.244.2.3", 40000)
        self.inbox: asyncio.Queue[bytes] = asyncio.Queue()
        self.other: Pipe = self
        self.aborted = False

    async def send(self, data: bytes) -> None:
        for i in range(0, len(data), 7):
            self.other.inbox.put_nowait(data[i : i + 7])

    async def recv(self) -> bytes:
        return await self.inbox.get()

    async def close(self) -> None:
        self.other.inbox.put_nowait(b"")

    def abort(self) -> None:
        self.aborted = True
        self.other.inbox.put_nowait(b"")


def pair() -> tuple[Pipe, Pipe]:
    client, server = Pipe(), Pipe()
    client.other, server.other = server, client
    return client, server


async def echo(request: http1.Request) -> http1.Response:
    body = f"{request.method} {request.path} {request.query} {request.body.decode()}"
    return http1.text(body)


async def talk(data: bytes, *, tls: bool = False) -> bytes:
    client, server = pair()
    await client.send(data)
    await client.close()
    await http1.serve_connection(server, echo, tls=tls)
    out = b""
    while not client.inbox.empty():
        out += client.inbox.get_nowait()
    return out


async def test_two_requests_share_a_connection_and_close_ends_it() -> None:
    """Keep-alive is HTTP/1.1's default; ``Connection: close`` is honoured and answered."""
    out = await talk(
        b"GET /a%20b?x=1&x=2 HTTP/1.1\r\nHost: h\r\n\r\n"
        b"POST /p HTTP/1.1\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"
        b"GET /never HTTP/1.1\r\n\r\n"
    )
    assert out.count(b"HTTP/1.1 200 OK") == 2
    assert b"GET /a b {'x': '1'} " in out
    assert b"POST /p {} hi" in out
    assert out.count(b"Connection: close") == 1


async def test_a_chunked_body_arrives_whole() -> None:
    """Chunk sizes, extensions and trailers are read and dropped."""
    out = await talk(
        b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n"
    )
    assert out.endswith(b"PUT / {} abcde")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", b"413"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 40000, b"431"),
        (b"PODWIRE-TLS host=a\r\nGET / HTTP/1.1\r\n\r\n", b"400"),
    ],
)
async def test_what_is_not_http_is_told_so(data: bytes, status: bytes) -> None:
    """Malformed requests, oversized ones, and https to a plain port get 4xx."""
    assert (await talk(data)).startswith(b"HTTP/1.1 " + status)


async def test_a_plain_request_to_a_tls_port_is_told_so() -> None:
    """The model keeps the difference between http and https."""
    told = await talk(b"GET / HTTP/1.1\r\n\r\n", tls=True)
    assert told.endswith(b"\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
    assert await talk(b"SSH-2.0-x\r\n", tls=True) == b""
    hello = http1.encode_request("GET", "/", "h", tls_name="h")
    assert (await talk(hello, tls=True)).startswith(b"PODWIRE-TLS ok\r\nHTTP/1.1 200 OK")
    client, server = pair()
    task = asyncio.ensure_future(http1.serve_connection(server, echo))
    with pytest.raises(http1.HttpError, match="wrong version number"):
        await http1.fetch(client, "GET", "/", "h", tls_name="h")
    await task


async def test_a_client_reads_what_a_server_writes() -> None:
    """fetch: status, headers in any case, body; HEAD has a length and no body."""
    client, server = pair()
    task = asyncio.ensure_future(http1.serve_connection(server, echo))
    response = await http1.fetch(client, "POST", "/x", "web:80", {"A": "b"}, b"body")
    assert (response.status, response.reason) == (200, "OK")
    assert response.body == b"POST /x {} body"
    assert response.header("CONTENT-TYPE").startswith("text/plain")
    await client.close()
    await task


@given(st.binary(max_size=120))
def test_any_bytes_get_an_answer_or_a_closed_connection(data: bytes) -> None:
    """No input breaks the server."""
    out = asyncio.run(talk(data))
    assert out == b"" or out.startswith(b"HTTP/1.")
