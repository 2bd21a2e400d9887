"""Kinds that are another version of a stored kind, converted at the edge.

An object is stored in one version (``kinds.stored``); reads, watches and writes in another one
pass through here. Both directions take and return whole JSON objects and change nothing given.
Source of the behaviour: kubernetes pkg/apis/{events,autoscaling}/v1/conversion.go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from podwire.api import kinds, structure
from podwire.api.conversion import autoscaling, events
from podwire.api.crd import served
from podwire.api.kinds import Kind
from podwire.api.schema import type_of
from podwire.api.view import JSON

Convert = Callable[[JSON], JSON]

_CONVERSIONS: dict[Kind[Any], tuple[Convert, Convert]] = {
    kinds.EVENTS_EVENT: (events.to_core, events.from_core),
    kinds.HORIZONTAL_POD_AUTOSCALER_V1: (autoscaling.to_v2, autoscaling.from_v2),
}
"""Per kind: to the stored version, and from it."""


def to_stored(kind: Kind[Any], obj: JSON) -> JSON:
    """An object of ``kind`` in its stored version; itself when ``kind`` is that."""
    if kinds.stored(kind) is kind:
        return obj
    if kind.custom is not None:
        return served.shown(kinds.stored(kind), obj)
    return _in(kinds.stored(kind), _CONVERSIONS[kind][0](obj))


def from_stored(kind: Kind[Any], obj: JSON) -> JSON:
    """A stored object in the version of ``kind``."""
    if kinds.stored(kind) is kind:
        return obj
    return _in(kind, _CONVERSIONS[kind][1](obj))


def _in(kind: Kind[Any], obj: JSON) -> JSON:
    """Exactly as an object of the kind that was decoded: what Go always prints is there."""
    struct = type_of(kind)
    assert struct is not None, f"{kind} is Kubernetes' own"
    found = structure.check(struct, obj)[0]
    return {**found, "apiVersion": kind.api_version, "kind": kind.kind}
