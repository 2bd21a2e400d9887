"""``break``, ``continue``, ``return`` and ``exit`` on their way up the tree."""

from __future__ import annotations


class Flow(Exception):  # noqa: N818  control flow, not an error
    """``kind`` break, continue, return or exit; ``value`` levels or status."""

    def __init__(self, kind: str, value: int) -> None:
        super().__init__(kind)
        self.kind = kind
        self.value = value
