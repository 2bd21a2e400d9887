"""Counter 3 over a pipe to a fabric: what callers that give up, or forget, leave behind there."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

from podwire.client.framed.methods import Table
from podwire.client.framed.pipe import pipe
from podwire.client.framed.sockets import FramedSockets, serve_sockets
from podwire.fabric.hardware import Fabric
from podwire.runtime import sim
from podwire.runtime.env import Env
from tests.unit.fabric.world import cluster

HERE, THERE = ("node-1", "pod-1"), ("node-2", "pod-2")
ADDRESS = "10.244.2.2"


class World:
    """A fabric, and a room's sockets there."""

    def __init__(self, env: Env, fabric: Fabric) -> None:
        self.env, self.fabric = env, fabric

        def serve(session: Any) -> Table:
            table = Table()
            serve_sockets(table, fabric, session)
            return table

        self.near, self.far = pipe(env.clock, env.log, ("room", "fabric"), (None, serve))
        self.sockets = FramedSockets(self.near)

    def held(self) -> list[str]:
        """What the fabric keeps for the room."""
        reset: Any = self.far.session().on_end[0]
        return [type(socket).__name__ for socket, _ in reset.__self__._by_id.values()]

    async def given_up(self, call: Callable[[], Awaitable[Any]]) -> None:
        """Cancel a call after every number of turns that it may take."""
        for turns in range(40):
            task = asyncio.ensure_future(call())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            done = not task.cancelled()
            if done:
                made = task.result()
                made.abort() if hasattr(made, "abort") else made.close()
                del made
            del task
            await self.env.clock.sleep(1)
            if done:
                break
        gc.collect()


def story(body: Callable[[World], Awaitable[None]]) -> None:
    async def main(env: Env) -> None:
        world = World(env, await cluster(env))
        await body(world)
        world.near.session().close()
        await env.clock.sleep(1)

    sim.run(main, horizon_s=36_000)


def test_sockets_opened_for_somebody_who_gave_up_are_closed():
    """A probe's timeout may fall on the turn in which its connection was made."""

    async def body(world: World) -> None:
        listener = await world.fabric.listen(*THERE, "", 80)
        await world.given_up(lambda: world.sockets.connect(*HERE, ADDRESS, 80, 5.0))
        await world.given_up(lambda: world.sockets.listen(*HERE, "", 81))
        await world.given_up(lambda: world.sockets.bind_udp(*HERE, "", 53))
        await world.env.clock.sleep(1)
        assert world.held() == []
        await world.fabric.listen(*HERE, "", 81)  # free again
        await world.fabric.bind_udp(*HERE, "", 53)
        listener.close()

    story(body)


def test_of_several_who_wait_on_one_socket_each_gets_its_own():
    """Two tasks that accept on one listener: both are woken, as in the same process."""

    async def body(world: World) -> None:
        listener = await world.sockets.listen(*THERE, "", 80)
        waiting = [asyncio.ensure_future(listener.accept()) for _ in range(3)]
        await world.env.clock.sleep(1)
        waiting.pop(0).cancel()
        clients = [await world.fabric.connect(*HERE, ADDRESS, 80, 5.0) for _ in range(2)]
        async with asyncio.timeout(5):
            accepted = [(await task).remote for task in waiting]
        assert sorted(accepted) == sorted(client.local for client in clients)

    story(body)


def test_a_connection_accepted_for_somebody_who_gave_up_ends_with_its_listener():
    """Nobody accepted it: its client sees a reset, not a connection that never answers."""

    async def body(world: World) -> None:
        late = 0
        for turns in range(30):
            listener = await world.sockets.listen(*THERE, "", 80)
            accepting = asyncio.ensure_future(listener.accept())
            await world.env.clock.sleep(1)
            connect = world.fabric.connect(*HERE, ADDRESS, 80, 5.0)
            connecting = asyncio.ensure_future(connect)
            await world.env.clock.sleep(0.0001 * turns)
            accepting.cancel()
            await asyncio.gather(accepting, return_exceptions=True)
            if not accepting.cancelled():
                accepting.result().abort()
            late += world.held().count("TcpSocket")
            listener.close()
            await asyncio.gather(connecting, return_exceptions=True)
            del listener, accepting
            await world.env.clock.sleep(1)
        gc.collect()
        await world.env.clock.sleep(1)
        assert world.held() == []
        assert late, "some were accepted in vain"

    story(body)
