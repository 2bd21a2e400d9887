"""``ProgramHost``: the container host for every image that no room implements."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from functools import partial
from typing import Protocol, cast

from podwire.client.counters import Container, Process
from podwire.client.ctx import Ctx
from podwire.client.hosting import TaskContainer
from podwire.kubelet.programs import Files, is_script, rootfs
from podwire.kubelet.programs.env import ExecEnv
from podwire.kubelet.programs.image import Image
from podwire.kubelet.programs.registry import command_line, image_of

GENERIC_COMMAND = "podwire-generic"


class LocalProcess(Process, Protocol):
    """A process in this kubelet, whose files need not be asked for."""

    @property
    def files(self) -> Files:
        """The container's files."""

    @property
    def pid(self) -> int:
        """Its number in the container's PID namespace."""

    def kill(self, pid: int, name: str) -> None:
        """Send a signal to a process of that namespace. Raises OSError."""

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

    def stop_signal(self, image: str) -> str:
        """The signal that an image names (``STOPSIGNAL``), "" for none."""
        return image_of(image).stop_signal

    def files(self, image: str) -> Mapping[str, bytes]:
        """What an image brings along of files, as far as it is modelled."""
        return rootfs.files(image_of(image), image)

    def words(self, image: str, argv: tuple[str, ...]) -> tuple[str, ...]:
        """What an image runs when it is given ``argv``, as its process shows it."""
        known = image_of(image)
        words = command_line(known, argv, bool(argv) and self._has(known, argv[0]))
        if words and words[0].endswith("docker-entrypoint.sh"):
            words = words[1:]  # such scripts become what they are given
        if words[:1] == ("nginx",):
            words = (f"nginx: master process {' '.join(words)}",)  # it says so of itself
        return words or (known.name,)

    def _has(self, image: Image, command: str) -> bool:
        # The shell is imported by the first container, not by every command line.
        from podwire.kubelet.shell.find import find  # noqa: PLC0415

        return find(image, command) is not None

    def objection(self, process: Process) -> str:
        """Why the script that process 1 of a shell's image is given cannot be run; "" when it
        can, or is wrong by itself.
        """
        # The shell is imported by the first container, not by every command line.
        from podwire.kubelet.programs.execute import objection  # noqa: PLC0415

        known = image_of(process.spec.image)
        return "" if known.generic else objection(known, cast("LocalProcess", process))

    async def start(self, process: Process) -> Container:
        """Start the program of one container.

        Raises OSError when the image is known and its command is not in it (ENOENT) or is a file
        that must not be run (EACCES).
        """
        image = image_of(process.spec.image)
        argv = process.spec.argv
        known = bool(argv) and self._has(image, argv[0])
        argv = command_line(image, argv, known)
        if image.generic and not known:
            argv = (GENERIC_COMMAND, *argv)
        elif argv and not (self._has(image, argv[0]) or _is_script(process, argv[0])):
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
            lstat=process.files.lstat,
            links=process.files.links,
            change=process.files.change,
            pid=process.pid,
            kill=process.kill,
            tty=stdio.tty,
            size=lambda: stdio.size,
        )
        return await execute(env, image, argv, process.terminated)


def _is_script(process: Process, word: str) -> bool:
    """Whether a word names a script among the container's files. Raises PermissionError."""
    files = cast("LocalProcess", process).files
    return is_script(word, process.spec.working_dir or "/", files)
