"""A candidate edit: what would change, in words and as something a fork can try."""

from __future__ import annotations

from dataclasses import dataclass, field

from podwire.dataplane.verdict import Edit, WireEdit
from podwire.explain.objects import Objects


@dataclass(frozen=True, slots=True)
class Candidate:
    """A change in words, and what it edits: objects, nodes' kernels, wires, or the question.

    ``port``, ``protocol``, ``size_bytes`` and ``url`` ask another question when they are set.
    """

    change: str
    objects: Objects
    wires: tuple[WireEdit, ...] = field(default=())
    edits: tuple[Edit, ...] = field(default=())
    port: int = 0
    protocol: str = ""
    size_bytes: int = 0
    url: str = ""
