"""Connection tracking."""

from __future__ import annotations

import msgspec


class Entry(msgspec.Struct):
    """One tracked connection."""

    id: int
