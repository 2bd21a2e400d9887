"""What containers run: modelled programs by image and command.

A program is a coroutine over an ``ExecEnv`` (files, sockets, time of one container); it never
touches the API. ``registry.py`` is the one ordered list of images. An image nobody models runs as
the *generic program*, and says so.
"""

from __future__ import annotations

from collections.abc import Sequence

from podwire.kubelet.programs.env import ExecEnv


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


__all__ = ["ExecEnv", "command_exists", "exec_command"]
