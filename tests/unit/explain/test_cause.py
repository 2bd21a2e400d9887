"""Why a branch ended: a sentence, and the objects behind it."""

from dataclasses import replace

import pytest

from podwire.dataplane.verdict import Branch, Fate
from podwire.explain.cause import cause
from podwire.explain.ends import Leg, end_of
from podwire.explain.policies import isolated_by
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
    (ended(Fate.REFUSED), "nothing listens on TCP/8080 in default/back; it declares TCP/9090"),
    (ended(Fate.REFUSED, at=flow(port=9090)),
     ("nothing listens on TCP/9090 in default/back, which declares it: "
      "its program does not run, or listens elsewhere")),
    (ended(Fate.REFUSED, at=flow(dst="192.168.0.11")), "nothing listens on TCP/8080 at node-1"),
    (ended(Fate.DELIVERED), "default/back listens on TCP/8080"),
    (ended(Fate.EXITS_CLUSTER, at=flow(dst="1.1.1.1")),
     "1.1.1.1 is outside; what happens there is not modelled"),
    (ended(Fate.LINK_DOWN, about="node-1 - node-2"), "the link node-1 - node-2 is down"),
    (ended(Fate.DROPPED_BY_RULE), "the policy of chain FORWARD on node-1 drops it"),
    (ended(Fate.DROPPED_BY_RULE, rule="-A FORWARD -p tcp -j DROP"),
     "a rule on node-1 drops it: -A FORWARD -p tcp -j DROP"),
    (ended(Fate.REFUSED, stage="filter", rule="-A FORWARD -j REJECT"),
     "a rule on node-1 rejects it: -A FORWARD -j REJECT"),
    (ended(Fate.UNKNOWN, detail="not modelled: match u32", rule="-A FORWARD -m u32 -j DROP"),
     "not modelled: match u32 (chain FORWARD of node-1: -A FORWARD -m u32 -j DROP)"),
    (ended(Fate.NEIGHBOR_UNREACHABLE, detail="nobody on cni0 answers for 10.244.1.2"),
     ("nobody on cni0 of node-1 answers for 10.244.1.2, the address of default/back: "
      "its veth is down or not on cni0")),
    (ended(Fate.NO_ROUTE, detail="10.244.1.2 is not local and net.ipv4.ip_forward is 0"),
     "node-1 does not forward packets: net.ipv4.ip_forward is 0"),
    (ended(Fate.MTU_EXCEEDED, stage="route", about="eth0", detail="1420 bytes, eth0 takes 1400"),
     ("the packet does not fit eth0 of node-1 and may not be fragmented "
      "(1420 bytes, eth0 takes 1400)")),
    (ended(Fate.NULL_ROUTED, at=flow(dst="10.96.0.20", port=81)),
     "Service default/backend does not serve TCP/81; it has TCP/80"),
    (ended(Fate.NO_ROUTE, at=flow(dst="10.96.0.20", port=80)),
     "node-1 has no rules for TCP/80 of Service default/backend: see its kube-proxy"),
    (ended(Fate.NEIGHBOR_UNREACHABLE), "nobody answers ARP"),
    (ended(Fate.NO_ROUTE), "node-1 has no route to 10.244.1.2"),
    (ended(Fate.NULL_ROUTED, detail="blackhole 10.244.0.0/16"),
     "node-1 discards packets to 10.244.1.2: blackhole 10.244.0.0/16"),
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
MISSING = "the one pod that Service default/backend selects is not ready: back"


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
    assert isolated_by("-A FORWARD -j DROP") == ("", [])
    assert isolated_by(isolated("a/b,c/d")) == ("default/back", [("a", "b"), ("c", "d")])


def test_the_last_step_counts_over_all_hops():
    """A walk without steps has none."""
    nothing = end_of(Branch(fate=Fate.LOST, hops=[]))
    assert (nothing.number, nothing.step, nothing.node) == (0, None, "")
    twice = town.DENIED.hops * 2
    found = end_of(Branch(fate=Fate.LOST, hops=twice))
    assert (found.number, found.step) == (2, twice[1].steps[0])


def test_an_answer_that_is_lost_is_told_from_its_own_end():
    """The packet arrived; the step that counts lies on the way back, numbered on."""
    there = ended(Fate.DELIVERED, stage="socket", result="deliver").hops
    back = ended(Fate.LINK_DOWN, stage="link", about="cni0", detail="device cni0 is down").hops
    lost = Branch(fate=Fate.LINK_DOWN, hops=there, reply_hops=back, flow=flow())
    assert (end_of(lost).leg, end_of(lost).number) == (Leg.ANSWER, 2)
    assert cause(lost, TOWN).summary == (
        "the packet arrived, its answer did not: device cni0 of node-1 is down"
    )


def test_a_refusal_whose_word_got_lost_is_told_from_what_lost_it():
    """The client waits; the fate is that of the error."""
    turned = ended(Fate.REFUSED, stage="socket", detail="nobody listens").hops
    back = ended(Fate.LINK_DOWN, stage="wire", about="node-1 - node-2", result="down").hops
    silent = Branch(fate=Fate.LINK_DOWN, hops=turned, reply_hops=back, flow=flow())
    assert cause(silent, TOWN).summary == (
        "it was rejected, and word of that got lost: the link node-1 - node-2 is down"
    )
    heard = Branch(fate=Fate.REFUSED, hops=turned, reply_hops=back, flow=flow())
    assert end_of(heard).leg is Leg.THERE


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
