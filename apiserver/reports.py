"""The answer to a trace, put together from walks and objects."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from podwire.apiserver.places import Target
from podwire.apiserver.sources import GATEWAY, Source
from podwire.dataplane.verdict import Branch, Hop, WalkAnswer, WalkRequest
from podwire.explain.cause import cause
from podwire.explain.compose import compose
from podwire.explain.objects import Objects
from podwire.explain.report import (
    Cause,
    LookupReport,
    Nearest,
    Report,
    TraceSpec,
)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, where it starts and goes, and the cluster as it is."""

    spec: TraceSpec
    source: Source
    target: Target
    objects: Objects
    revision: str

    def request(self, address: str) -> WalkRequest:
        """The packet to walk, to an address."""
        source, spec = self.source, self.spec
        return WalkRequest(
            node=source.node,
            netns=source.netns,
            protocol=spec.protocol,
            src=source.address if source.node == GATEWAY else "",
            src_port=spec.source_port,
            dst=address,
            dst_port=self.target.port,
            draw=spec.draw,
            size_bytes=spec.size_bytes,
        )


def report(
    asked: Question,
    request: WalkRequest,
    answer: WalkAnswer,
    worst: Branch,
    nearest: Nearest | None,
    lookup: LookupReport | None,
    elapsed_s: float,
    reason: Cause | None = None,
) -> Report:
    """The report of a walk; ``reason`` is why ``worst`` ended so, when it is known already."""
    spec = asked.spec
    found = compose(
        spec,
        request,
        answer,
        labels=(asked.source.label, asked.target.label),
        worst=worst,
        reason=reason if reason is not None else cause(worst, asked.objects),
    )
    return msgspec.structs.replace(
        found,
        resource_version=asked.revision,
        time_s=elapsed_s,
        lookup=lookup,
        places=places_of(asked, found.hops, answer.drawn),
        nearest=nearest,
    )


def places_of(asked: Question, hops: list[Hop], branch: Branch | None) -> dict[str, str]:
    """Whose the network namespaces of a walk are: the source's, and the one where it ended."""
    found: dict[str, str] = {}
    flow = branch.flow if branch is not None else None
    ends = (flow.dst, flow.src) if flow is not None else ()
    other = next(
        (
            pod
            for pod in map(asked.objects.pod_at, ends)
            if pod is not None and pod.key != asked.source.label
        ),
        None,
    )
    for hop in hops:
        for step in hop.steps:
            if step.netns and other is not None and hop.node == other.spec.node_name:
                found[step.netns] = f"pod {other.key}"
    if asked.source.netns:
        found[asked.source.netns] = f"pod {asked.source.label}"
    return found
