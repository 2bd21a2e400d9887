"""A mismatch, told so that it can be understood without running anything again."""

from __future__ import annotations

import sys

from podwire.dataplane.verdict import Hop, Step
from tests.oracle.cluster import Change, Cluster, describe, describe_service, describe_slices
from tests.oracle.judge import Mismatch

MAX_TRACES = 4


def render(cluster: Cluster, mismatch: Mismatch) -> str:
    """Seed, cluster, what happened before, the question, both answers, the model's traces."""
    lines = [f"MISMATCH: {mismatch.question}", f"  {mismatch.why}"]
    lines += [f"  Linux: {answer} ({count}x)" for answer, count in mismatch.linux.items()]
    lines += [f"  model: {answer} (p {share:.3f})" for answer, share in mismatch.model.items()]
    lines.append(f"  at step {mismatch.step} ({mismatch.title})")
    lines += ["", describe(cluster), *_changes(cluster, mismatch.step), ""]
    for outcome, share, hops in mismatch.traces[:MAX_TRACES]:
        lines += [f"model's trace to {outcome} (p {share:.3f}):", *trace(hops)]
    left = len(mismatch.traces) - MAX_TRACES
    lines += [f"({left} more branches)"] if left > 0 else []
    again = f"python -m tests.oracle --seed {mismatch.seed} --mode {cluster.proxy.mode}"
    lines.append(f"again: {again} [--keep]")
    return "\n".join(lines)


def _changes(cluster: Cluster, until: int) -> list[str]:
    """What was changed before the question, in full."""
    lines: list[str] = []
    for index, step in enumerate(cluster.steps[: until + 1]):
        if isinstance(step, Change):
            lines.append(f"  step {index}: {step.title}")
            for key, service in step.services.items():
                if service is not None:
                    lines.append(f"    service {key}: {describe_service(service)}")
                    lines += ["  " + line for line in describe_slices(step.slices.get(key, ()))]
    return lines


def trace(hops: list[Hop]) -> list[str]:
    """A walk, a line per step."""
    return [f"  {_line(hop, step)}" for hop in hops for step in hop.steps]


def _line(hop: Hop, step: Step) -> str:
    where = "/".join(name for name in (hop.node, step.netns) if name) or "wire"
    rule = f"   [{step.rule}]" if step.rule else ""
    return f"{where:<12} {step.stage:<10} {step.object} {step.result} {step.detail}{rule}".rstrip()


def say(line: str) -> None:
    """Tell whoever waits for it."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
