"""free and top: the node's memory, as kubelet accounts for it, and this container's processes.

Not modelled: caches (what is not used is free), load, CPU time of single processes.
"""

from __future__ import annotations

from podwire.kubelet.shell.command import Command, UsageError
from podwire.kubelet.usage import SYSTEM_MEMORY_BYTES

_UNITS = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


async def run(command: Command) -> int:
    """``free [-bkmgh]``; ``top -b [-n N]``."""
    if command.env.node is not None:
        total, used = command.env.node.memory()
    else:
        total, used = (await command.env.fabric.node(command.spec.node)).memory_bytes, 0
        used = SYSTEM_MEMORY_BYTES
    if command.name == "free":
        command.out(_free(command, total, used))
        return 0
    if command.env.tty and "b" not in "".join(a for a in command.args if a.startswith("-")):
        raise UsageError("not modelled: a screen; try top -b -n 1")
    command.out(_top(command, total, used))
    return 0


def _free(command: Command, total: int, used: int) -> str:
    letters = [arg for arg in command.args if arg.startswith("-")]
    unit = letters[-1].lstrip("-")[:1] if letters else "k"
    if unit not in {*_UNITS, "h"}:
        raise UsageError(f"not modelled: {letters[-1]}")
    busybox = command.image.busybox
    width = 8 if busybox else 9

    def shown(size: int) -> str:
        return _human(size, busybox) if unit == "h" else str(size // _UNITS[unit])

    rows = [("Mem:", [total, used, total - used, 0, 0, total - used]), ("Swap:", [0, 0, 0])]
    names = ("total", "used", "free", "shared", "buff/cache", "available")
    text = " " * width + " ".join(f"{name:>11}" for name in names) + "\n"
    for label, sizes in rows:
        text += label.ljust(width) + " ".join(f"{shown(size):>11}" for size in sizes) + "\n"
    return text


def _human(size: int, busybox: bool) -> str:
    units = ["", "K", "M", "G", "T"]
    value = float(size)
    while value >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    if busybox:
        return f"{value:.1f}{units[0]}" if units[0] else str(size)
    tail = f"{units[0]}i" if units[0] else "B"
    return f"{value:.1f}{tail}" if 0 < value < 10 and units[0] else f"{int(value)}{tail}"


def _top(command: Command, total: int, used: int) -> str:
    first = " ".join(command.spec.argv) or command.image.name
    processes = [(1, first), (7, " ".join(command.argv))]
    if command.image.busybox:
        text = (
            f"Mem: {used >> 10}K used, {(total - used) >> 10}K free, 0K shrd, 0K buff, 0K cached\n"
            "CPU:   0% usr   0% sys   0% nic 100% idle   0% io   0% irq   0% sirq\n"
            f"Load average: 0.00 0.00 0.00 1/{len(processes)} 7\n"
            "  PID  PPID USER     STAT   VSZ %VSZ %CPU COMMAND\n"
        )
        rows = [f"{pid:5}     0 root     S     4400   0%   0% {line}" for pid, line in processes]
        return text + "".join(f"{row}\n" for row in rows)
    now = command.env.clock.now_ns() // 10**9 % 86400
    up_min = command.env.clock.monotonic_ns() // (60 * 10**9)
    since = f"{up_min // 60}:{up_min % 60:02}" if up_min >= 60 else f"{up_min} min"
    mib = 1 << 20
    text = (
        f"top - {now // 3600:02}:{now // 60 % 60:02}:{now % 60:02} up {since},  0 user,  "
        "load average: 0.00, 0.00, 0.00\n"
        f"Tasks: {len(processes):3} total,   1 running, {len(processes) - 1:3} sleeping,   "
        "0 stopped,   0 zombie\n"
        "%Cpu(s):  0.0 us,  0.0 sy,  0.0 ni,100.0 id,  0.0 wa,  0.0 hi,  0.0 si,  0.0 st \n"
        f"MiB Mem : {total / mib:8.1f} total, {(total - used) / mib:8.1f} free, "
        f"{used / mib:8.1f} used, {0:8.1f} buff/cache     \n"
        f"MiB Swap: {0:8.1f} total, {0:8.1f} free, {0:8.1f} used. "
        f"{(total - used) / mib:8.1f} avail Mem \n\n"
        "    PID USER      PR  NI    VIRT    RES    SHR S  %CPU  %MEM     TIME+ COMMAND\n"
    )
    return text + "".join(
        f"{pid:7} root      20   0    4400   2048   1920 S   0.0   0.0   0:00.00 "
        f"{line.split()[0].rpartition('/')[2]}\n"
        for pid, line in processes
    )
