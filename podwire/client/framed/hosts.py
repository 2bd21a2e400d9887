"""Counter 5 over a session: containers whose programs are another room.

Kubelet's half calls to start, signal and wait; the room's half calls back for files, and posts what
the program prints. Either side losing the other ends the containers: the room kills what it ran,
kubelet learns that they are lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from podwire.client.counters import Container, ContainerHost, ContainerSpec, Process, Sockets
from podwire.client.framed.methods import Method, Table
from podwire.client.framed.session import Connection, Session
from podwire.client.hosting import repository

# kubelet -> room
START = Method("host.start", tuple[ContainerSpec])
WAIT = Method("host.wait", tuple[str], int)
SIGNAL = Method("host.signal", tuple[str, str])

# room -> kubelet
PRINT = Method("process.print", tuple[str, bool, str])
READ_FILE = Method("process.read_file", tuple[str, str], bytes)
LIST_FILES = Method("process.list_files", tuple[str, str], list[str])
WRITE_FILE = Method("process.write_file", tuple[str, str, bytes])
REMOVE_FILE = Method("process.remove_file", tuple[str, str])


# ---------------------------------------------------------------- the room's side


class _RemoteProcess:
    """``counters.Process`` for a program in this room whose container is a kubelet's."""

    def __init__(self, session: Session, spec: ContainerSpec, sockets: Sockets) -> None:
        self._session = session
        self.spec = spec
        self.sockets = sockets
        self._signals: asyncio.Queue[str] = asyncio.Queue()

    def out(self, line: str) -> None:
        self._session.post(PRINT, self.spec.id, False, line)

    def err(self, line: str) -> None:
        self._session.post(PRINT, self.spec.id, True, line)

    async def read_file(self, path: str) -> bytes:
        data: bytes = await self._session.call(READ_FILE, self.spec.id, path)
        return data

    async def list_files(self, prefix: str) -> list[str]:
        paths: list[str] = await self._session.call(LIST_FILES, self.spec.id, prefix)
        return paths

    async def write_file(self, path: str, data: bytes) -> None:
        await self._session.call(WRITE_FILE, self.spec.id, path, data)

    async def remove_file(self, path: str) -> None:
        await self._session.call(REMOVE_FILE, self.spec.id, path)

    async def terminated(self) -> str:
        return await self._signals.get()

    def deliver(self, signal: str) -> None:
        self._signals.put_nowait(signal)


class _Containers:
    """What one kubelet runs in this room."""

    def __init__(self, session: Session, hosts: Sequence[ContainerHost], sockets: Sockets) -> None:
        self._session = session
        self._hosts = hosts
        self._sockets = sockets
        self._running: dict[str, Container] = {}

    async def start(self, spec: ContainerSpec) -> None:
        host = next((h for h in self._hosts if h.implements(spec.image)), None)
        if host is None:
            raise OSError(2, f'image "{spec.image}" has no container host')
        process = _RemoteProcess(self._session, spec, self._sockets.owned_by(spec.id))
        self._running[spec.id] = await host.start(process)

    async def wait(self, id: str) -> int:
        container = self._running.get(id)
        if container is None:
            raise ConnectionError(f"container {id} is not of this connection")
        code = await container.wait()
        self._running.pop(id, None)  # not when the caller gave up: it runs on
        return code

    def signal(self, id: str, name: str) -> None:
        container = self._running.get(id)
        if container is not None:
            container.signal(name)

    def end(self) -> None:
        """Their kubelet is gone, and with it the container runtime."""
        for container_id, container in list(self._running.items()):
            container.signal("KILL")
            self._sockets.release(container_id)
        self._running.clear()


def serve_hosts(
    table: Table, hosts: Sequence[ContainerHost], sockets: Sockets, session: Session
) -> None:
    """Let a kubelet run containers in this room."""
    containers = _Containers(session, hosts, sockets)
    table.unary(START, containers.start)
    table.unary(WAIT, containers.wait)
    table.post(SIGNAL, containers.signal)
    session.on_end.append(containers.end)


# ---------------------------------------------------------------- kubelet's side


class FramedContainer:
    """A container in another room. Its exit is asked for once, whoever waits and how often."""

    def __init__(self, session: Session, id: str, processes: Processes) -> None:
        self._session = session
        self._id = id
        self._processes = processes
        self._exit = asyncio.get_running_loop().create_task(
            session.call(WAIT, id), name=f"exit of {id}"
        )
        self._exit.add_done_callback(self._exited)

    def _exited(self, task: asyncio.Task[int]) -> None:
        self._processes.forget(self._id)
        if not task.cancelled():
            task.exception()  # a kubelet that stopped asks for it no more

    async def wait(self) -> int:
        """See ``counters.Container``. Raises ConnectionError when the room is lost."""
        return await asyncio.shield(self._exit)

    def signal(self, name: str) -> None:
        """See ``counters.Container``."""
        self._session.post(SIGNAL, self._id, name)


class Processes:
    """The containers of this kubelet that run in other rooms, for their calls back."""

    def __init__(self) -> None:
        self._by_id: dict[str, Process] = {}

    def remember(self, process: Process) -> None:
        """A container is about to start."""
        self._by_id[process.spec.id] = process

    def forget(self, id: str) -> None:
        """It ended."""
        self._by_id.pop(id, None)

    def _get(self, id: str) -> Process:
        found = self._by_id.get(id)
        if found is None:
            raise LookupError(f"no container {id} runs")
        return found

    def _print(self, id: str, is_error: bool, line: str) -> None:
        process = self._by_id.get(id)
        if process is not None:  # a last line may come after the exit code
            (process.err if is_error else process.out)(line)

    async def _read_file(self, id: str, path: str) -> bytes:
        return await self._get(id).read_file(path)

    async def _list_files(self, id: str, prefix: str) -> list[str]:
        return await self._get(id).list_files(prefix)

    async def _write_file(self, id: str, path: str, data: bytes) -> None:
        await self._get(id).write_file(path, data)

    async def _remove_file(self, id: str, path: str) -> None:
        await self._get(id).remove_file(path)

    def serve(self, _: Session) -> Table:
        """What the rooms may call."""
        table = Table()
        table.post(PRINT, self._print)
        table.unary(READ_FILE, self._read_file)
        table.unary(LIST_FILES, self._list_files)
        table.unary(WRITE_FILE, self._write_file)
        table.unary(REMOVE_FILE, self._remove_file)
        return table


class FramedHost:
    """Counter 5 at the other end of a link: ``images`` are what that room implements."""

    def __init__(self, link: Connection, images: Sequence[str], processes: Processes) -> None:
        self._link = link
        self._repositories = tuple(repository(image) for image in images)
        self._processes = processes

    def implements(self, image: str) -> bool:
        """Whether the image's repository is one of that room's."""
        return repository(image) in self._repositories

    async def available(self) -> None:
        """See ``counters.ContainerHost``: the image is known, and the container comes to live when
        the room does.
        """
        await self._link.connected()

    async def start(self, process: Process) -> Container:
        """See ``counters.ContainerHost``. Raises ConnectionError while the room is away."""
        session = self._link.session()
        container_id = process.spec.id
        self._processes.remember(process)
        try:
            await session.acquire(
                START, replace(process.spec, env=dict(process.spec.env)),
                give_back=lambda _: session.post(SIGNAL, container_id, "KILL"),
            )  # fmt: skip
        except BaseException:
            self._processes.forget(container_id)
            raise
        return FramedContainer(session, container_id, self._processes)
