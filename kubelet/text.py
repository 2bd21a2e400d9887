"""How Kubernetes writes times and durations."""

from __future__ import annotations

from datetime import UTC, datetime

NS = 1_000_000_000


def rfc3339(ns: int) -> str:
    """metav1.Time: seconds, in UTC (``2026-01-01T00:00:00Z``)."""
    return datetime.fromtimestamp(ns // NS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(ns: int) -> str:
    """metav1.MicroTime: exactly six decimals."""
    whole, rest = divmod(ns, NS)
    stamp = datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{stamp}.{rest // 1000:06d}Z"


def rfc3339_nano(ns: int) -> str:
    """The timestamp of a log line: nine decimals."""
    whole, rest = divmod(ns, NS)
    stamp = datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{stamp}.{rest:09d}Z"


def parse_rfc3339(stamp: str) -> int:
    """Nanoseconds of a timestamp. Raises ValueError."""
    return int(datetime.fromisoformat(stamp).timestamp() * 1_000_000) * 1000


def go_duration(ns: int) -> str:
    """A duration as Go prints it after truncation to milliseconds: ``1m2.5s``, ``812ms``."""
    ms = ns // 1_000_000
    if ms == 0:
        return "0s"
    if ms < 1000:
        return f"{ms}ms"
    minutes, rest = divmod(ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds
