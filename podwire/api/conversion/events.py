"""events.k8s.io/v1 Event and v1 Event: the same object under other names."""

from __future__ import annotations

from podwire.api.view import JSON

_NAMES = {
    "note": "message",
    "regarding": "involvedObject",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
_BACK = {core: new for new, core in _NAMES.items()}


def to_core(event: JSON) -> JSON:
    """A v1 Event of an events.k8s.io/v1 one."""
    return {_NAMES.get(name, name): value for name, value in event.items()}


def from_core(event: JSON) -> JSON:
    """The other way."""
    return {_BACK.get(name, name): value for name, value in event.items()}
