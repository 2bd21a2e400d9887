"""uname, nproc: the node's kernel and processors."""

from __future__ import annotations

from podwire.kubelet.shell.command import Command


async def run(command: Command) -> int:
    """``uname [-asnrm]``; ``nproc``."""
    if command.name == "uname" and command.args in ([], ["-s"]):
        command.out("Linux\n")
        return 0
    node = await command.env.fabric.node(command.spec.node)
    if command.name == "nproc":
        command.out(f"{node.cpus}\n")
        return 0
    name = command.spec.hostname or command.spec.pod
    parts = {"s": "Linux", "n": name, "r": node.kernel_version, "v": "#1 SMP", "m": "x86_64"}
    options = "".join(arg[1:] for arg in command.args if arg.startswith("-")) or "s"
    wanted = "snrvm" if "a" in options else options
    tail = " GNU/Linux" if "a" in options else ""
    command.out(" ".join(parts[key] for key in "snrvm" if key in wanted) + tail + "\n")
    return 0
