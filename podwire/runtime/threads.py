"""The one thread kind there is: a worker that keeps blocking file work off the real loop.

Use it through ``loop.run_in_executor``: a virtual loop runs the work at once and starts no thread.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from podwire.runtime.fence import FenceError, fence

P = ParamSpec("P")
T = TypeVar("T")


class Worker(ThreadPoolExecutor):
    """One thread that does jobs in the order in which they were given."""

    def __init__(self, name: str) -> None:
        super().__init__(max_workers=1, thread_name_prefix=name)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """See ``concurrent.futures.Executor``. Raises FenceError inside a simulation."""
        if fence.up:
            raise FenceError("a worker thread was asked for inside a simulation")
        return super().submit(fn, *args, **kwargs)
