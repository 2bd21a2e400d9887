"""Which media type an answer is written in: the first clause of Accept that can be served.

Source: apiserver pkg/endpoints/handlers/negotiation (and its goautoneg), handlers/rest.go.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from podwire.api.codec import ACCEPTED, JSON_TYPE, PROTOBUF_TYPE, YAML_TYPE
from podwire.api.status import ApiError

META_GROUP = "meta.k8s.io"
_META_VERSIONS = ("v1", "v1beta1")
_METADATA = ("PartialObjectMetadata", "PartialObjectMetadataList")
_STREAMED = tuple(f"{media};stream=watch" for media in ACCEPTED if media != YAML_TYPE)


@dataclass(frozen=True, slots=True)
class Accepted:
    """What was agreed on. ``target`` is '' or what the object is to be shown as (Table ...)."""

    media: str
    target: str = ""
    version: str = ""


JSON_AS_IS = Accepted(JSON_TYPE)


@lru_cache(maxsize=256)
def negotiate(header: str, *, transform: bool = True) -> Accepted | None:
    """The outcome for an Accept header, None when nothing in it can be served.

    ``transform`` says whether the answer can be a Table or metadata only.
    """
    if not header:
        return JSON_AS_IS
    for type_, subtype, params in clauses(header):
        for media in ACCEPTED:
            own, _, sub = media.partition("/")
            if type_ not in {own, "*"} or subtype not in {sub, "*"}:
                continue
            if type_ == "*" and subtype != "*":
                continue
            found = _with(media, params, transform=transform)
            if found is not None:
                return found
    return None


def accepted(header: str, *, stream: bool = False) -> Accepted:
    """As negotiate, for a resource. Raises ApiError NotAcceptable with what could be served."""
    found = negotiate(header)
    if found is None or (stream and found.media == YAML_TYPE):
        listed = ", ".join(_STREAMED if stream else ACCEPTED)
        message = f"only the following media types are accepted: {listed}"
        raise ApiError("NotAcceptable", message)
    return found


def _with(media: str, params: dict[str, str], *, transform: bool) -> Accepted | None:
    """The media type under its parameters, None when one of them cannot be met."""
    stream = params.get("stream", "")
    if (stream and (media == YAML_TYPE or stream != "watch")) or params.get("sv"):
        return None
    if not any(name in params for name in ("as", "g", "v")):
        return Accepted(media)
    target, version = params.get("as", ""), params.get("v", "")
    if not transform or params.get("g") != META_GROUP or version not in _META_VERSIONS:
        return None
    if target in _METADATA or (target == "Table" and media != PROTOBUF_TYPE):
        return Accepted(media, target, version)
    return None


def clauses(header: str) -> list[tuple[str, str, dict[str, str]]]:
    """Type, subtype and parameters of each clause, the preferred ones first."""
    found = []
    for clause in header.split(","):
        media, *params = (part.strip() for part in clause.split(";"))
        pairs = {
            name.strip(): value.strip() for name, _, value in (p.partition("=") for p in params)
        }
        type_, _, subtype = media.partition("/")
        if type_ == "*" and not subtype:
            subtype = "*"
        try:
            quality = float(pairs.pop("q", 1))
        except ValueError:
            quality = 1.0
        found.append((-quality, type_ == "*", subtype == "*", (type_, subtype, pairs)))
    found.sort(key=lambda item: item[:3])
    return [item[3] for item in found]
