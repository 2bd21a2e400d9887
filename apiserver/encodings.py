"""Protobuf and YAML as representations, and JSON answers rewritten as either.

An object's message is made when the first client asks for it and kept with its entry, like the
frames of JSON watchers. Source: apimachinery pkg/runtime/serializer/{protobuf,json}.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
import yaml

from podwire.api import protobuf_encode
from podwire.api.codec import JSON_TYPE, PROTOBUF_TYPE, YAML_TYPE
from podwire.api.kinds import Kind
from podwire.api.schema import Type, type_named, type_of, type_of_gvk
from podwire.api.status import ApiError
from podwire.api.view import JSON
from podwire.apiserver.cache.entry import Entry, Representation
from podwire.apiserver.calls import Query
from podwire.apiserver.negotiation import META_GROUP, negotiate
from podwire.client.counters import Frame, Request, Response

_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def _type(kind: Kind[Any]) -> Type:
    found = type_of(kind)
    if found is None:
        message = f"only the following media types are accepted: {JSON_TYPE}, {YAML_TYPE}"
        raise ApiError("NotAcceptable", message)
    return found


class Protobuf:
    """Whole objects as ``application/vnd.kubernetes.protobuf``."""

    name = "protobuf"
    content_type = PROTOBUF_TYPE
    stream_type = f"{PROTOBUF_TYPE};stream=watch"
    terminator = b""

    def one(self, entry: Entry) -> bytes:
        """The object in its envelope."""
        kind = entry.kind
        return protobuf_encode.wrap(kind.api_version, kind.kind, self._message(entry))

    def many(self, kind: Kind[Any], entries: Sequence[Entry], meta: JSON) -> Iterator[bytes]:
        """A list in its envelope."""
        _type(kind)
        messages = map(self._message, entries)
        return _wrapped(kind.api_version, f"{kind.kind}List", messages, meta)

    def event(self, type: str, entry: Entry) -> bytes:
        """A frame of a watch stream."""
        return protobuf_encode.watch_event(type, self.one(entry))

    def bookmark(self, kind: Kind[Any], meta: JSON) -> bytes:
        """A bookmark: an object of the kind with this metadata only."""
        message = protobuf_encode.encode(_type(kind), {"metadata": meta})
        wrapped = protobuf_encode.wrap(kind.api_version, kind.kind, message)
        return protobuf_encode.watch_event("BOOKMARK", wrapped)

    @staticmethod
    def _message(entry: Entry) -> bytes:
        message = entry.message
        if message is None:
            body = msgspec.json.decode(entry.data)
            message = protobuf_encode.encode(_type(entry.kind), body)
            entry.remember(message)
        return message


class ProtobufMetadata:
    """PartialObjectMetadata and its list as protobuf (metadata informers ask for it first)."""

    content_type = PROTOBUF_TYPE
    stream_type = Protobuf.stream_type
    terminator = b""

    def __init__(self, version: str) -> None:
        self.name = f"protobuf/PartialObjectMetadata/{version}"
        self._api_version = f"{META_GROUP}/{version}"

    def one(self, entry: Entry) -> bytes:
        """The object's metadata."""
        return self._wrap("PartialObjectMetadata", self._message(entry))

    def many(self, kind: Kind[Any], entries: Sequence[Entry], meta: JSON) -> Iterator[bytes]:
        """A list of them."""
        del kind
        messages = map(self._message, entries)
        return _wrapped(self._api_version, "PartialObjectMetadataList", messages, meta)

    def event(self, type: str, entry: Entry) -> bytes:
        """A frame of a watch stream."""
        return protobuf_encode.watch_event(type, self.one(entry))

    def bookmark(self, kind: Kind[Any], meta: JSON) -> bytes:
        """A bookmark."""
        del kind
        message = protobuf_encode.encode(_PARTIAL(), {"metadata": meta})
        return protobuf_encode.watch_event("BOOKMARK", self._wrap("PartialObjectMetadata", message))

    def _wrap(self, kind: str, message: bytes) -> bytes:
        return protobuf_encode.wrap(self._api_version, kind, message)

    @staticmethod
    def _message(entry: Entry) -> bytes:
        metadata = msgspec.json.decode(entry.data)["metadata"]
        return protobuf_encode.encode(_PARTIAL(), {"metadata": metadata})


