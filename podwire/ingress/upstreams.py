"""Round robin over endpoints, and one exchange with one of them.

Source: ingress-nginx v1.15.1 lua/balancer/round_robin.lua (a random start, every attempt takes the
next), nginx's proxy_next_upstream "error timeout".
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from podwire.client import http1
from podwire.client.counters import Process, Stream
from podwire.client.http1 import Body, HttpError, Reader, Response
from podwire.l7.table import Endpoint, Upstream
from podwire.runtime.ports import Rng
from podwire.runtime.tasks import Nursery

CLIENT_TIMEOUT_S = 60.0
"""client_header_timeout, and client_body_timeout between two pieces."""
REPLAYED_BYTES = 64 * 1024
"""Of a request's body that is kept for another attempt; what is longer is sent once."""


class Balancer:
    """Whose turn it is, by upstream."""

    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._turns: dict[str, tuple[tuple[Endpoint, ...], int]] = {}

    def next(self, upstream: Upstream) -> Endpoint:
        """The next endpoint of an upstream that has some."""
        known, turn = self._turns.get(upstream.name, ((), 0))
        if known != upstream.endpoints:
            known, turn = upstream.endpoints, self._rng.below(len(upstream.endpoints))
        self._turns[upstream.name] = (known, (turn + 1) % len(known))
        return known[turn]

    def keep(self, names: dict[str, None]) -> None:
        """Forget the upstreams that exist no more."""
        self._turns = {name: turn for name, turn in self._turns.items() if name in names}


class Upload:
    """A request's body on its way to an endpoint: a start that can be sent again, and the rest."""

    def __init__(self, body: Body, most: int) -> None:
        self._body = body
        self._most = most
        self._kept = bytearray()
        self._taken = 0
        self.whole = False
        """Whether all of it is kept."""
        self.spent = False
        """Whether some of it was sent that is not kept."""
        self.complete = False
        """Whether all of it was taken from the client."""
        self.moved: Callable[[], None] = _nothing
        """Called whenever a piece of the rest went out."""

    async def begin(self) -> None:
        """Take the start. Raises HttpError (413 among them), TimeoutError, OSError."""
        while len(self._kept) < REPLAYED_BYTES:
            data = await self._piece()
            if not data:
                self.whole = self.complete = True
                return
            self._kept += data

    async def _piece(self) -> bytes:
        async with asyncio.timeout(CLIENT_TIMEOUT_S):
            data = await self._body.piece()
        self._taken += len(data)
        if self._most and self._taken > self._most:
            raise HttpError("body too large", 413)
        return data

    def headers(self) -> http1.Headers:
        """How it is framed towards the endpoint."""
        if self.whole:
            return [("Content-Length", str(len(self._kept)))] if self._body.announced else []
        if self._body.length is not None:
            return [("Content-Length", str(self._body.length))]
        return [("Transfer-Encoding", "chunked")]

    def start(self) -> bytes:
        """The kept start as it goes out."""
        kept = bytes(self._kept)
        return kept if self.whole or not self._chunked else chunk(kept)

    @property
    def _chunked(self) -> bool:
        return self._body.length is None

    async def rest(self, stream: Stream) -> None:
        """Send what follows the start. Raises HttpError, TimeoutError, OSError of the client's.

        An endpoint that takes no more ends it: what it answers to that is read beside.
        """
        self.spent = True
        while data := await self._piece():
            if not await _sent(stream, chunk(data) if self._chunked else data):
                return
            self.moved()
        self.complete = True
        if self._chunked:
            await _sent(stream, LAST_CHUNK)


async def _sent(stream: Stream, data: bytes) -> bool:
    """Send to an endpoint; whether it took it."""
    try:
        await stream.send(data)
    except OSError:
        return False
    return True


def _nothing() -> None:
    """For uploads that nobody watches."""


LAST_CHUNK = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """Data as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


@dataclass(slots=True)
class Attempt:
    """One endpoint asked, for the access log. ``status`` 0: not yet answered."""

    endpoint: Endpoint
    status: int = 0


@dataclass(slots=True)
class Answer:
    """The head of an endpoint's answer, and its body to come."""

    stream: Stream
    head: Response
    body: Body
    sending: Nursery


class Failed(Exception):  # noqa: N818  an outcome that becomes an answer
    """An endpoint did not answer: 502 or 504, and nginx's words for the log."""

    def __init__(self, status: int, why: str, *, sent: bool) -> None:
        super().__init__(why)
        self.status = status
        self.sent = sent
        """Whether the request may have reached the program."""


async def exchange(
    process: Process,
    endpoint: Endpoint,
    head: bytes,
    upload: Upload,
    method: str,
    connect_timeout_s: float,
    read_timeout_s: float,
    nursery: Nursery,
) -> Answer:
    """Ask an endpoint. Raises Failed, or HttpError when the client's own body fails."""
    spec = process.spec
    try:
        stream = await process.sockets.connect(
            spec.node, spec.netns, endpoint.address, endpoint.port, connect_timeout_s
        )
    except TimeoutError:
        raise Failed(504, "upstream timed out while connecting to upstream", sent=False) from None
    except OSError as error:
        why = f"connect() failed ({error.errno}: {error.strerror}) while connecting to upstream"
        raise Failed(502, why, sent=False) from error
    try:
        return await _asked(stream, head, upload, method, read_timeout_s, nursery)
    except BaseException:
        stream.abort()
        raise


async def _asked(
    stream: Stream, head: bytes, upload: Upload, method: str, read_timeout_s: float,
    nursery: Nursery,
) -> Answer:  # fmt: skip
    reader = Reader(stream)
    try:
        await stream.send(head + upload.start())
        async with asyncio.timeout(read_timeout_s) as patience:
            if not upload.whole:  # patience begins anew with each piece that goes out
                loop = asyncio.get_running_loop()
                upload.moved = lambda: patience.reschedule(loop.time() + read_timeout_s)
                nursery.start(upload.rest(stream), name="ingress upload")
            answer = await http1.read_response_head(reader)
            upload.moved = _nothing
        bodiless = method == "HEAD" or answer.status in {204, 304}
        body = Body(reader, [] if bodiless else answer.headers, until_end=not bodiless)
    except TimeoutError:
        why = "upstream timed out while reading response header from upstream"
        raise Failed(504, why, sent=True) from None
    except HttpError as error:
        why = "upstream sent no valid HTTP response while reading response header"
        if error.status == 0:
            why = "upstream prematurely closed connection while reading response header"
        raise Failed(502, why, sent=True) from error
    except OSError as error:
        why = f"recv() failed ({error.errno}: {error.strerror}) while reading response header"
        raise Failed(502, why, sent=True) from error
    return Answer(stream, answer, body, nursery)
