"""RFC 3339 timestamps as Kubernetes writes them, by plain arithmetic on integer nanoseconds.

``Time`` has whole seconds (``2026-01-01T00:00:00Z``), ``MicroTime`` exactly six decimals.
Source of the behaviour: apimachinery meta/v1 Time and MicroTime; messages as Go's time.Parse.
"""

from __future__ import annotations

import re

from podwire.runtime.civil import date_time

NS = 10**9
"""Nanoseconds per second."""

_LAYOUT = "2006-01-02T15:04:05Z07:00"
_MICRO_LAYOUT = "2006-01-02T15:04:05.000000Z07:00"
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:[.,](\d+))?(?:Z|([+-])(\d\d):(\d\d))",
    re.ASCII,
)
_PARTS = (
    (r"\d{4}", "2006"), ("-", "-"), (r"\d\d", "01"), ("-", "-"), (r"\d\d", "02"), ("T", "T"),
    (r"\d\d", "15"), (":", ":"), (r"\d\d", "04"), (":", ":"), (r"\d\d", "05"),
    (r"(?:[.,]\d+)?", ""), (r"Z|[+-]\d\d:\d\d", "Z07:00"),
)  # fmt: skip
_DAYS_IN_MONTH = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


class TimeError(ValueError):
    """The text is no timestamp; the message is Go's."""


def format_time(ns: int) -> str:
    """``metav1.Time`` text of nanoseconds since the Unix epoch (fraction dropped)."""
    return date_time(ns // NS) + "Z"


def format_micro_time(ns: int) -> str:
    """``metav1.MicroTime`` text: always six decimals, which client-go insists on."""
    seconds, rest = divmod(ns, NS)
    return f"{date_time(seconds)}.{rest // 1000:06d}Z"


def parse_time(text: str) -> int:
    """Nanoseconds since the epoch of an RFC 3339 text (any offset). Raises TimeError."""
    return _parse(text, _LAYOUT)


def parse_micro_time(text: str) -> int:
    """As parse_time, but the text must have exactly six decimals. Raises TimeError."""
    found = _TIME.fullmatch(text)
    if found is not None and len(found[7] or "") != 6:
        tail = text[19:]
        raise TimeError(
            f'parsing time "{text}" as "{_MICRO_LAYOUT}": cannot parse "{tail}" as ".000000"'
        )
    return _parse(text, _MICRO_LAYOUT)


def _parse(text: str, layout: str) -> int:
    found = _TIME.fullmatch(text)
    if found is None:
        raise TimeError(_why(text, layout))
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    _check(text, year, month, day, hour, minute, second)
    offset = 0
    if found[8]:
        offset = (int(found[9]) * 60 + int(found[10])) * 60
        if int(found[9]) > 24 or int(found[10]) > 60:
            raise TimeError(f'parsing time "{text}": time zone offset hour out of range')
        if found[8] == "-":
            offset = -offset
    seconds = _days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset
    fraction = int((found[7] or "")[:9].ljust(9, "0"))
    return seconds * NS + fraction


def _check(text: str, year: int, month: int, day: int, hour: int, minute: int, second: int) -> None:
    leap = month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    wrong = (
        ("month", not 1 <= month <= 12),
        ("day", not 1 <= day <= _DAYS_IN_MONTH[min(max(month, 1), 12) - 1] + leap),
        ("hour", hour > 23),
        ("minute", minute > 59),
        ("second", second > 59),
    )
    for name, is_wrong in wrong:
        if is_wrong:
            raise TimeError(f'parsing time "{text}": {name} out of range')


def _why(text: str, layout: str) -> str:
    """Go's message: the rest of the text and the element it should have begun with."""
    rest = text
    for pattern, element in _PARTS:
        found = re.match(pattern, rest, re.ASCII)
        if found is None:
            return f'parsing time "{text}" as "{layout}": cannot parse "{rest}" as "{element}"'
        rest = rest[found.end() :]
    return f'parsing time "{text}": extra text: "{rest}"'


def _days(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 of a Gregorian date (years counted from March)."""
    year -= month <= 2
    era, of_era = divmod(year, 400)
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468
