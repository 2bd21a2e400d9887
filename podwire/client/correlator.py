"""Which events are written, and as what: client-go's EventCorrelator.

The same event again raises the count of the first one. From the tenth message that an object gets
for one reason within ten minutes on, they are combined into one event with the latest message. And
a source may say 25 things of an object, then one more every five minutes.

Source: client-go tools/record/events_cache.go.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

from podwire.api.times import NS, format_time
from podwire.api.view import JSON
from podwire.runtime.ports import Clock

REMEMBERED = 4096
"""Entries of each memory, least recently used out first (upstream's cache size)."""
MOST_MESSAGES = 10
"""So many different messages are similar events."""
SIMILAR_NS = 600 * NS
BURST, REFILL_NS = 25, 300 * NS
COMBINED = "(combined from similar events): "

Key = tuple[str, ...]
T = TypeVar("T")


@dataclass(slots=True)
class Seen:
    """What is known of an event that was observed before."""

    first_timestamp: str
    name: str = ""
    """Of its object; "" as long as it was never written."""
    count: int = 0


@dataclass(slots=True)
class _Similar:
    messages: dict[str, None]
    last_ns: int


@dataclass(slots=True)
class _Bucket:
    tokens: float
    since_ns: int


class _Recent(Generic[T]):
    """A bounded memory."""

    def __init__(self) -> None:
        self._held: OrderedDict[Key, T] = OrderedDict()

    def get(self, key: Key) -> T | None:
        found = self._held.get(key)
        if found is not None:
            self._held.move_to_end(key)
        return found

    def put(self, key: Key, value: T) -> T:
        self._held[key] = value
        if len(self._held) > REMEMBERED:
            self._held.popitem(last=False)
        return value


class Correlator:
    """The memory of one source. ``folds``: whether it combines events and drops some at all."""

    def __init__(self, clock: Clock, *, folds: bool) -> None:
        self._clock = clock
        self._folds = folds
        self._seen: _Recent[Seen] = _Recent()
        self._similar: _Recent[_Similar] = _Recent()
        self._buckets: _Recent[_Bucket] = _Recent()

    def observe(self, event: JSON) -> tuple[JSON, Seen] | None:
        """The event to write now, and what is known of it (this time counted in); None: none."""
        about = event["involvedObject"]
        subject = tuple(about.get(name, "") for name in ("kind", "namespace", "name", "uid"))
        said = (*subject, event["type"], event["reason"])
        key = (*said, about.get("fieldPath", ""), event["message"])
        if self._folds and self._too_many(said, event["message"]):
            # The reason of all of them: what part of the object the latest is about counts no more.
            event, key = self._combined(event), said
        seen = self._seen.get(key)
        if seen is None:
            seen = self._seen.put(key, Seen(event["firstTimestamp"]))
        seen.count += 1
        return None if self._folds and self._spam(subject) else (event, seen)

    def _too_many(self, said: Key, message: str) -> bool:
        now_ns = self._clock.now_ns()
        similar = self._similar.get(said)
        if similar is None or now_ns - similar.last_ns > SIMILAR_NS:
            similar = self._similar.put(said, _Similar({}, now_ns))
        similar.messages[message] = None
        similar.last_ns = now_ns
        if len(similar.messages) < MOST_MESSAGES:
            return False
        similar.messages.popitem()
        return True

    def _combined(self, event: JSON) -> JSON:
        now = format_time(self._clock.now_ns())
        times = {"firstTimestamp": now, "lastTimestamp": now}
        return {**event, **times, "message": f"{COMBINED}{event['message']}"}

    def _spam(self, subject: Key) -> bool:
        now_ns = self._clock.monotonic_ns()
        bucket = self._buckets.get(subject)
        if bucket is None:
            bucket = self._buckets.put(subject, _Bucket(BURST, now_ns))
        bucket.tokens = min(BURST, bucket.tokens + (now_ns - bucket.since_ns) / REFILL_NS)
        bucket.since_ns = now_ns
        if bucket.tokens < 1:
            return True
        bucket.tokens -= 1
        return False
