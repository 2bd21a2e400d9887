"""Why a branch ended as it did: the rule's comment names the object, the objects tell the rest.

Agents put into the comment of each rule what it comes from: kube-proxy as upstream does
(``"ns/svc:port has no endpoints"``), the policy agent as ``podwire:isolated ns/pod by ns/policy``.
"""

from __future__ import annotations

from podwire.dataplane.verdict import Branch, Fate, Flow
from podwire.explain import network, policies, services
from podwire.explain.ends import End, Leg, end_of
from podwire.explain.objects import Objects
from podwire.explain.report import Cause, ObjectRef

_UNTRANSLATED = (Fate.NULL_ROUTED, Fate.NO_ROUTE, Fate.NEIGHBOR_UNREACHABLE, Fate.REFUSED)


def cause(branch: Branch, objects: Objects) -> Cause:
    """The cause of one branch's fate."""
    end = end_of(branch)
    flow = branch.flow or Flow(protocol="", src="", dst="")
    summary, refs = _why(branch.fate, flow, end, objects)
    if end.leg is Leg.ANSWER:
        summary = f"the packet arrived, its answer did not: {summary}"
    elif end.leg is Leg.ERROR:
        summary = f"it was rejected, and word of that got lost: {summary}"
    rule = end.step.rule if end.step else ""
    return Cause(summary=summary, objects=refs, step=end.number, rule=rule)


def _why(fate: Fate, flow: Flow, end: End, objects: Objects) -> tuple[str, list[ObjectRef]]:
    step = end.step
    rule = step.rule if step else ""
    if fate in {Fate.DENIED_IN, Fate.DENIED_OUT}:
        return policies.denied(fate, rule, flow, end.node, objects)
    if fate is Fate.NO_ENDPOINTS:
        return services.no_endpoints(rule, flow, end.node, objects)
    if fate is Fate.DELIVERED:
        node = next((hop.node for hop in reversed(end.hops) if hop.node), "")
        return network.listens(flow, node, objects), []
    if fate is Fate.EXITS_CLUSTER:
        return f"{flow.dst} is outside; what happens there is not modelled", []
    if fate is Fate.UNKNOWN:
        return network.unknown(step, end.node), []
    if fate in _UNTRANSLATED and not (step is not None and step.netns):
        found = services.untranslated(flow, _first_node(end, objects), objects, rule)
        if found is not None:
            return found
    if fate is Fate.DROPPED_BY_RULE and (kept := services.guarded(rule, flow, objects)):
        return kept
    if fate is Fate.REFUSED:
        if step is not None and step.stage != "socket":
            return network.rejected(step, end.node), []
        return services.refused(flow, end.node, objects)
    return network.lost(fate, flow, end, objects), []


def _first_node(end: End, objects: Objects) -> str:
    """The first of the cluster's nodes on the way, else where it ended."""
    names = [node.metadata.name for node in objects.nodes]
    return next((hop.node for hop in end.hops if hop.node in names), end.node)
