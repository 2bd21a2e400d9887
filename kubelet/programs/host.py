"""``ProgramHost``: the container host for every image that no room implements."""

from __future__ import annotations

import errno
from functools import partial
from typing import Protocol, cast

from podwire.client.counters import Container, Process
from podwire.client.ctx import Ctx
from podwire.client.hosting import TaskContainer
from podwire.kubelet.programs.env import ExecEnv
from podwire.kubelet.programs.image import Image
from podwire.kubelet.programs.registry import command_line, image_of

GENERIC_COMMAND = "podwire-generic"


class Files(Protocol):
    """What a container's files answer at once (``kubelet.files.FileView``)."""

    def read(self, path: str) -> bytes:
        """A file. Raises FileNotFoundError."""

    def list(self, prefix: str) -> list[str]:
        """Sorted absolute paths below a path."""


class LocalProcess(Process, Protocol):
    """A process in this kubelet, whose files need not be asked for."""

    @property
    def files(self) -> Files:
        """The container's files."""

    @property
    def stdio(self) -> Streams:
        """The container's standard streams."""


class Streams(Protocol):
    """A container's standard streams (``kubelet.stdio.Stdio``)."""

    tty: bool
    size: tuple[int, int]

    def write(self, stream: int, data: bytes) -> None:
        """Print: 1 is stdout, 2 stderr."""

    async def read(self) -> bytes:
        """The next input, b"" at its end."""


class ProgramHost:
    """Implements all images; stand it last in ``ctx.hosts``."""

    def __init__(self, ctx: Ctx) -> None:
        self._ctx = ctx

    def implements(self, image: str) -> bool:  # noqa: ARG002  every image is this host's
        """Always: an unknown image runs as the generic program."""
        return True

    async def available(self) -> None:
        """Always: these programs are kubelet's own."""

    def describe(self, image: str) -> str:
        """The model's name, or ``generic``: kubelet then records the Event that says so."""
        return image_of(image).name

    def uid(self, image: str) -> int | None:
        """The user that an image names; None when that is not known."""
        return image_of(image).uid

    async def start(self, process: Process) -> Container:
        """Start the program of one container.

        Raises OSError(ENOENT) when the image is known and its command is not in it.
        """
        # The shell is imported by the first container, not by every command line.
        from podwire.kubelet.shell.find import find  # noqa: PLC0415

        image = image_of(process.spec.image)
        argv = process.spec.argv
        known = bool(argv) and find(image, argv[0]) is not None
        argv = command_line(image, argv, known)
        if image.generic and not known:
            argv = (GENERIC_COMMAND, *argv)
        elif argv and find(image, argv[0]) is None:
            raise OSError(errno.ENOENT, "executable file not found in $PATH", argv[0])

        async def program(process: Process) -> int:
            return await self._run(cast("LocalProcess", process), image, argv)

        return TaskContainer(program, process)

    async def _run(self, process: LocalProcess, image: Image, argv: tuple[str, ...]) -> int:
        from podwire.kubelet.programs.execute import execute  # noqa: PLC0415  see start

        spec, ctx, stdio = process.spec, self._ctx, process.stdio
        env = ExecEnv(
            spec=spec,
            sockets=process.sockets,
            fabric=ctx.fabric,
            clock=ctx.clock,
            rng=ctx.rng.child(f"program/{spec.namespace}/{spec.pod}/{spec.name}"),
            read_file=process.files.read,
            write_file=process.write_file,
            remove_file=process.remove_file,
            write_stdout=partial(stdio.write, 1),
            write_stderr=partial(stdio.write, 2),
            read_stdin=stdio.read,
            list_files=process.files.list,
            tty=stdio.tty,
            size=lambda: stdio.size,
        )
        return await execute(env, image, argv, process.terminated)
