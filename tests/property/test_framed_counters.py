"""The framed bindings of counters 2 and 3 do what the direct ones do, whatever is asked.

The same random calls on two fabrics of one seed, one of them through encode and decode: every
result, and every error with its class and words, must be equal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from podwire.client.counters import Probe
from podwire.client.framed.fabric import FramedFabric, serve_fabric
from podwire.client.framed.methods import Table
from podwire.client.framed.pipe import pipe
from podwire.client.framed.sockets import FramedSockets, serve_sockets
from podwire.dataplane.commands import LinkAdd, LinkDel, LinkSet, SysctlSet
from podwire.dataplane.verdict import WalkRequest
from podwire.fabric.hardware import Fabric
from podwire.runtime import sim
from podwire.runtime.env import Env
from tests.unit.fabric.world import cluster

PATIENCE_S = 0.5
PLACES = (("node-1", "pod-1"), ("node-2", "pod-2"), ("node-2", ""), ("node-9", ""), ("node-1", "x"))
ADDRESSES = ("10.244.1.2", "10.244.2.2", "192.168.0.12", "192.0.2.1", "127.0.0.1")

places = st.sampled_from(PLACES)
addresses = st.sampled_from(ADDRESSES)
ports = st.sampled_from((80, 81))
owners = st.sampled_from(("", "one", "two"))
numbers = st.integers(0, 5)
data = st.sampled_from((b"x", b"hello", b"y" * 3000))

Op = tuple[Any, ...]
commands = st.sampled_from(
    (
        LinkAdd(name="dummy0", kind="dummy"),
        LinkDel(name="dummy0"),
        LinkSet(name="veth-pod-1", up=False),
        LinkSet(name="veth-pod-1", up=True),
        SysctlSet(key="net.ipv4.ip_forward", value="0"),
    )
)
operations = st.one_of(
    st.tuples(st.just("listen"), owners, places, ports),
    st.tuples(st.just("connect"), owners, places, addresses, ports),
    st.tuples(st.just("accept"), numbers),
    st.tuples(st.just("send"), numbers, data),
    st.tuples(st.just("recv"), numbers),
    st.tuples(st.just("close"), numbers),
    st.tuples(st.just("abort"), numbers),
    st.tuples(st.just("hang_up"), numbers),
    st.tuples(st.just("bind_udp"), owners, places, st.sampled_from((0, 53))),
    st.tuples(st.just("send_to"), numbers, data, addresses, st.just(53)),
    st.tuples(st.just("recv_from"), numbers),
    st.tuples(st.just("unbind"), numbers),
    st.tuples(st.just("ping"), places, addresses),
    st.tuples(st.just("release"), owners),
    st.tuples(
        st.just("tool"), places, st.sampled_from((("ip", "addr"), ("ss", "-tan"), ("nope",)))
    ),
    st.tuples(st.just("write"), st.sampled_from(("/a", "/d/b")), data),
    st.tuples(st.just("read"), st.sampled_from(("/a", "/d/b"))),
    st.tuples(st.just("remove"), st.sampled_from(("/a", "/d/b"))),
    st.tuples(st.just("list"), st.sampled_from(("/", "/d/"))),
    st.tuples(st.just("execute"), commands),
    st.tuples(st.just("execute_all"), commands),
    st.tuples(st.just("walk"), places, addresses, ports),
    st.tuples(st.just("info"), st.sampled_from(("node-1", "node-9"))),
)


@dataclass
class Player:
    """Plays operations on one binding and writes down what came of them."""

    fabric: Any
    sockets: Any
    listeners: list[Any] = field(default_factory=list)
    streams: list[Any] = field(default_factory=list)
    datagrams: list[Any] = field(default_factory=list)

    async def play(self, op: Op) -> tuple[Any, ...]:
        try:
            async with asyncio.timeout(PATIENCE_S):
                return ("ok", await getattr(self, f"_{op[0]}")(*op[1:]))
        except Exception as error:  # noqa: BLE001  every error is an outcome to compare
            return (type(error), getattr(error, "errno", None), str(error))

    def _at(self, owner: str) -> Any:
        return self.sockets.owned_by(owner) if owner else self.sockets

    @staticmethod
    def _pick(found: list[Any], number: int) -> Any:
        if not found:
            raise LookupError("none was opened")
        return found[number % len(found)]

    async def _listen(self, owner: str, place: Any, port: int) -> Any:
        listener = await self._at(owner).listen(*place, "", port)
        self.listeners.append(listener)
        return listener.local

    async def _connect(self, owner: str, place: Any, address: str, port: int) -> Any:
        stream = await self._at(owner).connect(*place, address, port, 0.2)
        self.streams.append(stream)
        return stream.local, stream.remote

    async def _accept(self, number: int) -> Any:
        stream = await self._pick(self.listeners, number).accept()
        self.streams.append(stream)
        return stream.local, stream.remote

    async def _send(self, number: int, payload: bytes) -> Any:
        return await self._pick(self.streams, number).send(payload)

    async def _recv(self, number: int) -> Any:
        return await self._pick(self.streams, number).recv()

    async def _close(self, number: int) -> Any:
        return await self._pick(self.streams, number).close()

    async def _abort(self, number: int) -> None:
        self._pick(self.streams, number).abort()

    async def _hang_up(self, number: int) -> None:
        self._pick(self.listeners, number).close()

    async def _bind_udp(self, owner: str, place: Any, port: int) -> Any:
        socket = await self._at(owner).bind_udp(*place, "", port)
        self.datagrams.append(socket)
        return socket.local

    async def _send_to(self, number: int, payload: bytes, address: str, port: int) -> Any:
        return await self._pick(self.datagrams, number).send_to(payload, address, port)

    async def _recv_from(self, number: int) -> Any:
        return await self._pick(self.datagrams, number).recv_from()

    async def _unbind(self, number: int) -> None:
        self._pick(self.datagrams, number).close()

    async def _ping(self, place: Any, address: str) -> bool:
        answer = await self.sockets.probe(*place, Probe(address), 0.2)
        return bool(answer.seconds > 0)

    async def _release(self, owner: str) -> None:
        if owner:
            self.sockets.release(owner)

    async def _tool(self, place: Any, argv: Any) -> Any:
        return await self.fabric.tool(*place, argv)

    async def _write(self, path: str, payload: bytes) -> Any:
        return await self.fabric.write_file("node-1", path, payload)

    async def _read(self, path: str) -> Any:
        return await self.fabric.read_file("node-1", path)

    async def _remove(self, path: str) -> Any:
        return await self.fabric.remove_file("node-1", path)

    async def _list(self, prefix: str) -> Any:
        return await self.fabric.list_files("node-1", prefix)

    async def _execute(self, command: Any) -> Any:
        return await self.fabric.execute("node-1", [command])

    async def _execute_all(self, command: Any) -> Any:
        return await self.fabric.execute_all(["node-1", "node-9", "node-2"], [command])

    async def _walk(self, place: Any, address: str, port: int) -> Any:
        node, netns = place
        return await self.fabric.walk(
            WalkRequest(node=node, netns=netns, protocol="tcp", dst=address, dst_port=port)
        )

    async def _info(self, node: str) -> Any:
        return await self.fabric.node(node)


def direct(env: Env, fabric: Fabric) -> Player:
    """The bindings of one process."""
    return Player(fabric, fabric)


def framed(env: Env, fabric: Fabric) -> Player:
    """The same through a session."""

    def serve(session: Any) -> Table:
        table = Table()
        serve_fabric(table, fabric)
        serve_sockets(table, fabric, session)
        return table

    near, _ = pipe(env.clock, env.log, ("room", "fabric"), (None, serve))
    return Player(FramedFabric(near), FramedSockets(near))


def outcomes(make: Callable[[Env, Fabric], Player], script: list[Op]) -> list[Any]:
    """What each operation gave, and what the network looks like at the end."""

    async def main(env: Env) -> list[Any]:
        fabric = await cluster(env)
        player = make(env, fabric)
        seen: list[Any] = []
        for op in script:
            seen.append((op[0], await player.play(op)))
            await env.clock.sleep(0.05)  # both worlds are quiet between two calls
        for node, netns in PLACES[:3]:
            seen.append(await fabric.tool(node, netns, ("ss", "-tuan")))
        return seen

    return sim.run(main, 1, horizon_s=3600)


PRELUDE: list[Op] = [
    ("listen", "one", PLACES[1], 80),
    ("connect", "two", PLACES[0], ADDRESSES[1], 80),
    ("accept", 0),
]
"""A connection to begin with: chance alone makes few."""


@given(st.booleans(), st.lists(operations, min_size=1, max_size=25))
def test_framed_and_direct_bindings_are_the_same_to_their_callers(
    connected: bool, script: list[Op]
) -> None:
    """Results, errors, and the sockets that are left."""
    script = [*PRELUDE, *script] if connected else script
    assert outcomes(framed, script) == outcomes(direct, script)
