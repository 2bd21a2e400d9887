"""``make oracle``: many seeds, or one: see ``--help``."""

from __future__ import annotations

import argparse
import os
import sys
import time

from tests.oracle.generate import generate
from tests.oracle.linux import leave_host
from tests.oracle.proxying import MODES
from tests.oracle.report import render, say
from tests.oracle.run import against_linux, many


def main() -> int:
    """Run what was asked for; 1 when something differed."""
    parser = argparse.ArgumentParser(prog="python -m tests.oracle", description=__doc__)
    parser.add_argument("--seeds", type=int, default=500, help="how many clusters (500)")
    parser.add_argument("--first", type=int, default=1, help="the first seed (1)")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--mode", choices=MODES, action="append", help="kube-proxy's mode (all)")
    parser.add_argument("--jobs", type=int, default=min(4, os.cpu_count() or 1))
    parser.add_argument("--keep", action="store_true", help="with --seed: wait before taking down")
    arguments = parser.parse_args()
    modes = arguments.mode or list(MODES)
    if arguments.seed is not None:
        return max(_one(arguments.seed, mode, keep=arguments.keep) for mode in modes)
    failed = 0
    for mode in modes:
        seeds = range(arguments.first, arguments.first + arguments.seeds)
        failed += _many(seeds, mode, arguments.jobs)
    return 1 if failed else 0


def _one(seed: int, mode: str, *, keep: bool) -> int:
    cluster = generate(seed, mode=mode)
    leave_host()
    result = against_linux(cluster, _hold if keep else None)
    if result.mismatch is not None:
        say(render(cluster, result.mismatch))
        return 1
    say(f"seed {seed}, {mode}: {result.questions} answers agree, {result.seconds:.1f} s")
    return 0


def _hold(paths: dict[str, str]) -> None:
    """Let somebody look around."""
    for name, path in paths.items():
        say(f"nsenter --net={path}    # {name}")
    input("Enter takes the namespaces down: ")


def _many(seeds: range, mode: str, jobs: int) -> int:
    started, failed, answers = time.monotonic(), 0, 0
    for number, result in enumerate(many(seeds, mode, jobs), 1):
        answers += result.questions
        if result.mismatch is not None:
            failed += 1
            say(render(generate(result.seed, mode=mode), result.mismatch))
        if number % 25 == 0 or number == len(seeds):
            spent = time.monotonic() - started
            say(f"{mode}: {number} clusters, {answers} answers, {failed} mismatches, {spent:.0f} s")
    return failed


if __name__ == "__main__":
    sys.exit(main())
