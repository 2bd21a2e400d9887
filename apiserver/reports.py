"""The answer to a trace, put together from walks and objects."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

import msgspec

from podwire.apiserver.places import Target
from podwire.apiserver.sources import GATEWAY, Source
from podwire.dataplane.cost import NOTHING
from podwire.dataplane.verdict import Branch, Flow, Hop, WalkAnswer, WalkRequest
from podwire.explain.cause import cause
from podwire.explain.ends import numbered
from podwire.explain.objects import Objects
from podwire.explain.report import (
    DEFAULT_SIZE_BYTES,
    BranchReport,
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


def draw_of(answer: WalkAnswer, branch: Branch) -> float:
    """A draw that leads down a branch: branches lie side by side in [0, 1), in their order."""
    before = 0.0
    for other in answer.branches:
        if other is branch:
            break
        before += other.probability
    return before + branch.probability / 2


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
    drawn, spec = answer.drawn, asked.spec
    reason = reason if reason is not None else cause(worst, asked.objects)
    if worst is not drawn:
        where = end_of(worst) or "?"
        see = f"see it with --draw {draw_of(answer, worst):.6f}"
        summary = f"another branch ({where}) ends {worst.fate.value}: {reason.summary}; {see}"
        reason = msgspec.structs.replace(reason, summary=summary, step=0)
    hops = numbered(drawn.hops)
    steps = sum(len(hop.steps) for hop in hops)
    icmp = spec.protocol == "icmp"
    return Report(
        source=asked.source.label,
        destination=asked.target.label,
        protocol=spec.protocol,
        flow=Flow(
            protocol=spec.protocol,
            src=answer.src,
            src_port=0 if icmp else answer.src_port,
            dst=request.dst,
            dst_port=0 if icmp else request.dst_port,
        ),
        resource_version=asked.revision,
        time_s=elapsed_s,
        fate=drawn.fate,
        lookup=lookup,
        branches=[
            BranchReport(
                fate=b.fate,
                probability=round(b.probability, 6),
                drawn=b.drawn,
                node=b.node,
                destination=end_of(b),
            )
            for b in answer.branches
        ],
        hops=hops,
        reply_hops=numbered(drawn.reply_hops, steps + 1),
        cost=drawn.cost or NOTHING,
        reply_cost=drawn.reply_cost or NOTHING,
        places=places_of(asked, hops, drawn),
        cause=reason,
        nearest=nearest,
        replay=replay(spec, answer.src_port, answer.draw),
        draw=answer.draw,
    )


def end_of(branch: Branch) -> str:
    """The address (and port) that a branch went to."""
    flow = branch.flow
    if flow is None:
        return ""
    return flow.dst if flow.protocol == "icmp" else f"{flow.dst}:{flow.dst_port}"


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


def replay(spec: TraceSpec, source_port: int, draw: float | None) -> str:
    """The command that walks the same way again."""
    words = ["podwire", "trace", spec.source, spec.destination]
    if spec.namespace != "default":
        words += ["-n", spec.namespace]
    if spec.destination_namespace:
        words += ["--destination-namespace", spec.destination_namespace]
    if spec.url:
        words += ["--url", shlex.quote(spec.url)]
    if spec.protocol != "tcp":
        words += ["--protocol", spec.protocol]
    if spec.size_bytes != DEFAULT_SIZE_BYTES:
        words += ["--size", str(spec.size_bytes)]
    if source_port:
        words += ["--sport", str(source_port)]
    if draw is not None:
        words += ["--draw", f"{draw:.6f}"]
    return " ".join(words)
