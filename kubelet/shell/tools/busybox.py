"""busybox: the applet named by the first argument."""

from __future__ import annotations

from podwire.kubelet.shell.command import Command


async def run(command: Command) -> int:
    """``busybox APPLET [ARGS...]``."""
    if not command.args:
        command.out("BusyBox v1.37.0 multi-call binary.\n")
        return 0
    return await command.runner.run_argv(command.args, command)
