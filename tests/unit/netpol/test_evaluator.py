"""NetworkPolicy semantics, one sentence each."""

from __future__ import annotations

from typing import Any

import pytest

from podwire.netpol.verdict import Allowed, Denied
from tests.unit.netpol.conftest import API, FAR, WEB, asked, pod, policy

FROM_API = [{"from": [{"podSelector": {"matchLabels": {"app": "api"}}}]}]
SELECT_WEB = {"matchLabels": {"app": "web"}}


def test_without_policies_everything_is_allowed():
    """No policy selects either pod."""
    answer = asked().verdict(API, WEB, "TCP", 8080)
    assert isinstance(answer, Allowed)


def test_a_selected_pod_admits_only_what_a_rule_lists():
    """The listed peer passes, another is denied with the isolating policy named."""
    evaluator = asked(policy("lock", SELECT_WEB, ingress=FROM_API))
    assert evaluator.verdict(API, WEB, "TCP", 8080).allowed
    answer = evaluator.verdict(FAR, WEB, "TCP", 8080)
    assert isinstance(answer, Denied)
    assert (answer.direction, answer.isolated_by) == ("Ingress", ("default/lock",))
    assert str(answer.nearest[0]) == (
        "default/lock ingress[0]: peer[0]: podSelector alone selects pods of namespace default; "
        "other/far is in other"
    )


def test_isolation_is_per_direction():
    """An ingress policy leaves egress open; replies need no rule."""
    evaluator = asked(policy("lock", SELECT_WEB, ingress=[]))
    assert evaluator.verdict(WEB, API, "TCP", 80).allowed
    assert not evaluator.verdict(API, WEB, "TCP", 80).allowed


@pytest.mark.parametrize(
    ("spec", "in_open", "out_open"),
    [
        ({}, False, True),
        ({"egress": [{}]}, False, True),
        ({"ingress": [{}]}, True, True),
        ({"types": ["Egress"]}, True, False),
        ({"types": ["Ingress", "Egress"]}, False, False),
        ({"ingress": [{}], "egress": [{"ports": []}], "types": ["Ingress", "Egress"]}, True, True),
    ],
)
def test_policy_types_and_empty_rules(spec, in_open, out_open):
    """Defaults of policyTypes; ``{}`` admits everything, an empty list nothing."""
    evaluator = asked(policy("p", SELECT_WEB, **spec))
    assert evaluator.verdict(API, WEB, "TCP", 80).allowed is in_open
    assert evaluator.verdict(WEB, API, "TCP", 80).allowed is out_open


@pytest.mark.parametrize(
    ("peer", "from_api", "from_far"),
    [
        ({"podSelector": {}}, True, False),
        ({"namespaceSelector": {}}, True, True),
        ({"namespaceSelector": {"matchLabels": {"team": "blue"}}}, False, True),
        (
            {
                "namespaceSelector": {"matchLabels": {"team": "blue"}},
                "podSelector": {"matchLabels": {"app": "api"}},
            },
            False,
            False,
        ),
        (
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "other"}}},
            False,
            True,
        ),
        (
            {"podSelector": {"matchExpressions": [
                {"key": "tier", "operator": "NotIn", "values": ["x"]}]}},
            True,
            False,
        ),
        ({"ipBlock": {"cidr": "10.244.0.0/16", "except": ["10.244.2.0/24"]}}, True, False),
        ({}, False, False),
    ],
)  # fmt: skip
def test_peers(peer, from_api, from_far):
    """Selectors alone, together, by the name label, by expression; blocks with exceptions."""
    evaluator = asked(policy("p", SELECT_WEB, ingress=[{"from": [peer]}]))
    assert evaluator.verdict(API, WEB, "TCP", 80).allowed is from_api
    assert evaluator.verdict(FAR, WEB, "TCP", 80).allowed is from_far