def _wrapped(api_version: str, kind: str, messages: Iterable[bytes], meta: JSON) -> Iterator[bytes]:
    """A list's envelope. It begins with its length, so that nothing of it can be sent before all
    messages are made.
    """
    made: list[bytes] = []
    for message in messages:
        made.append(message)
        yield b""
    yield protobuf_encode.wrap(api_version, kind, protobuf_encode.encode_list(made, meta))


def _PARTIAL() -> Type:  # noqa: N802  (a constant that is loaded when asked for)
    return type_named("meta.v1.PartialObjectMetadata")


def error_frame(shape: Representation | None, status: JSON) -> Frame:
    """An ERROR event of a watch about a Status."""
    if shape is not None and shape.content_type == PROTOBUF_TYPE:
        message = protobuf_encode.encode(type_named("meta.v1.Status"), status)
        wrapped = protobuf_encode.wrap("v1", "Status", message)
        return Frame(protobuf_encode.watch_event("ERROR", wrapped))
    return Frame(msgspec.json.encode({"type": "ERROR", "object": status}) + b"\n")


def rewritten(request: Request, response: Response) -> Response:
    """A JSON answer in the encoding that the client prefers, if that is another one; indented
    for people.

    What was made of cache entries is in its encoding already; this is for the rest: Status,
    Scale, discovery. Kinds without a protobuf form stay JSON.
    """
    header = request.headers.get("accept", "")
    if not names_other(header):
        return _indented(response) if for_people(request) else response
    if response.stream is not None or response.headers.get("content-type") != JSON_TYPE:
        return response
    found = negotiate(header) if response.status < 400 else None
    found = found or negotiate(header, transform=False)
    if found is None or found.media == JSON_TYPE:
        return response
    body = msgspec.json.decode(response.body)
    if not isinstance(body, dict) or "kind" not in body:
        return response
    if found.media == YAML_TYPE:
        response.chunks = _yaml_pieces(body)
        response.headers["content-type"] = YAML_TYPE
        return response
    api_version, kind = body.get("apiVersion", "v1"), body["kind"]
    type_ = type_of_gvk(api_version, kind)
    if type_ is not None:
        message = protobuf_encode.encode(type_, body)
        response.body = protobuf_encode.wrap(api_version, kind, message)
        response.headers["content-type"] = PROTOBUF_TYPE
    return response


def names_other(accept: str) -> bool:
    """Whether an Accept header names an encoding other than JSON, preferred or not."""
    return "protobuf" in accept or "yaml" in accept


def for_people(request: Request) -> bool:
    """Whether a resource is asked for by ?pretty= or, where that is not said, with a tool whose
    output people read. Source: apiserver handlers/negotiation/negotiate.go.
    """
    if not request.path.startswith("/api"):
        return False
    if request.query and (asked := Query(request.query).get("pretty")):
        return asked in _TRUE
    return request.headers.get("user-agent", "").startswith(("curl", "Wget", "Mozilla/5.0"))


_TRUE = ("1", "t", "T", "true", "TRUE", "True")


def _indented(response: Response) -> Response:
    """JSON with two blanks per level; streams stay as they are."""
    if response.stream is not None or response.headers.get("content-type") != JSON_TYPE:
        return response
    body = msgspec.json.format(response.body, indent=2)
    return Response(response.status, body, response.headers)


def _yaml_pieces(body: JSON) -> Iterator[bytes]:
    """An object as YAML; the items of a list one by one, since each takes its time."""
    for name in sorted(body):
        value = body[name]
        if name == "items" and isinstance(value, list) and value:
            yield b"items:\n"
            for item in value:
                yield as_yaml([item])
        else:
            yield as_yaml({name: value})


def as_yaml(body: JSON | list[Any]) -> bytes:
    """A JSON value as YAML, names sorted as sigs.k8s.io/yaml does."""
    text = yaml.dump(body, Dumper=_Dumper, default_flow_style=False, allow_unicode=True)
    return text.encode()
