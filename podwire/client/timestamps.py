"""RFC 3339 timestamps as Kubernetes writes them, from and to integer nanoseconds since the epoch.

Pure arithmetic: the caller brings the time.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

SECOND_NS = 1_000_000_000


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def timestamp(ns: int) -> str:
    """metav1.Time: whole seconds (``2026-01-01T00:00:00Z``)."""
    return f"{_second(ns // SECOND_NS)}Z"


def micro_timestamp(ns: int) -> str:
    """metav1.MicroTime: exactly six decimals (``2026-01-01T00:00:00.000000Z``)."""
    seconds, rest = divmod(ns, SECOND_NS)
    return f"{_second(seconds)}.{rest // 1000:06d}Z"


@lru_cache(maxsize=4096)
def parse_ns(text: str) -> int:
    """Nanoseconds since the epoch of a Time or MicroTime; 0 for "" (a zero time).

    Raises ValueError for anything else.
    """
    if not text:
        return 0
    moment = datetime.fromisoformat(text)
    whole = int(moment.replace(microsecond=0).timestamp())
    return whole * SECOND_NS + moment.microsecond * 1000
