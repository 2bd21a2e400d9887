"""``Session``: calls in both directions over one connection, whatever carries its bytes.

The carrier hands received bytes to ``feed`` and takes what is to be sent from ``write``; when it is
lost, every open call on both sides ends. Sockets and TLS are in ``transport.py``.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from structlog.typing import FilteringBoundLogger

from podwire.client.framed import messages
from podwire.client.framed.calls import CREDIT, Items, Outgoing, Pending
from podwire.client.framed.errors import INTERRUPTED, Error, from_data, promised, to_data
from podwire.client.framed.messages import (
    MAX_PAYLOAD_BYTES,
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

MAX_CALLS = 10_000
"""Calls that one peer may have open: more is a bug there, not a load."""
PING_S = 5.0
GREETING_S = 10.0
"""How long a peer may keep a connection without having greeted."""
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
        self._session.send(Item(self.id, _bounded(payload)))
        await self._session.carrier.drained()


class Session:
    """One connection, from the greeting to its end.

    ``expects`` is the room that the peer's certificate names ("" for any, where there is none): who
    greets as another is no peer.
    """

    def __init__(
        self,
        carrier: Carrier,
        clock: Clock,
        log: FilteringBoundLogger,
        room: str,
        serve: Serve | None = None,
        expects: str = "",
    ) -> None:
        self.carrier = carrier
        self._clock = clock
        self._log = log
        self._room = room
        self._expects = expects
        self._frames = Frames()
        self._outgoing: dict[int, Outgoing] = {}
        self._incoming: dict[int, Incoming] = {}
        self._last_id = 0
        self._timer: Timer | None = None
        self._began_ns = self._heard_ns = clock.monotonic_ns()
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
            try:
                tell()
            except Exception:  # noqa: BLE001  the others must hear of the end all the same
                self._log.exception("the end of a session was not taken", peer=self.peer)

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
        now_ns = self._clock.monotonic_ns()
        silent_s = (now_ns - self._heard_ns) / 1e9
        why = ""
        if silent_s >= SILENT_S:
            why = f"{self.peer or 'the peer'} is silent for {silent_s:.0f} s"
        elif not self.peer and now_ns - self._began_ns >= GREETING_S * 1e9:
            why = f"the peer did not greet within {GREETING_S:.0f} s"
        if why:
            self.lose(ConnectionError(why))
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

    async def acquire(
        self, method: Method, *args: Any, give_back: Callable[[Any], None]
    ) -> Any:  # fmt: skip
        """Call for something that the peer then keeps for us: when the caller gives up, and the
        peer had it made all the same, ``give_back`` is called with the result.
        """
        pending = self.begin(method, *args)
        try:
            return await pending.result()
        except asyncio.CancelledError:
            pending.disown(give_back)
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
        items = Items(self, method, number, call)  # before decoding: what fails there ends it
        return method.result.decode(head), items

    def post(self, method: Method, *args: Any) -> None:
        """Tell the peer to do something; silently nothing when the connection is gone.

        Raises OSError (EMSGSIZE).
        """
        self.send(Post(method.name, _bounded(method.args.encode(args))))

    def _open(self, method: Method, args: tuple[Any, ...], credit: int) -> tuple[int, Outgoing]:
        self._check()
        payload = _bounded(method.args.encode(args))
        number = self._last_id = self._last_id + 1
        call = self._outgoing[number] = Outgoing()
        self.send(Call(number, method.name, payload, credit))
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
        room = messages.read_greeting(body)
        if self._expects and room != self._expects:
            raise ProtocolError(f"{room or 'nobody'} has the certificate of {self._expects}")
        self.peer = room
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
            if call.late is not None and error is None:
                call.late(result)
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
        incoming.task.add_done_callback(partial(self._performed, message.id))

    def _performed(self, id: int, task: asyncio.Task[None]) -> None:
        self._incoming.pop(id, None)
        if task.cancelled():  # told here: a task that is cancelled before its first step never runs
            self.send(Failure(id, Error(INTERRUPTED)))

    async def _perform(self, incoming: Incoming, message: Call) -> None:
        answer: Message
        try:
            result = await self._table.perform(incoming, message.method, message.payload)
            answer = Result(message.id, _bounded(result))
        except Exception as error:  # noqa: BLE001  every failure of a handler is the caller's to see
            if not promised(error):
                self._log.exception("framed call failed", method=message.method, peer=self.peer)
            answer = Failure(message.id, to_data(error))
        self.send(answer)

    def _obey(self, message: Post) -> None:
        try:
            self._table.obey(message.method, message.payload)
        except Exception:  # noqa: BLE001  nobody waits for an answer: the log is who can be told
            self._log.exception("framed post failed", method=message.method, peer=self.peer)


def _bounded(payload: bytes) -> bytes:
    """A payload that a frame can hold. Raises OSError (EMSGSIZE): one too long would end the
    session, and with it everybody else's calls.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise OSError(
            errno.EMSGSIZE, f"{len(payload)} bytes are more than the {MAX_PAYLOAD_BYTES} that cross"
        )
    return payload


Serve = Callable[[Session], Table]
"""Makes the table of what a peer may ask, for one session."""
