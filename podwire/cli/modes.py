"""Who else may read what holds keys: told before a cluster starts.

What podwire writes itself is for its owner only (files 0600, directories 0700), whatever it was
before; a key that others could read meanwhile is told all the same.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_OF_DATA = ("", "token", "pki", "pki/ca.key", "pki/sa.key", "pki/front-proxy-ca.key", "store")


def open_to_others(path: Path) -> str:
    """The mode of a file or directory that group or others may use ("0644"); "" when none may, or
    when it is not there. Raises OSError.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    return f"{mode:04o}" if mode & _OTHERS else ""


def warnings(data_dir: Path | None, private: Iterable[Path | None]) -> Iterator[str]:
    """One line for each place that others may use: parts of a data directory, and ``private``
    files (kubeconfig, encryption keys). Raises OSError.
    """
    places = [] if data_dir is None else [data_dir / part for part in _OF_DATA]
    for path in (*places, *(file for file in private if file is not None)):
        if mode := open_to_others(path):
            wanted = "0700" if path.is_dir() else "0600"
            yield (
                f"warning: {path} has mode {mode}: other users can read keys in it; "
                f"run: chmod {wanted} {path}"
            )
