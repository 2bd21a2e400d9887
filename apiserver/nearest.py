"""The nearest change: candidate edits, each tried on a fork until one lets every branch through."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import msgspec

from podwire.client.counters import Fabric
from podwire.dataplane.commands import CommandError
from podwire.dataplane.verdict import (
    GOOD_FATES,
    Branch,
    Edit,
    Flow,
    WalkAnswer,
    WalkRequest,
)
from podwire.explain.candidate import Candidate
from podwire.explain.candidates import candidates
from podwire.explain.compose import worth_explaining
from podwire.explain.objects import Objects, WhatIf
from podwire.explain.report import Nearest

MAX_CANDIDATES = 12


Propose = Callable[[Branch, Candidate], Iterator[Candidate]]
"""Gives the candidates that might mend a branch, on top of what is edited already."""
Attempt = Callable[[Candidate], Awaitable[WalkAnswer | None]]
"""Walks with a candidate applied; None when it cannot be made."""


class Search:
    """Tries candidates on forks of one fabric."""

    def __init__(self, fabric: Fabric, whatif: WhatIf) -> None:
        self._fabric = fabric
        self._whatif = whatif

    async def find(
        self, request: WalkRequest, first: WalkAnswer, branch: Branch, objects: Objects
    ) -> Nearest:
        """The nearest change for a walk: ``first`` is how it went, ``branch`` what to mend."""
        request = msgspec.structs.replace(request, src_port=first.src_port, draw=first.draw)
        asked = Flow(
            protocol=request.protocol, src=first.src, dst=request.dst, dst_port=request.dst_port
        )

        async def attempt(candidate: Candidate) -> WalkAnswer | None:
            return await self.walk(request, candidate, objects)

        def propose(branch: Branch, so_far: Candidate) -> Iterator[Candidate]:
            return candidates(branch, so_far.objects, asked)

        return await nearest(propose, attempt, branch, objects)

    def compiled(self, objects: Objects) -> list[Edit]:
        """What the node agents would program for edited objects."""
        return list(self._whatif(objects))

    async def walk(
        self, request: WalkRequest, candidate: Candidate, objects: Objects
    ) -> WalkAnswer | None:
        """The walk after an edit, compiled by the agents' own cores; None when it cannot be made.

        A command that a kernel refuses (a route through a device that is down) is no way out.
        """
        edits = list(candidate.edits)
        if candidate.objects is not objects:
            edits += self._whatif(candidate.objects)
        changed = msgspec.structs.replace(
            request,
            edits=edits,
            wire_edits=list(candidate.wires),
            dst_port=candidate.port or request.dst_port,
            protocol=candidate.protocol or request.protocol,
            size_bytes=candidate.size_bytes or request.size_bytes,
        )
        try:
            return await self._fabric.walk(changed)
        except CommandError:
            return None


async def nearest(propose: Propose, attempt: Attempt, branch: Branch, objects: Objects) -> Nearest:
    """Try candidates: single ones, then pairs where one got the packet further."""
    tried = 0
    further: list[tuple[Candidate, Branch]] = []
    for candidate in _single_then_pairs(propose, branch, objects, further):
        if tried >= MAX_CANDIDATES:
            break
        tried += 1
        answer = await attempt(candidate)
        if answer is None:
            continue
        worst = worth_explaining(answer)
        if worst.fate in GOOD_FATES:
            return Nearest(change=candidate.change, fate=answer.drawn.fate, tried=tried)
        if worst.fate is not branch.fate:
            further.append((candidate, worst))
    return Nearest(tried=tried)


def _single_then_pairs(
    propose: Propose, branch: Branch, objects: Objects, further: list[tuple[Candidate, Branch]]
) -> Iterator[Candidate]:
    """Candidates for a branch, then each that got the packet ``further`` with one more edit."""
    yield from propose(branch, Candidate("", objects))
    for first, stopped in list(further):
        for second in propose(stopped, first):
            yield Candidate(
                f"{first.change}; and {second.change}",
                second.objects,
                first.wires + second.wires,
                first.edits + second.edits,
                second.port or first.port,
                second.protocol or first.protocol,
                second.size_bytes or first.size_bytes,
                second.url or first.url,
            )
