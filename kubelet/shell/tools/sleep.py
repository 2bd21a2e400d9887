"""sleep: on the container's clock. As process 1 it ignores TERM, as in life."""

from __future__ import annotations

from podwire.kubelet.shell.command import Command, UsageError

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
FOREVER_S = 10 * 365 * 86400.0


def seconds(text: str) -> float:
    """``1.5``, ``10s``, ``5m``, ``infinity``. Raises UsageError."""
    if text in {"infinity", "inf"}:
        return FOREVER_S
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "s")
    if not number.replace(".", "", 1).isdigit() or not number.isascii() or len(number) > 12:
        raise UsageError(f"invalid time interval '{text}'")
    return min(float(number) * _UNITS[unit], FOREVER_S)


def go_duration_s(text: str) -> float:
    """Go's duration as flags give it: ``10s``, ``500ms``, ``1m``. Raises UsageError."""
    if text.endswith("ms"):
        return seconds(text[:-2]) / 1000
    return seconds(text)


async def run(command: Command) -> int:
    """``sleep N[smhd]...``."""
    if not command.args:
        return command.fail("missing operand")
    await command.env.clock.sleep(sum(seconds(arg) for arg in command.args))
    return 0
