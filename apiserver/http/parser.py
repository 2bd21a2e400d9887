"""Requests out of bytes: llhttp in its strict mode, and our bounds.

llhttp (by httptools) refuses what request smuggling is made of: Content-Length beside
Transfer-Encoding, two lengths, codings other than chunked, folded lines, bare line feeds, blanks
before a colon. Source of the bounds and words: Go's net/http server, which upstream serves with.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

import httptools

from podwire.api.codec import MAX_BODY_BYTES, TOO_LARGE
from podwire.apiserver.http.headers import joined

MAX_HEAD_BYTES = 1024 * 1024
"""Request line and headers together (apiserver MaxHeaderBytes); trailers and what frames chunks
count as well.
"""
_FRAMING_BYTES = 16
"""What may frame one byte of a body before it counts (Go's chunked reader allows as much)."""

MAX_HEADERS = 500
MAX_PARAMETERS = 1000

_SINGLE = frozenset(("host", "authorization", "content-length", "content-type"))
"""Headers of which a second one is an attack or a mistake, never a list."""

_TARGET = rb"(/[A-Za-z0-9/._~:=&?,;+@!$'()*%-]*)"
"""A target that llhttp and everybody else reads in the same way."""
_GET = re.compile(rb"GET %b HTTP/1\.1\r\n" % _TARGET)
_WRITE = re.compile(rb"(POST|PUT|PATCH) %b HTTP/1\.1\r\n" % _TARGET)
_LENGTH = re.compile(rb"\r\ncontent-length: ([1-9][0-9]{0,6})\r\n", re.IGNORECASE)
_UNLIKE = ("upgrade", "transfer-encoding", "expect")
"""Headers that make a request more than its first line, its other headers and its body."""
_BLOCK_BYTES = 8 * 1024
"""How long a head is at most that is remembered."""

_NAMES: dict[bytes, str] = {}
_NAMES_LIMIT = 512
_PATH_SAFE = "/:@!$&'()*+,;=~"

Query = tuple[tuple[str, str], ...]


class MalformedError(Exception):
    """What came is no request that can be served; the connection ends with ``status``."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Incoming:
    """One request as it was read. ``headers`` have lower case names; lists are joined by commas."""

    __slots__ = ("body", "headers", "keep_alive", "method", "one_zero", "refusal", "target",
                 "upgrade", "user")  # fmt: skip

    def __init__(self, method: str, target: str, headers: dict[str, str]) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.body: bytes = b""
        self.keep_alive = True
        self.one_zero = False
        """HTTP/1.0: knows no chunks."""
        self.upgrade = False
        self.refusal: Any = None
        """An ApiError that is the answer whatever the body says; the body is not kept then."""
        self.user: Any = None

    @property
    def path_and_query(self) -> tuple[str, Query]:
        """The escaped path without trailing slash, and the parameters. Raises MalformedError."""
        return split_target(self.target)


def split_target(target: str) -> tuple[str, Query]:
    """Path (escaped once, in one canonical way) and parameters. Raises MalformedError."""
    path, _, query = target.partition("?")
    if not path.startswith("/"):
        scheme, _, rest = path.partition("://")
        if scheme not in {"http", "https"}:
            raise MalformedError(400, "Bad Request")
        path = "/" + rest.partition("/")[2]
    if "%" in path:
        path = quote(unquote(path), safe=_PATH_SAFE)
    if path.startswith("//"):  # such a path, sent back in a Location, would name a host
        path = f"/{path.lstrip('/')}"
    if len(path) > 1 and path[-1] == "/" and "/proxy/" not in path:  # a backend minds its slashes
        path = path.rstrip("/") or "/"
    if not query:
        return path, ()
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
    except ValueError:
        raise MalformedError(400, "Bad Request: too many parameters") from None
    return path, tuple(pairs)


class RequestParser:
    """Feeds llhttp. ``complete`` collects whole requests in order; ``on_head`` sees each once its
    headers are there and may set a refusal.
    """

    def __init__(self, on_head: Callable[[Incoming, bool], None]) -> None:
        self.complete: deque[Incoming] = deque()
        self.reading = False
        """Whether a request has begun and is not complete."""
        self.upgraded: bytes | None = None
        """What came behind a request that asked for another protocol."""
        self._on_head = on_head
        self._parser = httptools.HttpRequestParser(self)
        self._url: bytes = b""
        self._headers: dict[str, str] = {}
        self._count = 0
        self._current: Incoming | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._read_bytes = 0
        self._last = False
        self._block: bytes | None = None
        self._block_headers: dict[str, str] = {}
        """The header lines of an earlier GET, as they came, and what they meant."""
        self._before = self._after = b""
        self._write_headers: dict[str, str] | None = None
        """The same of an earlier write: what stands before and behind the length of its body."""

    @property
    def in_body(self) -> bool:
        """Whether a request's headers are there and its body is not."""
        return self._current is not None

    def feed(self, data: bytes) -> None:
        """Take what came. Raises MalformedError; what was complete before it is in ``complete``."""
        if self.upgraded is not None:
            self.upgraded += data  # it is too early, but it is not HTTP any more
            return
        if not self.reading and self._again(data):
            return
        began = self.reading
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.upgraded = data[upgrade.args[0] :]
            return
        except httptools.HttpParserCallbackError as error:
            if isinstance(error.__context__, MalformedError):
                raise error.__context__ from None
            raise
        except httptools.HttpParserError as error:
            if self._last:
                return  # what follows a request that says "close" is nobody's
            raise _malformed(error) from None
        if self.reading:
            self._read_bytes += len(data)
            if self._read_bytes > MAX_HEAD_BYTES + (1 + _FRAMING_BYTES) * self._size:
                raise MalformedError(431, "Request Header Fields Too Large")
        elif not began and len(self.complete) == 1:
            self._learn(data)

    # ------------------------------------------------------------ the same headers again

    def _learn(self, data: bytes) -> None:
        """Remember the headers of a GET or a write that came at once, alone and whole: clients
        send the same with each request of a connection, but for the length of a body.
        """
        incoming = self.complete[0]
        headers = incoming.headers
        if not incoming.keep_alive or any(name in headers for name in _UNLIKE):
            return
        if (line := _GET.match(data)) is not None:
            if "content-length" not in headers and len(data) <= _BLOCK_BYTES:
                self._block, self._block_headers = data[line.end() :], headers.copy()
        elif (line := _WRITE.match(data)) is not None and incoming.body:
            end = data.index(b"\r\n\r\n") + 4
            length = _LENGTH.search(data, line.end() - 2, end)
            if length is None or end > _BLOCK_BYTES or end + len(incoming.body) != len(data):
                return
            self._before, self._after = (
                data[line.end() : length.start(1)],
                data[length.end(1) : end],
            )
            self._write_headers = headers.copy()

    def _again(self, data: bytes) -> bool:
        """Whether it is a request with the headers of an earlier one; then it is ``complete``.
        Only its first line has to be read, and every byte of that is looked at.
        """
        if self._last:
            return False
        line = _GET.match(data) if self._block is not None else None
        if line is None:
            return self._write_again(data)
        if data[line.end() :] != self._block:
            return False
        incoming = Incoming("GET", line[1].decode("ascii"), self._block_headers.copy())
        self._on_head(incoming, False)
        self.complete.append(incoming)
        return True

    def _write_again(self, data: bytes) -> bool:
        """The same for a write that is here with all of its body and nothing else."""
        line = _WRITE.match(data) if self._write_headers is not None else None
        if line is None or not data.startswith(self._before, line.end()):
            return False
        at = line.end() + len(self._before)
        stop = data.find(b"\r", at, at + 8)
        length = data[at:stop] if stop > at else b"0"
        if not length.isdigit() or length[:1] == b"0" or not data.startswith(self._after, stop):
            return False
        begin = stop + len(self._after)
        if len(data) - begin != int(length) or int(length) > MAX_BODY_BYTES:
            return False
        assert self._write_headers is not None
        headers = self._write_headers.copy()
        headers["content-length"] = length.decode("ascii")
        incoming = Incoming(line[1].decode("ascii"), line[2].decode("ascii"), headers)
        self._on_head(incoming, True)
        if incoming.refusal is None:
            incoming.body = data[begin:]
        self.complete.append(incoming)
        return True

    # ------------------------------------------------------------ llhttp's callbacks

    def on_message_begin(self) -> None:
        """A request begins."""
        self.reading = True
        self._url = b""
        self._headers = {}
        self._count = self._size = self._read_bytes = 0

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; trailers behind a chunked body are read and ignored."""
        if self._current is not None:
            return
        self._count += 1
        if self._count > MAX_HEADERS:
            raise MalformedError(431, "Request Header Fields Too Large")
        key = _NAMES.get(name) or _name(name)
        text = value.decode("utf-8", "surrogateescape")
        earlier = self._headers.get(key)
        if earlier is not None:
            if key in _SINGLE:
                raise MalformedError(400, f"Bad Request: too many {key} headers")
            text = joined(key, earlier, text)
        self._headers[key] = text

    def on_headers_complete(self) -> None:
        """The head is there: look at it before the body comes."""
        parser, headers = self._parser, self._headers
        incoming = Incoming(parser.get_method().decode(), self._url.decode("latin-1"), headers)
        version = parser.get_http_version()
        if version == "1.0":
            incoming.one_zero = True
        elif version != "1.1":
            raise MalformedError(505, "HTTP Version Not Supported: unsupported protocol version")
        elif "host" not in headers:
            raise MalformedError(400, "Bad Request: missing required Host header")
        coding = headers.get("transfer-encoding")
        if coding is not None and coding.strip().lower() != "chunked":
            raise MalformedError(501, "Not Implemented: Unsupported transfer encoding")
        length = int(headers.get("content-length", "0"))
        has_body = coding is not None or length > 0
        incoming.keep_alive = parser.should_keep_alive()
        incoming.upgrade = parser.should_upgrade()
        if incoming.upgrade and has_body:
            raise MalformedError(400, "Bad Request: an upgrade has no body")
        if incoming.method == "CONNECT":
            raise MalformedError(405, "Method Not Allowed")
        self._current = incoming
        self._parts = []
        if length > MAX_BODY_BYTES:
            raise MalformedError(413, TOO_LARGE)
        self._on_head(incoming, has_body)

    def on_body(self, data: bytes) -> None:
        """A piece of the body; kept only as long as it may matter."""
        current = self._current
        assert current is not None
        self._size += len(data)
        if self._size > MAX_BODY_BYTES:
            raise MalformedError(413, TOO_LARGE)
        if current.refusal is None:
            self._parts.append(data)

    def on_message_complete(self) -> None:
        """A request is whole."""
        current = self._current
        assert current is not None
        parts = self._parts
        if parts:
            current.body = parts[0] if len(parts) == 1 else b"".join(parts)
            self._parts = []
        self._current = None
        self.reading = False
        self._last = not current.keep_alive
        self.complete.append(current)


def _name(name: bytes) -> str:
    """A header's name in lower case; the common ones are remembered (bounded)."""
    text = name.decode("latin-1").lower()
    if len(_NAMES) < _NAMES_LIMIT and len(name) < 64:
        _NAMES[name] = text
    return text


def _malformed(error: Exception) -> MalformedError:
    why = str(error)
    if "HTTP version" in why or "PRI" in why:
        return MalformedError(505, "HTTP Version Not Supported: unsupported protocol version")
    if "Transfer-Encoding` " in why or "invalid `Transfer-Encoding`" in why:
        return MalformedError(501, "Not Implemented: Unsupported transfer encoding")
    return MalformedError(400, "Bad Request")
