"""Why a branch ended: a sentence, and the objects behind it."""

from dataclasses import replace

import pytest

from podwire.dataplane.verdict import Branch, Fate
from podwire.explain.cause import cause, last_step, policies_of
from podwire.explain.report import exit_code
from tests.unit.explain import town
from tests.unit.explain.town import NO_ENDPOINTS, TOWN, ended, flow, isolated, pod, service

CAUSES = (
    (town.DENIED, ("default/back is isolated for ingress by default/back-only, default/deny-all; "
                  "no rule admits TCP/8080 from default/front (app=front)")),
    (ended(Fate.DENIED_OUT, rule=isolated("default/deny-all", "default/front")),
     ("default/front is isolated for egress by default/deny-all; "
     "no rule admits TCP/8080 to default/back (app=back)")),
    (ended(Fate.DENIED_IN, rule=isolated(), at=flow(src="8.8.8.8")),
     ("default/back is isolated for ingress by default/back-only, default/deny-all; "
     "no rule admits TCP/8080 from 8.8.8.8")),
    (ended(Fate.DENIED_IN, rule="-j DROP"),
     ("the pod is isolated for ingress by a policy; no rule admits TCP/8080 from "
     "default/front (app=front)")),
    (ended(Fate.REFUSED), "nothing listens on TCP/8080 in default/back; it declares 9090"),
    (ended(Fate.REFUSED, at=flow(dst="192.168.0.11")), "nothing listens on TCP/8080 at node-1"),
    (ended(Fate.DELIVERED), "default/back listens on 8080"),
    (ended(Fate.EXITS_CLUSTER, at=flow(dst="1.1.1.1")),
     "1.1.1.1 is outside; what happens there is not modelled"),
    (ended(Fate.LINK_DOWN, about="node-1 - node-2"), "the link node-1 - node-2 is down"),
    (ended(Fate.DROPPED_BY_RULE), "a rule of chain FORWARD drops it"),
    (ended(Fate.UNKNOWN, detail="match u32 is not modelled"), "match u32 is not modelled"),
    (ended(Fate.NEIGHBOR_UNREACHABLE), "NEIGHBOR_UNREACHABLE"),
    (ended(Fate.NO_ROUTE), "no route to 10.244.1.2 on node-1"),
    (ended(Fate.NULL_ROUTED, detail="blackhole 10.244.0.0/16"),
     "a route of node-1 discards packets to 10.244.1.2 (blackhole 10.244.0.0/16)"),
    (ended(Fate.L7_DENIED), "L7_DENIED"),
    (ended(Fate.NO_ENDPOINTS, rule="-j REJECT"), "the Service has no endpoints"),
)  # fmt: skip


@pytest.mark.parametrize(("branch", "summary"), CAUSES, ids=lambda value: str(value)[:40])
def test_the_summary_is_a_sentence_about_objects(branch, summary):
    """Every fate has words of its own."""
    assert cause(branch, TOWN).summary == summary


@pytest.mark.parametrize("fate", list(Fate))
def test_every_fate_has_a_cause(fate):
    """Also when there was no step, no flow and no object."""
    for branch in (ended(fate), Branch(fate=fate, hops=[])):
        assert cause(branch, TOWN).summary
        assert "{" not in cause(branch, TOWN).summary


def test_the_cause_of_a_denial_names_its_policies_and_its_step():
    """The rule's comment is where the names come from."""
    found = cause(town.DENIED, TOWN)
    named = [(ref.kind, ref.namespace, ref.name) for ref in found.objects]
    assert named == [
        ("NetworkPolicy", "default", "back-only"), ("NetworkPolicy", "default", "deny-all"),
    ]  # fmt: skip
    assert found.step == 1
    assert found.rule == isolated()


WAITING = pod("back", "10.244.1.2", {"app": "back"}, ready=False)
CRASHING = pod(
    "back", "10.244.1.2", {"app": "back"}, ready=False,
    containerStatuses=[{
        "name": "main", "image": "x", "imageID": "", "ready": False, "restartCount": 3,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
    }],
)  # fmt: skip
MISSING = "none of the 1 pods that Service default/backend selects is ready: back"


@pytest.mark.parametrize(
    ("objects", "summary"),
    [
        (replace(TOWN, pods=(WAITING,)), f"{MISSING} (not ready)"),
        (replace(TOWN, pods=(CRASHING,)), f"{MISSING} (CrashLoopBackOff)"),
        (
            replace(TOWN, pods=()),
            "Service default/backend selects app=back; no pod has these labels",
        ),
        (
            replace(TOWN, services=(service("backend", {}),)),
            "Service default/backend has no selector and no EndpointSlice gives it an address",
        ),
        (replace(TOWN, services=()), "the Service has no endpoints"),
        (TOWN, "the rules of node-1 are older than the ready endpoints of default/backend"),
        (
            replace(TOWN, slices=()),
            "the pods of Service default/backend are ready, its EndpointSlices do not say so yet",
        ),
    ],
    ids=["waiting", "crashing", "no-pods", "no-selector", "unknown", "proxy-lags", "slices-lag"],
)
def test_a_service_without_endpoints_says_which_pods_are_missing(objects, summary):
    """Not ready, not there, or not wanted."""
    assert cause(ended(Fate.NO_ENDPOINTS, rule=NO_ENDPOINTS), objects).summary == summary


def test_rules_without_a_name_name_nobody():
    """A foreign rule is not blamed on a policy."""
    assert policies_of("-A FORWARD -j DROP") == []
    assert policies_of(isolated("a/b,c/d")) == [("a", "b"), ("c", "d")]


def test_the_last_step_counts_over_all_hops():
    """A walk without steps has none."""
    assert last_step(Branch(fate=Fate.LOST, hops=[])) == (0, None)
    twice = town.DENIED.hops * 2
    assert last_step(Branch(fate=Fate.LOST, hops=twice)) == (2, twice[1].steps[0])


@pytest.mark.parametrize(
    ("fates", "code"),
    [
        ([Fate.DELIVERED], 0),
        ([Fate.DELIVERED, Fate.EXITS_CLUSTER], 0),
        ([Fate.DELIVERED, Fate.LOST], 1),
        ([Fate.UNKNOWN, Fate.LOST], 1),
        ([Fate.DELIVERED, Fate.UNKNOWN], 4),
    ],
)
def test_the_exit_code_says_whether_every_branch_arrives(fates, code):
    """0 all do, 1 one fails, 4 nothing fails but one is not modelled."""
    assert exit_code(fates) == code
