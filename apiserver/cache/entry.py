"""An object as the cache holds it, a change to it, and the frames made of it.

A stored value is the object's JSON without resourceVersion. Its first bytes are the same for every
object of a kind (apiVersion, kind, the opening of metadata), so the place where resourceVersion is
spliced in is one number per kind.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from sys import intern
from typing import Any, Protocol

import msgspec

from podwire.api.kinds import Kind
from podwire.api.managed.managers import stored_decoder
from podwire.api.view import JSON
from podwire.client.api import WatchEvent, decoder
from podwire.client.counters import Frame

VIEWS = 4096
"""How many entries of a kind keep what was made of their bytes; of others it is made anew."""
VIEWS_OF_NODES = {"services": 65_536, "endpointslices": 65_536}
"""Of kinds that a proxy on every node reads whole: made anew, it would be once for each node."""


class Splice:
    """How values of one kind begin, and how a revision is put into them."""

    __slots__ = ("at", "head", "limit", "viewed")

    def __init__(self, kind: Kind[Any]) -> None:
        opening = msgspec.json.encode({"apiVersion": kind.api_version, "kind": kind.kind})
        opening = opening[:-1] + b',"metadata":{'
        self.at = len(opening)
        self.head = opening + b'"resourceVersion":"'
        self.limit = VIEWS_OF_NODES.get(kind.plural, VIEWS)
        self.viewed: OrderedDict[Entry, None] = OrderedDict()
        """Entries that hold a view or a message, in the order in which they were asked for it."""

    def join(self, value: bytes, revision: int) -> bytes:
        """The object's JSON with its resourceVersion."""
        return b'%b%d",%b' % (self.head, revision, value[self.at :])

    def items(self, entries: Iterable[Entry], chunk_bytes: int) -> Iterator[bytes]:
        """The items of a list, comma between them, joined into chunks of about that size: each
        byte is copied once, and no more than one chunk is there at a time.
        """
        head, at = self.head, self.at
        parts: list[bytes | memoryview] = []
        size = 0
        comma = b""
        for entry in entries:
            value = entry.value
            parts += (comma, head, b'%d",' % entry.revision, memoryview(value)[at:])
            comma = b","
            size += len(value)
            if size >= chunk_bytes:
                yield b"".join(parts)
                parts, size = [], 0
        if parts:
            yield b"".join(parts)


class Representation(Protocol):
    """Another shape or encoding of an object (Table, metadata only, protobuf); ``name`` keys its
    cached frames.
    """

    name: str
    content_type: str
    stream_type: str
    """The content type of a watch."""
    terminator: bytes
    """What ends a watch event."""

    def one(self, entry: Entry) -> bytes:
        """One object."""

    def many(self, kind: Kind[Any], entries: Sequence[Entry], meta: JSON) -> Iterator[bytes]:
        """A list, made while it is sent; ``meta`` is its ListMeta. Pieces may be empty: they give
        others their turn. Raises ApiError at once for a kind that has no such form.
        """

    def event(self, type: str, entry: Entry) -> bytes:
        """A watch event of this type about this object (without terminator)."""

    def bookmark(self, kind: Kind[Any], meta: JSON) -> bytes:
        """A BOOKMARK event whose object has this metadata (without terminator)."""


