"""Ordered task groups: asyncio's own iterate sets, so their order is not replayable."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Event:
    """``asyncio.Event``, of which there may be ten to a modelled pod: an idle one weighs nothing.

    Waiters are woken in the order in which they came.
    """

    __slots__ = ("_is_set", "_waiters")

    def __init__(self) -> None:
        self._is_set = False
        self._waiters: list[asyncio.Future[None]] | None = None

    def is_set(self) -> bool:
        """Whether ``set`` was called since the last ``clear``."""
        return self._is_set

    def set(self) -> None:
        """Wake all who wait, and let nobody wait any more."""
        self._is_set = True
        for waiter in self._waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    def clear(self) -> None:
        """Let those who come now wait for the next ``set``."""
        self._is_set = False

    async def wait(self) -> None:
        """Return once it is set."""
        if self._is_set:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._join(waiter)
        try:
            await waiter
        finally:
            self._leave(waiter)

    async def unless(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do ``work`` to its end, or until it is set, which cancels the work. Raises what the work
        raised. ``first`` would need one more task.
        """
        loop = asyncio.get_running_loop()
        task = loop.create_task(work, name="work")
        over: asyncio.Future[None] = loop.create_future()

        def wake(_: object) -> None:
            if not over.done():
                over.set_result(None)

        task.add_done_callback(wake)
        if self._is_set:
            wake(None)
        self._join(over)
        try:
            await over
            if task.done():
                task.result()
        finally:
            self._leave(over)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _join(self, waiter: asyncio.Future[None]) -> None:
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(waiter)

    def _leave(self, waiter: asyncio.Future[None]) -> None:
        assert self._waiters is not None
        self._waiters.remove(waiter)
        if not self._waiters:
            self._waiters = None


class Nursery:
    """Tasks that live no longer than the block.

    Leaving the block waits for all; the first failure cancels the rest (in order of start) and is
    raised as it is. Cancelling the block cancels all.
    """

    def __init__(self) -> None:
        self._children: dict[asyncio.Task[Any], None] = {}
        self._failure: BaseException | None = None
        self._idle: asyncio.Future[None] | None = None
        self._parent: asyncio.Task[Any] | None = None
        self._inside = False
        self._interrupted = False
        self._over = False

    async def __aenter__(self) -> Self:
        self._parent = asyncio.current_task()
        self._inside = True
        return self

    def start(self, coro: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Start a child; its name appears in reports. A nursery that ends cancels it at once."""
        task = asyncio.get_running_loop().create_task(coro, name=name)
        self._children[task] = None
        task.add_done_callback(self._ended)
        if self._over:
            task.cancel()
        return task

    def cancel(self) -> None:
        """Cancel every child, in order of start."""
        for task in list(self._children):
            task.cancel()

    def _end(self) -> None:
        """Cancel every child, and those that children start while they end."""
        self._over = True
        self.cancel()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._children.pop(task, None)
        if not task.cancelled() and task.exception() is not None and self._failure is None:
            self._failure = task.exception()
            self._end()
            if self._inside and self._parent is not None:
                self._interrupted = True
                self._parent.cancel()
        if not self._children and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        self._inside = False
        ours = self._interrupted and kind is asyncio.CancelledError
        if ours and self._parent is not None:
            ours = self._parent.uncancel() == 0
        if kind is not None:
            self._end()
        cancelled: BaseException | None = None
        while self._children:
            self._idle = asyncio.get_running_loop().create_future()
            try:
                await self._idle
            except asyncio.CancelledError as interrupt:
                cancelled = interrupt
                self._end()
        if cancelled is not None or (kind is asyncio.CancelledError and not ours):
            if cancelled is not None:
                raise cancelled
            return False
        if self._failure is not None:
            raise self._failure
        return ours


async def first(*coros: Coroutine[Any, Any, Any]) -> tuple[int, Any]:
    """Run all; return (index, result) of the first to end and cancel the others.

    When several end in the same turn, the one given first counts. Raises what the winner raised.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    tasks = [loop.create_task(coro, name=f"first-{i}") for i, coro in enumerate(coros)]

    def wake(_: asyncio.Task[Any]) -> None:
        if not done.done():
            done.set_result(None)

    for task in tasks:
        task.add_done_callback(wake)
    try:
        await done
        winner = next(i for i, task in enumerate(tasks) if task.done())
        return winner, tasks[winner].result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
