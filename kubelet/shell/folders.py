"""Which folders a container's root file system has, beside those in which files lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence

NAMES = (
    "bin", "dev", "etc", "home", "lib", "proc", "root", "run", "sbin", "sys", "tmp", "usr", "var",
)  # fmt: skip
"""Folders of ``/`` that exist in every image."""


def usual(path: str) -> bool:
    """Whether a path names ``/`` or one of its usual folders."""
    return path == "/" or path.strip("/") in NAMES


def exists(path: str, list_files: Callable[[str], Sequence[str]]) -> bool:
    """Whether a path is a folder: a usual one, or one in which a file lies."""
    below = path.rstrip("/") + "/"
    return usual(path) or any(known.startswith(below) for known in list_files(path))
