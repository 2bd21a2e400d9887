"""A process outside the model answers at a modelled port of the gateway."""

from __future__ import annotations

import asyncio
import dataclasses
import errno

import pytest

from podwire.api import kinds
from podwire.fabric.attachments import Attachments, Door
from podwire.fabric.host import GATEWAY_ADDRESS
from podwire.runtime import env as environments
from podwire.runtime.tasks import Nursery
from tests.unit.client.fake_api import FakeApi, make_ctx
from tests.unit.fabric.world import bare


class Watched(Attachments):
    """Attachments that can be waited for."""

    def __init__(self, ctx) -> None:
        super().__init__(ctx)
        self.changes: asyncio.Queue[Door] = asyncio.Queue()

    async def _listen(self, nursery: Nursery, door: Door) -> None:
        await super()._listen(nursery, door)
        self.changes.put_nowait(door)

    async def _close(self, door: Door) -> None:
        await super()._close(door)
        self.changes.put_nowait(door)


async def test_a_slice_that_is_attached_opens_a_door_until_it_goes() -> None:
    """Bytes go out and come back; nobody behind it is a reset, a closed door a refusal."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"heard " + await reader.read(100))
        writer.close()

    process = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = process.sockets[0].getsockname()[1]
    env = environments.real(seed=1, log_level="off")
    fabric = bare(env, link_delay_s=0.0, link_jitter_s=0.0, local_delay_s=0.0)
    api = FakeApi(env)
    watched = Watched(dataclasses.replace(make_ctx(env, api), fabric=fabric, sockets=fabric))
    piece = {
        "metadata": {
            "name": "web-attached", "namespace": "default",
            "labels": {"kubernetes.io/service-name": "web"},
            "annotations": {"podwire.dev/attached": f"127.0.0.1:{port}"},
        },
        "addressType": "IPv4", "ports": [{"name": "", "port": 40000, "protocol": "TCP"}],
        "endpoints": [{"addresses": [GATEWAY_ADDRESS]}],
    }  # fmt: skip
    async with asyncio.timeout(30), Nursery() as nursery:
        nursery.start(watched.run(), name="attachments")
        api.put(kinds.ENDPOINT_SLICE, piece)
        assert await watched.changes.get() == Door(40000, ("127.0.0.1", port))
        stream = await fabric.connect("node-1", "", GATEWAY_ADDRESS, 40000, 5)
        await stream.send(b"hello")
        assert await stream.recv() == b"heard hello"
        await stream.close()
        process.close()
        stream = await fabric.connect("node-1", "", GATEWAY_ADDRESS, 40000, 5)
        with pytest.raises(ConnectionResetError):
            await stream.recv()
        api.remove(kinds.ENDPOINT_SLICE, "default/web-attached")
        await watched.changes.get()
        with pytest.raises(OSError, match=r".") as refused:
            await fabric.connect("node-1", "", GATEWAY_ADDRESS, 40000, 5)
        assert refused.value.errno in {errno.ECONNREFUSED, None}
        nursery.cancel()
    await fabric.close()
