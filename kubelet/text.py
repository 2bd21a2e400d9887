"""How Go prints durations and sizes, and container runtimes stamp log lines. Pure."""

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


def human_age(ns: int) -> str:
    """A duration in words (docker/go-units HumanDuration): ``About a minute``, ``5 weeks``."""
    seconds = max(ns, 0) // NS
    minutes, hours = seconds // 60, (seconds + 1800) // 3600
    if seconds < 60:
        return {0: "Less than a second", 1: "1 second"}.get(seconds, f"{seconds} seconds")
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    days = hours // 24
    for limit, unit, name in ((14, 1, "days"), (60, 7, "weeks"), (730, 30, "months")):
        if days < limit:
            return f"{days // unit} {name}"
    return f"{days // 365} years"


def human_size(size_bytes: int) -> str:
    """A size with three digits (docker/go-units HumanSizeWithPrecision): ``72.4MB``."""
    size, units = float(size_bytes), ["B", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.3g}{units[0]}"
