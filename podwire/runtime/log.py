"""Logs: structlog, for people on a terminal and as JSON elsewhere; virtual time in simulation."""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import structlog
from structlog.typing import FilteringBoundLogger

from podwire.runtime.civil import date_time
from podwire.runtime.ports import Clock

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING,
          "error": logging.ERROR, "off": logging.CRITICAL}  # fmt: skip


def timestamp(now_ns: int) -> str:
    """RFC 3339 with milliseconds, UTC."""
    seconds, nanos = divmod(now_ns, 10**9)
    return f"{date_time(seconds)}.{nanos // 10**6:03}Z"


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
