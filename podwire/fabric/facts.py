"""What history records of a command that a node executes."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

from podwire.dataplane.commands import Command, encode

LONG_TEXT = 1 << 16
"""A command with so many characters of text is recorded by its digest, made once for all nodes
that execute it.
"""


def of_command(command: Command) -> bytes:
    """The fact: the command itself, unless it is long."""
    return _digest(command) if len(getattr(command, "text", "")) > LONG_TEXT else encode(command)


@lru_cache(maxsize=4)
def _digest(command: Command) -> bytes:
    return blake2b(encode(command)).digest()
