"""Exceptions that a counter promises, as data and back.

A counter's callers catch by class (FileNotFoundError, ConnectionResetError, ApiError, ...): what
crosses must be of the same class, with the same text, on the other side.
"""

from __future__ import annotations

import msgspec

from podwire.api.status import ApiError, from_status
from podwire.api.view import JSON
from podwire.dataplane.commands import CommandError

_BARE: dict[str, type[Exception]] = {
    "ConnectionError": ConnectionError,
    "ConnectionRefusedError": ConnectionRefusedError,
    "ConnectionResetError": ConnectionResetError,
    "ConnectionAbortedError": ConnectionAbortedError,
    "BrokenPipeError": BrokenPipeError,
    "FileNotFoundError": FileNotFoundError,
    "TimeoutError": TimeoutError,
    "OSError": OSError,
    "CommandError": CommandError,
    "LookupError": LookupError,
    "ValueError": ValueError,
}
"""Classes that are rebuilt from their text alone."""


class RemoteError(Exception):
    """The other side failed in a way that its counter does not promise: a bug there."""


class InterruptedCallError(Exception):
    """The caller interrupted the call before it had a result."""


INTERRUPTED = "interrupted"


class Error(msgspec.Struct, array_like=True, frozen=True):
    """An exception on its way: its class, text, and what the class adds."""

    kind: str
    text: str = ""
    errno: int = 0
    filename: str = ""
    code: int = 0
    status: JSON = {}


def promised(error: BaseException) -> bool:
    """Whether counters promise errors of this class (others are bugs, and logged)."""
    return isinstance(error, ApiError | OSError | CommandError | LookupError | ValueError)


def to_data(error: BaseException) -> Error:
    """An exception as data."""
    if isinstance(error, ApiError):
        return Error("ApiError", error.message, code=error.code, status=error.status())
    if isinstance(error, OSError) and error.errno:
        filename = error.filename if isinstance(error.filename, str) else ""
        return Error("errno", str(error.strerror or ""), errno=error.errno, filename=filename)
    for known in type(error).__mro__:
        if known.__name__ in _BARE:
            text = str(error.args[0]) if error.args else ""
            return Error(known.__name__, text)
    return Error("RemoteError", f"{type(error).__name__}: {error}")


def from_data(error: Error) -> Exception:
    """The exception to raise on this side."""
    if error.kind == "ApiError":
        return from_status(error.code, error.status)
    if error.kind == "errno":
        names = (error.filename,) if error.filename else ()
        return OSError(error.errno, error.text, *names)  # Python picks the subclass by errno
    if error.kind == INTERRUPTED:
        return InterruptedCallError()
    known = _BARE.get(error.kind)
    if known is not None:
        return known(error.text) if error.text else known()
    return RemoteError(error.text)
