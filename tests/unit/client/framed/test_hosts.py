"""Counters 4 and 5 over a pipe: containers and plugins of a room that may be lost at any time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from podwire.client.counters import CniOutput, ContainerSpec, Process
from podwire.client.framed.cni import TRY_AGAIN, FramedCni, serve_cni
from podwire.client.framed.hosts import FramedHost, Processes, serve_hosts
from podwire.client.framed.methods import Table
from podwire.client.framed.pipe import PipeEnd, pipe
from podwire.client.hosting import RoomHost
from podwire.runtime import sim
from podwire.runtime.env import Env

IMAGE = "registry.k8s.io/kube-proxy"


class Sockets:
    """Whose sockets were closed."""

    def __init__(self) -> None:
        self.released: list[str] = []

    def owned_by(self, _: str) -> Sockets:
        return self

    def release(self, owner: str) -> None:
        self.released.append(owner)


class Kept:
    """``Process`` at the kubelet: a log and a few files."""

    def __init__(self, id: str) -> None:
        self.spec = ContainerSpec(
            id, "node-1", "", "default", "p", "uid", "10.0.0.1", "c", f"{IMAGE}:v1", ()
        )  # fmt: skip
        self.lines: list[str] = []
        self.files = {"/etc/hosts": b"hosts"}

    def out(self, line: str) -> None:
        self.lines.append(line)

    def err(self, line: str) -> None:
        self.lines.append(f"error: {line}")

    async def read_file(self, path: str) -> bytes:
        if path not in self.files:
            raise FileNotFoundError(2, "No such file or directory", path)
        return self.files[path]

    async def list_files(self, prefix: str) -> list[str]:
        return sorted(path for path in self.files if path.startswith(prefix))

    async def write_file(self, path: str, data: bytes) -> None:
        self.files[path] = data

    async def remove_file(self, path: str) -> None:
        del self.files[path]


class World:
    """A kubelet, and a room that runs ``program``."""

    def __init__(self, env: Env, program: Any) -> None:
        self.env = env
        self.processes = Processes()
        self.sockets = Sockets()
        self.ended: list[str] = []

        async def watched(process: Process) -> int:
            try:
                code: int = await program(process)
                return code
            finally:
                self.ended.append(process.spec.id)

        def serve(session: Any) -> Table:
            table = Table()
            host = RoomHost((IMAGE,), watched)
            serve_hosts(table, [host], self.sockets, session)  # type: ignore[arg-type]
            return table

        self.near, self.far = pipe(
            env.clock, env.log, ("kubelet", "kube-proxy"), (self.processes.serve, serve)
        )
        self.host = FramedHost(self.near, (IMAGE,), self.processes)

    async def start(self, id: str = "one") -> tuple[Kept, Any]:
        kept = Kept(id)
        return kept, await self.host.start(kept)  # type: ignore[arg-type]


def story(program: Any, body: Callable[[World], Awaitable[None]]) -> None:
    async def main(env: Env) -> None:
        world = World(env, program)
        await body(world)
        for end in (world.near, world.far):
            if end.up:
                end.session().close()
        await env.clock.sleep(1)

    sim.run(main, horizon_s=3600)


async def until_term(process: Process) -> int:
    """Prints, then lives until a signal comes."""
    process.out("started")
    signal = await process.terminated()
    process.err(signal)
    return 0


def test_files_lines_signals_and_the_exit_code_cross():
    """Everything a program can ask of its container, with errors as they are."""

    async def program(process: Process) -> int:
        process.out((await process.read_file("/etc/hosts")).decode())
        await process.write_file("/a", b"x")
        process.out(" ".join(await process.list_files("/")))
        await process.remove_file("/a")
        with pytest.raises(FileNotFoundError) as caught:
            await process.read_file("/nothing")
        process.err(f"{caught.value.errno} {caught.value.filename}")
        process.out(await process.terminated())
        return 3

    async def body(world: World) -> None:
        kept, container = await world.start()
        await world.env.clock.sleep(1)
        assert kept.lines == ["hosts", "/a /etc/hosts", "error: 2 /nothing"]
        container.signal("HUP")
        assert await container.wait() == 3
        assert await container.wait() == 3, "whoever asks later is told, too"
        assert kept.lines[-1] == "HUP"
        assert not world.processes._by_id

    story(program, body)


def test_a_waiter_that_gives_up_leaves_the_container_in_the_hands_of_the_others():
    """A stop that is interrupted must not take the exit, nor the lines, from its follower."""

    async def body(world: World) -> None:
        kept, container = await world.start()
        follower = asyncio.get_running_loop().create_task(container.wait())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await container.wait()
        container.signal("TERM")
        assert await follower == 0
        await world.env.clock.sleep(1)
        assert kept.lines == ["started", "error: TERM"]

    story(until_term, body)


def test_a_start_that_was_given_up_leaves_no_container():
    """At whatever turn kubelet stopped."""

    async def body(world: World) -> None:
        ran = 0
        for turns in range(12):
            start = asyncio.get_running_loop().create_task(world.start(f"c{turns}"))
            for _ in range(turns):
                await asyncio.sleep(0)
            if start.done():
                (await start)[1].signal("KILL")
            start.cancel()
            await asyncio.gather(start, return_exceptions=True)
            await world.env.clock.sleep(1)
            ran += len(world.ended)
        running = [t for t in asyncio.all_tasks() if t.get_name().startswith("container ")]
        assert not running
        assert ran, "some had begun"
        assert not world.processes._by_id

    story(until_term, body)


def test_a_lost_room_is_a_lost_container_for_whoever_waits():
    """Now or later; and the room, which lost its kubelet, kills what it ran."""

    async def body(world: World) -> None:
        _, container = await world.start()
        waiting = asyncio.get_running_loop().create_task(container.wait())
        await world.env.clock.sleep(1)
        world.far.session().close("the room stops")
        await world.env.clock.sleep(1)
        for wait in (waiting, container.wait()):
            with pytest.raises(ConnectionError):
                await wait
        container.signal("TERM")  # nobody hears it
        assert world.ended == ["one"]
        assert world.sockets.released == ["one"]
        assert not world.processes._by_id
        with pytest.raises(ConnectionError):
            await world.start("two")
        with pytest.raises(TimeoutError):  # it waits for the room
            async with asyncio.timeout(60):
                await world.host.available()

    story(until_term, body)


def test_a_lost_kubelet_takes_its_containers_with_it():
    async def body(world: World) -> None:
        await world.start()
        await world.env.clock.sleep(1)
        world.near.session().close("kubelet stops")
        await world.env.clock.sleep(1)
        assert world.ended == ["one"]
        assert world.sockets.released == ["one"]

    story(until_term, body)


# ---------------------------------------------------------------- counter 4


class Plugins:
    """Plugins that take their time, or lose the fabric themselves."""

    def __init__(self, env: Env) -> None:
        self.env = env
        self.fabric_is_lost = False

    async def execute(self, *_: Any) -> CniOutput:
        if self.fabric_is_lost:
            raise ConnectionError("lost fabric")
        await self.env.clock.sleep(10)
        return CniOutput(b"{}", 0)

    async def available(self) -> None:
        pass


def with_plugins(body: Callable[[Env, Plugins, PipeEnd, FramedCni], Awaitable[None]]) -> None:
    async def main(env: Env) -> None:
        plugins = Plugins(env)

        def serve(_: Any) -> Table:
            table = Table()
            serve_cni(table, plugins)
            return table

        near, far = pipe(env.clock, env.log, ("kubelet", "cni"), (None, serve))
        await body(env, plugins, far, FramedCni(near))
        far.session().close() if far.up else None
        await env.clock.sleep(0)

    sim.run(main, horizon_s=3600)


@pytest.mark.parametrize("stdin", [b'{"cniVersion":"1.0.0"}', b"", b"[]", b"\xff"])
def test_a_plugin_that_was_interrupted_failed_with_try_again_later(stdin: bytes):
    """Kubelet sees an execution that failed, never an exception: code 11 of the specification."""

    async def body(env: Env, plugins: Plugins, far: PipeEnd, cni: FramedCni) -> None:
        plugins.fabric_is_lost = True
        outputs = [await cni.execute("node-1", "flannel", {}, stdin)]
        plugins.fabric_is_lost = False
        running = asyncio.get_running_loop().create_task(cni.execute("n", "flannel", {}, stdin))
        await env.clock.sleep(1)
        far.session().close("the room stops")
        outputs.append(await running)
        for output in outputs:
            document = json.loads(output.stdout)
            assert output.code == 1
            assert document["code"] == TRY_AGAIN
            assert document["cniVersion"] == ("1.0.0" if stdin[:2] == b'{"' else "")
        with pytest.raises(TimeoutError):  # the room is away: whoever wants to may wait for it
            async with asyncio.timeout(60):
                await cni.available()

    with_plugins(body)
