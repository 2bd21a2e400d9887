"""Lines as klog writes them, for the Kubernetes components that run as pods.

``I0102 15:04:05.678901       1 server.go:10] "Message" key="value"``: severity, month and day,
time of day with microseconds, process id, source. Source: kubernetes/klog (header, InfoS).
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from podwire.client.counters import Process
from podwire.runtime.ports import Clock

_PID = 1


def header(severity: str, now_ns: int, source: str) -> str:
    """The part of a line before the message."""
    seconds, rest_ns = divmod(now_ns, 1_000_000_000)
    return f"{severity}{_moment(seconds)}.{rest_ns // 1000:06d} {_PID:7d} {source}]"


@lru_cache(maxsize=256)  # many lines are written in one second
def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%m%d %H:%M:%S")


class Klog:
    """Writes to a process's stderr. ``*_s`` are the structured forms."""

    def __init__(self, process: Process, clock: Clock) -> None:
        self._process = process
        self._clock = clock

    def _line(self, severity: str, source: str, text: str) -> None:
        self._process.err(f"{header(severity, self._clock.now_ns(), source)} {text}")

    def info(self, source: str, text: str) -> None:
        """``Infof``."""
        self._line("I", source, text)

    def warning(self, source: str, text: str) -> None:
        """``Warningf``."""
        self._line("W", source, text)

    def error(self, source: str, text: str) -> None:
        """``Errorf``."""
        self._line("E", source, text)

    def info_s(self, source: str, message: str, **values: Any) -> None:
        """``InfoS``: a quoted message, then key="value" pairs."""
        self._line("I", source, structured(message, values))

    def error_s(self, source: str, message: str, **values: Any) -> None:
        """``ErrorS``."""
        self._line("E", source, structured(message, values))


def structured(message: str, values: dict[str, Any]) -> str:
    """``"message" key="text" n=3 flag=true``, as klog prints values."""
    parts = [_quote(message)]
    for key, value in values.items():
        if isinstance(value, bool):
            parts.append(f"{key}={str(value).lower()}")
        elif isinstance(value, (int, float)):
            parts.append(f"{key}={value}")
        elif isinstance(value, (list, tuple)):
            parts.append(f"{key}=[{','.join(_quote(str(v)) for v in value)}]")
        elif isinstance(value, dict):
            parts.append(f"{key}={json.dumps(value, separators=(',', ':'))}")
        else:
            parts.append(f"{key}={_quote(str(value))}")
    return " ".join(parts)


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
