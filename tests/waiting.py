"""Waiting for what other processes do: nothing of theirs can be awaited."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def until(what: str, met: Callable[[], Any], timeout_s: float = 30.0, every_s: float = 0.05) -> Any:
    """What ``met`` returns as soon as it is true.

    ``met`` may raise AssertionError, which tells what is not so yet.
    """
    deadline, why = time.monotonic() + timeout_s, ""
    while True:
        try:
            found = met()
        except AssertionError as error:
            found, why = None, str(error)
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {timeout_s:g}s: {what}\n{why}"
        time.sleep(every_s)
