"""TLS as it is seen from the socket: handshakes, records, farewells."""

import asyncio
import ssl
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podwire.apiserver.certs import Authority
from podwire.apiserver.http import server
from podwire.apiserver.http.server import tls_context
from podwire.apiserver.http.tls import RECORD_BYTES, TlsTransport
from podwire.runtime.env import real
from tests.unit.apiserver_http.conftest import PATIENCE_S
from tests.unit.apiserver_http.talking import AUTH, until


class Peer:
    """A client whose TLS and socket the test holds apart."""

    def __init__(self, context):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="127.0.0.1")

    async def connect(self, site):
        """Shake hands."""
        self.reader, self.writer = await asyncio.open_connection(*site.http.address)
        await self.until_done(self.tls.do_handshake)
        return self

    async def until_done(self, step):
        """What a step of TLS gives once enough came."""
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                self.send()
                data = await self.reader.read(65536)
                if not data:
                    self.incoming.write_eof()
                self.incoming.write(data)
            finally:
                self.send()

    def send(self):
        """Put on the wire what TLS made."""
        if self.outgoing.pending:
            self.writer.write(self.outgoing.read())

    def say(self, data):
        """Send in TLS."""
        self.tls.write(data)
        self.send()

    async def hear(self):
        """Everything until the server says that it is all. Raises SSLError when it does not."""
        heard = b""
        with suppress(ssl.SSLZeroReturnError):  # after a farewell of one's own
            while data := await self.until_done(lambda: self.tls.read(65536)):
                heard += data
        return heard


@pytest.fixture
async def peer(site):
    """A client whose hands are shaken."""
    async with asyncio.timeout(PATIENCE_S):
        peer = await Peer(site.tls()).connect(site)
        yield peer
        peer.writer.close()


GET = f"GET /version HTTP/1.1\r\n{AUTH}".encode()


async def test_who_does_not_shake_hands_is_hung_up_on(site, monkeypatch):
    monkeypatch.setattr(server, "HEAD_S", 0.05)
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection(*site.http.address)
        assert await reader.read() == b""
        writer.close()


async def test_what_is_no_tls_is_told_so_and_hung_up_on(site):
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection(*site.http.address)
        writer.write(b"SSH-2.0-x\r\n" * 3)
        with suppress(ConnectionError):
            assert (await reader.read())[:1] in {b"", b"\x15"}  # an alert
        writer.close()


async def test_plain_http_is_told_that_here_is_https(site):
    """In the words of Go's server, which kubectl shows."""
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection(*site.http.address)
        writer.write(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
        told = await reader.read()
        assert told.startswith(b"HTTP/1.0 400 Bad Request\r\n")
        assert told.endswith(b"\nClient sent an HTTP request to an HTTPS server.\n")
        writer.close()


async def test_a_last_answer_is_followed_by_a_farewell(site, peer):
    """close_notify tells the end of an answer from an attack that cuts it off."""
    peer.say(GET + b"Connection: close\r\n\r\n")
    assert (await peer.hear()).startswith(b"HTTP/1.1 200")
    with suppress(ssl.SSLWantReadError):
        peer.tls.unwrap()
    peer.send()
    assert await peer.reader.read() == b""


async def test_who_says_farewell_is_answered_so(site, peer):
    """With what was asked before, it loses the answer: TLS has no half-closed connections here."""
    with suppress(ssl.SSLWantReadError):
        peer.tls.unwrap()
    peer.send()
    assert await peer.hear() == b""
    assert await peer.reader.read() == b""
    await until(lambda: not site.http._connections)


async def test_who_never_says_farewell_is_hung_up_on(site, peer, monkeypatch):
    monkeypatch.setattr(server, "_SHUTDOWN_S", 0.05)
    other = await Peer(site.tls()).connect(site)
    other.say(GET + b"Connection: close\r\n\r\n")
    assert (await other.hear()).startswith(b"HTTP/1.1 200")
    with suppress(ConnectionError):
        assert await other.reader.read() == b""
    other.writer.close()


async def test_who_half_closes_the_socket_is_hung_up_on(site, peer):
    peer.say(GET + b"\r\n")
    peer.writer.write_eof()
    with suppress(ssl.SSLError, ConnectionError):
        assert (await peer.hear()).startswith(b"HTTP/1.1 200")
    await until(lambda: not site.http._connections)


async def test_damaged_records_end_the_connection(site, peer):
    peer.tls.write(GET + b"\r\n")
    damaged = bytearray(peer.outgoing.read())
    damaged[-1] ^= 1
    peer.writer.write(damaged)
    with pytest.raises(ssl.SSLError, match=r"(?i)bad.record.mac|mac"):
        await peer.hear()
    await until(lambda: not site.http._connections)


# ------------------------------------------------------------------------------- without sockets


class Wire(asyncio.Transport):
    """A socket's transport that keeps what is written."""

    def __init__(self):
        super().__init__()
        self.sent = bytearray()

    def write(self, data):
        self.sent += data

    def close(self):
        """Never asked by what is tested here."""


class Heard(asyncio.Protocol):
    """Keeps what it is told."""

    def __init__(self):
        self.transport = None
        self.data = bytearray()

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.data += data


@pytest.fixture(scope="module")
def contexts(tmp_path_factory):
    """TLS of a server and of its clients."""
    env, folder = real(7, "off"), tmp_path_factory.mktemp("tls")
    authority = Authority(env.secret, env.clock.now_ns())
    pair = authority.server(["127.0.0.1"])
    (folder / "crt").write_bytes(pair.certificate)
    (folder / "key").write_bytes(pair.key)
    tls = tls_context(str(folder / "crt"), str(folder / "key"), authority.pem)
    return tls, ssl.create_default_context(cadata=authority.pem.decode())


def delivered(transport, data, room, cuts):
    """Have a socket's bytes come in pieces."""
    at = 0
    while at < len(data):
        size = min(next(cuts), len(room), len(data) - at)
        transport.get_buffer(-1)[:size] = data[at : at + size]
        transport.buffer_updated(size)
        at += size


def endless(cuts):
    while True:
        yield from cuts


@settings(max_examples=30)
@given(
    sizes=st.lists(st.integers(1, 3 * RECORD_BYTES), min_size=1, max_size=4),
    cuts=st.lists(st.integers(1, 70_000), min_size=1, max_size=5),
    back=st.lists(st.integers(1, 5 * RECORD_BYTES), min_size=1, max_size=4),
)
def test_bytes_arrive_in_order_however_they_are_cut(contexts, sizes, cuts, back):
    """Both ways; a piece of the wire may end anywhere in a record."""
    asyncio.run(exchange(contexts, sizes, endless(cuts), back))


async def exchange(contexts, sizes, cuts, back):
    context, clients = contexts
    room, wire, heard, peer = memoryview(bytearray(65536)), Wire(), Heard(), Peer(clients)
    transport = TlsTransport(context, heard, room, handshake_s=9, shutdown_s=9)
    transport.connection_made(wire)
    while heard.transport is None:
        with suppress(ssl.SSLWantReadError):
            peer.tls.do_handshake()
        delivered(transport, peer.outgoing.read(), room, cuts)
        peer.incoming.write(bytes(wire.sent))
        wire.sent.clear()
    sent = b"".join(bytes([i]) * size for i, size in enumerate(sizes))
    at = 0
    while at < len(sent):
        at += peer.tls.write(sent[at:])
    delivered(transport, peer.outgoing.read(), room, cuts)
    assert bytes(heard.data) == sent
    for i, size in enumerate(back):
        transport.write(bytes([i]) * size)
    peer.incoming.write(bytes(wire.sent))
    got = b""
    with suppress(ssl.SSLWantReadError):
        while True:
            got += peer.tls.read(65536)
    assert got == b"".join(bytes([i]) * size for i, size in enumerate(back))
    transport.connection_lost(None)
