"""Getters of timestamps (UTC unless a zone is told) and durations.

Source: cel-go common/types/timestamp.go, duration.go, cel/library.go (DefaultUTCTimeZone).
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache

from podwire.api.cel.functions.registry import method
from podwire.api.cel.types import DURATION, INT, STRING, TIMESTAMP
from podwire.api.cel.values import CelError, Timestamp

_OFFSET = re.compile(r"([+-]?)(\d{1,2}):(\d{1,2})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=256)
def _zone(name: str) -> tzinfo:
    """A zone by its name or offset (``-02:30``). Raises CelError."""
    if name in {"", "UTC"}:
        return UTC
    if found := _OFFSET.fullmatch(name):
        minutes = int(found[2]) * 60 + int(found[3])
        # an offset of whole days is none; Go takes any
        return timezone(timedelta(minutes=(-minutes if found[1] == "-" else minutes) % 1440))
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise CelError(f"unknown time zone {name}") from None


def _local(when: Timestamp, zone: str) -> datetime:
    try:
        return (_EPOCH + timedelta(microseconds=when.ns // 1000)).astimezone(_zone(zone))
    except OverflowError:
        raise CelError("timestamp overflow") from None


def _getter(name: str, ids: str, read: Callable[[datetime], int]) -> None:
    method(name, ids, (TIMESTAMP,), INT, lambda when: read(_local(when, "")))
    method(f"{name}", f"{ids}_with_tz", (TIMESTAMP, STRING), INT, lambda w, z: read(_local(w, z)))


_getter("getFullYear", "timestamp_to_year", lambda when: when.year)
_getter("getMonth", "timestamp_to_month", lambda when: when.month - 1)
_getter("getDayOfYear", "timestamp_to_day_of_year", lambda when: when.timetuple().tm_yday - 1)
_getter("getDayOfMonth", "timestamp_to_day_of_month", lambda when: when.day - 1)
_getter("getDate", "timestamp_to_day_of_month_1_based", lambda when: when.day)
_getter("getDayOfWeek", "timestamp_to_day_of_week", lambda when: when.isoweekday() % 7)
_getter("getHours", "timestamp_to_hours", lambda when: when.hour)
_getter("getMinutes", "timestamp_to_minutes", lambda when: when.minute)
_getter("getSeconds", "timestamp_to_seconds", lambda when: when.second)
_getter("getMilliseconds", "timestamp_to_milliseconds", lambda when: when.microsecond // 1000)

for _name, _unit in (("Hours", 3600 * 10**9), ("Minutes", 60 * 10**9), ("Seconds", 10**9)):
    method(
        f"get{_name}", f"duration_to_{_name.lower()}", (DURATION,), INT,
        lambda span, unit=_unit: (abs(int(span)) // unit) * (-1 if span < 0 else 1),
    )  # fmt: skip
method(
    "getMilliseconds", "duration_to_milliseconds", (DURATION,), INT,
    lambda span: (abs(int(span)) // 10**6) * (-1 if span < 0 else 1),
)  # fmt: skip
