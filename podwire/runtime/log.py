"""Logs: structlog, for people on a terminal and as JSON elsewhere; virtual time in simulation."""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import structlog
from structlog.typing import FilteringBoundLogger

from podwire.runtime.ports import Clock

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING,
          "error": logging.ERROR, "off": logging.CRITICAL}  # fmt: skip


def timestamp(now_ns: int) -> str:
    """RFC 3339 with milliseconds, UTC, by arithmetic (days to civil date: Howard Hinnant)."""
    seconds, nanos = divmod(now_ns, 10**9)
    days, of_day = divmod(seconds, 86400)
    z = days + 719468
    era, doe = divmod(z, 146097)
    yoe = (doe - doe // 1460 + doe // 36524 - doe // 146096) // 365
    doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
    mp = (5 * doy + 2) // 153
    day = doy - (153 * mp + 2) // 5 + 1
    month = mp + 3 if mp < 10 else mp - 9
    year = yoe + era * 400 + (month <= 2)
    return (
        f"{year:04}-{month:02}-{day:02}T{of_day // 3600:02}:{of_day // 60 % 60:02}:"
        f"{of_day % 60:02}.{nanos // 10**6:03}Z"
    )


def logger(
    clock: Clock, level: str = "warning", stream: TextIO | None = None, *, json: bool | None = None
) -> FilteringBoundLogger:
    """A bound logger. ``json`` None means: JSON unless the stream is a terminal."""
    stream = stream or sys.stderr
    if json is None:
        json = not stream.isatty()

    def stamp(_: Any, __: str, event: Any) -> Any:
        event["timestamp"] = timestamp(clock.now_ns())
        return event

    renderer: Any = (
        structlog.processors.JSONRenderer()
        if json
        else structlog.dev.ConsoleRenderer(colors=stream.isatty())
    )
    bound: FilteringBoundLogger = structlog.wrap_logger(
        structlog.PrintLogger(stream),
        processors=[
            structlog.processors.add_log_level,
            stamp,
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        cache_logger_on_first_use=True,
    )
    return bound
