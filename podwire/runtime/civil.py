"""Dates by plain arithmetic: no time zone, no library, no I/O."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=64)  # objects made in one second carry one text
def date_time(seconds: int) -> str:
    """``2026-01-01T00:00:00`` (UTC) of seconds since the Unix epoch; years counted from March."""
    days, second = divmod(seconds, 86400)
    era, of_era = divmod(days + 719468, 146097)
    year = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    shifted = (5 * of_year + 2) // 153
    day = of_year - (153 * shifted + 2) // 5 + 1
    month = shifted + (3 if shifted < 10 else -9)
    year += era * 400 + (month <= 2)
    minute, second = divmod(second, 60)
    hour, minute = divmod(minute, 60)
    return f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}"
