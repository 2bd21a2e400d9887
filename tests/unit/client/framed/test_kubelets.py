"""Counter 6 over a pipe: commands with stdin, logs that are followed, and what a loss leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest

from podwire.api.status import ApiError
from podwire.client.counters import (
    Frame,
    LogOptions,
    Request,
    Resolver,
    Response,
    Stream,
    ToolResult,
)
from podwire.client.framed.kubelets import FramedKubelets, serve_kubelets
from podwire.client.framed.methods import Table
from podwire.client.framed.pipe import PipeEnd, pipe
from podwire.runtime import sim
from podwire.runtime.env import Env

WHERE = ("node-1", "default", "p", "c")


class Command:
    """``cat``: gives back stdin until it ends, then exits with the number of pieces."""

    def __init__(self, tty: bool) -> None:
        self._tty = tty
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue()
        self._code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.cancelled = False
        self.size = (0, 0)

    def resize(self, columns: int, rows: int) -> None:
        self.size = (columns, rows)

    async def send_stdin(self, data: bytes) -> None:
        self._pieces.put_nowait(data)

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        count = 0
        while data := await self._pieces.get():
            count += 1
            yield 1, data
            yield (1 if self._tty else 2), b"."
        if not self._code.done():
            self._code.set_result(count)

    async def wait(self) -> int:
        return await asyncio.shield(self._code)

    def cancel(self) -> None:
        self.cancelled = True
        if not self._code.done():
            self._code.set_result(137)


class Echo:
    """A connection whose other end gives back what it gets."""

    local, remote = ("127.0.0.1", 40000), ("127.0.0.1", 80)

    def __init__(self) -> None:
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue()
        self.aborted = False

    async def send(self, data: bytes) -> None:
        self._pieces.put_nowait(data)

    async def recv(self) -> bytes:
        return await self._pieces.get()

    async def close(self) -> None:
        self._pieces.put_nowait(b"")

    def abort(self) -> None:
        self.aborted = True


class Kubelet:
    """Counter 6 of one node."""

    def __init__(self, env: Env) -> None:
        self.env = env
        self.commands: list[Command] = []
        self.streams: list[Echo] = []
        self.following = 0

    async def exec(self, node: str, namespace: str, pod: str, container: str,
                   argv: Sequence[str], tty: bool) -> Command:  # fmt: skip
        if pod != "p":
            raise ApiError("NotFound", f'pod "{pod}" does not exist')
        self.commands.append(Command(tty))
        return self.commands[-1]

    async def logs(self, node: str, namespace: str, pod: str, container: str,
                   options: LogOptions) -> AsyncIterator[bytes]:  # fmt: skip
        if pod != "p":
            raise ApiError("BadRequest", "waiting to start")
        return self._lines(options)

    async def _lines(self, options: LogOptions) -> AsyncIterator[bytes]:
        self.following += 1
        try:
            for n in range(options.tail_lines or 0):
                yield b"%d\n" % n
            while options.follow:
                await self.env.clock.sleep(1)
                yield b"tick\n"
        finally:
            self.following -= 1

    async def resolver(self, node: str, namespace: str, pod: str) -> Resolver:
        return Resolver(node, "netns", "10.0.0.1", "nameserver 10.96.0.10\n", "hosts")

    async def attach(
        self, node: str, namespace: str, pod: str, container: str, *, stdin: bool
    ) -> Command:
        return await self.exec(node, namespace, pod, container, [], tty=stdin)

    async def port_forward(self, node: str, namespace: str, pod: str, port: int) -> Stream:
        if port == 81:
            raise ApiError("InternalError", "error forwarding port 81")
        self.streams.append(Echo())
        return self.streams[-1]

    async def dial(self, node: str, address: str, port: int, timeout_s: float) -> Stream:
        if port == 81:
            raise ConnectionError(f"dial tcp {address}:81: connect: connection refused")
        return await self.port_forward(node, "", "", port)

    async def http(self, node: str, request: Request) -> Response:
        answer = Response(200, request.path.encode(), {"x": "y"})
        if request.path == "/long":
            answer.stream = self._frames()
        return answer

    async def _frames(self) -> AsyncIterator[Frame]:
        for part in (b"a", b"b"):
            yield Frame(part)

    async def run(self, node: str, argv: Sequence[str], stdin: bytes = b"") -> ToolResult:
        return ToolResult(stdin.decode() + " ".join(argv), "", 0)


class _Link(PipeEnd):
    why = "gone"

    async def run(self) -> None:
        await asyncio.get_running_loop().create_future()


class World:
    """An API server's binding toward kubelets that move."""

    def __init__(self, env: Env) -> None:
        self.env = env
        self.kubelet = Kubelet(env)
        self.address = {"node-1": "a:1"}
        self.far: PipeEnd | None = None
        self.counter = FramedKubelets(lambda node: self.address.get(node, ""), self._link)  # type: ignore[arg-type]

    def _link(self, _: str) -> _Link:
        def serve(session: Any) -> Table:
            table = Table()
            serve_kubelets(table, self.kubelet, session)
            return table

        rooms = ("apiserver", "kubelet")
        near, self.far = pipe(self.env.clock, self.env.log, rooms, (None, serve))
        return _Link(near.session())

    async def exec(self, *, tty: bool = False) -> Any:
        return await self.counter.exec(*WHERE, ["cat"], tty)

    def served(self) -> dict[int, Any]:
        """The commands that the kubelet's side still knows."""
        assert self.far is not None
        commands: Any = self.far.session().on_end[0]
        found: dict[int, Any] = commands.__self__._by_id
        return found


