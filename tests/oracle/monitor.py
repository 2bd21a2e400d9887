"""Programs that tell of traced packets: ``nft monitor trace``, ``xtables-monitor --trace``.

They do not say when they listen, nor when they have told everything. So they are shown datagrams
that they must tell of too: once they tell of the first they listen, and what came before the last
has been told with it.
"""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import Self

READY, DONE = 9, 13
"""Ports of these datagrams: rules of whoever starts a monitor have to trace them."""
AGAIN_S, TRIES = 0.2, 50
_PORT = re.compile(r"\bdport[ =](\d+)\b", re.IGNORECASE)


class Monitor:
    """A monitor. Use as a context manager: inside it listens. Raises TimeoutError if it does not.

    ``show`` sends a datagram that is traced to a port of the namespace that the monitor is in.
    """

    def __init__(
        self, argv: Sequence[str], show: Callable[[int], object], env: dict[str, str] | None = None
    ) -> None:
        self._show = show
        self._changed = threading.Condition()
        self._lines: list[str] = []
        self._ports: dict[int, None] = {}
        self._ended = False
        self._process = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        if not self._told_of(READY):
            self.__exit__()
            raise TimeoutError(f"{self._process.args!r} does not listen: {self.text}")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._reader.join()

    @property
    def text(self) -> str:
        """What it told so far."""
        return "".join(self._lines)

    def whole(self) -> bool:
        """Wait until everything so far has been told; False when the monitor gave up."""
        return self._told_of(DONE)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._lines.append(line)
                port = _PORT.search(line)
                if port:
                    self._note(int(port[1]))
        self._note(0, ended=True)

    def _note(self, port: int, *, ended: bool = False) -> None:
        with self._changed:
            self._ports[port] = None
            self._ended |= ended
            self._changed.notify()

    def _told_of(self, port: int) -> bool:
        for _ in range(TRIES):
            self._show(port)
            with self._changed:
                self._changed.wait_for(lambda: self._ended or port in self._ports, AGAIN_S)
                if self._ended or port in self._ports:
                    return not self._ended
        return False
