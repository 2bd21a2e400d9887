"""ip, ss, iptables, conntrack ...: the kernel answers, in the pod's network namespace."""

from __future__ import annotations

from podwire.kubelet.shell.command import Command

BUSYBOX = ("arp", "ifconfig", "netstat", "route")
"""Tools that busybox has too, with words of its own."""


async def run(command: Command) -> int:
    """Hand the words to the fabric; stdin only where a tool reads one."""
    reads = command.name.endswith("-restore") or command.args[:1] == ["-f"]
    text = (await command.stdin.all()).decode(errors="replace") if reads else ""
    argv = [command.name, *command.args]
    if command.image.busybox and command.name in BUSYBOX:
        argv = ["busybox", *argv]
    spec = command.spec
    result = await command.env.fabric.tool(spec.node, spec.netns, argv, text)
    command.err(result.stderr)  # first, for these tools keep what goes to a pipe until they end
    command.out(result.stdout)
    return result.code
