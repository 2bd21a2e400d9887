"""What a connection becomes when its request asked for another protocol (101)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from podwire.client.counters import Request, Response


class Duplex(Protocol):
    """An upgraded connection: bytes both ways, nothing framed."""

    async def read(self) -> bytes:
        """What came next, at least one byte; b"" once the peer sends no more."""

    async def write(self, data: bytes) -> None:
        """Send; waits while the peer is slow. Raises ConnectionError when it went away."""

    def close(self) -> None:
        """End the connection once what was written is sent; further calls do nothing."""


@dataclass(frozen=True, slots=True)
class Switch:
    """The answer 101: its headers, and who speaks from then on until it returns."""

    headers: dict[str, str]
    serve: Callable[[Duplex], Awaitable[None]]


Upgrade = Callable[[Request], Awaitable[Switch | Response]]
"""Decides a request with an ``Upgrade`` header. Raises ApiError."""
