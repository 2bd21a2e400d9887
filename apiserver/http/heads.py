"""Heads of answers: status line and headers as bytes.

Source of the headers: apiserver pkg/server/filters (Cache-Control, Audit-Id), Go's net/http (Date).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus

from podwire.apiserver.http.headers import COOKIE
from podwire.runtime.ids import SeededIds
from podwire.runtime.ports import Clock, Rng

_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_LINES[413] = "HTTP/1.1 413 Request Entity Too Large\r\n"
_LINES[422] = "HTTP/1.1 422 Unprocessable Entity\r\n"
_NAMES: dict[str, str] = {}
_NAMES_LIMIT = 256
_SECOND_NS = 1_000_000_000

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Heads:
    """Makes heads; remembers what many have in common."""

    def __init__(self, clock: Clock, rng: Rng) -> None:
        self._clock = clock
        self._audit = SeededIds(rng.child("audit")).uid()[:24]
        self._answers = 0
        self._starts: dict[tuple[int, str], str] = {}
        self._second = -1
        self._date = ""

    def make(
        self, status: int, headers: Mapping[str, str], asked: Mapping[str, str], framing: str
    ) -> bytes:
        """The head of an answer to a request with headers ``asked``. ``framing`` is what says
        where the body ends, in whole lines.
        """
        self._answers = number = self._answers + 1
        audit = asked.get("audit-id") or f"{self._audit}{number:012x}"  # as unique as a drawn one
        second = self._clock.now_ns() // _SECOND_NS
        if second != self._second:
            self._second, self._date = second, f"Date: {http_date(second)}\r\n"
        start = self._plain(status, headers) if len(headers) == 1 else _start(status, headers)
        head = f"{start}Audit-Id: {audit}\r\n{self._date}{framing}\r\n"
        return head.encode("utf-8", "surrogateescape")

    def _plain(self, status: int, headers: Mapping[str, str]) -> str:
        """The start of an answer that has a Content-Type and nothing else to say, remembered."""
        kind = headers.get("content-type")
        if kind is None:
            return _start(status, headers)
        start = self._starts.get((status, kind))
        if start is None:
            start = _start(status, headers)
            if len(self._starts) < _NAMES_LIMIT:
                self._starts[status, kind] = start
        return start

    def switching(self, headers: Mapping[str, str]) -> bytes:
        """101: the connection goes on as something else."""
        lines = [_field(name, value) for name, value in headers.items()]
        return ("HTTP/1.1 101 Switching Protocols\r\n" + "".join(lines) + "\r\n").encode()


def _start(status: int, headers: Mapping[str, str]) -> str:
    """Status line and headers; whatever a value holds, it stays in its line."""
    parts = [_LINES.get(status) or f"HTTP/1.1 {status} status code {status}\r\n"]
    if "cache-control" not in headers and "Cache-Control" not in headers:
        parts.append("Cache-Control: no-cache, private\r\n")
    parts += [_field(_NAMES.get(k) or _name(k), v) for k, v in headers.items()]
    return "".join(parts)


def plain(status: int, reason: str) -> bytes:
    """The whole last answer to what is no request, as Go's server words it."""
    line = _LINES.get(status, _LINES[400])
    head = "Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
    return f"{line}{head}{status} {reason}".encode()


def http_date(second: int) -> str:
    """Seconds since the epoch as RFC 9110 writes them."""
    return format_datetime(datetime.fromtimestamp(second, UTC), usegmt=True)


def _name(name: str) -> str:
    """A header's name as Go spells it."""
    text = "-".join(part.capitalize() for part in name.split("-"))
    if len(_NAMES) < _NAMES_LIMIT:
        _NAMES[name] = text
    return text


def _field(name: str, value: str) -> str:
    """A header's line; of cookies (``headers.combined``) one for each."""
    if name.lower() == COOKIE:
        return "".join(_one_line(f"{name}: {one}") for one in value.split("\n"))
    return _one_line(f"{name}: {value}")


def _one_line(line: str) -> str:
    """A header line that cannot begin another one."""
    return line.replace("\r", " ").replace("\n", " ").replace("\0", " ") + "\r\n"
