"""Responses: JSON bodies, Status bodies, plain text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.api.view import JSON
from podwire.apiserver.cache.entry import Entry
from podwire.client.counters import Response

JSON_TYPE = "application/json"
FAILED = "Internal error occurred: the API server failed; see its log"
"""What a client is told of a failure that nobody foresaw."""
_GROUPS = frozenset(kind.group for kind in kinds.ALL)


def raw(body: bytes, status: int = 200, content_type: str = JSON_TYPE) -> Response:
    """Bytes that are encoded already."""
    return Response(status, body, {"content-type": content_type})


class OneObject(Response):
    """An answer with a cache's entry: bytes for those who send it on, the entry's own view for
    clients in this process; each is made when it is first asked for.
    """

    __slots__ = ("_entry",)

    def __init__(self, entry: Entry, status: int) -> None:
        super().__init__(status, b"", {"content-type": JSON_TYPE})
        self._entry: Entry | None = entry

    @property
    def body(self) -> bytes:
        """The body, whole."""
        if self.chunks is not None:
            self._body, self.chunks = b"".join(self.chunks), None
        elif not self._body and self._entry is not None:
            self._body = self._entry.data
        return self._body

    @body.setter
    def body(self, body: bytes) -> None:
        """Replace it."""
        self._body, self.chunks, self._entry = body, None, None

    @property
    def view(self) -> Any:
        """The entry's view."""
        return None if self._entry is None or self.chunks is not None else self._entry.view


def chunked(chunks: Iterator[bytes], content_type: str = JSON_TYPE) -> Response:
    """A body that is made while it is sent."""
    return Response(200, b"", {"content-type": content_type}, None, chunks)


def json(body: Any, status: int = 200) -> Response:
    """A value, encoded."""
    return raw(msgspec.json.encode(body), status)


def indented(body: Any) -> Response:
    """A value as WriteRawJSON shows it: with two blanks per level, to everybody."""
    return raw(msgspec.json.format(msgspec.json.encode(body), indent=2))


def review(body: JSON, status: int = 201) -> Response:
    """An object that was made for this answer, its fields in the order of the API's own."""
    head = {key: body[key] for key in ("kind", "apiVersion", "metadata")}
    return json({**head, **body}, status)


def error(failure: ApiError) -> Response:
    """A Status object, with Retry-After when the details name one."""
    response = json(failure.status(), failure.code)
    retry = failure.details.get("retryAfterSeconds")
    if retry:
        response.headers["retry-after"] = str(retry)
    return response


def text(body: str, status: int = 200) -> Response:
    """Plain text as Go's http.Error writes it."""
    response = raw(body.encode(), status, "text/plain; charset=utf-8")
    response.headers["x-content-type-options"] = "nosniff"
    return response


def page_not_found() -> Response:
    """What upstream's mux says of a path nobody serves."""
    return text("404 page not found\n", 404)


def nobody_serves(path: str) -> Response:
    """404 for a path that is no resource: as a Status below a group that is served, else as text.

    Source: apiserver pkg/server/handler.go (the director of go-restful and the rest).
    """
    parts = path.strip("/").split("/")
    below = parts[0] == "api" or (parts[0] == "apis" and len(parts) > 1 and parts[1] in _GROUPS)
    if not below:
        return page_not_found()
    return error(ApiError("NotFound", "the server could not find the requested resource"))


def quoted_warning(message: str) -> str:
    """One ``Warning`` header value: code 299, agent ``-``, quoted text (RFC 7234)."""
    escaped = message.replace("\\", "\\\\").replace('"', '\\"')
    return f'299 - "{escaped}"'
