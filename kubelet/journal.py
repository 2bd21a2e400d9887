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
    """The latest lines, in klog's form: they are written when somebody reads them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._said: deque[tuple[int, str, str, str, dict[str, Any]]] = deque(maxlen=KEPT)

    @property
    def entries(self) -> list[Entry]:
        """What is kept, oldest first."""
        return [
            Entry(ns, f"{header(severity, ns, source)} {structured(message, values)}")
            for ns, severity, source, message, values in self._said
        ]

    def info_s(self, source: str, message: str, /, **values: Any) -> None:
        """``InfoS``. ``values`` do not change any more."""
        self._said.append((self._clock.now_ns(), "I", source, message, values))

    def error_s(self, source: str, message: str, /, **values: Any) -> None:
        """``ErrorS``."""
        self._said.append((self._clock.now_ns(), "E", source, message, values))
