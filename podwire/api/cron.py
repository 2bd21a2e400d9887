"""Cron schedules as CronJobs write them: five fields, or a descriptor such as ``@hourly``.

Source of syntax and messages: github.com/robfig/cron v3 (ParseStandard), which upstream uses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_FIELDS: tuple[tuple[int, int, dict[str, int]], ...] = (
    (0, 59, {}),
    (0, 23, {}),
    (1, 31, {}),
    (1, 12, {name: i for i, name in enumerate(_MONTHS, 1)}),
    (0, 6, {name: i for i, name in enumerate(_DAYS)}),
)
_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 6 * 10**10}
_UNITS["h"] = 60 * _UNITS["m"]
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")
_MAX_LENGTH = 1024
_MAX_YEARS = 5
_NS = 10**9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class CronError(ValueError):
    """A schedule that is none; the message is upstream's."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a CronJob is due: the permitted values of each field, or an interval (``@every``)."""

    minutes: tuple[int, ...] = ()
    hours: tuple[int, ...] = ()
    days: tuple[int, ...] = ()
    months: tuple[int, ...] = ()
    weekdays: tuple[int, ...] = ()
    any_day: bool = False
    """Whether the day of the month is ``*``; with ``any_weekday`` decides if days are joined."""
    any_weekday: bool = False
    every_ns: int = 0
    zone: str = ""
    """The time zone that the text names (``TZ=Europe/Paris 0 8 * * *``), as old objects may."""

    def next_ns(self, after_ns: int, zone: tzinfo = UTC) -> int | None:
        """The first due moment behind another; None when there is none within five years.

        Clock times that a change of the clocks leaves out are skipped, those that it repeats are
        due twice. A zone that the text names comes first.
        """
        if self.every_ns:
            return (after_ns + self.every_ns) // _NS * _NS
        where = time_zone(self.zone) if self.zone else zone
        start = _EPOCH + timedelta(minutes=after_ns // (60 * _NS) + 1)
        moment, limit = start, start + timedelta(days=366 * _MAX_YEARS)
        while moment < limit:
            local = moment.astimezone(where)
            if local.month not in self.months:
                year, month = local.year + local.month // 12, local.month % 12 + 1
                moment = datetime(year, month, 1, tzinfo=where).astimezone(UTC)
            elif not self._on_day(local):
                day = local.date() + timedelta(days=1)
                midnight = datetime(day.year, day.month, day.day, tzinfo=where)
                moment = midnight.astimezone(UTC)
            elif local.hour not in self.hours:
                moment += timedelta(minutes=60 - local.minute)
            elif local.minute not in self.minutes:
                moment += timedelta(minutes=1)
            else:
                return int((moment - _EPOCH).total_seconds()) * _NS
        return None

    def _on_day(self, local: datetime) -> bool:
        by_date = local.day in self.days
        by_weekday = local.isoweekday() % 7 in self.weekdays
        if self.any_day or self.any_weekday:
            return by_date and by_weekday
        return by_date or by_weekday


def time_zone(name: str) -> tzinfo:
    """A zone of the time zone database. Raises CronError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise CronError(f"unknown time zone {name}") from None


def parse(text: str) -> Schedule:
    """The schedule of a text. Raises CronError."""
    if len(text) > _MAX_LENGTH:
        raise CronError(f"schedule is longer than {_MAX_LENGTH} characters")
    if text.startswith(("TZ=", "CRON_TZ=")):
        zone, _, text = text.partition(" ")
        return replace(parse(text.strip()), zone=zone.partition("=")[2])
    if text.startswith("@"):
        return _descriptor(text)
    fields = text.split()
    if len(fields) != len(_FIELDS):
        shown = " ".join(fields)
        raise CronError(f"expected exactly 5 fields, found {len(fields)}: [{shown}]")
    minutes, hours, days, months, weekdays = (
        _field(field, low, high, words)
        for field, (low, high, words) in zip(fields, _FIELDS, strict=True)
    )
    return Schedule(minutes, hours, days, months, weekdays, _star(fields[2]), _star(fields[4]))


def _star(field: str) -> bool:
    """Whether a field is a plain ``*``; one with a step is a list of values."""
    spans = [part.partition("/") for part in field.split(",")]
    return any(span[:1] in {"*", "?"} and step in {"", "1"} for span, _, step in spans)


def _descriptor(text: str) -> Schedule:
    if text in _DESCRIPTORS:
        return parse(_DESCRIPTORS[text])
    if text.startswith("@every "):
        return Schedule(every_ns=_duration(text.removeprefix("@every "), text))
    raise CronError(f"unrecognized descriptor: {text}")


def _duration(text: str, whole: str) -> int:
    bare = text.lstrip("+-")
    found = _DURATION.findall(bare)
    total = sum(float(number) * _UNITS[unit] for number, unit in found)
    if not found or "".join(number + unit for number, unit in found) != bare or total >= 1 << 63:
        why = f'time: invalid duration "{text}"'
        raise CronError(f"failed to parse duration {whole}: {why}")
    return max(10**9, int(total) // 10**9 * 10**9)


def _field(text: str, low: int, high: int, words: dict[str, int]) -> tuple[int, ...]:
    found: dict[int, None] = {}
    for part in filter(None, text.split(",")):
        start, end, step = _range(part, low, high, words)
        found.update(dict.fromkeys(range(start, end + 1, step)))
    return tuple(sorted(found))


def _range(text: str, low: int, high: int, words: dict[str, int]) -> tuple[int, int, int]:
    span, *steps = text.split("/")
    bounds = span.split("-")
    if bounds[0] in {"*", "?"}:
        start, end = low, high
    else:
        start = _number(bounds[0], words)
        if len(bounds) > 2:
            raise CronError(f"too many hyphens: {text}")
        end = _number(bounds[1], words) if len(bounds) == 2 else start
    step = 1
    if len(steps) > 1:
        raise CronError(f"too many slashes: {text}")
    if steps:
        step = _number(steps[0], {})
        if len(bounds) == 1:
            end = max(end, high)
    if start < low:
        raise CronError(f"beginning of range ({start}) below minimum ({low}): {text}")
    if end > high:
        raise CronError(f"end of range ({end}) above maximum ({high}): {text}")
    if start > end:
        raise CronError(f"beginning of range ({start}) beyond end of range ({end}): {text}")
    if step == 0:
        raise CronError(f"step of range should be a positive number: {text}")
    return start, end, step


def _number(text: str, words: dict[str, int]) -> int:
    found = words.get(text.lower())
    if found is not None:
        return found
    digits = text.removeprefix("-").removeprefix("+")
    if not (digits.isascii() and digits.isdigit()):
        why = f'strconv.Atoi: parsing "{text}": invalid syntax'
        raise CronError(f"failed to parse int from {text}: {why}")
    if text.startswith("-"):
        raise CronError(f"negative number ({int(text)}) not allowed: {text}")
    return int(digits)
