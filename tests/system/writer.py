"""Writes to a data directory until it is killed, and says on stdout what was acknowledged.

``python -m tests.system.writer DIR ROUND CALLERS``. Lines: ``i KEY OP`` before an operation is
begun, ``a KEY OP REVISION`` once it is acknowledged; OP is the value put, or ``-`` for a deletion.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from podwire.runtime.env import real
from podwire.store import Compare, Delete, Put, Store
from podwire.store.durable import DurableStore

FILLER = b"x" * 300
ROTATE_BYTES = 2 * 1024 * 1024


def value(text: str) -> bytes:
    """What a key holds when the parent calls it ``text``."""
    return text.encode() + b"\n" + FILLER


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def write(store: Store, name: str) -> None:
    """Create, update, and every third time delete: each key is used once."""
    number = 0
    while True:
        number += 1
        key, revision = f"/registry/{name}-{number}", 0
        for step in ("1", "2", "-") if number % 3 == 0 else ("1",):
            op = "-" if step == "-" else f"{name}.{number}.{step}"
            say("i", key, op)
            change = Delete(key) if step == "-" else Put(key, value(op))
            result = await store.txn([Compare(key, revision)], [change])
            assert result.succeeded, (key, op, result)
            revision = result.revision
            say("a", key, op, revision)


async def main(folder: str, turn: str, callers: str) -> None:
    env = real(log_level="error")
    store = DurableStore.open(
        Path(folder), env.clock, env.trace, env.log, rotate_bytes=ROTATE_BYTES
    )
    say("r", await store.revision())
    await asyncio.gather(*(write(store, f"{turn}-{i}") for i in range(int(callers))))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