def test_an_exception_counts_only_in_its_own_entry():
    """A second entry may admit what the first one excepts."""
    blocks: list[dict[str, Any]] = [
        {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
        {"ipBlock": {"cidr": "10.1.2.0/24"}},
    ]
    evaluator = asked(policy("p", SELECT_WEB, ingress=[{"from": blocks}]))
    assert evaluator.verdict("10.1.2.3", WEB, "TCP", 80).allowed
    answer = evaluator.verdict("10.1.3.3", WEB, "TCP", 80)
    assert isinstance(answer, Denied)
    assert "excepts 10.1.0.0/16" in answer.nearest[0].reasons[0]


@pytest.mark.parametrize(
    ("port", "protocol", "number", "expected"),
    [
        ({"port": 80}, "TCP", 80, True),
        ({"port": 80}, "TCP", 81, False),
        ({"port": 80}, "UDP", 80, False),
        ({"protocol": "UDP"}, "UDP", 999, True),
        ({"protocol": "UDP"}, "TCP", 999, False),
        ({"port": 80, "endPort": 90}, "TCP", 90, True),
        ({"port": 80, "endPort": 90}, "TCP", 91, False),
        ({"port": "http"}, "TCP", 8080, True),
        ({"port": "http"}, "TCP", 80, False),
        ({"port": "http", "protocol": "UDP"}, "UDP", 8080, False),
        ({"port": "dns", "protocol": "UDP"}, "UDP", 53, True),
        ({"port": "nothing"}, "TCP", 8080, False),
    ],
)
def test_ports(port, protocol, number, expected):
    """Numbers, ranges, protocols; names are those of the destination pod."""
    evaluator = asked(policy("p", SELECT_WEB, ingress=[{"ports": [port]}]))
    assert evaluator.verdict(API, WEB, protocol, number).allowed is expected


def test_egress_names_resolve_on_the_destination():
    """A named port in an egress rule is the destination's, and matches no bare address."""
    api = {"matchLabels": {"app": "api"}}
    evaluator = asked(policy("p", api, egress=[{"ports": [{"port": "http"}]}], types=["Egress"]))
    assert evaluator.verdict(API, WEB, "TCP", 8080).allowed
    assert not evaluator.verdict(API, FAR, "TCP", 8080).allowed
    assert not evaluator.verdict(API, "203.0.113.9", "TCP", 8080).allowed


def test_policies_add_up():
    """One policy's rule is enough; the near miss is the rule whose peer matched."""
    deny = policy("deny", {})
    some = policy("some", SELECT_WEB, ingress=[{**FROM_API[0], "ports": [{"port": 443}]}])
    evaluator = asked(deny, some)
    answer = evaluator.verdict(API, WEB, "TCP", 443)
    assert isinstance(answer, Allowed)
    assert answer.ingress is not None
    assert answer.ingress.allowed_by == ("default/some ingress[0]",)
    miss = evaluator.verdict(API, WEB, "TCP", 80)
    assert isinstance(miss, Denied)
    assert str(miss.nearest[0]) == "default/some ingress[0]: port 80/TCP is not among 443/TCP"
    assert [m.policy for m in miss.nearest] == ["default/some", "default/deny"]


def test_egress_is_judged_before_ingress():
    """When both directions deny, the source's side is named."""
    both = policy("both", {}, types=["Ingress", "Egress"])
    answer = asked(both).verdict(API, WEB, "TCP", 80)
    assert isinstance(answer, Denied)
    assert answer.direction == "Egress"
    assert answer.ingress is not None
    assert not answer.ingress.allowed


def test_a_pod_reaches_itself_and_its_node_reaches_it():
    """Neither can be blocked; another node's address is judged like any address."""
    nodes = {"192.168.0.11": "node-1", "192.168.0.12": "node-2"}
    evaluator = asked(policy("deny", {}, types=["Ingress", "Egress"]), nodes=nodes)
    assert evaluator.verdict(WEB, WEB, "TCP", 80).allowed
    assert evaluator.verdict("192.168.0.11", WEB, "TCP", 80).allowed
    assert not evaluator.verdict("192.168.0.12", WEB, "TCP", 80).allowed


def test_host_network_pods_count_as_their_node():
    """They are not selected, not matched by selectors, but an ipBlock may contain them."""
    host = pod("hostly", "192.168.0.12", node="node-2", host_network=True)
    pods = (WEB, API, host)
    assert asked(policy("deny", {}), pods=pods).verdict(API, host, "TCP", 80).allowed
    by_label = policy("p", SELECT_WEB, ingress=[{"from": [{"podSelector": {}}]}])
    assert not asked(by_label, pods=pods).verdict(host, WEB, "TCP", 80).allowed
    block = [{"from": [{"ipBlock": {"cidr": "192.168.0.0/24"}}]}]
    assert (
        asked(policy("p", SELECT_WEB, ingress=block), pods=pods)
        .verdict(host, WEB, "TCP", 80)
        .allowed
    )


def test_an_address_of_a_pod_is_that_pod():
    """Asked by address or by object, the answer is the same; finished pods are nobody."""
    evaluator = asked(policy("lock", SELECT_WEB, ingress=FROM_API))
    assert evaluator.verdict("10.244.1.3", "10.244.1.2", "TCP", 80).allowed
    done = pod("api", "10.244.1.3", phase="Succeeded")
    finished = asked(policy("lock", SELECT_WEB, ingress=FROM_API), pods=(WEB, done))
    assert not finished.verdict("10.244.1.3", "10.244.1.2", "TCP", 80).allowed
