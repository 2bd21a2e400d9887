"""Devices that give bytes: no command of its own, but what head and dd read."""

from __future__ import annotations

from podwire.kubelet.shell.command import Command


def device(command: Command, name: str, count: int) -> bytes | None:
    """That many bytes of /dev/zero, /dev/urandom or /dev/null (none); None for another name."""
    path = command.path(name)
    if path == "/dev/zero":
        return bytes(count)
    if path in {"/dev/urandom", "/dev/random"}:
        return command.env.rng.bytes(count)
    return b"" if path == "/dev/null" else None
