"""The answer to a trace, put together from the walks of a packet."""

from __future__ import annotations

import shlex

import msgspec

from podwire.dataplane.cost import NOTHING
from podwire.dataplane.verdict import GOOD_FATES, Branch, Fate, Flow, WalkAnswer, WalkRequest
from podwire.explain.ends import numbered
from podwire.explain.report import (
    DEFAULT_SIZE_BYTES,
    BranchReport,
    Cause,
    Report,
    TraceSpec,
)


def worth_explaining(answer: WalkAnswer) -> Branch:
    """The drawn branch, unless it is good and another is not."""
    drawn = answer.drawn
    if drawn.fate not in GOOD_FATES:
        return drawn
    bad = [b for b in answer.branches if b.fate not in GOOD_FATES]
    return next((b for b in bad if b.fate is not Fate.UNKNOWN), bad[0] if bad else drawn)


def draw_of(answer: WalkAnswer, branch: Branch) -> float:
    """A draw that leads down a branch: branches lie side by side in [0, 1), in their order."""
    before = 0.0
    for other in answer.branches:
        if other is branch:
            break
        before += other.probability
    return before + branch.probability / 2


def compose(
    spec: TraceSpec,
    request: WalkRequest,
    answer: WalkAnswer,
    *,
    labels: tuple[str, str],
    worst: Branch,
    reason: Cause,
) -> Report:
    """The report of a walk from and to what ``labels`` names; ``reason`` is why ``worst`` ended so.

    What belongs to a cluster (revision, lookup, places, nearest change) is for the caller to add.
    """
    drawn = answer.drawn
    if worst is not drawn:
        where = end_of(worst) or "?"
        see = f"see it with --draw {draw_of(answer, worst):.6f}"
        summary = f"another branch ({where}) ends {worst.fate.value}: {reason.summary}; {see}"
        reason = msgspec.structs.replace(reason, summary=summary, step=0)
    hops = numbered(drawn.hops)
    steps = sum(len(hop.steps) for hop in hops)
    icmp = spec.protocol == "icmp"
    return Report(
        source=labels[0],
        destination=labels[1],
        protocol=spec.protocol,
        flow=Flow(
            protocol=spec.protocol,
            src=answer.src,
            src_port=0 if icmp else answer.src_port,
            dst=request.dst,
            dst_port=0 if icmp else request.dst_port,
        ),
        resource_version="",
        time_s=0.0,
        fate=drawn.fate,
        lookup=None,
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
        cause=reason,
        nearest=None,
        replay=replay(spec, answer.src_port, answer.draw),
        draw=answer.draw,
    )


def end_of(branch: Branch) -> str:
    """The address (and port) that a branch went to."""
    flow = branch.flow
    if flow is None:
        return ""
    return flow.dst if flow.protocol == "icmp" else f"{flow.dst}:{flow.dst_port}"


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
