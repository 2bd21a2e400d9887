"""Files of the real disk that are for their owner only: keys, tokens, kubeconfigs, state, data."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from podwire.runtime.entropy import of_system


def sync_directory(path: Path) -> None:
    """Make the names in a directory survive a loss of power. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_private(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Create or replace a file, whole or not at all, with mode 0600 from its first byte.

    A link is followed, not replaced. ``durable``: it survives a loss of power when this returns.
    Raises OSError.
    """
    target = path.resolve()
    temporary = target.with_name(f".{target.name}.{of_system()(4).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(target)
        if durable:
            sync_directory(target.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def private_file(data: bytes) -> Iterator[str]:
    """The path of a file that exists inside the block only, for libraries that read files alone.

    Where the system can (Linux), it is memory: a secret reaches no disk, and none need be
    writable (a container's). Raises OSError.
    """
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("podwire"), "wb") as file:  # closed when we exec
            file.write(data)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
        return
    with tempfile.NamedTemporaryFile(prefix="podwire-") as file:  # mode 0600
        file.write(data)
        file.flush()
        yield file.name
