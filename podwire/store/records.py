"""The bytes of a data directory: file heads and records, written and read back.

A record is a head (magic, length, CRC-32, where its batch began) and a MessagePack payload. A batch
is what one fdatasync made durable; because every record names its batch's place, damage can be
told apart: in the last batch it is a torn tail, before a later batch it is damage.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from zlib import crc32

import msgspec

FORMAT = 1
LOG, SNAPSHOT = 1, 2
RECORD_LIMIT_BYTES = 64 * 1024 * 1024
"""No record is longer: what a damaged length may claim is bounded."""

_MAGIC = b"podwire store\n\0\xff"
_HEAD = struct.Struct("<16sIIQI")  # magic, format, file kind, base revision, CRC of these
_RECORD = struct.Struct("<4sIIQ")  # mark, length, CRC, offset of the batch
_COVERED = struct.Struct("<IQ")
_MARK = b"\xabpw\n"

HEAD_BYTES = _HEAD.size
RECORD_HEAD_BYTES = _RECORD.size


class FormatError(Exception):
    """A file that is not what it should be; the text says how."""


@dataclass(frozen=True, slots=True)
class Torn:
    """Where a log's sound part ends before its file does."""

    offset: int


def head(file_kind: int, revision: int) -> bytes:
    """The first bytes of a file; ``revision`` is the one before its first record."""
    fields = _HEAD.pack(_MAGIC, FORMAT, file_kind, revision, 0)[:-4]
    return fields + struct.pack("<I", crc32(fields))


def read_head(data: bytes | memoryview, file_kind: int) -> int:
    """The base revision of a file. Raises FormatError."""
    raw = bytes(data[:HEAD_BYTES])
    if raw[:16] != _MAGIC:
        raise FormatError("it is not a file of a podwire store")
    _, version, found, revision, check = _HEAD.unpack(raw.ljust(HEAD_BYTES, b"\0"))
    if len(raw) < HEAD_BYTES or check != crc32(raw[:-4]):
        raise FormatError("its head is damaged")
    if version != FORMAT:
        raise FormatError(
            f"it has format {version}, this podwire reads format {FORMAT}; use the newer podwire"
        )
    if found != file_kind:
        raise FormatError("it is of another kind than its name says")
    return int(revision)


def framed(payloads: Sequence[bytes], batch: int) -> list[bytes]:
    """Heads and payloads in turn, for one writev."""
    parts = []
    for payload in payloads:
        length = len(payload)
        check = crc32(payload, crc32(_COVERED.pack(length, batch)))
        parts.append(_RECORD.pack(_MARK, length, check, batch))
        parts.append(payload)
    return parts


def read(data: memoryview, start: int = HEAD_BYTES) -> Iterator[memoryview | Torn]:
    """The payloads of a file; last, a ``Torn`` when its tail is no sound record.

    Raises FormatError when what follows the damage proves that it was once whole.
    """
    at = start
    while at < len(data):
        payload = _at(data, at)
        if payload is None:
            if _later_batch(data, at):
                raise FormatError(f"it is damaged at byte {at}, and later records are not")
            yield Torn(at)
            return
        yield payload
        at += RECORD_HEAD_BYTES + len(payload)


def _at(data: memoryview, at: int) -> memoryview | None:
    """The sound record at an offset, if there is one."""
    begins = at + RECORD_HEAD_BYTES
    if begins > len(data):
        return None
    mark, length, check, batch = _RECORD.unpack_from(data, at)
    ends = begins + length
    if mark != _MARK or batch > at or length > RECORD_LIMIT_BYTES or ends > len(data):
        return None
    payload = data[begins:ends]
    if crc32(payload, crc32(_COVERED.pack(length, batch))) != check:
        return None
    return payload


def _later_batch(data: memoryview, at: int) -> bool:
    """Whether a sound record behind ``at`` belongs to a batch that began behind ``at``.

    Such a batch was written after everything before it had been made durable.
    """
    raw = bytes(data[at:])
    found = raw.find(_MARK, 1)
    while found >= 0:
        place = at + found
        if _at(data, place) is not None and _RECORD.unpack_from(data, place)[3] > at:
            return True
        found = raw.find(_MARK, found + 1)
    return False


# ---------------------------------------------------------------- payloads


class Txn(msgspec.Struct, array_like=True, tag="t", frozen=True, gc=False):
    """One revision: (key, value or None, lease) each; ``ended_lease`` if a lease's end made it."""

    revision: int
    changes: list[tuple[str, bytes | None, int]]
    ended_lease: int = 0


class Granted(msgspec.Struct, array_like=True, tag="g", frozen=True, gc=False):
    """A lease and when it ends, in nanoseconds since the Unix epoch."""

    lease: int
    due_ns: int


class Held(msgspec.Struct, array_like=True, tag="k", frozen=True, gc=False):
    """A key in a snapshot."""

    key: str
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int


class End(msgspec.Struct, array_like=True, tag="z", frozen=True, gc=False):
    """The last record of a snapshot: how many keys came before it, and the next lease's id."""

    keys: int
    next_lease: int


Payload = Txn | Granted | Held | End

encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Payload).decode


def decode(payload: memoryview) -> Payload:
    """A record's content. Raises FormatError."""
    try:
        record: Payload = _decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"a record is not understood ({error})") from None
    return record
