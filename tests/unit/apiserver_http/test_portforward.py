"""port-forward in its three dialects, with a pod that the test plays."""

import asyncio

import aiohttp
import pytest

from podwire.apiserver.http.spdy.frames import Data, RstStream
from tests.unit.apiserver_http.wires import SpdyClient, upgraded

PATH = "/api/v1/namespaces/default/pods/web/portforward"
SPDY = [("Upgrade", "SPDY/3.1"), ("X-Stream-Protocol-Version", "portforward.k8s.io")]
TUNNEL = "SPDY/3.1+portforward.k8s.io"


async def echo(stream):
    """Gives back what it gets, in capitals, until the client ends."""
    while data := await stream.recv():
        await stream.send(data.upper())
    await stream.close()


async def greeter(stream):
    """Says hello and hangs up."""
    await stream.send(b"hello")
    await stream.close()


class Messages:
    """An aiohttp WebSocket as a Duplex: the tunnel's client side."""

    def __init__(self, socket):
        self._socket = socket

    async def read(self):
        message = await self._socket.receive()
        return message.data if message.type is aiohttp.WSMsgType.BINARY else b""

    async def write(self, data):
        for at in range(0, len(data), 3):  # as kubectl cuts it: mercilessly
            await self._socket.send_bytes(data[at : at + 3])


async def pair(client, port, request):
    """An error and a data stream with one request id, as client-go opens them."""
    headers = {"port": str(port), "requestid": str(request)}
    error = await client.open(fin=True, streamtype="error", **headers)
    return error, await client.open(streamtype="data", **headers)


async def conversation(client):
    """What every SPDY client does: several connections at once, and one that is refused."""
    error, data = await pair(client, 80, 0)
    other_error, other = await pair(client, 81, 1)
    bad_error, bad = await pair(client, 82, 2)
    await client.send(Data(data, b"one"), Data(data, b" two", fin=True))
    assert await client.text(data) == b"ONE TWO"
    assert await client.text(error) == b""
    assert await client.text(other) == b"hello"
    assert await client.text(other_error) == b""
    assert await client.text(bad_error) == b"error forwarding port 82 to pod x: refused"
    assert await client.text(bad) == b""


@pytest.fixture
async def pod(site):
    """A pod with two open ports."""
    await site.pod()
    site.kubelets.pods = {80: echo, 81: greeter}
    return site


async def test_spdy_carries_several_connections(pod):
    """kubectl with KUBECTL_PORT_FORWARD_WEBSOCKETS=false."""
    async with upgraded(pod, PATH, SPDY) as (status, headers, duplex):
        assert (status, headers["x-stream-protocol-version"]) == (101, "portforward.k8s.io")
        await conversation(SpdyClient(duplex))


async def test_the_tunnel_is_spdy_in_messages(pod):
    """kubectl 1.31 and later."""
    async with pod.admin() as http, http.ws_connect(PATH, protocols=(TUNNEL,)) as socket:
        assert socket.protocol == TUNNEL
        await conversation(SpdyClient(Messages(socket)))


async def test_streams_that_make_no_sense_are_reset(pod):
    """No port, a port that is none, another type, the same stream twice."""
    async with upgraded(pod, PATH, SPDY) as (_, _, duplex):
        client = SpdyClient(duplex)
        for headers in ({"streamtype": "data"}, {"streamtype": "data", "port": "0"},
                        {"streamtype": "data", "port": "http"}, {"streamtype": "x", "port": "80"},
                        {"streamtype": "error", "port": "80", "requestid": "7"}):  # fmt: skip
            number = await client.open(**headers)
        twice = await client.open(streamtype="error", port="80", requestid="7")
        await client.until(lambda: RstStream(twice, 1) in client.frames)
        assert RstStream(number, 1) not in client.frames


async def test_a_client_that_gives_one_connection_up_keeps_the_others(pod):
    """kubectl resets the data stream when its own client went away."""
    left = asyncio.Event()

    async def silent(stream):
        try:
            await stream.recv()
        finally:
            left.set()

    pod.kubelets.pods[83] = silent
    async with upgraded(pod, PATH, SPDY) as (_, _, duplex):
        client = SpdyClient(duplex)
        error, data = await pair(client, 83, 0)
        await client.send(RstStream(data, 5))
        assert await client.text(error) == b""
        await left.wait()
        _, other = await pair(client, 81, 1)
        assert await client.text(other) == b"hello"


async def test_a_client_that_leaves_ends_every_connection(pod):
    """The pod sees their end."""
    ended = asyncio.get_running_loop().create_future()

    async def silent(stream):
        ended.set_result(await stream.recv())

    pod.kubelets.pods[83] = silent
    async with upgraded(pod, PATH, SPDY) as (_, _, duplex):
        await pair(SpdyClient(duplex), 83, 0)
        duplex.close()
        assert await ended == b""


@pytest.mark.parametrize("protocols", [("v4.channel.k8s.io",), ("v5.channel.k8s.io",
                                       "v4.channel.k8s.io"), ()])  # fmt: skip
async def test_channels_say_their_ports_first(pod, protocols):
    """kubernetes-py and kr8s: data on 2i, errors on 2i+1."""
    path = f"{PATH}?ports=80&ports=82,81"
    async with pod.admin() as http, http.ws_connect(path, protocols=protocols) as socket:
        assert socket.protocol == ("v4.channel.k8s.io" if protocols else None)
        first = [await socket.receive_bytes() for _ in range(6)]
        numbers = [(m[0], int.from_bytes(m[1:], "little")) for m in first]
        assert numbers == [(0, 80), (1, 80), (2, 82), (3, 82), (4, 81), (5, 81)]
        await socket.send_bytes(b"\x00abc")
        await socket.send_bytes(b"\x01nobody reads errors")
        await socket.send_bytes(b"\x09no such channel")
        got = {}
        while len(got) < 3:
            message = await socket.receive_bytes()
            got[message[0]] = message[1:]
        assert got == {0: b"ABC", 3: b"error forwarding port 82 to pod x: refused", 4: b"hello"}


@pytest.mark.parametrize("query", ["", "?ports=", "?ports=http", "?ports=0", "?ports=65536"])
async def test_ports_that_are_none_are_a_bad_request(pod, query):
    """Before anything is switched."""
    async with pod.admin() as http:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await http.ws_connect(f"{PATH}{query}", protocols=("v4.channel.k8s.io",))
    assert caught.value.status == 400


async def test_a_megabyte_goes_both_ways_and_slow_readers_are_waited_for(pod):
    """Equal bytes; the pod's answer waits while the client does not read."""
    whole = bytes(range(256)) * 4096
    async with upgraded(pod, PATH, SPDY) as (_, _, duplex):
        client = SpdyClient(duplex)
        _, data = await pair(client, 80, 0)
        sending = asyncio.create_task(
            client.send(*[Data(data, whole[at : at + 8192]) for at in range(0, len(whole), 8192)])
        )
        await client.until(lambda: len(client.received.get(data, b"")) >= len(whole))
        await sending
    assert client.received[data] == whole.upper()
