"""One watch as its reader sees it: an async iterator over a bounded buffer; no task of its own."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator

from podwire.apiserver.cache.entry import Change, Entry, Representation
from podwire.client.counters import Frame
from podwire.runtime.ports import Timer

Matches = Callable[[Entry], bool]

BUFFER_LIMIT = 1024
"""Undelivered events at which a reader counts as slow and its watch is ended."""


class Watcher:
    """The stream of a watch. Reading it costs one wake per loop turn,
    however many events arrived in it.
    """

    def __init__(
        self,
        matches: Matches | None,
        shape: Representation | None,
        leave: Callable[[Watcher], None],
        *,
        bookmarks: bool,
        limit: int = BUFFER_LIMIT,
    ) -> None:
        self.matches = matches
        self.shape = shape
        self.bookmarks = bookmarks
        self.ended = False
        self.cut_off = False
        """Whether the watch was ended because its reader is slow."""
        self.deadline: Timer | None = None
        """Ends the watch after its timeout; forgotten when it ends before."""
        self.delivered = 0
        """How many events were taken."""
        self.on_end: Callable[[], None] | None = None
        """Called when the watch ends."""
        self._leave = leave
        self._limit = limit
        self._opening: Iterator[Frame] | None = None
        self._buffer: deque[Frame] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._notify: Callable[[], None] | None = None

    # ------------------------------------------------------------ the cache's side

    def see(self, change: Change) -> None:
        """Offer a change; it becomes the event this watch's selector makes of it."""
        old, new = change.old, change.new
        matches = self.matches
        if matches is None:
            was, is_ = old is not None, new is not None
        else:
            was, is_ = old is not None and matches(old), new is not None and matches(new)
        if is_:
            self.push(change.frame("MODIFIED" if was else "ADDED", self.shape))
        elif was:
            self.push(change.frame("DELETED", self.shape))

    def push(self, frame: Frame) -> None:
        """Queue a frame; a reader that is too far behind is cut off and must resume."""
        if self.ended:
            return
        buffer = self._buffer
        if not buffer:
            buffer.append(frame)
            self._wake()  # who was told of the first and took nothing yet need not be told again
        elif len(buffer) < self._limit:
            buffer.append(frame)
        else:
            self.cut_off = True
            self.end()

    def begin(self, opening: Iterator[Frame]) -> None:
        """Start with these: the state, whose frames are made only as they are read."""
        self._opening = opening
        self._wake()

    def end(self) -> None:
        """Deliver what is queued, then finish."""
        if not self.ended:
            self.ended = True
            if self.deadline is not None:
                self.deadline.cancel()
                self.deadline = None
            self._leave(self)
            if self.on_end is not None:
                self.on_end()
            self._wake()

    def _wake(self) -> None:
        notify = self._notify
        if notify is not None:
            notify()
        waiting = self._waiting
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    # ------------------------------------------------------------ the reader's side

    def __aiter__(self) -> Watcher:
        return self

    async def __anext__(self) -> Frame:
        while (frame := self.pending()) is None:
            if self.ended:
                raise StopAsyncIteration
            await self._more()
        return frame

    def pending(self) -> Frame | None:
        """The next frame if one is queued: what a binding joins into the same write."""
        if self._opening is not None:
            for frame in self._opening:
                self.delivered += 1
                return frame
            self._opening = None
        if not self._buffer:
            return None
        self.delivered += 1
        return self._buffer.popleft()

    # A binding that has no task waiting for each watch is told, and then takes.

    def attach(self, notify: Callable[[], None] | None) -> None:
        """Have ``notify`` called whenever something is queued, and at the end."""
        self._notify = notify

    @property
    def queued(self) -> bool:
        """Whether something can be taken."""
        return bool(self._buffer) or self._opening is not None

    @property
    def over(self) -> bool:
        """Whether everything was taken and nothing will come."""
        return self.ended and not self._buffer and self._opening is None

    def take(self, limit_bytes: int) -> list[bytes]:
        """The bytes of what is queued, in order; no more once they reach the limit."""
        taken: list[bytes] = []
        size = 0
        if self._opening is not None:
            for frame in self._opening:
                data = frame.data
                taken.append(data)
                size += len(data)
                if size >= limit_bytes:
                    self.delivered += len(taken)
                    return taken
            self._opening = None
        buffer = self._buffer
        while buffer and size < limit_bytes:
            data = buffer.popleft().data
            taken.append(data)
            size += len(data)
        self.delivered += len(taken)
        return taken

    async def aclose(self) -> None:
        """The reader goes away."""
        self._opening = None
        self._buffer.clear()
        self.end()

    async def _more(self) -> None:
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            await self._waiting
        except asyncio.CancelledError:
            self.end()
            raise
        finally:
            self._waiting = None
