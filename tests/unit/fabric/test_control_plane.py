"""Services on a host itself: the API server's port as the modelled world sees it."""

from __future__ import annotations

import pytest

from podwire.client.counters import Stream
from podwire.runtime.env import Env
from tests.unit.fabric.world import cluster, run


async def shout(stream: Stream) -> None:
    while data := await stream.recv():
        if data == b"fail":
            raise ValueError("a bug in the handler")
        await stream.send(data.upper())


def test_a_pod_reaches_a_service_on_the_control_plane_host() -> None:
    async def story(env: Env) -> bytes:
        fabric = await cluster(env)
        await fabric.serve("control-plane", 6443, shout)
        stream = await fabric.connect("node-1", "", "192.168.0.10", 6443, timeout_s=1)
        await stream.send(b"get /healthz")
        return await stream.recv()

    assert run(story) == b"GET /HEALTHZ"


def test_a_failing_handler_resets_its_own_connection_only() -> None:
    async def story(env: Env) -> bytes:
        fabric = await cluster(env)
        await fabric.serve("control-plane", 6443, shout)
        good = await fabric.connect("node-1", "", "192.168.0.10", 6443, timeout_s=1)
        bad = await fabric.connect("node-1", "", "192.168.0.10", 6443, timeout_s=1)
        await bad.send(b"fail")
        with pytest.raises(ConnectionResetError):
            await bad.recv()
        await good.send(b"still here")
        return await good.recv()

    assert run(story) == b"STILL HERE"


def test_closing_a_service_ends_its_conversations() -> None:
    async def story(env: Env) -> bytes:
        fabric = await cluster(env)
        service = await fabric.serve("control-plane", 6443, shout)
        stream = await fabric.connect("node-1", "", "192.168.0.10", 6443, timeout_s=1)
        await stream.send(b"x")
        assert await stream.recv() == b"X"
        await service.close()
        with pytest.raises(ConnectionRefusedError):
            await fabric.connect("node-1", "", "192.168.0.10", 6443, timeout_s=1)
        return await stream.recv()

    assert run(story) == b""
