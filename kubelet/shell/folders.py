"""Which folders there are: those of every image, those in which files lie, those that were made
(``podwire/kubelet/files.py``: their paths end with a slash).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

NAMES = (
    "bin", "dev", "etc", "home", "lib", "proc", "root", "run", "sbin", "sys", "tmp", "usr", "var",
)  # fmt: skip
"""Folders of ``/`` that exist in every image."""


_OF_IMAGES = ("bin", "etc", "lib", "sbin", "usr", "var")


def usual(path: str) -> bool:
    """Whether a path names ``/`` or one of its usual folders."""
    return path == "/" or path.strip("/") in NAMES


def unknown(path: str) -> bool:
    """Whether a folder may be there that podwire does not know of: images bring those."""
    top, _, rest = path.strip("/").partition("/")
    return bool(rest) and top in _OF_IMAGES


def inside(path: str, list_files: Callable[[str], Sequence[str]]) -> list[str]:
    """What lies below a folder."""
    below = path.rstrip("/") + "/"
    return [known for known in list_files(path) if known.startswith(below) and known != below]


def below(path: str, listed: Sequence[str]) -> list[str]:
    """A folder and all below it, each with a slash at its end, the inner ones first."""
    root = path.rstrip("/") + "/"
    found = {root: None}
    for known in listed:
        at = len(root) - 1
        while (at := known.find("/", at + 1)) >= 0:
            found[known[: at + 1]] = None
    return sorted(found, reverse=True)


def exists(path: str, list_files: Callable[[str], Sequence[str]]) -> bool:
    """Whether a path is a folder: a usual one, or one in which a file lies."""
    below = path.rstrip("/") + "/"
    return usual(path) or any(known.startswith(below) for known in list_files(path))
