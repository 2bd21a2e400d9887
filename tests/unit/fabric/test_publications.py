"""Real sockets on the loopback lead through the modelled network and back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from podwire.fabric.hardware import Fabric
from podwire.fabric.publications import Publications
from podwire.runtime import env as environments
from podwire.runtime.env import Env
from podwire.runtime.tasks import Nursery
from tests.unit.fabric.world import cluster, run

VIA = ("node-1", "pod-1")


async def real_cluster() -> tuple[Env, Fabric]:
    env = environments.real(seed=1, log_level="error")
    fabric = await cluster(env, link_delay_s=0.0, link_jitter_s=0.0, local_delay_s=0.0)
    return env, fabric


async def test_what_curl_would_get_has_walked_the_dataplane() -> None:
    _, fabric = await real_cluster()
    listener = await fabric.listen("node-2", "pod-2", "", 80)
    host, port = await fabric.real_sockets.publish("10.244.2.2", 80, via=VIA)
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"GET /")
    server = await listener.accept()
    assert server.remote[0] == "10.244.1.2"
    assert await server.recv() == b"GET /"
    await server.send(b"200 OK")
    await server.close()
    assert await reader.read() == b"200 OK"
    writer.close()
    await writer.wait_closed()
    assert await server.recv() == b""
    await fabric.close()


async def test_a_large_body_crosses_in_both_directions_with_bounded_buffers() -> None:
    env, fabric = await real_cluster()
    listener = await fabric.listen("node-2", "pod-2", "", 80)
    host, port = await fabric.real_sockets.publish("10.244.2.2", 80, via=VIA)
    body = env.rng.bytes(3_000_000)
    largest = 0

    async def serve() -> None:
        nonlocal largest
        stream = await listener.accept()
        while data := await stream.recv():
            largest = max(largest, stream.conn.buffered)
            await stream.send(data)
        await stream.close()

    async with Nursery() as nursery:
        nursery.start(serve(), name="server")
        reader, writer = await asyncio.open_connection(host, port)

        async def write() -> None:
            writer.write(body)
            await writer.drain()
            writer.write_eof()

        nursery.start(write(), name="writer")
        assert await reader.read() == body
        writer.close()
        await writer.wait_closed()
    assert largest <= 256 * 1024
    await fabric.close()


async def test_a_refused_modelled_connection_resets_the_real_one() -> None:
    _, fabric = await real_cluster()
    host, port = await fabric.real_sockets.publish("10.244.2.2", 81, via=VIA)
    reader, writer = await asyncio.open_connection(host, port)
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()
    await fabric.close()


class Client(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.answers: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.answers.put_nowait(data)


async def test_each_real_udp_client_has_a_modelled_port_of_its_own() -> None:
    _, fabric = await real_cluster()
    server = await fabric.bind_udp("node-2", "pod-2", "", 53)
    where = await fabric.real_sockets.publish("10.244.2.2", 53, "udp", via=VIA)
    loop = asyncio.get_running_loop()
    seen = []
    clients = [await loop.create_datagram_endpoint(Client, remote_addr=where) for _ in range(2)]
    for number, (transport, _) in enumerate(clients):
        transport.sendto(b"question %d" % number)
        data, address, port = await server.recv_from()
        seen.append((address, port))
        await server.send_to(data.replace(b"question", b"answer"), address, port)
    assert [await client.answers.get() for _, client in clients] == [b"answer 0", b"answer 1"]
    assert [address for address, _ in seen] == ["10.244.1.2", "10.244.1.2"]
    assert seen[0][1] != seen[1][1]
    for transport, _ in clients:
        transport.close()
    await fabric.close()


async def test_a_udp_publication_survives_a_reboot_of_the_host_it_starts_from() -> None:
    _, fabric = await real_cluster()
    server = await fabric.bind_udp("node-2", "", "", 53)
    host = await fabric.real_sockets.publish("192.168.0.12", 53, "udp", via=("node-1", ""))
    loop = asyncio.get_running_loop()
    transport, client = await loop.create_datagram_endpoint(Client, remote_addr=host)
    transport.sendto(b"before")
    first = await server.recv_from()
    ((_, relay),) = fabric.real_sockets._open.values()
    (session,) = relay._sessions.values()  # type: ignore[union-attr]
    fabric.power_off("node-1")
    await asyncio.gather(session.task, return_exceptions=True)
    fabric.power_on("node-1")
    transport.sendto(b"after")
    second = await server.recv_from()
    assert (first[0], second[0]) == (b"before", b"after")
    await server.send_to(b"answer", second[1], second[2])
    assert await client.answers.get() == b"answer"
    transport.close()
    await fabric.close()


async def test_publishing_twice_gives_the_same_port_and_unpublishing_frees_it() -> None:
    _, fabric = await real_cluster()
    host, port = await fabric.real_sockets.publish("10.244.2.2", 80, via=VIA)
    assert await fabric.real_sockets.publish("10.244.2.2", 80, via=VIA) == (host, port)
    shown = fabric.real_sockets.published()
    assert [(p.host_port, p.address, p.port, p.protocol) for p in shown] == [
        (port, "10.244.2.2", 80, "tcp")
    ]
    await fabric.real_sockets.unpublish("10.244.2.2", 80)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, port)
    again = await fabric.real_sockets.publish("10.244.2.2", 80, via=VIA, host_port=port)
    assert again == (host, port)
    await fabric.close()


async def test_a_taken_real_port_is_an_error() -> None:
    _, fabric = await real_cluster()
    _, port = await fabric.real_sockets.publish("10.244.2.2", 80, via=VIA)
    with pytest.raises(OSError):
        await fabric.real_sockets.publish("10.244.2.2", 81, via=VIA, host_port=port)
    await fabric.close()


async def test_closing_ends_conversations_in_the_middle() -> None:
    _, fabric = await real_cluster()
    listener = await fabric.listen("node-2", "pod-2", "", 80)
    host, port = await fabric.real_sockets.publish("10.244.2.2", 80, via=VIA)
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"x")
    server = await listener.accept()
    assert await server.recv() == b"x"
    await fabric.close()
    with pytest.raises(ConnectionResetError):
        await server.recv()
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


def test_a_simulation_has_no_real_sockets() -> None:
    async def story(env: Env) -> None:
        fabric = await cluster(env)
        publications: Publications = fabric.real_sockets
        with pytest.raises(NotImplementedError, match="real time"):
            await publications.publish("10.244.2.2", 80)

    run(story)
