"""``Session``: calls in both directions over one connection, whatever carries its bytes.

The carrier hands received bytes to ``feed`` and takes what is to be sent from ``write``; when it is
lost, every open call on both sides ends. Sockets and TLS are in ``transport.py``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from structlog.typing import FilteringBoundLogger

from podwire.client.framed import messages
from podwire.client.framed.errors import INTERRUPTED, Error, from_data, promised, to_data
from podwire.client.framed.messages import (
    Call,
    Cancel,
    Credit,
    Failure,
    Frames,
    Item,
    Message,
    Ping,
    Post,
    ProtocolError,
    Result,
)
from podwire.client.framed.methods import Method, Table
from podwire.runtime.ports import Clock, Timer

CREDIT = 64
"""Items of a stream that may be on their way before its reader asked for more."""
MAX_CALLS = 10_000
"""Calls that one peer may have open: more is a bug there, not a load."""
PING_S = 5.0
SILENT_S = 15.0
"""A peer that says nothing for so long is gone, though nobody was told (a cut cable)."""


class Carrier(Protocol):
    """What moves bytes to the peer."""

    def write(self, data: bytes) -> None:
        """Send bytes; never blocks."""

    async def drained(self) -> None:
        """Wait while the peer is slow to take them."""

    def close(self) -> None:
        """End the connection once what was written is sent."""


class Connection(Protocol):
    """Where a binding finds its session: a dialled ``Link``, or one end of a pipe."""

    @property
    def up(self) -> bool:
        """Whether there is a session now."""

    def session(self) -> Session:
        """The session. Raises ConnectionError while there is none."""

    async def connected(self) -> Session:
        """Wait until there is one."""

    async def restored(self) -> None:
        """Wait for the next time that a lost peer can be reached again."""


class _Outgoing:
    """A call of ours: its items, then its result or failure."""

    __slots__ = ("done", "error", "items", "result", "taken", "waiter")

    def __init__(self) -> None:
        self.items: deque[bytes] = deque()
        self.result = b""
        self.error: BaseException | None = None
        self.done = False
        self.taken = 0
        self.waiter: asyncio.Future[None] | None = None

    def wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    async def next(self) -> bytes | None:
        """The next item, or None at the end. Raises what the call raised there."""
        while not self.items:
            if self.done:
                if self.error is not None:
                    raise self.error
                return None
            self.waiter = asyncio.get_running_loop().create_future()
            await self.waiter
        return self.items.popleft()


class Incoming:
    """A call of the peer, as its handler sees it."""

    __slots__ = ("_credit", "_session", "_waiter", "id", "task")

    def __init__(self, session: Session, id: int, credit: int) -> None:
        self._session = session
        self._credit = credit
        self._waiter: asyncio.Future[None] | None = None
        self.id = id
        self.task: asyncio.Task[None] | None = None

    def grant(self, n: int) -> None:
        """The caller takes more."""
        self._credit += n
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def item(self, payload: bytes) -> None:
        """Send one part of the answer, when the caller has room for it."""
        while self._credit <= 0:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        self._credit -= 1
        self._session.send(Item(self.id, payload))
        await self._session.carrier.drained()


class Session:
    """One connection, from the greeting to its end."""

    def __init__(
        self,
        carrier: Carrier,
        clock: Clock,
        log: FilteringBoundLogger,
        room: str,
        serve: Serve | None = None,
    ) -> None:
        self.carrier = carrier
        self._clock = clock
        self._log = log
        self._room = room
        self._frames = Frames()
        self._outgoing: dict[int, _Outgoing] = {}
        self._incoming: dict[int, Incoming] = {}
        self._last_id = 0
        self._timer: Timer | None = None
        self._heard_ns = clock.monotonic_ns()
        self.peer = ""
        """The room on the other side, once it greeted."""
        self.error: Exception | None = None
        """Why the session ended."""
        self.on_end: list[Callable[[], None]] = []
        """Called when the session ended, in order."""
        self._greeted: asyncio.Future[None] | None = None
        self._ended: asyncio.Future[None] | None = None
        self._table = serve(self) if serve is not None else Table()

    # ------------------------------------------------------------ life

    def start(self) -> None:
        """Greet, and watch over the peer."""
        self.carrier.write(messages.greeting(self._room))
        self._timer = self._clock.call_later(PING_S, self._tick)

    async def greeted(self) -> None:
        """Wait for the peer's greeting. Raises ProtocolError, ConnectionError."""
        if self.peer or self.error is not None:
            self._check()
            return
        self._greeted = asyncio.get_running_loop().create_future()
        await self._greeted
        self._check()

    async def ended(self) -> None:
        """Wait for the session's end."""
        if self.error is None:
            if self._ended is None:
                self._ended = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._ended)

    def close(self, reason: str = "closed") -> None:
        """End the session from this side."""
        self.lose(ConnectionAbortedError(reason))
        self.carrier.close()

    def lose(self, error: Exception) -> None:
        """The connection is gone: every open call fails, every handler is cancelled."""
        if self.error is not None:
            return
        self.error = error
        if self._timer is not None:
            self._timer.cancel()
        for call in list(self._outgoing.values()):
            call.error, call.done = self._failure(), True
            call.wake()
        self._outgoing.clear()
        for incoming in list(self._incoming.values()):
            if incoming.task is not None:
                incoming.task.cancel()
        for waiting in (self._greeted, self._ended):
            if waiting is not None and not waiting.done():
                waiting.set_result(None)
        for tell in self.on_end:
            tell()

    def _failure(self) -> Exception:
        """A fresh exception for each waiter: tracebacks grow on shared ones."""
        error = self.error
        assert error is not None
        if isinstance(error, ConnectionError):
            return type(error)(*error.args)
        return ConnectionError(f"{self.peer or 'the peer'}: {error}")

    def _check(self) -> None:
        if self.error is not None:
            raise self._failure()

    def _tick(self) -> None:
        silent_s = (self._clock.monotonic_ns() - self._heard_ns) / 1e9
        if silent_s >= SILENT_S:
            self.lose(ConnectionError(f"{self.peer or 'the peer'} is silent for {silent_s:.0f} s"))
            self.carrier.close()
            return
        self.send(Ping())
        self._timer = self._clock.call_later(PING_S, self._tick)

    # ------------------------------------------------------------ calling

    async def call(self, method: Method, *args: Any) -> Any:
        """Call and wait for the result. Raises what the method raises, and ConnectionError."""
        pending = self.begin(method, *args)
        try:
            return await pending.result()
        except asyncio.CancelledError:
            pending.cancel()
            raise

    def begin(self, method: Method, *args: Any) -> Pending:
        """Call; whoever waits for the result may give up without ending the call."""
        number, call = self._open(method, args, 0)
        return Pending(self, method, number, call)

    async def stream(self, method: Method, *args: Any) -> tuple[Any, Items | None]:
        """Call, and wait for the head of the answer: it, and its items unless it has none."""
        number, call = self._open(method, args, CREDIT)
        try:
            head = await call.next()
        except asyncio.CancelledError:
            self.abandon(number)
            raise
        if head is None:
            return method.result.decode(call.result), None
        return method.result.decode(head), Items(self, method, number, call)

    def post(self, method: Method, *args: Any) -> None:
        """Tell the peer to do something; silently nothing when the connection is gone."""
        self.send(Post(method.name, method.args.encode(args)))

    def _open(self, method: Method, args: tuple[Any, ...], credit: int) -> tuple[int, _Outgoing]:
        self._check()
        number = self._last_id = self._last_id + 1
        call = self._outgoing[number] = _Outgoing()
        self.send(Call(number, method.name, method.args.encode(args), credit))
        return number, call

    def abandon(self, id: int) -> None:
        """Wait no longer for a call: the peer is told to stop it."""
        if self._outgoing.pop(id, None) is not None:
            self.send(Cancel(id))

    def send(self, message: Message) -> None:
        """Write a message; nothing happens on a session that ended."""
        if self.error is None:
            self.carrier.write(messages.encode(message))

    # ------------------------------------------------------------ hearing

    def feed(self, data: bytes) -> None:
        """Bytes arrived."""
        self._heard_ns = self._clock.monotonic_ns()
        try:
            for body in self._frames.feed(data):
                if self.error is not None:
                    return
                if self.peer:
                    self._take(messages.decode(body))
                else:
                    self._greet(body)
        except ConnectionError as error:
            self.lose(error)
            self.carrier.close()

    def _greet(self, body: bytes) -> None:
        self.peer = messages.read_greeting(body)
        if self._greeted is not None and not self._greeted.done():
            self._greeted.set_result(None)

    def _take(self, message: Message) -> None:
        match message:
            case Result():
                self._finish(message.id, message.payload, None)
            case Item():
                call = self._outgoing.get(message.id)
                if call is not None:
                    call.items.append(message.payload)
                    call.wake()
            case Failure():
                self._finish(message.id, b"", from_data(message.error))
            case Call():
                self._serve(message)
            case Post():
                self._obey(message)
            case Cancel():
                incoming = self._incoming.get(message.id)
                if incoming is not None and incoming.task is not None:
                    incoming.task.cancel()
            case Credit():
                incoming = self._incoming.get(message.id)
                if incoming is not None:
                    incoming.grant(message.n)
            case Ping():
                pass

    def _finish(self, id: int, result: bytes, error: BaseException | None) -> None:
        call = self._outgoing.pop(id, None)
        if call is not None:
            call.result, call.error, call.done = result, error, True
            call.wake()

    # ------------------------------------------------------------ serving

    def _serve(self, message: Call) -> None:
        if len(self._incoming) >= MAX_CALLS or message.id in self._incoming:
            raise ProtocolError(f"{self.peer} has {len(self._incoming)} calls open")
        incoming = Incoming(self, message.id, message.credit)
        self._incoming[message.id] = incoming
        incoming.task = asyncio.get_running_loop().create_task(
            self._perform(incoming, message), name=f"{self._room}: {message.method}"
        )
        incoming.task.add_done_callback(lambda _: self._incoming.pop(message.id, None))

    async def _perform(self, incoming: Incoming, message: Call) -> None:
        answer: Message
        try:
            result = await self._table.perform(incoming, message.method, message.payload)
            answer = Result(message.id, result)
        except Exception as error:  # noqa: BLE001  every failure of a handler is the caller's to see
            if not promised(error):
                self._log.exception("framed call failed", method=message.method, peer=self.peer)
            answer = Failure(message.id, to_data(error))
        except asyncio.CancelledError:
            self.send(Failure(message.id, Error(INTERRUPTED)))
            raise
        self.send(answer)

    def _obey(self, message: Post) -> None:
        try:
            self._table.obey(message.method, message.payload)
        except Exception:  # noqa: BLE001  nobody waits for an answer: the log is who can be told
            self._log.exception("framed post failed", method=message.method, peer=self.peer)


