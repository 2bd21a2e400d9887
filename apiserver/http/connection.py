"""One connection: requests in order, answers in order, bounds on everything that waits.

A task per connection answers one request after the other, so pipelined requests are answered in
order and a client that goes away cancels what is being done for it. Nothing is written while the
transport's buffer is full: a slow reader slows its own answers down and nobody else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from podwire.api.status import ApiError
from podwire.apiserver.http import writing
from podwire.apiserver.http.authn import peer_certificate
from podwire.apiserver.http.duplex import Switch
from podwire.apiserver.http.heads import CONTINUE, plain
from podwire.apiserver.http.parser import Incoming, MalformedError, RequestParser
from podwire.apiserver.http.upgraded import Upgraded
from podwire.client.counters import Request, Response

if TYPE_CHECKING:
    from podwire.apiserver.http.server import HttpServer

HEAD_S = 32.0
"""How long a request's headers may take to arrive (upstream's ReadHeaderTimeout)."""
IDLE_S = 90.0
"""How long a connection may wait for its next request (upstream's IdleTimeout)."""
BODY_S = 60.0
"""How long a request's body may take to arrive (upstream's --request-timeout)."""
STALL_S = 60.0
"""How long a client may take nothing of what is waiting for it."""
LINGER_S = 1.0
"""How long a refused client may go on sending before it is hung up on (it reads the answer)."""
HIGH_WATER_BYTES = 256 * 1024
"""Unsent bytes at which a connection's writers wait."""


class Connection(asyncio.Protocol):
    """What asyncio calls; created by ``HttpServer`` for each accepted connection."""

    def __init__(self, server: HttpServer) -> None:
        self.server = server
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.parser = RequestParser(self._head)
        self.lost = False
        self.closing = False
        """Whether no further request is taken."""
        self._client = ""
        self._certificate: Mapping[str, Any] | None = None
        self._task: asyncio.Task[None] | None = None
        self._wanted: asyncio.Future[None] | None = None
        self._busy = False
        self._reading_paused = False
        self._failure: MalformedError | None = None
        self._discarding = False
        self._upgraded: Upgraded | None = None
        self._paused = False
        self._writers: deque[asyncio.Future[None]] = deque()
        self.on_writable: Any = None
        """Called when writing may go on (a watch's pump)."""
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._loop = asyncio.get_running_loop()

    # ------------------------------------------------------------ asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS is up."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        self._client = transport.get_extra_info("peername")[0]
        tls = transport.get_extra_info("ssl_object")
        self._certificate = peer_certificate(tls) if tls is not None else None
        if not self.server.joined(self):
            self.transport.write(self.server.too_many())
            self._end()
            return
        self._patience(HEAD_S)
        self._task = self._loop.create_task(self._serve(), name="http connection")
        self._task.add_done_callback(self._served)

    def data_received(self, data: bytes) -> None:
        """Bytes of requests, or of what the connection became."""
        if self._upgraded is not None:
            self._upgraded.feed(data)
            return
        if self._discarding or self._failure is not None:
            return
        parser = self.parser
        began = parser.reading
        try:
            parser.feed(data)
        except MalformedError as error:
            self._failure = error
        if parser.complete or self._failure is not None:
            if self._answered_at_once():
                return
            self._wake()
            if self._busy or len(parser.complete) > 1 or parser.upgraded is not None:
                self._reading_paused = True
                self.transport.pause_reading()
        elif parser.reading and not began and not parser.in_body:
            self._patience(HEAD_S)

    def _wake(self) -> None:
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(None)

    def eof_received(self) -> None:
        """The client sends no more; TLS has no half-closed connections."""
        if self._upgraded is not None:
            self._upgraded.eof()

    def connection_lost(self, _error: Exception | None) -> None:
        """Nobody is there any more: what is being done for the client is given up."""
        self.lost = True
        if self._timer is not None:
            self._timer.cancel()
        if self._upgraded is not None:
            self._upgraded.eof()
        elif self._task is not None:
            self._task.cancel()
        self.resume_writing()
        if self._task is None or self._task.done():
            self.server.left(self)

    def pause_writing(self) -> None:
        """The transport's buffer is full."""
        self._paused = True
        self._patience(STALL_S)

    def resume_writing(self) -> None:
        """There is room again."""
        self._paused = False
        if not self.lost:
            self._patience(STALL_S)
        while self._writers:
            waiter = self._writers.popleft()
            if not waiter.done():
                waiter.set_result(None)
        if self.on_writable is not None:
            self.on_writable()

    # ------------------------------------------------------------ patience

    def _patience(self, seconds: float) -> None:
        """From now on this long; cheap, because the timer is only moved when it fires."""
        self._due = self._loop.time() + seconds
        if self._timer is None:
            self._timer = self._loop.call_at(self._due, self._overdue)
        elif self._timer.when() > self._due:
            self._timer.cancel()
            self._timer = self._loop.call_at(self._due, self._overdue)

    def _overdue(self) -> None:
        if self._loop.time() < self._due:
            self._timer = self._loop.call_at(self._due, self._overdue)
            return
        self._timer = None
        if self._busy and not self._paused and not self._discarding:
            return  # its handler works; it is patient again when it writes or is done
        self.transport.abort()

    # ------------------------------------------------------------ requests

    def _head(self, incoming: Incoming, has_body: bool) -> None:
        """The headers are there: find out who asks, and whether the body may come."""
        if has_body:
            self._patience(BODY_S)
        try:
            incoming.user = self.server.authenticator.requester(self._certificate, incoming.headers)
        except ApiError as error:
            incoming.refusal = error
        if has_body and "100-continue" in incoming.headers.get("expect", "").lower():
            if incoming.refusal is None:
                self.transport.write(CONTINUE)
            else:
                incoming.keep_alive = False  # the body may come or not: nobody can tell

    def _read_on(self) -> None:
        if self._reading_paused:
            self._reading_paused = False
            self.transport.resume_reading()

    async def _next(self) -> Incoming | None:
        """The next whole request; None when there will be none. Raises MalformedError."""
        complete = self.parser.complete
        while not complete:
            if self._failure is not None:
                raise self._failure
            if self.closing or self.lost:
                return None
            self._read_on()
            self._wanted = self._loop.create_future()
            try:
                await self._wanted
            finally:
                self._wanted = None
        return complete.popleft()

    async def _serve(self) -> None:
        try:
            while (incoming := await self._next()) is not None:
                self._busy = True
                await self._exchange(incoming)
                self._busy = False
                if not incoming.keep_alive or self.closing or self._upgraded is not None:
                    break
                self._patience(IDLE_S)
            self._end()
        except MalformedError as error:
            await self._refuse(error)
        except ConnectionError:
            self.transport.abort()

    def _served(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.server.log.error("connection failed", exc_info=error)
        if not self.transport.is_closing() and not self._discarding:
            self.transport.abort()
        if self.lost:
            self.server.left(self)

    def _answered_at_once(self) -> bool:
        """Answer the only request there is, if nobody has to wait for anything; the task of the
        connection, which waits for a request, need not even know.
        """
        complete, wanted = self.parser.complete, self._wanted
        at_once = self.server.at_once
        if at_once is None or self._paused or self._failure is not None:
            return False
        if wanted is None or wanted.done():
            return False
        incoming = complete[0]
        if incoming.method != "GET" or len(complete) != 1 or self.closing:
            return False
        if incoming.refusal is not None or incoming.upgrade or not incoming.keep_alive:
            return False
        try:
            response = at_once(self._request(incoming))
        except MalformedError:
            return False  # the task says so
        if response is None:
            return False
        complete.clear()
        writing.whole(self, incoming, response, response.body)
        self._patience(IDLE_S)
        return True

    def _request(self, incoming: Incoming) -> Request:
        """What the server is asked. Raises MalformedError."""
        path, query = incoming.path_and_query
        return Request(
            incoming.method, path, query, incoming.headers, incoming.body, incoming.user,
            self._client,
        )  # fmt: skip

    async def _exchange(self, incoming: Incoming) -> None:
        if incoming.refusal is not None:
            await writing.answer(self, incoming, writing.status(incoming.refusal))
            return
        request = self._request(incoming)
        incoming.body = b""
        try:
            if incoming.upgrade:
                await self._upgrade(incoming, request)
                return
            response = await self.server.api.send(request)
        except ApiError as error:
            response = writing.status(error)
        await writing.answer(self, incoming, response)

    async def _upgrade(self, incoming: Incoming, request: Request) -> None:
        """Let another protocol have the connection, or answer why not. Raises ApiError."""
        incoming.keep_alive = False
        decided = await self.server.upgrade(request)
        if isinstance(decided, Response):
            await writing.answer(self, incoming, decided)
            return
        assert isinstance(decided, Switch)
        self.transport.write(self.server.heads.switching(decided.headers))
        duplex = self._upgraded = Upgraded(self, self.parser.upgraded or b"")
        self._read_on()
        try:
            await decided.serve(duplex)
        finally:
            duplex.close()

    async def _refuse(self, error: MalformedError) -> None:
        """Say what is wrong with what came, then hang up once the client had time to read it."""
        self._busy = True
        if error.status == 413:
            incoming = Incoming("POST", "", {})
            incoming.keep_alive = False
            refusal = writing.status(ApiError("RequestEntityTooLarge", error.reason))
            await writing.answer(self, incoming, refusal)
        else:
            self.transport.write(plain(error.status, error.reason))
        self._end()

    def _end(self) -> None:
        """Close; a client that still sends is read (and ignored) for a moment, since closing on
        unread bytes would take the answer away from it.
        """
        if self._upgraded is not None:
            return
        if self._failure is None and not self.parser.reading:
            self.transport.close()
            return
        if self._discarding:
            return
        self._discarding = True
        self.parser.complete.clear()
        self._read_on()
        self._loop.call_later(LINGER_S, self.transport.close)

    # ------------------------------------------------------------ writing

    @property
    def writable(self) -> bool:
        """Whether there is room for more."""
        return not self._paused

    async def drained(self) -> None:
        """Wait until there is room. Raises ConnectionError when the client is gone."""
        if self._paused and not self.lost:
            waiter = self._loop.create_future()
            self._writers.append(waiter)
            await waiter
        if self.lost:
            raise ConnectionResetError("the client went away")

    # ------------------------------------------------------------ the server's side

    def stop(self) -> None:
        """No further request; idle connections close now."""
        self.closing = True
        if self._upgraded is not None or (not self._busy and not self.parser.complete):
            self.transport.close()
        self._wake()

    def abort(self) -> None:
        """Hang up at once."""
        self.transport.abort()
        if self._upgraded is not None and self._task is not None:
            self._task.cancel()
