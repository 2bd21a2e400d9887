"""Candidate edits: small changes to objects, nodes or the question that might let it through.

Each is only a proposal; the tracer compiles it with the agents' own code, applies it to a fork and
walks again. Nothing here is printed unless that walk arrives.
"""

from __future__ import annotations

from collections.abc import Iterator

from podwire.dataplane.verdict import Branch, Fate, Flow
from podwire.explain import network, policies, services
from podwire.explain.candidate import Candidate
from podwire.explain.ends import end_of
from podwire.explain.objects import Objects


def candidates(branch: Branch, objects: Objects, asked: Flow | None = None) -> Iterator[Candidate]:
    """Proposals for a failed branch, nearest first. ``asked`` is the flow as the client sent it."""
    end = end_of(branch)
    flow = branch.flow
    if flow is None:
        return
    rule = end.step.rule if end.step else ""
    if branch.fate in {Fate.DENIED_IN, Fate.DENIED_OUT}:
        yield from policies.admit(branch.fate, rule, flow, objects)
    elif branch.fate is Fate.NO_ENDPOINTS:
        yield from services.endpoints(rule, flow, end.node, objects)
    elif objects.service_at(flow.dst) is not None and not (end.step and end.step.netns):
        yield from services.other_ports(flow, objects)
    elif branch.fate is Fate.REFUSED and (end.step is None or end.step.stage == "socket"):
        yield from services.ports(asked or flow, flow, objects)
    else:
        yield from network.mend(branch.fate, flow, end, objects)