class Pending:
    """A call whose result is still to come."""

    __slots__ = ("_call", "_id", "_method", "_session")

    def __init__(self, session: Session, method: Method, id: int, call: _Outgoing) -> None:
        self._session = session
        self._method = method
        self._id = id
        self._call = call

    async def result(self) -> Any:
        """Wait for it. Raises what the method raises, and ConnectionError."""
        while await self._call.next() is not None:
            pass
        return self._method.result.decode(self._call.result)

    def cancel(self) -> None:
        """Nobody wants it any more."""
        self._session.abandon(self._id)

    def interrupt(self) -> None:
        """Ask the peer to stop; ``result`` then raises InterruptedCallError, or gives what was on
        its way already.
        """
        self._session.send(Cancel(self._id))


class Items:
    """The items of a streamed answer; ``aclose`` (or losing it) tells the peer to stop."""

    def __init__(self, session: Session, method: Method, id: int, call: _Outgoing) -> None:
        self._session = session
        self._method = method
        self._id = id
        self._call = call

    def __aiter__(self) -> Items:
        return self

    async def __anext__(self) -> Any:
        payload = await self._call.next()
        if payload is None:
            raise StopAsyncIteration
        return self._taken(payload)

    def ready(self) -> Any:
        """An item that is here already, or None."""
        return self._taken(self._call.items.popleft()) if self._call.items else None

    def _taken(self, payload: bytes) -> Any:
        self._call.taken += 1
        if self._call.taken * 2 >= CREDIT:
            self._session.send(Credit(self._id, self._call.taken))
            self._call.taken = 0
        return self._method.item.decode(payload)

    async def aclose(self) -> None:
        """The reader goes away."""
        self._session.abandon(self._id)


Serve = Callable[[Session], Table]
"""Makes the table of what a peer may ask, for one session."""
