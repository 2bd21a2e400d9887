"""Which changes are proposed for a failed branch, nearest first."""

from dataclasses import replace

from podwire.dataplane.verdict import Fate, WireEdit
from podwire.explain.candidates import candidates
from tests.unit.explain import town
from tests.unit.explain.town import NO_ENDPOINTS, TOWN, ended, flow, isolated, pod


def changes(branch, objects=TOWN):
    """The proposals in words."""
    return [candidate.change for candidate in candidates(branch, objects)]


def test_a_denial_is_mended_in_the_most_specific_policy_first():
    """Labels that controllers added are no part of the peer."""
    assert changes(town.DENIED) == [
        "add podSelector {app: front} with TCP/8080 to ingress of default/back-only",
        "add podSelector {app: front} with TCP/8080 to ingress of default/deny-all",
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
    assert found.change == "add podSelector {app: back} with TCP/8080 to egress of default/deny-all"
    assert found.objects.policies[0].spec.ingress == []
    assert len(found.objects.policies[0].spec.egress) == 1


def test_a_peer_of_another_namespace_is_named_with_it():
    """A bare podSelector would mean pods of the policy's own namespace."""
    branch = ended(
        Fate.DENIED_IN, rule=isolated("default/deny-all"), at=flow(src="10.244.2.2")
    )  # fmt: skip
    (found,) = candidates(branch, TOWN)
    assert found.change == (
        "add podSelector {team: x} in namespaceSelector {kubernetes.io/metadata.name: other} "
        "with TCP/8080 to ingress of default/deny-all"
    )
    peer = found.objects.policies[0].spec.ingress[0].from_[0]
    assert peer.namespace_selector.match_labels == {"kubernetes.io/metadata.name": "other"}


def test_an_address_without_a_pod_becomes_an_ip_block():
    """Of exactly that address."""
    branch = ended(Fate.DENIED_IN, rule=isolated("default/deny-all"), at=flow(src="8.8.8.8"))
    assert changes(branch) == [
        "add ipBlock 8.8.8.8/32 with TCP/8080 to ingress of default/deny-all"
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
    """A pod with the same keys and other values is near; one without them is not."""
    missed = replace(
        TOWN, slices=(), services=(town.service("backend", {"app": "bakc"}, target="web"),)
    )  # fmt: skip
    branch = ended(Fate.NO_ENDPOINTS, rule=NO_ENDPOINTS)
    found = list(candidates(branch, missed))
    assert [c.change for c in found] == [
        "set the selector of Service default/backend to {app: front}",
        "set the selector of Service default/backend to {app: back}",
    ]
    assert [port.port for port in found[1].objects.slices[0].ports] == [9090]


def test_a_refused_connection_is_led_to_a_port_the_pod_declares():
    """Every port of the slice that pointed past it is set."""
    (found,) = candidates(ended(Fate.REFUSED), TOWN)
    assert found.change == "set targetPort 8080 of Service default/backend to 9090"
    assert [port.port for port in found.objects.slices[0].ports] == [9090]
    assert [port.port for port in TOWN.slices[0].ports] == [8080]


def test_a_port_that_no_service_leads_to_has_no_candidate():
    """The packet was sent to the pod itself."""
    assert changes(ended(Fate.REFUSED), replace(TOWN, slices=())) == []
    assert changes(ended(Fate.REFUSED, at=flow(dst="10.9.9.9"))) == []


def test_a_link_that_is_down_is_brought_up_both_ways():
    """The only candidate that changes no object."""
    (found,) = candidates(ended(Fate.LINK_DOWN, about="node-1 - node-2"), TOWN)
    assert found.change == "bring the link between node-1 and node-2 up"
    assert found.wires == (WireEdit(a="node-1", b="node-2"), WireEdit(a="node-2", b="node-1"))
    assert found.objects is TOWN


def test_other_fates_have_no_candidate():
    """Nothing is guessed."""
    for fate in (Fate.LOST, Fate.MARTIAN, Fate.CT_FULL, Fate.UNKNOWN, Fate.DELIVERED):
        assert changes(ended(fate, rule=isolated())) == []
