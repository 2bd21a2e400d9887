"""Where audit events go: a file of JSON lines, or standard output.

Events of one turn of the loop are written together. Source: apiserver plugin/pkg/audit/log (which
rotates files; here that is left to the system).
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import BinaryIO

STDOUT = "-"


class Log:
    """Appends lines to ``path`` (made with mode 0600), to standard output for ``-``.

    Raises OSError when the file cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self._own = path != STDOUT
        self._file: BinaryIO = sys.stdout.buffer if not self._own else _opened(Path(path))
        self._due = False

    def write(self, line: bytes) -> None:
        """Write one event; it is in the file after this turn of the loop."""
        self._file.write(line + b"\n")
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._due = False
        if not self._file.closed:
            self._file.flush()

    def close(self) -> None:
        """Write the rest."""
        if self._file.closed:
            return
        self._file.flush()
        if self._own:
            self._file.close()


def _opened(path: Path) -> BinaryIO:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    return os.fdopen(descriptor, "ab")
