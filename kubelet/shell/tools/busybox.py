"""busybox: the applet named by the first argument, and which busybox an image has."""

from __future__ import annotations

import re

from podwire.client.hosting import repository
from podwire.kubelet.shell.command import Command

CURRENT = (1, 37)
OWN_RESOLVER = (1, 29)
"""Since then nslookup asks DNS itself, without the C library."""
_OLD = {"busyboxplus": (1, 22)}
_KUBERNETES = re.compile(r"(registry\.k8s\.io|k8s\.gcr\.io|gcr\.io/google[-_]containers)/busybox")
_ALPINE_WITH_OWN_RESOLVER = (3, 9)


async def run(command: Command) -> int:
    """``busybox APPLET [ARGS...]``."""
    if not command.args:
        major, minor = version(command.spec.image)
        command.out(f"BusyBox v{major}.{minor}.0 multi-call binary.\n")
        return 0
    return await command.runner.run_argv(command.args, command)


def version(reference: str) -> tuple[int, int]:
    """The busybox of an image: what its tag says, where it is known to say that."""
    name = repository(reference)
    last = name.rpartition("/")[2]
    found = re.match(r":v?(\d{1,3})\.(\d{1,3})", reference[len(name) :])
    tagged = (int(found[1]), int(found[2])) if found else None
    if last == "alpine" and tagged and tagged < _ALPINE_WITH_OWN_RESOLVER:
        return (1, 28)
    if last == "busybox" and tagged:
        return tagged
    return (1, 24) if _KUBERNETES.fullmatch(name) else _OLD.get(last, CURRENT)
