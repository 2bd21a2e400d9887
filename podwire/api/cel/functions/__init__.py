"""The functions that expressions may call, one file per library.

``registry.FUNCTIONS`` is the one table; importing this package fills it.
"""

from __future__ import annotations

from podwire.api.cel.functions import (
    authz,
    conversions,
    formats,
    lists,
    network,
    numbers,
    operators,
    optionals,
    sizes,
    text,
    times,
)

__all__ = [
    "authz",
    "conversions",
    "formats",
    "lists",
    "network",
    "numbers",
    "operators",
    "optionals",
    "sizes",
    "text",
    "times",
]