class Entry(msgspec.Struct, gc=False, eq=False):
    """One object at one revision. Immutable; shared by every reader.

    Nothing that it holds leads back to it, so collections of garbage need not walk the cache.
    """

    kind: Kind[Any]
    splice: Splice
    key: str
    value: bytes
    revision: int
    name: str = ""
    namespace: str = ""
    message: bytes | None = None
    """The object's protobuf message, while it is kept."""
    viewed: Any = None
    """The decoded view, while it is kept."""
    raw: bytes | None = None
    """The stored bytes, where ``value`` was converted from others."""

    def __post_init__(self) -> None:
        prefix, _, self.name = self.key.rpartition("/")
        if self.kind.namespaced:
            self.namespace = intern(prefix[prefix.rfind("/") + 1 :])

    @property
    def data(self) -> bytes:
        """The object's JSON with its resourceVersion."""
        return self.splice.join(self.value, self.revision)

    @property
    def view(self) -> Any:
        """The object as its kind's frozen view, decoded once and kept for a while: trees of
        objects weigh several times their bytes, and collections of garbage walk them.
        """
        view = self.viewed
        if view is None:
            view = self.viewed = decoder(self.kind.view).decode(self.data)
            self._keep()
        return view

    def remember(self, message: bytes) -> None:
        """Keep the object's protobuf message for a while."""
        self.message = message
        self._keep()

    def forget(self) -> None:
        """The object has moved on: whoever holds what was made of this state keeps it, and few
        will ask again.
        """
        self.viewed = self.message = None
        self.splice.viewed.pop(self, None)

    def _keep(self) -> None:
        viewed = self.splice.viewed
        viewed[self] = None
        if len(viewed) > self.splice.limit:
            old, _ = viewed.popitem(last=False)
            old.viewed = old.message = None  # whoever holds them keeps them

    def json(self) -> dict[str, Any]:
        """A fresh, mutable copy of the object without resourceVersion.

        The sets in managedFields stay encoded (msgspec.Raw): they are half of many objects.
        """
        return stored_decoder(self.kind)(self.value)

    def at(self, revision: int) -> Entry:
        """The same content under another revision: what a DELETED event shows."""
        return Entry(self.kind, self.splice, self.key, self.value, revision)

    def frame(self, type: str, shape: Representation | None) -> Frame:
        """A watch event about this object."""
        if shape is not None:
            return Frame(shape.event(type, self) + shape.terminator)
        return EventFrame(type, self)


class EventFrame(Frame):
    """An event about an entry: bytes for those who send it on, the entry's own view for readers in
    this process; each is made when it is first asked for.
    """

    __slots__ = ("_entry", "_type")

    def __init__(self, type: str, entry: Entry) -> None:
        super().__init__(b"")
        self._type = type
        self._entry = entry

    @property
    def data(self) -> bytes:
        """The event as bytes."""
        if not self._data:
            entry = self._entry
            splice = entry.splice
            self._data = b'{"type":"%b","object":%b%d",%b}\n' % (
                self._type.encode(), splice.head, entry.revision, entry.value[splice.at :],
            )  # fmt: skip
        return self._data

    @property
    def memo(self) -> dict[type, Any]:
        """The event with the entry's view."""
        if not self._memo:
            view = self._entry.view
            self._memo[self._entry.kind.view] = WatchEvent(self._type, view)
        return self._memo


class Change(msgspec.Struct, gc=False, eq=False):
    """One object changed: ``old`` is None for a new one, ``new`` is None for a deleted one.

    As of entries, nothing that it holds leads back to it.
    """

    revision: int
    old: Entry | None
    new: Entry | None
    gone: Entry | None = None
    """The deleted object under the revision of its deletion, once somebody asked."""
    frames: dict[tuple[str, str] | str, Frame] = {}
    """The events made of it, by type and shape."""

    @property
    def subject(self) -> Entry:
        """The object, after the change if it still exists."""
        entry = self.new or self.old
        assert entry is not None, "a change has a before or an after"
        return entry

    def frame(self, type: str, shape: Representation | None) -> Frame:
        """The event's frame, made once and handed to every watcher that sees this type."""
        key = type if shape is None else (type, shape.name)
        frame = self.frames.get(key)
        if frame is None:
            frame = self.frames[key] = self._make(type, shape)
        return frame

    def _make(self, type: str, shape: Representation | None) -> Frame:
        if type == "DELETED":
            assert self.old is not None, "only what existed can be deleted"
            if self.gone is None:
                self.gone = self.old.at(self.revision)
            return self.gone.frame(type, shape)
        assert self.new is not None, "only a deletion leaves nothing"
        return self.new.frame(type, shape)

    def forget_frames(self) -> None:
        """Give back what was made of it; a late reader has it made again."""
        self.frames.clear()
        self.gone = None
        if self.old is not None:
            self.old.forget()
