"""chroot: into the node's disk, where a pod mounts it (``kubectl debug node/NAME``: /host)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from podwire.kubelet import programs
from podwire.kubelet.files import normal
from podwire.kubelet.programs.env import ExecEnv
from podwire.kubelet.programs.image import NODE_IMAGE
from podwire.kubelet.shell.command import Command


async def run(command: Command) -> int:
    """``chroot DIR [COMMAND [ARGS...]]``. Commands are a node's: other roots hold none."""
    if not command.args:
        return command.fail("missing operand", 125)
    root, *argv = command.args
    folder = normal(root if root.startswith("/") else f"{command.cwd}/{root}")
    prefix = "" if folder == "/" else folder
    if not command.env.list_files(folder):
        return command.fail(
            f"cannot change root directory to '{root}': No such file or directory", 125
        )
    argv = argv or ["/bin/sh", "-i"]
    if not command.env.list_files(f"{prefix}/etc/os-release"):
        return command.fail(f"failed to run command '{argv[0]}': No such file or directory", 127)
    return await programs.exec_command(_below(command, prefix), argv)


def _below(command: Command, prefix: str) -> ExecEnv:
    """The command's surroundings with another root and the node's commands."""
    env = command.env

    def read(path: str) -> bytes:
        return env.read_file(prefix + normal(path))

    async def write(path: str, data: bytes) -> None:
        await env.write_file(prefix + normal(path), data)

    async def remove(path: str) -> None:
        await env.remove_file(prefix + normal(path))

    def listed(folder: str) -> Sequence[str]:
        return [path.removeprefix(prefix) for path in env.list_files(prefix + normal(folder))]

    return replace(
        env,
        spec=replace(env.spec, image=NODE_IMAGE, working_dir="/"),
        read_file=read,
        write_file=write,
        remove_file=remove,
        list_files=listed,
        read_stdin=command.stdin.some,
        write_stdout=command.write_out,
        write_stderr=command.write_err,
        tty=False,
    )
