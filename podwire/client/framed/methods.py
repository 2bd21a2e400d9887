"""Methods as typed names, and the table of those that a peer may call.

A method's arguments, result and items have msgspec types; encoders and decoders are made once, on
first use.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from podwire.client.framed.messages import ProtocolError

if TYPE_CHECKING:
    from podwire.client.framed.session import Incoming

_encode = msgspec.msgpack.Encoder().encode


class Codec:
    """Values of one type as msgpack."""

    def __init__(self, type: Any) -> None:
        self._type = type
        self._decoder: msgspec.msgpack.Decoder[Any] | None = None

    def encode(self, value: Any) -> bytes:
        """A value's bytes; None has none."""
        return b"" if self._type is None else _encode(value)

    def decode(self, data: bytes) -> Any:
        """The value. Raises ProtocolError when the peer's type differs."""
        if self._type is None:
            return None
        if self._decoder is None:
            self._decoder = msgspec.msgpack.Decoder(self._type)
        try:
            return self._decoder.decode(data)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise ProtocolError(f"the peer's {self._type} does not decode: {error}") from None


class Method:
    """``counter.verb`` with the types of what crosses. ``args`` is a tuple type."""

    __slots__ = ("args", "item", "name", "result")

    def __init__(self, name: str, args: Any, result: Any = None, item: Any = None) -> None:
        self.name = name
        self.args = Codec(args)
        self.result = Codec(result)
        self.item = Codec(item)


_Perform = Callable[["Incoming", bytes], Any]


class Table:
    """What a peer may ask of this side."""

    def __init__(self) -> None:
        self._performs: dict[str, _Perform] = {}
        self._posts: dict[str, Callable[[bytes], None]] = {}

    def unary(self, method: Method, function: Callable[..., Any]) -> None:
        """``function(*args)``, awaited if it is a coroutine, gives the result."""

        async def perform(_: Incoming, payload: bytes) -> bytes:
            result = function(*method.args.decode(payload))
            if inspect.isawaitable(result):
                result = await result
            return method.result.encode(result)

        self._performs[method.name] = perform

    def stream(self, method: Method, function: Callable[..., Any]) -> None:
        """``await function(*args)`` gives a head and the items, or None for an answer without."""

        async def perform(incoming: Incoming, payload: bytes) -> bytes:
            head, items = await function(*method.args.decode(payload))
            if items is None:
                return method.result.encode(head)
            return await _forward(incoming, method, head, items)

        self._performs[method.name] = perform

    def post(self, method: Method, function: Callable[..., None]) -> None:
        """``function(*args)``; no answer."""
        self._posts[method.name] = lambda payload: function(*method.args.decode(payload))

    async def perform(self, incoming: Incoming, name: str, payload: bytes) -> bytes:
        """Perform a call. Raises what the function raises, ValueError for an unknown method."""
        found = self._performs.get(name)
        if found is None:
            raise ValueError(f"no method {name} is served here")
        result: bytes = await found(incoming, payload)
        return result

    def obey(self, name: str, payload: bytes) -> None:
        """Perform a post."""
        found = self._posts.get(name)
        if found is None:
            raise ValueError(f"no method {name} is served here")
        found(payload)


async def _forward(
    incoming: Incoming, method: Method, head: Any, items: AsyncIterator[Any]
) -> bytes:
    try:
        await incoming.item(method.result.encode(head))
        async for item in items:
            await incoming.item(method.item.encode(item))
    finally:
        close = getattr(items, "aclose", None)
        if close is not None:
            await close()
    return b""
