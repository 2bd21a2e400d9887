"""The Ingress controller's HTTP: bodies survive any framing, and no bytes break a connection."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from podwire.client import http1
from podwire.client.http1 import HttpError
from tests.unit.ingress.bench import routes, run

A = "10.244.0.1"


class Pieces:
    """A stream that gives what it was given, piece by piece."""

    def __init__(self, pieces):
        self.pieces = list(pieces)

    async def recv(self):
        return self.pieces.pop(0) if self.pieces else b""


def cut(data, sizes):
    """Data in pieces of these sizes (again and again), none empty."""
    found, at, turn = [], 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        found.append(data[at : at + size])
        at, turn = at + size, turn + 1
    return found


sizes = st.lists(st.integers(1, 50), min_size=1, max_size=5)


@settings(max_examples=200)
@given(st.binary(max_size=300), sizes, sizes, st.booleans())
def test_a_body_is_the_same_however_it_is_framed_and_cut(body, chunks, packets, chunked):
    """And what follows it stays for the next message."""
    wire, headers = body, [("Content-Length", str(len(body)))]
    if chunked:
        wire = b"".join(b"%X;a=b\r\n%b\r\n" % (len(c), c) for c in cut(body, chunks))
        wire, headers = wire + b"0\r\nTrailer: x\r\n\r\n", [("Transfer-Encoding", "chunked")]

    async def read():
        reader = http1.Reader(Pieces(cut(wire + b"next", packets)))
        passed = http1.Body(reader, headers, until_end=False)
        found = b""
        while piece := await passed.piece():
            found += piece
        return found, await reader.rest()

    assert asyncio.run(read()) == (body, b"next")


request = st.one_of(
    st.binary(max_size=80),
    st.builds(
        lambda line, fields, body: b"\r\n".join([line, *fields, b"", body]),
        st.sampled_from(
            [b"GET / HTTP/1.1", b"POST /%2e%2e/ HTTP/1.0", b"GET //a/./b?c HTTP/1.1", b"x", b""]
        ),
        st.lists(
            st.sampled_from(
                [
                    b"Host: h",
                    b"Host: ",
                    b"Content-Length: 3",
                    b"Transfer-Encoding: chunked",
                    b"Connection: close",
                    b"Expect: 100-continue",
                    b"Upgrade: h2c",
                    b": x",
                    b"a",
                ]
            ),
            max_size=4,
        ),
        st.binary(max_size=20),
    ),
)


@settings(max_examples=150)
@given(st.lists(request, min_size=1, max_size=3))
def test_whatever_a_client_sends_its_connection_ends_and_the_controller_lives(messages):
    """Answers are HTTP, and the next client is served."""

    async def story(bench):
        await bench.backend(A)
        client = bench.connect()
        for message in messages:
            await client.stream.send(message)
        client.stream.peer._inbox.put_nowait(b"")  # half closed: answers are still read
        try:
            while True:
                answer = await client.answer()
                assert 200 <= answer.status < 600
        except (HttpError, ConnectionResetError):
            pass  # the end, or the answer to HEAD taken for one with a body
        good = await bench.connect().ask("GET / HTTP/1.1\nHost: h")
        assert (good.status, good.body) == (200, A.encode())

    run(story, routes(A))
