"""Counter 1: the API. HTTP-shaped requests and answers, and who asks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class User:
    """Who asks. ``groups`` holds system:authenticated, or system:unauthenticated for anonymous."""

    name: str
    groups: tuple[str, ...] = ("system:authenticated",)
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """What else the credential says, sorted by key (authentication.kubernetes.io/pod-name ...)."""


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))
"""Who sent no credentials."""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP-shaped request. ``path`` carries no query; header names are lower case."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    user: User | None = None
    client: str = ""
    """The address it came from, '' where nobody knows."""


class Frame:
    """One watch event as bytes (``{"type":...,"object":...}`` + newline), made once.

    ``memo`` lets readers in the same process share one decoded, frozen view per view type; a frame
    read from a socket starts with an empty memo. Key: the view class.
    """

    __slots__ = ("_data", "_memo")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._memo: dict[type, Any] = {}

    @property
    def data(self) -> bytes:
        """The event as bytes."""
        return self._data

    @property
    def memo(self) -> dict[type, Any]:
        """What readers in this process made of it."""
        return self._memo


class Response:
    """An answer: ``body``, or ``stream`` for a watch (frames until it ends).

    ``chunks`` is a body that is made while it is sent, because it may be too large to be held
    whole. Whoever reads ``body`` instead has it joined; each of the two can be read once.

    ``headers`` has one value per name; that of ``set-cookie`` has a line for each cookie.
    """

    __slots__ = ("_body", "chunks", "headers", "status", "stream")

    def __init__(
        self,
        status: int,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        stream: AsyncIterator[Frame] | None = None,
        chunks: Iterator[bytes] | None = None,
    ) -> None:
        self.status = status
        self.headers = {} if headers is None else headers
        self.stream = stream
        self.chunks = chunks
        self._body = body

    @property
    def body(self) -> bytes:
        """The body, whole."""
        if self.chunks is not None:
            self._body, self.chunks = b"".join(self.chunks), None
        return self._body

    @body.setter
    def body(self, body: bytes) -> None:
        """Replace it."""
        self._body, self.chunks = body, None

    @property
    def view(self) -> Any:
        """The one object of the answer as its kind's frozen view, if it is at hand in this process;
        else None.
        """
        return None


class Api(Protocol):
    """Counter 1. Never raises for an API failure: that is a Response with a Status body.

    Raises ConnectionError when the server cannot be reached (partition, shutdown).
    """

    async def send(self, request: Request) -> Response:
        """Perform one request."""

    async def restored(self) -> None:
        """Wait until a server that was lost can be reached again. A binding that cannot know
        waits for ever.
        """
