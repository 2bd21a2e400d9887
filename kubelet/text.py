"""How Go prints durations and container runtimes stamp log lines. Pure."""

from __future__ import annotations

from podwire.api.times import NS, format_time


def nano_time(ns: int) -> str:
    """The timestamp of a log line: RFC 3339 with nine decimals."""
    return f"{format_time(ns)[:-1]}.{ns % NS:09d}Z"


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
