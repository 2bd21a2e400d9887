"""WebSocket frames over a wire: what a peer may do, and what it may not."""

import asyncio
import base64

import aiohttp
import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from podwire.apiserver.http import websocket
from podwire.apiserver.http.authn import authorization
from podwire.apiserver.http.websocket import Tunnel, WebSocket
from tests.unit.apiserver_http.conftest import TOKEN
from tests.unit.apiserver_http.wires import wire

EXEC = "/api/v1/namespaces/default/pods/web/exec?command=ls&stdout=true"


class Peer:
    """A client over a wire."""

    def __init__(self):
        near, self.duplex = wire()
        self.socket = WebSocket(near)
        self.connection = Connection(ConnectionType.CLIENT)

    async def send(self, *events):
        """Write events."""
        for event in events:
            await self.duplex.write(self.connection.send(event))

    async def events(self):
        """What has come by now."""
        found = []
        while data := await self.duplex.read():
            self.connection.receive_data(data)
            found += self.connection.events()
            if found:
                break
        return found


async def test_messages_arrive_whole_however_they_were_cut():
    """Fragments, text, and pings between them."""
    peer = Peer()
    await peer.send(BytesMessage(data=b"one ", message_finished=False), Ping(payload=b"p"))
    await peer.send(BytesMessage(data=b"two"), TextMessage(data="drei"))
    assert [await peer.socket.receive(), await peer.socket.receive()] == [b"one two", b"drei"]
    assert await peer.events() == [Pong(payload=b"p")]


async def test_a_peer_that_closes_is_answered_and_gone():
    """What it said before is still read."""
    peer = Peer()
    await peer.send(BytesMessage(data=b"last"), CloseConnection(code=1000))
    assert [await peer.socket.receive(), await peer.socket.receive()] == [b"last", None]
    (event,) = await peer.events()
    assert (type(event), event.code) == (CloseConnection, 1000)
    with pytest.raises(ConnectionError):
        await peer.socket.send(b"too late")


async def test_a_message_too_long_closes_with_1009(monkeypatch):
    """Whether it comes in one frame or in many."""
    monkeypatch.setattr(websocket, "MAX_MESSAGE_BYTES", 100)
    for parts in ([b"x" * 101], [b"x" * 60] * 2):
        peer = Peer()
        for part in parts:
            await peer.send(BytesMessage(data=part, message_finished=False))
        assert await peer.socket.receive() is None
        (event,) = await peer.events()
        assert event.code == 1009


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x82\x01x", 1002),  # a client's frame without a mask
        (b"\xc2\x80\x00\x00\x00\x00", 1002),  # a reserved bit
        (b"\x81\x81\x00\x00\x00\x00\xff", 1007),  # text that is no UTF-8
    ],
)
async def test_what_is_no_websocket_closes_with_its_code(data, code):
    """RFC 6455, 7.4.1."""
    peer = Peer()
    await peer.duplex.write(data)
    assert await peer.socket.receive() is None
    (event,) = await peer.events()
    assert event.code == code


async def test_goodbye_is_said_once_and_waits_for_an_answer():
    """Afterwards the connection is closed, whoever closed first."""
    peer = Peer()
    closing = asyncio.create_task(peer.socket.close())
    (event,) = await peer.events()
    await peer.send(event.response())
    await closing
    assert not await peer.duplex.read()


async def test_a_peer_that_is_gone_ends_the_conversation():
    """No closing frame at all."""
    peer = Peer()
    peer.duplex.close()
    assert await peer.socket.receive() is None
    await peer.socket.close()


async def test_a_tunnel_is_bytes():
    """The header of a SPDY frame may come as several tiny messages."""
    peer = Peer()
    tunnel = Tunnel(peer.socket)
    for part in (b"a", b"", b"bc"):
        await peer.send(BytesMessage(data=part))
    assert [await tunnel.read(), await tunnel.read()] == [b"a", b"bc"]
    await tunnel.write(b"back")
    assert await peer.events() == [BytesMessage(data=b"back")]
    peer.duplex.close()
    assert await tunnel.read() == b""


def coded(token):
    """A token as a sub-protocol."""
    text = base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
    return f"base64url.bearer.authorization.k8s.io.{text}"


@pytest.mark.parametrize(
    ("protocols", "status"),
    [
        ((coded(TOKEN), "v4.channel.k8s.io"), 101),
        (("v4.channel.k8s.io", coded(TOKEN)), 101),
        ((coded("nobody's"), "v4.channel.k8s.io"), 401),
        ((coded(""), "v4.channel.k8s.io"), 401),
        ((coded(TOKEN) + "!", "v4.channel.k8s.io"), 401),
        ((coded(TOKEN), coded(TOKEN), "v4.channel.k8s.io"), 401),
        ((coded(TOKEN),), 401),
        (("v4.channel.k8s.io",), 403),
    ],
)
async def test_a_pages_script_sends_its_token_as_a_sub_protocol(site, protocols, status):
    """Nothing else is a browser's to set; another sub-protocol is the one that is spoken."""
    await site.pod()
    async with site.session() as http:
        try:
            async with http.ws_connect(EXEC, protocols=protocols) as socket:
                seen = 101
                assert socket.protocol == "v4.channel.k8s.io"
        except aiohttp.WSServerHandshakeError as error:
            seen = error.status
    assert seen == status


def test_a_token_among_sub_protocols_goes_no_further():
    """Whoever is behind a proxy must not see it."""
    headers = {"upgrade": "websocket", "sec-websocket-protocol": f"a, {coded('secret')},b"}
    assert authorization(headers) == "Bearer secret"
    assert headers["sec-websocket-protocol"] == "a, b"
