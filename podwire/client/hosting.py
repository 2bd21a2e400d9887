"""A room as container host: one coroutine per started container.

``RoomHost`` is how kube-proxy, CoreDNS and the CNI agents are pods: kubelet finds the room that
implements the image and starts its program; the exit code and the logs stay kubelet's.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable

from podwire.client.counters import Container, Process

Program = Callable[[Process], Awaitable[int]]
"""A modelled program: runs until it returns its exit code; cancelled by KILL."""

KILLED = 137


def repository(image: str) -> str:
    """An image reference without tag and digest: ``registry.k8s.io/pause``."""
    name = image.partition("@")[0]
    head, _, last = name.rpartition("/")
    last = last.partition(":")[0]
    return f"{head}/{last}" if head else last


class TaskContainer:
    """A container whose program is a task on this loop."""

    def __init__(self, program: Program, process: Process) -> None:
        self._process = process
        self._code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        spec = process.spec
        self._task = asyncio.get_running_loop().create_task(
            self._run(program), name=f"container {spec.namespace}/{spec.pod}/{spec.name}"
        )

    async def _run(self, program: Program) -> None:
        code = KILLED
        try:
            code = await program(self._process)
        except asyncio.CancelledError:
            pass  # KILL: the program has no say, and nobody awaits this task
        except ConnectionError as error:  # a bug of nobody's: the network, or the room's link to it
            self._process.err(f"error: {error}")
            code = 1
        except Exception:  # noqa: BLE001  any bug of a program is that container's crash
            for line in traceback.format_exc().splitlines():
                self._process.err(line)
            code = 1
        finally:
            if not self._code.done():
                self._code.set_result(code)

    async def wait(self) -> int:
        """The exit code, once the program ended."""
        return await asyncio.shield(self._code)

    def signal(self, name: str) -> None:
        """KILL cancels the program; other signals reach it through ``Process.terminated``."""
        if name == "KILL":
            if not self._code.done():
                self._code.set_result(KILLED)
            self._task.cancel()
        else:
            self._process.deliver(name)


class RoomHost:
    """Implements images by repository name with one program."""

    def __init__(self, images: tuple[str, ...], program: Program) -> None:
        self._repositories = tuple(repository(image) for image in images)
        self._program = program

    def implements(self, image: str) -> bool:
        """Whether the image's repository is one of this room's."""
        return repository(image) in self._repositories

    async def available(self) -> None:
        """See ``counters.ContainerHost``."""

    async def start(self, process: Process) -> Container:
        """Start the program for one container."""
        return TaskContainer(self._program, process)
