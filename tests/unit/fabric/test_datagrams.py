"""Programs in namespaces talk by UDP and ICMP through kernels and the wire."""

from __future__ import annotations

import errno

import pytest

from podwire.runtime.env import Env
from tests.unit.fabric.world import cluster, ping, run


def test_datagrams_go_there_and_back() -> None:
    async def story(env: Env) -> tuple[bytes, str, int]:
        fabric = await cluster(env)
        server = await fabric.bind_udp("node-2", "pod-2", "", 53)
        client = await fabric.bind_udp("node-1", "pod-1")
        await client.send_to(b"ask", "10.244.2.2", 53)
        data, address, port = await server.recv_from()
        assert (data, address) == (b"ask", "10.244.1.2")
        await server.send_to(b"tell", address, port)
        return await client.recv_from()

    assert run(story) == (b"tell", "10.244.2.2", 53)


def test_a_datagram_to_a_closed_port_comes_back_as_connection_refused() -> None:
    async def story(env: Env) -> None:
        fabric = await cluster(env)
        client = await fabric.bind_udp("node-1", "pod-1")
        await client.send_to(b"ask", "10.244.2.2", 53)
        with pytest.raises(ConnectionRefusedError):
            await client.recv_from()

    run(story)


def test_a_server_is_not_told_that_its_client_left() -> None:
    """Linux reports ICMP errors only to connected sockets; a DNS server must survive them."""

    async def story(env: Env) -> bytes:
        fabric = await cluster(env)
        server = await fabric.bind_udp("node-2", "pod-2", "", 53)
        await server.send_to(b"answer", "10.244.1.2", 40000)
        await env.clock.sleep(0.1)
        client = await fabric.bind_udp("node-1", "pod-1")
        await client.send_to(b"ask", "10.244.2.2", 53)
        return (await server.recv_from())[0]

    assert run(story) == b"ask"


def test_closing_a_datagram_socket_wakes_its_reader() -> None:
    async def story(env: Env) -> int | None:
        fabric = await cluster(env)
        socket = await fabric.bind_udp("node-1", "pod-1")
        env.clock.call_later(1, socket.close)
        with pytest.raises(OSError) as caught:
            await socket.recv_from()
        return caught.value.errno

    assert run(story) == errno.EBADF


def test_ping_measures_the_round_trip_and_times_out() -> None:
    async def story(env: Env) -> float:
        fabric = await cluster(env, link_delay_s=0.001, link_jitter_s=0.0)
        await ping(fabric, "node-1", "pod-1", "10.244.2.2", timeout_s=1)
        seconds = await ping(fabric, "node-1", "pod-1", "10.244.2.2", timeout_s=1, sequence=2)
        fabric.wire.set_link("node-2", "node-1", up=False, both=False)
        with pytest.raises(TimeoutError):
            await ping(fabric, "node-1", "pod-1", "10.244.2.2", timeout_s=1)
        return seconds

    assert run(story) == pytest.approx(0.002, abs=0.0001)
