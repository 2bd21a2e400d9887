"""The fence: while a simulated step runs, podwire's own modules may not reach the real world.

Inside ``with fence`` a call from a podwire module (this room excepted) to wall clock, global
randomness, uuid, threads or sockets raises ``FenceError``. Libraries are left alone: the standard
library's asyncio, for one, reads clocks of its own to no effect on the simulation.
"""

from __future__ import annotations

import os
import random
import secrets
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable
from types import ModuleType, TracebackType
from typing import Any

_FENCED: tuple[tuple[ModuleType | type, tuple[str, ...]], ...] = (
    (time, ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "sleep")),
    (random, ("random", "randint", "randrange", "choice", "shuffle", "uniform", "getrandbits")),
    (uuid, ("uuid1", "uuid4")),
    (os, ("urandom",)),
    (secrets, ("token_bytes", "token_hex", "token_urlsafe", "randbelow", "choice")),
    (threading.Thread, ("start",)),
    (socket, ("socket", "create_connection", "getaddrinfo")),
)


class FenceError(RuntimeError):
    """A podwire module asked the real world for time, chance, a thread or a socket."""


def _guard(owner: str, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(*args: Any, **kwargs: Any) -> Any:
        caller = sys._getframe(1).f_globals.get("__name__", "")  # noqa: SLF001  the cheapest way
        if caller.startswith("podwire.") and not caller.startswith("podwire.runtime"):
            raise FenceError(
                f"{caller} called {owner}.{name} inside a simulation: use ctx.clock, ctx.rng, "
                "ctx.ids or a counter"
            )
        return original(*args, **kwargs)

    return guarded


class _Fence:
    """Re-entrant: nested loops keep the fence up until the outermost leaves."""

    def __init__(self) -> None:
        self._depth = 0
        self._originals: list[tuple[Any, str, Any]] = []
        self._guards: list[tuple[Any, str, Any]] = []
        for owner, names in _FENCED:
            for name in names:
                original = getattr(owner, name)
                if isinstance(original, type):
                    guard: Any = _guarded_type(owner.__name__, original)
                else:
                    guard = _guard(owner.__name__, name, original)
                self._originals.append((owner, name, original))
                self._guards.append((owner, name, guard))

    @property
    def up(self) -> bool:
        """Whether a simulated step is running."""
        return self._depth > 0

    def __enter__(self) -> None:
        self._depth += 1
        if self._depth == 1:
            for owner, name, guard in self._guards:
                setattr(owner, name, guard)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._depth -= 1
        if self._depth == 0:
            for owner, name, original in self._originals:
                setattr(owner, name, original)


def _guarded_type(owner: str, original: type) -> type:
    class Guarded(original):  # type: ignore[misc]
        """The class as before, but podwire's modules may not make one."""

        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            caller = sys._getframe(1).f_globals.get("__name__", "")  # noqa: SLF001
            if caller.startswith("podwire.") and not caller.startswith("podwire.runtime"):
                raise FenceError(f"{caller} made a {owner}.{original.__name__} in a simulation")
            return super().__new__(cls, *args, **kwargs)

    Guarded.__name__ = original.__name__
    return Guarded


fence = _Fence()
"""The one fence of this process."""
