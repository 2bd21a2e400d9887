"""What containers run: modelled programs by image and command.

A program is a coroutine over an ``ExecEnv`` (files, sockets, time of one container); it never
touches the API. ``registry.py`` is the one ordered list of images. An image nobody models runs as
the *generic program*, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from podwire.kubelet.files import Change, Stat
from podwire.kubelet.programs.env import ExecEnv


class Files(Protocol):
    """What a container's files answer at once (``kubelet.files.FileView``)."""

    def read(self, path: str) -> bytes:
        """A file. Raises FileNotFoundError."""

    def list(self, prefix: str) -> list[str]:
        """Sorted absolute paths below a path."""

    def lstat(self, path: str) -> Stat:
        """What lies at a path, links not followed. Raises FileNotFoundError."""

    def change(self, path: str, change: Change) -> None:
        """Change mode or owner of a file. Raises OSError."""

    def links(self, prefix: str) -> Mapping[str, str]:
        """Symbolic links below a path, with their targets."""


async def exec_command(env: ExecEnv, argv: Sequence[str]) -> int:
    """Run a command inside a running container, as ``kubectl exec`` does; its exit code.

    127 (and ``NAME: not modelled`` on stderr) when the image has no such command. With
    ``env.tty``, stdin is a terminal: lines are echoed and Ctrl-C interrupts.
    """
    # The shell and its tools are imported by the first command, not by every boot.
    from podwire.kubelet.programs.execute import execute  # noqa: PLC0415
    from podwire.kubelet.programs.registry import image_of  # noqa: PLC0415

    return await execute(env, image_of(env.spec.image), argv)


def command_exists(image: str, command: str) -> bool | None:
    """Whether an image has a command; None when it may have it and podwire does not model it."""
    from podwire.kubelet.programs.registry import image_of  # noqa: PLC0415  see exec_command
    from podwire.kubelet.shell.find import find  # noqa: PLC0415

    known = image_of(image)
    if find(known, command) is not None:
        return True
    return None if known.tools is None else False


def is_script(word: str, cwd: str, files: Files) -> bool:
    """Whether a command word names a script among a container's files.

    Raises PermissionError when it must not be run.
    """
    from podwire.kubelet.shell import scripts  # noqa: PLC0415  see exec_command

    return scripts.words(word, cwd, files.read, files) is not None


__all__ = ["ExecEnv", "Files", "command_exists", "exec_command", "is_script"]
