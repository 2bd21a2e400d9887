"""Tables and metadata-only objects as representations of cache entries.

Source: apiserver pkg/endpoints/handlers/response.go and meta/v1 (Table, PartialObjectMetadata).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from podwire.api.kinds import Kind
from podwire.api.view import JSON
from podwire.apiserver.cache.entry import Entry
from podwire.apiserver.negotiation import META_GROUP, Accepted
from podwire.apiserver.tables.columns import Layout, layout

_JSON = "application/json"


class _Metadata(msgspec.Struct):
    metadata: msgspec.Raw


_metadata = msgspec.json.Decoder(_Metadata)


def _listed(empty: bytes, items: Iterable[JSON]) -> Iterator[bytes]:
    """A JSON object whose last field is an empty array, with these items in it."""
    yield empty.removesuffix(b"]}")
    comma = b""
    for item in items:
        yield comma + msgspec.json.encode(item)
        comma = b","
    yield b"]}"


def partial(entry: Entry, version: str) -> JSON:
    """The object as PartialObjectMetadata."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"{META_GROUP}/{version}",
        "metadata": _metadata.decode(entry.data).metadata,
    }


class TableShape:
    """``application/json;as=Table``. ``include`` is Metadata, Object or None (includeObject)."""

    content_type = stream_type = _JSON
    terminator = b"\n"

    def __init__(self, version: str, include: str, now_ns: Callable[[], int]) -> None:
        self.name = f"Table/{version}/{include}"
        self._version = version
        self._include = include
        self._now_ns = now_ns

    def one(self, entry: Entry) -> bytes:
        """A table of one row."""
        meta = {"resourceVersion": str(entry.revision)}
        return b"".join(self.many(entry.kind, [entry], meta))

    def many(self, kind: Kind[Any], entries: Sequence[Entry], meta: JSON) -> Iterator[bytes]:
        """A table with a row for each object."""
        form, now_ns = layout(kind), self._now_ns()
        empty = self._table(form, [], meta, definitions=True)
        return _listed(empty, (self._row(form, entry, now_ns) for entry in entries))

    def event(self, type: str, entry: Entry) -> bytes:
        """A watch event whose object is a table of one row."""
        form = layout(entry.kind)
        meta = {"resourceVersion": str(entry.revision)}
        row = self._row(form, entry, self._now_ns())
        table = self._table(form, [row], meta, definitions=type == "ADDED")
        return b'{"type":"%b","object":%b}' % (type.encode(), table)

    def bookmark(self, kind: Kind[Any], meta: JSON) -> bytes:
        """A bookmark is a table without rows that carries the metadata in its one object."""
        body = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": meta}
        row = {"cells": [], "object": body}
        table = self._table(layout(kind), [row], meta, definitions=False)
        return b'{"type":"BOOKMARK","object":%b}' % table

    def _table(self, form: Layout, rows: list[JSON], meta: JSON, *, definitions: bool) -> bytes:
        columns = [
            {
                "name": c.name,
                "type": c.type,
                "format": c.format,
                "description": c.description or c.name,
                "priority": c.priority,
            }
            for c in form.columns
        ]
        table = {
            "kind": "Table",
            "apiVersion": f"{META_GROUP}/{self._version}",
            "metadata": meta,
            "columnDefinitions": columns if definitions else [],
            "rows": rows,
        }
        return msgspec.json.encode(table)

    def _row(self, form: Layout, entry: Entry, now_ns: int) -> JSON:
        source = entry.json() if form.whole else entry.view
        row: JSON = {"cells": form.cells(source, now_ns)}
        if form.conditions is not None and (told := form.conditions(source)):
            row["conditions"] = told
        if self._include == "Object":
            row["object"] = msgspec.Raw(entry.data)
        elif self._include != "None":
            row["object"] = partial(entry, self._version)
        return row


class MetadataShape:
    """``as=PartialObjectMetadata`` and ``as=PartialObjectMetadataList``."""

    content_type = stream_type = _JSON
    terminator = b"\n"

    def __init__(self, version: str) -> None:
        self.name = f"PartialObjectMetadata/{version}"
        self._version = version

    def one(self, entry: Entry) -> bytes:
        """The object's metadata."""
        return msgspec.json.encode(partial(entry, self._version))

    def many(self, kind: Kind[Any], entries: Sequence[Entry], meta: JSON) -> Iterator[bytes]:
        """A list of them."""
        del kind
        body = {
            "kind": "PartialObjectMetadataList",
            "apiVersion": f"{META_GROUP}/{self._version}",
            "metadata": meta,
            "items": [],
        }
        return _listed(
            msgspec.json.encode(body), (partial(entry, self._version) for entry in entries)
        )

    def event(self, type: str, entry: Entry) -> bytes:
        """A watch event about the metadata."""
        return b'{"type":"%b","object":%b}' % (type.encode(), self.one(entry))

    def bookmark(self, kind: Kind[Any], meta: JSON) -> bytes:
        """A bookmark."""
        del kind
        body = {
            "kind": "PartialObjectMetadata",
            "apiVersion": f"{META_GROUP}/{self._version}",
            "metadata": meta,
        }
        return b'{"type":"BOOKMARK","object":%b}' % msgspec.json.encode(body)


def chooser(now_ns: Callable[[], int]) -> Callable[[Accepted, str], TableShape | MetadataShape]:
    """``choose(accepted, includeObject)``: the shape that a client asks for."""

    def choose(accepted: Accepted, include: str) -> TableShape | MetadataShape:
        if accepted.target == "Table":
            return TableShape(accepted.version, include or "Metadata", now_ns)
        return MetadataShape(accepted.version)

    return choose
