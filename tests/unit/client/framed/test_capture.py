"""A capture over a link tells the frames that a direct one tells, and ends with its reader."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from podwire.client.counters import Probe
from podwire.client.framed.fabric import FramedFabric, serve_fabric
from podwire.client.framed.methods import Table
from podwire.client.framed.pipe import pipe
from podwire.runtime import sim
from podwire.runtime.env import Env
from tests.unit.fabric.world import cluster, ping


def test_frames_cross_the_link_and_the_tap_goes_with_its_reader() -> None:
    async def story(env: Env) -> None:
        fabric = await cluster(env)
        await ping(fabric, "node-1", "pod-1", "10.244.2.2", timeout_s=1)
        kernel = fabric.hosts["node-1"].kernel

        def serve(_session: Any) -> Table:
            table = Table()
            serve_fabric(table, fabric)
            return table

        near, _ = pipe(env.clock, env.log, ("room", "fabric"), (None, serve))
        framed = FramedFabric(near)
        stream = framed.capture("node-1", "pod-1", "eth0")
        begun = await anext(stream)
        assert begun.data == b""
        assert list(kernel.taps) == ["pod-1"]
        probing = asyncio.ensure_future(fabric.probe("node-1", "pod-1", Probe("10.244.2.2"), 1))
        out, back = await anext(stream), await anext(stream)
        await probing
        assert (out.direction, back.direction) == ("Out", "In")
        assert out.data[12:14] == b"\x08\0"
        await stream.aclose()
        await env.clock.sleep(1)
        assert kernel.taps == {}
        with pytest.raises(LookupError):
            await anext(framed.capture("node-1", "pod-1", "nope"))

    sim.run(story)
