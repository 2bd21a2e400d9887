"""Files of the real disk that are for their owner only: keys, tokens, kubeconfigs, state."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from podwire.runtime.entropy import of_system


def write_private(path: Path, data: bytes) -> None:
    """Create or replace a file, whole or not at all, with mode 0600 from its first byte.

    A link is followed, not replaced. Raises OSError.
    """
    target = path.resolve()
    temporary = target.with_name(f".{target.name}.{of_system()(4).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def private_file(data: bytes) -> Iterator[str]:
    """The path of a file that exists inside the block only, for libraries that read files alone.

    Raises OSError.
    """
    with tempfile.NamedTemporaryFile(prefix="podwire-") as file:  # mode 0600
        file.write(data)
        file.flush()
        yield file.name
