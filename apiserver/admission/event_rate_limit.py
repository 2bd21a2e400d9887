"""EventRateLimit: who floods the server with Events is told to wait.

Source: upstream plugin/pkg/admission/eventratelimit; of the buckets: golang.org/x/time/rate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.api.view import JSON
from podwire.apiserver.admission.chain import Plugin, Steps
from podwire.apiserver.admission.review import Review
from podwire.runtime.ports import Clock

_CACHE_SIZE = 4096
_MAX_CACHE_SIZE = 1_000_000
_KINDS = (kinds.named("v1", "Event"), kinds.named("events.k8s.io/v1", "Event"))


class _Bucket(NamedTuple):
    tokens: float
    since_ns: int


def _source_and_object(review: Review) -> str:
    source = review.obj.get("source") or review.obj.get("deprecatedSource") or {}
    about = review.obj.get("involvedObject") or review.obj.get("regarding") or {}
    fields = ("kind", "namespace", "name", "uid", "apiVersion")
    return "".join(
        [source.get("component", ""), source.get("host", "")] + [about.get(f, "") for f in fields]
    )


_KEYS: dict[str, Callable[[Review], str]] = {
    "Server": lambda _review: "",
    "Namespace": lambda review: review.namespace,
    "User": lambda review: review.user.name,
    "SourceAndObject": _source_and_object,
}


class _Limit:
    """One limit: a bucket for each key, those of long ago forgotten."""

    def __init__(self, given: JSON, clock: Clock) -> None:
        self.type: str = given["type"]
        self._qps, self._burst = given["qps"], given["burst"]
        self._size = 1 if self.type == "Server" else given.get("cacheSize") or _CACHE_SIZE
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def refuses(self, review: Review) -> ApiError | None:
        """Takes a token; the error when there is none."""
        key, now_ns = _KEYS[self.type](review), self._clock.monotonic_ns()
        had = self._buckets.pop(key, None) or _Bucket(float(self._burst), now_ns)
        tokens = min(self._burst, had.tokens + (now_ns - had.since_ns) / 1e9 * self._qps)
        enough = tokens >= 1
        while len(self._buckets) >= self._size:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[key] = _Bucket(tokens - 1 if enough else tokens, now_ns)
        if enough:
            return None
        return ApiError("TooManyRequests", f"limit reached on type {self.type} for key {key}")


def configure(given: JSON, clock: Clock) -> Steps:
    """Steps for a Configuration of eventratelimit.admission.k8s.io. Raises ValueError."""
    limits = [_Limit(limit, clock) for limit in _checked(given)]

    def validate(review: Review) -> None:
        """Every limit counts the Event; the last that refuses is told. Raises ApiError."""
        refused: ApiError | None = None
        for limit in limits:
            refused = limit.refuses(review) or refused
        if refused is not None:
            raise refused

    return None, validate


def _checked(given: JSON) -> list[JSON]:
    limits: Any = given.get("limits")
    if not isinstance(limits, list) or not limits:
        raise ValueError("EventRateLimit: limits: Invalid value: must not be empty")
    for index, limit in enumerate(limits):
        at = f"EventRateLimit: limits[{index}]"
        if not isinstance(limit, dict) or limit.get("type") not in _KEYS:
            raise ValueError(f"{at}.type: choose {', '.join(_KEYS)}")
        for field in ("qps", "burst"):
            if not _positive(limit.get(field)):
                raise ValueError(f"{at}.{field}: must be positive")
        size = limit.get("cacheSize", 0)
        if size and limit["type"] != "Server" and not (_positive(size) and size <= _MAX_CACHE_SIZE):
            raise ValueError(f"{at}.cacheSize: must be between 0 and {_MAX_CACHE_SIZE}")
    return limits


def _positive(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number > 0


PLUGIN = Plugin("EventRateLimit", kinds=_KINDS, on=False, configure=configure)
