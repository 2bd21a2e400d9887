"""ip, ss, iptables, conntrack ...: the kernel answers, in the pod's network namespace."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from podwire.kubelet import programs
from podwire.kubelet.shell.command import Command

BUSYBOX = ("arp", "ifconfig", "netstat", "route")
"""Tools that busybox has too, with words of its own."""

_WORDS_OF_IPROUTE2 = re.compile(r" group default\b| link-netnsid \d+|(?<=qdisc noqueue) state \w+")
"""What busybox's ip does not tell of a device (networking/libiproute/ipaddress.c, as built for
the image busybox).
"""


async def within(command: Command, netns: str, argv: Sequence[str]) -> int:
    """Run a command in another network namespace of the node."""
    env = replace(
        command.env,
        spec=replace(command.spec, netns=netns, working_dir=command.cwd),
        read_stdin=command.stdin.some,
        write_stdout=command.write_out,
        write_stderr=command.write_err,
        tty=False,
    )
    return await programs.exec_command(env, argv)


async def run(command: Command) -> int:
    """Hand the words to the fabric; stdin only where a tool reads one."""
    reads = command.name.endswith("-restore") or command.args[:1] == ["-f"]
    text = (await command.stdin.all()).decode(errors="replace") if reads else ""
    argv = [command.name, *command.args]
    if command.image.busybox and command.name in BUSYBOX:
        argv = ["busybox", *argv]
    spec = command.spec
    if argv[:3] == ["ip", "netns", "exec"] and len(argv) > 4 and not spec.netns:
        listed = await command.env.fabric.tool(spec.node, "", ["ip", "netns"], "")
        if argv[3] in [line.split()[0] for line in listed.stdout.splitlines()]:
            return await within(command, argv[3], argv[4:])
    result = await command.env.fabric.tool(spec.node, spec.netns, argv, text)
    command.err(result.stderr)  # first, for these tools keep what goes to a pipe until they end
    shown = result.stdout
    if command.image.busybox and command.name == "ip":
        shown = _WORDS_OF_IPROUTE2.sub("", shown)
    command.out(shown)
    return result.code
