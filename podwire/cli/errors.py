"""Exit codes and the one exception that carries them."""

from __future__ import annotations

EXIT_NO = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_INTERRUPTED = 130


class Failure(Exception):  # noqa: N818  it is an answer, not a bug
    """Ends the command with a message on stderr and an exit code."""

    def __init__(self, message: str, code: int = EXIT_NO) -> None:
        super().__init__(message)
        self.code = code
