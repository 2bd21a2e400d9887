"""Which changes are proposed for a failed branch, nearest first."""

from dataclasses import replace

import msgspec

from podwire.api.views import NetworkPolicy
from podwire.dataplane.verdict import Fate, WireEdit
from podwire.explain.candidates import candidates
from podwire.explain.cause import cause
from tests.unit.explain import town
from tests.unit.explain.town import NO_ENDPOINTS, TOWN, ended, flow, isolated, pod


def changes(branch, objects=TOWN):
    """The proposals in words."""
    return [candidate.change for candidate in candidates(branch, objects)]


PORT = "ports: [{protocol: TCP, port: 8080}]"
BLOCK = "{ipBlock: {cidr: 8.8.8.8/32}}"
FRONT = f"{{from: [{{podSelector: {{matchLabels: {{app: front}}}}}}], {PORT}}}"


def test_a_denial_is_mended_in_the_most_specific_policy_first():
    """Labels that controllers added are no part of the peer."""
    assert changes(town.DENIED) == [
        f"add {FRONT} to ingress of NetworkPolicy default/back-only",
        f"add {FRONT} to ingress of NetworkPolicy default/deny-all",
    ]


def test_only_the_policy_that_is_named_changes():
    """The edited set holds the new rule; the original is untouched."""
    first = next(iter(candidates(town.DENIED, TOWN)))
    before, edited = TOWN.policies[1], first.objects.policies[1]
    assert before.spec.ingress == []
    (rule,) = edited.spec.ingress
    assert rule.from_[0].pod_selector.match_labels == {"app": "front"}
    assert [(port.protocol, port.port) for port in rule.ports] == [("TCP", 8080)]
    assert first.objects.policies[0] is TOWN.policies[0]
    assert first.objects.pods is TOWN.pods


def test_egress_is_mended_toward_the_destination():
    """The peer is where the packet goes."""
    branch = ended(Fate.DENIED_OUT, rule=isolated("default/deny-all", "default/front"))
    (found,) = candidates(branch, TOWN)
    rule = f"{{to: [{{podSelector: {{matchLabels: {{app: back}}}}}}], {PORT}}}"
    assert found.change == f"add {rule} to egress of NetworkPolicy default/deny-all"
    assert found.objects.policies[0].spec.ingress == []
    assert len(found.objects.policies[0].spec.egress) == 1


def test_a_peer_of_another_namespace_is_named_with_it():
    """A bare podSelector would mean pods of the policy's own namespace."""
    branch = ended(
        Fate.DENIED_IN, rule=isolated("default/deny-all"), at=flow(src="10.244.2.2")
    )  # fmt: skip
    (found,) = candidates(branch, TOWN)
    assert found.change == (
        "add {from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: other}}, "
        f"podSelector: {{matchLabels: {{team: x}}}}}}], {PORT}}} "
        "to ingress of NetworkPolicy default/deny-all"
    )
    peer = found.objects.policies[0].spec.ingress[0].from_[0]
    assert peer.namespace_selector.match_labels == {"kubernetes.io/metadata.name": "other"}


def test_an_address_without_a_pod_becomes_an_ip_block():
    """Of exactly that address."""
    branch = ended(Fate.DENIED_IN, rule=isolated("default/deny-all"), at=flow(src="8.8.8.8"))
    assert changes(branch) == [
        f"add {{from: [{BLOCK}], {PORT}}} to ingress of NetworkPolicy default/deny-all"
    ]


def test_a_policy_that_is_gone_cannot_be_edited():
    """The walk is older than the objects."""
    assert changes(town.DENIED, replace(TOWN, policies=())) == []


def test_no_endpoints_is_mended_by_a_ready_pod():
    """The edited slices hold the pod's address behind the Service."""
    waiting = replace(
        TOWN, slices=(), pods=(pod("back", "10.244.1.2", {"app": "back"}, ready=False),)
    )  # fmt: skip
    (found,) = candidates(ended(Fate.NO_ENDPOINTS, rule=NO_ENDPOINTS), waiting)
    assert found.change == "make pod default/back ready"
    (made,) = found.objects.slices
    assert made.service_name == "backend"
    assert made.endpoints[0].addresses == ["10.244.1.2"]
    assert [port.port for port in made.ports] == [8080]


def test_a_selector_that_misses_is_set_to_the_pods_labels():
    """A value like the wanted one is taken for it; any other value, or key, is not."""
    missed = replace(
        TOWN, slices=(), services=(town.service("backend", {"app": "bakc"}, target="web"),)
    )  # fmt: skip
    branch = ended(Fate.NO_ENDPOINTS, rule=NO_ENDPOINTS)
    found = list(candidates(branch, missed))
    assert [c.change for c in found] == [
        "set the selector of Service default/backend to {app: back}",
    ]
    assert [port.port for port in found[0].objects.slices[0].ports] == [9090]


