"""What listening sockets of every protocol share: a line of those that nobody accepted yet."""

from __future__ import annotations

import errno
from collections import deque
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from podwire.fabric.icmp import os_error
from podwire.fabric.waiters import Waiters

if TYPE_CHECKING:
    from podwire.fabric.space import Space

BACKLOG = 128


class Aborts(Protocol):
    """A socket that can be ended at once."""

    def abort(self) -> None:
        """End it, and tell the peer."""


S = TypeVar("S", bound=Aborts)


class Listening(Generic[S]):
    """A listening socket (``counters.Listener``) with a backlog of 128."""

    def __init__(self, space: Space, address: str, port: int, owner: str) -> None:
        self.space = space
        self.local = (address, port)
        self.owner = owner
        self.closed = False
        self._ready: deque[S] = deque()
        self._acceptors = Waiters()

    @property
    def waiting(self) -> int:
        """How many nobody has accepted yet."""
        return len(self._ready)

    async def accept(self) -> S:
        """The next one. Raises OSError (EBADF) after close."""
        while not self._ready:
            if self.closed:
                raise os_error(errno.EBADF)
            await self._acceptors.wait()
        return self._ready.popleft()

    def close(self) -> None:
        """Stop listening; those nobody accepted are aborted."""
        if self.closed:
            return
        self.closed = True
        self._forget()
        while self._ready:
            self._ready.popleft().abort()
        self._acceptors.wake_all()

    def _offer(self, socket: S) -> None:
        self._ready.append(socket)
        self._acceptors.wake_one()

    def _forget(self) -> None:
        """Give the port back."""
        raise NotImplementedError
