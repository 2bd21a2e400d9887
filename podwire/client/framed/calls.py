"""A call as its caller holds it: what is still to come, and the items of a streamed answer."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from podwire.client.framed.messages import Cancel, Credit
from podwire.client.framed.methods import Method

if TYPE_CHECKING:
    from podwire.client.framed.session import Session

CREDIT = 64
"""Items of a stream that may be on their way before its reader asked for more."""


class Outgoing:
    """A call of ours: its items, then its result or failure."""

    __slots__ = ("done", "error", "items", "late", "result", "taken", "waiter")

    def __init__(self) -> None:
        self.items: deque[bytes] = deque()
        self.result = b""
        self.error: BaseException | None = None
        self.done = False
        self.late: Callable[[bytes], None] | None = None
        """Takes a result that comes although nobody waits for it any more."""
        self.taken = 0
        self.waiter: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """Something came for whoever waits."""
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


class Pending:
    """A call whose result is still to come."""

    __slots__ = ("_call", "_id", "_method", "_session")

    def __init__(self, session: Session, method: Method, id: int, call: Outgoing) -> None:
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

    def disown(self, take: Callable[[Any], None]) -> None:
        """Nobody wants it any more, but a result that came (or still comes) goes to ``take``."""
        call, decode = self._call, self._method.result.decode
        if not call.done:
            call.late = lambda result: take(decode(result))
            self.interrupt()
        elif call.error is None:
            take(decode(call.result))

    def interrupt(self) -> None:
        """Ask the peer to stop; ``result`` then raises InterruptedCallError, or gives what was on
        its way already.
        """
        self._session.send(Cancel(self._id))


class Items:
    """The items of a streamed answer; ``aclose`` (or losing it) tells the peer to stop."""

    def __init__(self, session: Session, method: Method, id: int, call: Outgoing) -> None:
        self._session = session
        self._method = method
        self._id = id
        self._call = call
        when_lost(self, session.abandon, id)

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


def when_lost(holder: Any, tell: Callable[..., None], *args: Any) -> None:
    """Call ``tell(*args)`` on this loop once nobody holds ``holder`` any more."""
    loop = asyncio.get_running_loop()
    # The collector may run in any thread of the process.
    weakref.finalize(holder, _on_loop, loop, tell, args).atexit = False


def _on_loop(
    loop: asyncio.AbstractEventLoop, tell: Callable[..., None], args: tuple[Any, ...]
) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(tell, *args)