def story(body: Callable[[World], Awaitable[None]]) -> None:
    async def main(env: Env) -> None:
        world = World(env)
        await body(world)
        if world.far is not None and world.far.up:
            world.far.session().close()
        await world.counter.close()
        await env.clock.sleep(1)

    sim.run(main, horizon_s=3600)


@pytest.mark.parametrize("tty", [False, True])
def test_stdin_output_and_the_exit_code_of_a_command_cross(tty: bool):
    """Both streams in order; afterwards the kubelet's side remembers nothing of it."""

    async def body(world: World) -> None:
        session = await world.exec(tty=tty)
        for data in (b"a", b"\0\xff", b""):
            await session.send_stdin(data)
        second = 1 if tty else 2
        got = [item async for item in session.output()]
        assert got == [(1, b"a"), (second, b"."), (1, b"\0\xff"), (second, b".")]
        assert await session.wait() == 2
        assert world.served() == {}
        await session.send_stdin(b"too late")  # a client may type while its command ends
        session.cancel()
        await world.env.clock.sleep(1)
        assert not world.kubelet.commands[0].cancelled

    story(body)


def test_a_cancelled_command_is_over_whatever_is_asked_of_it_then():
    """Its output has ended, its code is that of a killed one; a size set late changes nothing."""

    async def body(world: World) -> None:
        session = await world.exec()
        session.resize(80, 24)
        session.cancel()
        assert [item async for item in session.output()] == []
        assert await session.wait() == 137
        session.resize(1, 1)
        await world.env.clock.sleep(1)
        assert world.kubelet.commands[0].size == (80, 24)

    story(body)


def test_connections_into_pods_cross_and_end_with_their_session():
    """Forwarded ports and dialled addresses are streams; what is refused is refused here."""

    async def body(world: World) -> None:
        stream = await world.counter.port_forward("node-1", "default", "p", 80)
        assert (stream.local, stream.remote) == (Echo.local, Echo.remote)
        await stream.send(b"over")
        assert await stream.recv() == b"over"
        await stream.close()
        assert await stream.recv() == b""
        with pytest.raises(ApiError, match="error forwarding port 81"):
            await world.counter.port_forward("node-1", "default", "p", 81)
        with pytest.raises(ConnectionError, match=r"dial tcp 10.0.0.1:81: connect: .*refused"):
            await world.counter.dial("node-1", "10.0.0.1", 81, 1.0)
        dialled = await world.counter.dial("node-1", "10.0.0.1", 80, 1.0)
        assert world.far is not None
        world.far.session().close("the room stops")
        await world.env.clock.sleep(1)
        assert [echo.aborted for echo in world.kubelet.streams] == [True, True]
        with pytest.raises(ConnectionError):
            await dialled.recv()

    story(body)


