"""One cluster, held against Linux; many of them, in processes that left the host's namespace."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from tests.oracle.cluster import Cluster
from tests.oracle.generate import generate
from tests.oracle.judge import Mismatch, Recording, judge
from tests.oracle.linux import Namespaces, leave_host
from tests.oracle.live import Live
from tests.oracle.probing import Prober

Look = Callable[[dict[str, str]], None]
"""Somebody who looks at the namespaces (paths by name) before they are taken down."""


@dataclass(frozen=True)
class Result:
    """What became of a seed."""

    seed: int
    recording: Recording
    mismatch: Mismatch | None
    seconds: float
    questions: int


def against_linux(cluster: Cluster, look: Look | None = None) -> Result:
    """Build a cluster twice and compare. The calling process must have left the host."""
    started = time.monotonic()
    with Namespaces() as spaces, Prober(spaces) as prober:
        live = Live(cluster, spaces, prober)
        mismatch = judge(cluster, live)
        if look is not None:
            look({name: spaces.path(name) for name in spaces.names()})
    questions = sum(len(given) for step in live.recording.answers.values() for given in step)
    elapsed = time.monotonic() - started
    return Result(cluster.seed, live.recording, mismatch, elapsed, questions)


def seed_against_linux(seed: int, mode: str) -> Result:
    """The cluster of a seed. Raises RuntimeError naming the seed when it cannot be judged."""
    try:
        return against_linux(generate(seed, mode=mode))
    except Exception as error:
        raise RuntimeError(f"seed {seed}: {type(error).__name__}: {error}") from error


def pool(workers: int) -> ProcessPoolExecutor:
    """Processes that may build clusters."""
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, spawn, initializer=leave_host, initargs=(os.getpid(),))


def many(seeds: Sequence[int], mode: str, workers: int) -> Iterator[Result]:
    """All seeds, in their order."""
    with pool(workers) as processes:
        yield from processes.map(seed_against_linux, seeds, [mode] * len(seeds))
