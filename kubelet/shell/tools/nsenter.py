"""nsenter: another process's network namespace (its other namespaces are not modelled)."""

from __future__ import annotations

import re

from podwire.kubelet.shell.command import Command, UsageError
from podwire.kubelet.shell.tools.fabric import within

_NAMED = re.compile(r"/(?:var/)?run/netns/([\w.-]+)")


async def run(command: Command) -> int:
    """``nsenter -t PID -n [COMMAND...]``; ``nsenter --net=/run/netns/NAME [COMMAND...]``."""
    words, pid, net, path = list(command.args), "", False, ""
    while words and words[0].startswith("-"):
        word = words.pop(0)
        if word == "--":
            break
        if word in {"-t", "--target"}:
            pid = words.pop(0) if words else ""
        elif word.startswith("--target=") or re.fullmatch(r"-t\d+", word):
            pid = word.removeprefix("--target=").removeprefix("-t")
        elif word.startswith("--net=") or (word.startswith("-n") and len(word) > 2):
            path = word.removeprefix("--net=").removeprefix("-n").removeprefix("=")
        elif word in {"-n", "--net"} or word in {"-a", "--all"}:
            net = True
        elif word not in {"-m", "-u", "-i", "-p", "-U", "-C", "--mount", "--uts", "--ipc", "--pid"}:
            raise UsageError(f"not modelled: {word}")
    node = command.env.node
    if node is None or command.spec.netns:
        raise UsageError("not modelled: here are no processes of others")
    if path:
        found = _NAMED.fullmatch(path)
        if found is None:
            raise UsageError(f"cannot open {path}: No such file or directory")
        return await within(command, found[1], words or ["sh"])
    if not pid.isdigit():
        raise UsageError("neither filename nor target pid supplied for ns/net")
    netns = node.netns(int(pid))
    if netns is None:
        raise UsageError(f"cannot open /proc/{pid}/ns/net: No such file or directory")
    return await within(command, netns if net else "", words or ["sh"])
