"""uptime."""

from __future__ import annotations

from podwire.kubelet.shell.command import Command


async def run(command: Command) -> int:
    """Time of day and time since the clock's start; load is always zero here."""
    day_s = command.env.clock.now_ns() // 10**9 % 86400
    up_min = command.env.clock.monotonic_ns() // (60 * 10**9)
    since = f"{up_min // 60}:{up_min % 60:02}" if up_min >= 60 else f"{up_min} min"
    clock = f"{day_s // 3600:02}:{day_s // 60 % 60:02}:{day_s % 60:02}"
    users = "users" if command.image.busybox else "user"
    command.out(f" {clock} up {since},  0 {users},  load average: 0.00, 0.00, 0.00\n")
    return 0
