"""What a kubelet logs of itself: the lines that ``journalctl -u kubelet`` shows on its node."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

from podwire.client.klog import header, structured
from podwire.runtime.ports import Clock

KEPT = 1000
"""Lines; older ones are forgotten."""


class Entry(NamedTuple):
    """One line and its wall time."""

    time_ns: int
    line: str


class Journal:
    """The latest lines, in klog's form."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.entries: deque[Entry] = deque(maxlen=KEPT)

    def info_s(self, source: str, message: str, /, **values: Any) -> None:
        """``InfoS``."""
        self._add("I", source, structured(message, values))

    def error_s(self, source: str, message: str, /, **values: Any) -> None:
        """``ErrorS``."""
        self._add("E", source, structured(message, values))

    def _add(self, severity: str, source: str, text: str) -> None:
        now_ns = self._clock.now_ns()
        self.entries.append(Entry(now_ns, f"{header(severity, now_ns, source)} {text}"))
