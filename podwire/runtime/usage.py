"""What this process uses of the machine, as Prometheus clients name it."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


def process_usage() -> dict[str, float]:
    """Processor time, memory, files and start of this process (Linux: /proc/self)."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    user, system, started = (int(fields[i]) / _TICKS for i in (11, 12, 19))
    boot = time.time() - float(Path("/proc/uptime").read_text().split()[0])
    return {
        "process_cpu_seconds_total": user + system,
        "process_max_fds": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "process_open_fds": len(os.listdir("/proc/self/fd")),  # noqa: PTH208  its names are enough
        "process_resident_memory_bytes": int(fields[21]) * _PAGE_BYTES,
        "process_start_time_seconds": boot + started,
        "process_virtual_memory_bytes": int(fields[20]),
    }
