"""``python -m benchmarks [NAME...]``."""

from __future__ import annotations

import sys

from benchmarks import figures


def main() -> None:
    """Print the figures that are asked for, all by default."""
    names = sys.argv[1:] or list(figures.ALL)
    for name in names:
        for label, value in figures.ALL[name]().items():
            print(f"{name:<12} {label:<58} {value}", flush=True)


if __name__ == "__main__":
    main()
