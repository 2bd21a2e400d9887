"""What travels between two peers: length-prefixed msgpack, a greeting first.

Every frame is four bytes of length (big endian) and one message. Both sides may call: ``Call``,
``Cancel`` and ``Credit`` carry ids of the sender, ``Result``, ``Failure`` and ``Item`` ids of the
receiver.
"""

from __future__ import annotations

import struct

import msgspec

from podwire.client.framed.errors import Error

MAGIC = "podwire"
VERSION = 1
"""Of this protocol. Peers that speak another refuse each other at the greeting."""

MAX_FRAME_BYTES = 64 * 1024 * 1024
"""Bounds what a peer can make us hold: the largest list of a big cluster fits."""

MAX_PAYLOAD_BYTES = MAX_FRAME_BYTES - 4096
"""What of a frame is left for a payload beside its message."""
MAX_GREETING_BYTES = 4096
"""Of the first frame: a peer that was not heard yet is worth no more memory."""

_LENGTH = struct.Struct(">I")


class _Message(msgspec.Struct, array_like=True, frozen=True, gc=False):
    pass


class Call(_Message, tag=1, frozen=True):
    """Perform ``method``; the answer is a Result, a Failure, or Items before one of them.

    ``credit`` is how many items the caller takes before it grants more.
    """

    id: int
    method: str
    payload: bytes
    credit: int = 0


class Result(_Message, tag=2, frozen=True):
    """The end of a call."""

    id: int
    payload: bytes


class Failure(_Message, tag=3, frozen=True):
    """A call failed."""

    id: int
    error: Error


class Item(_Message, tag=4, frozen=True):
    """One part of a streamed answer; the first is its head."""

    id: int
    payload: bytes


class Cancel(_Message, tag=5, frozen=True):
    """The caller no longer waits."""

    id: int


class Credit(_Message, tag=6, frozen=True):
    """The caller takes ``n`` more items."""

    id: int
    n: int


class Post(_Message, tag=7, frozen=True):
    """Do this; nobody waits for an answer."""

    method: str
    payload: bytes


class Ping(_Message, tag=8, frozen=True):
    """Still here."""


Message = Call | Result | Failure | Item | Cancel | Credit | Post | Ping

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode
_decode_greeting = msgspec.msgpack.Decoder(tuple[str, int, str, str, bool]).decode


class ProtocolError(ConnectionError):
    """The peer does not speak this protocol, or not this version of it, or refused us.

    Trying again without changing something does not help.
    """


def frame(body: bytes) -> bytes:
    """A message's bytes with their length."""
    return _LENGTH.pack(len(body)) + body


def encode(message: Message) -> bytes:
    """A message as a frame."""
    return frame(_encode(message))


def decode(body: bytes) -> Message:
    """The message of a frame's body. Raises ProtocolError."""
    try:
        message: Message = _decode(body)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ProtocolError(f"the peer sent what is no message: {error}") from None
    return message


def greeting(room: str, refusal: str = "", *, for_good: bool = True) -> bytes:
    """The first frame of each side: who speaks, in which version; or why we will not (``for_good``:
    not now, and not later).
    """
    return frame(_encode((MAGIC, VERSION, room, refusal, for_good)))


def read_greeting(body: bytes) -> str:
    """Who greets. Raises ProtocolError for strangers, other versions and refusals for good,
    ConnectionRefusedError for a room that cannot serve now.
    """
    try:
        magic, version, room, refusal, for_good = _decode_greeting(body)
    except (msgspec.DecodeError, msgspec.ValidationError):
        magic, version, room, refusal, for_good = "", 0, "", "", True
    if magic != MAGIC:
        raise ProtocolError("the peer is no podwire room: check the address")
    if version != VERSION:
        raise ProtocolError(
            f"{room} speaks version {version} of the framed protocol and this process {VERSION}: "
            "run the same release of podwire on both sides"
        )
    if refusal and not for_good:
        raise ConnectionRefusedError(f"{room} cannot serve now: {refusal}")
    if refusal:
        raise ProtocolError(f"{room} refused the connection: {refusal}")
    return room


class Frames:
    """Cuts a byte stream, which begins with a greeting, into frame bodies."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._limit = MAX_GREETING_BYTES

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies that are complete now. Raises ProtocolError for one that is too large."""
        buffer = self._buffer
        buffer += data
        bodies: list[bytes] = []
        at = 0
        while len(buffer) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer, at)
            if length > self._limit:
                raise ProtocolError(f"a frame of {length} bytes is longer than {self._limit}")
            end = at + _LENGTH.size + length
            if len(buffer) < end:
                break
            self._limit = MAX_FRAME_BYTES
            bodies.append(bytes(buffer[at + _LENGTH.size : end]))
            at = end
        del buffer[:at]
        return bodies
