"""The rooms as processes of one machine, and as compose services."""

from __future__ import annotations

import re
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.figures import BIN, RUNS, home_environment, wait_ready

COMPOSE_RUNS = 3


def rooms() -> dict[str, str]:
    """Start to all Ready, and what it weighs; compose up to the first 200 from /readyz."""
    return {**_processes(), **_compose()}


def _processes() -> dict[str, str]:
    """``podwire up --processes``, three nodes: one process each, eight others, and the parent."""
    _up_once()
    walls, weights = zip(*(_up_once() for _ in range(RUNS)), strict=True)
    return {
        "12 processes, start to all rooms Ready, median of 5": f"{statistics.median(walls):.2f} s",
        "the same, PSS once kube-system is Ready": f"{statistics.median(weights):.0f} MB",
    }


def _up_once() -> tuple[float, float]:
    """Seconds to the line that says so; megabytes of the process tree."""
    with tempfile.TemporaryDirectory() as home:
        began = time.perf_counter()
        process = subprocess.Popen(
            [BIN / "podwire", "up", "--processes", "--wait"],
            env=home_environment(Path(home)), stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stderr is not None
        try:
            _line(process, "rooms Ready")
            elapsed = time.perf_counter() - began
            _line(process, "kube-system Ready")
            weight = _pss_mb(process.pid)
        finally:
            process.terminate()
            process.communicate()
    return elapsed, weight


def _line(process: subprocess.Popen[str], wanted: str) -> None:
    """Read what a process says up to a line. Raises SystemExit when it ends before."""
    assert process.stderr is not None
    told = []
    for line in process.stderr:
        told.append(line)
        if wanted in line:
            return
    raise SystemExit(f"podwire up --processes did not start:\n{''.join(told)}")


def _pss_mb(parent: int) -> float:
    """Proportional set size of a process and its children."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    total_kb = 0
    for pid in (parent, *children):
        found = re.search(
            r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE
        )
        assert found is not None
        total_kb += int(found[1])
    return total_kb * 1024 / 1e6


def _compose() -> dict[str, str]:
    """``docker compose up -d``, images built and volumes fresh."""
    from tests.system.compose import Project, why_not  # noqa: PLC0415  only this one needs it

    label = "compose up -d to /readyz, volumes fresh, median of 3"
    if reason := why_not():
        return {label: f"not measured: {reason}"}
    walls = []
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder))
        try:
            project.build()
            for _ in range(COMPOSE_RUNS):
                began = time.perf_counter()
                project.compose("up", "-d")
                wait_ready(project.ports["API"])
                walls.append(time.perf_counter() - began)
                project.compose("down", "-v")
        finally:
            project.end()
    return {label: f"{statistics.median(walls):.1f} s"}