def test_attach_and_kubelets_own_port_cross():
    """A program's streams as a command's; answers whole or in frames."""

    async def body(world: World) -> None:
        session = await world.counter.attach(*WHERE, stdin=True)
        await session.send_stdin(b"x")
        await session.send_stdin(b"")
        assert [item async for item in session.output()] == [(1, b"x"), (1, b".")]
        short = await world.counter.http("node-1", Request("GET", "/healthz"))
        assert (short.status, short.body, short.headers) == (200, b"/healthz", {"x": "y"})
        long = await world.counter.http("node-1", Request("GET", "/long"))
        assert long.stream is not None
        assert [frame.data async for frame in long.stream] == [b"a", b"b"]

    story(body)


def test_a_client_that_leaves_kills_its_command_whenever_it_leaves():
    """While it runs, and while it was being started."""

    async def body(world: World) -> None:
        session = await world.exec()
        waiting = asyncio.get_running_loop().create_task(session.wait())
        await world.env.clock.sleep(1)
        session.cancel()
        assert await waiting == 137
        for turns in range(12):
            start = asyncio.get_running_loop().create_task(world.exec())
            for _ in range(turns):
                await asyncio.sleep(0)
            start.cancel()
            await asyncio.gather(start, return_exceptions=True)
            if not start.cancelled():
                start.result().cancel()
            await world.env.clock.sleep(1)
        assert len(world.kubelet.commands) > 3
        assert all(command.cancelled for command in world.kubelet.commands)
        assert world.served() == {}

    story(body)


def test_a_lost_connection_kills_commands_ends_logs_and_fails_what_waits():
    async def body(world: World) -> None:
        session = await world.exec()
        lines = await world.counter.logs(*WHERE, LogOptions(follow=True))
        waiting = asyncio.get_running_loop().create_task(session.wait())
        assert await anext(lines) == b"tick\n"
        assert world.far is not None
        world.far.session().close("the room stops")
        with pytest.raises(ConnectionError):
            await waiting
        with pytest.raises(ConnectionError):
            async for _ in lines:
                pass
        await world.env.clock.sleep(1)
        assert world.kubelet.commands[0].cancelled
        assert world.kubelet.following == 0

    story(body)


def test_logs_end_where_they_end_and_a_follower_that_leaves_is_left():
    """Longer than the credit of a stream, and to the last line."""

    async def body(world: World) -> None:
        lines = await world.counter.logs(*WHERE, LogOptions(tail_lines=500))
        assert b"".join([line async for line in lines]).splitlines()[-1] == b"499"
        followed: Any = await world.counter.logs(*WHERE, LogOptions(follow=True, tail_lines=1))
        assert [await anext(followed), await anext(followed)] == [b"0\n", b"tick\n"]
        await followed.aclose()
        await world.env.clock.sleep(2)
        assert world.kubelet.following == 0

    story(body)


def test_what_a_kubelet_refuses_is_refused_here_in_its_words():
    async def body(world: World) -> None:
        with pytest.raises(ApiError, match='pod "q" does not exist') as caught:
            await world.counter.exec("node-1", "default", "q", "c", ["x"], tty=False)
        assert caught.value.code == 404
        with pytest.raises(ApiError, match="waiting to start"):
            await world.counter.logs("node-1", "default", "q", "c", LogOptions())
        with pytest.raises(ConnectionError, match=r"dial tcp node-9:10250.*refused"):
            await world.counter.resolver("node-9", "default", "p")
        assert (await world.counter.run("node-1", ["ip", "a"], b"in ")).stdout == "in ip a"
        assert (await world.counter.resolver("node-1", "default", "p")).netns == "netns"

    story(body)


def test_a_kubelet_that_moved_leaves_no_link_behind():
    """Dialling its old address for ever would be all that link does."""

    async def body(world: World) -> None:
        world.address["node-2"] = "a:1"
        for node in ("node-1", "node-2"):
            await world.counter.run(node, ["x"])
        world.address["node-1"] = "b:1"
        await world.counter.run("node-1", ["x"])
        assert sorted(world.counter._links) == ["a:1", "b:1"], "node-2 is still there"
        world.address.pop("node-2")
        with pytest.raises(ConnectionError):
            await world.counter.run("node-2", ["x"])
        assert sorted(world.counter._links) == ["b:1"]
        await world.counter.run("node-1", ["x"])

    story(body)
