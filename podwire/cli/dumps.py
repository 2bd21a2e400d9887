"""Dump files on the command line: reading them, and saying what they hold."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from podwire.cli.errors import EXIT_USAGE, Failure

if TYPE_CHECKING:
    from podwire.dataplane.dump.load import Loaded
    from podwire.dataplane.dump.text import Dump

STDIN = "-"


def read_text(path: str) -> tuple[str, str]:
    """What a file (``-``: standard input) holds, and its name in messages. Raises Failure (2)."""
    try:
        if path == STDIN:
            return sys.stdin.read(), "stdin"
        return Path(path).read_text(), path
    except UnicodeDecodeError as error:
        raise Failure(
            f"{path}: not text: {error.reason} at byte {error.start}", EXIT_USAGE
        ) from error
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}", EXIT_USAGE) from error


def holds_dumps(path: Path) -> bool:
    """Whether a file is a dump, by its first line."""
    from podwire.dataplane.dump.text import MARK, is_dump  # noqa: PLC0415  rooms: only here

    if not path.is_file():
        return False
    with path.open("rb") as file:
        return is_dump(file.read(len(MARK)).decode(errors="replace"))


def read_files(paths: Sequence[Path | str]) -> list[Dump]:
    """The dumps in files. Raises Failure (2)."""
    from podwire.dataplane.dump.text import DumpError, read  # noqa: PLC0415  rooms: only here

    found: list[Dump] = []
    for path in paths:
        text, source = read_text(str(path))
        try:
            dumps = read(text, source)
        except DumpError as error:
            raise Failure(str(error), EXIT_USAGE) from error
        if not dumps:
            raise Failure(f"{source}: no dump is in it (podwire load script)", EXIT_USAGE)
        found += dumps
    return found


def load_all(dumps: Sequence[Dump]) -> list[Loaded]:
    """Kernels of dumps. Raises Failure (2)."""
    from podwire.dataplane.dump.load import load  # noqa: PLC0415  rooms: only here
    from podwire.dataplane.dump.text import DumpError  # noqa: PLC0415
    from podwire.runtime.rng import SeededRng  # noqa: PLC0415

    try:
        return [load(dump, SeededRng(0)) for dump in dumps]
    except DumpError as error:
        raise Failure(str(error), EXIT_USAGE) from error