def test_a_refused_connection_is_led_to_a_port_the_pod_declares():
    """Every port of the slice that pointed past it is set."""
    asked = flow(dst="10.96.0.20", port=80)
    (found,) = candidates(ended(Fate.REFUSED), TOWN, asked)
    assert found.change == "set targetPort: 9090 (now 8080) in Service default/backend"
    assert [port.port for port in found.objects.slices[0].ports] == [9090]
    assert [port.port for port in TOWN.slices[0].ports] == [8080]


def test_a_pod_that_was_asked_itself_is_asked_for_a_port_it_declares():
    """No object changes: the question does."""
    (found,) = candidates(ended(Fate.REFUSED), TOWN)
    assert (found.change, found.port, found.objects) == ("ask port 9090", 9090, TOWN)
    assert changes(ended(Fate.REFUSED, at=flow(dst="10.9.9.9"))) == []


def test_a_cluster_ip_is_asked_for_a_port_that_it_serves():
    """Whatever the packet's end: nothing translated it."""
    branch = ended(Fate.NULL_ROUTED, at=flow(dst="10.96.0.20", port=81))
    assert changes(branch) == ["ask port 80"]


OPEN = msgspec.convert(
    {
        "metadata": {"name": "back-only", "namespace": "default"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "back"}},
            "policyTypes": ["Ingress"],
            "ingress": [
                {"from": [{"podSelector": {"matchLabels": {"app": "front"}}}],
                 "ports": [{"port": 9090}]},
                {"from": [{"podSelector": {"matchLabels": {"app": "admin"}}}],
                 "ports": [{"port": 8080}]},
            ],
        },
    },
    NetworkPolicy,
)  # fmt: skip


def test_a_rule_that_nearly_admits_is_mended_before_one_is_added():
    """The right peer lacks the port; the right port lacks the peer; then a rule of its own."""
    near = replace(TOWN, policies=(OPEN,))
    branch = ended(Fate.DENIED_IN, rule=isolated("default/back-only"))
    of = "of NetworkPolicy default/back-only"
    assert changes(branch, near) == [
        f"add {{protocol: TCP, port: 8080}} to ingress[0].ports {of}",
        f"add {{podSelector: {{matchLabels: {{app: front}}}}}} to ingress[1].from {of}",
        f"add {FRONT} to ingress {of}",
    ]
    assert cause(branch, near).summary.endswith(
        "nearest is default/back-only ingress[0]: port 8080/TCP is not among 9090/TCP"
    )


def test_rules_older_than_their_policies_are_told_apart():
    """The evaluator admits what the dataplane dropped: the agent has not caught up."""
    opened = replace(TOWN, policies=())
    assert cause(town.DENIED, opened).summary.endswith(
        "the policies of now admit it: node-1's rules are older than they"
    )


def test_what_a_node_lacks_is_given_as_its_own_tools_words():
    """Forwarding, a rule that drops, room in conntrack, a smaller packet."""
    cases = (
        (ended(Fate.NO_ROUTE, detail="net.ipv4.ip_forward is 0"),
         "on node-1: sysctl -w net.ipv4.ip_forward=1"),
        (ended(Fate.DROPPED_BY_RULE, rule="-A FORWARD -p tcp -j DROP"),
         "on node-1: iptables -t filter -D FORWARD -p tcp -j DROP"),
        (ended(Fate.CT_FULL), "on node-1: sysctl -w net.netfilter.nf_conntrack_max=131072"),
        (ended(Fate.MTU_EXCEEDED, stage="route", about="eth0", detail="eth0 takes 1400"),
         "send at most 1400 bytes"),
        (ended(Fate.LINK_DOWN, stage="link", about="cni0", detail="device cni0 is down"),
         "on node-1: ip link set cni0 up"),
    )  # fmt: skip
    for branch, change in cases:
        assert changes(branch)[0] == change


def test_a_link_that_is_down_is_brought_up_both_ways():
    """The only candidate that changes no object."""
    (found,) = candidates(ended(Fate.LINK_DOWN, about="node-1 - node-2"), TOWN)
    assert found.change == "bring the link between node-1 and node-2 up"
    assert found.wires == (WireEdit(a="node-1", b="node-2"), WireEdit(a="node-2", b="node-1"))
    assert found.objects is TOWN


def test_other_fates_have_no_candidate():
    """Nothing is guessed."""
    for fate in (Fate.LOST, Fate.MARTIAN, Fate.UNKNOWN, Fate.DELIVERED):
        assert changes(ended(fate, rule=isolated())) == []
