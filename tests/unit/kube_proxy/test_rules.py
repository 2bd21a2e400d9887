"""What the rule text does to packets, name by name and flow by flow.

The flows follow the tables of upstream's pkg/proxy/iptables tests: sources are a pod, the node
and an external client; the verdict is a set of endpoints, REJECT, DROP or nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from podwire.kube_proxy.model import NodeFacts, service_port_name
from podwire.kube_proxy.modes.iptables.names import endpoint_chains, port_hash, probability
from tests.unit.kube_proxy.conftest import (
    CLIENT,
    NODE,
    NODE_IP,
    POD,
    endpoints,
    service,
    six,
    text,
)
from tests.unit.kube_proxy.walker import Packet, Tables, service_flow

GOLDEN = Path(__file__).parent / "golden" / "six_services.txt"
VIP = "10.96.0.50"
REMOTE, LOCAL = "10.244.2.4", "10.244.1.4"
BOTH = f"{LOCAL}:8080, {REMOTE}:8080"


def flow(rules: str, src: str, dst: str, port: int = 80, proto: str = "tcp") -> tuple[str, bool]:
    tables = Tables(local=(NODE_IP,))
    tables.restore(rules)
    return service_flow(tables, Packet(src, dst, port, proto))


def test_chain_names_are_upstreams():
    """Three hashes that upstream's own tests expect."""
    assert port_hash("ns1/svc1:p80", "tcp") == "XPGD46QRK7WJZT7O"
    at = "10.180.0.1:80"
    assert endpoint_chains("ns1/svc1:p80", "tcp", [at]) == {at: "KUBE-SEP-SXIVWICOYRO3J4NJ"}
    assert port_hash("ns5/svc5:p80", "tcp") == "NUKIZ6OKUXPJNT4C"
    assert service_port_name("ns", "svc", "") == "ns/svc"


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (1, "1.0000000000"),
        (2, "0.5000000000"),
        (3, "0.3333333333"),
        (10, "0.1000000000"),
        (100001, "0.0000099999"),
    ],
)
def test_probabilities_have_ten_digits(n, expected):
    """Source: upstream's TestComputeProbability."""
    assert probability(n) == expected


def test_the_text_of_six_services_is_as_recorded():
    """Golden; rewrite it with PODWIRE_REWRITE_GOLDENS=1."""
    made = text(*six())
    if os.environ.get("PODWIRE_REWRITE_GOLDENS"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(made)
    assert made == GOLDEN.read_text()


def test_a_cluster_ip_reaches_every_endpoint_and_only_foreign_sources_are_masqueraded():
    """Pod: no masquerade; node and external client: masqueraded; other ports: untouched."""
    rules = text(service("web", VIP), endpoints("web", REMOTE, f"{LOCAL}@{NODE}"))
    assert flow(rules, POD, VIP) == (BOTH, False)
    assert flow(rules, NODE_IP, VIP) == (BOTH, True)
    assert flow(rules, CLIENT, VIP) == (BOTH, True)
    assert flow(rules, POD, VIP, 81) == ("", False)
    assert flow(rules, POD, VIP, 80, "udp") == ("", False)


def test_a_pod_that_reaches_itself_is_masqueraded():
    """Hairpin: the endpoint's own address as source gets the mark."""
    rules = text(service("web", VIP), endpoints("web", LOCAL))
    assert flow(rules, LOCAL, VIP) == (f"{LOCAL}:8080", True)


def test_masquerade_all_masquerades_pods_too():
    """masqueradeAll drops the source match; without a detector nothing is masqueraded."""
    objects = (service("web", VIP), endpoints("web", REMOTE))
    assert flow(text(*objects, masquerade_all=True), POD, VIP) == (f"{REMOTE}:8080", True)
    assert flow(text(*objects, local=""), CLIENT, VIP) == (f"{REMOTE}:8080", False)


def test_without_endpoints_everything_is_rejected():
    """ClusterIP, NodePort, external and load balancer address alike."""
    rules = text(
        service("web", VIP, [("", 80, 30080, "TCP")], type="LoadBalancer", lb=["1.2.3.4"],
                externalIPs=["192.168.99.11"])
    )  # fmt: skip
    for src in (POD, NODE_IP, CLIENT):
        for dst, port in ((VIP, 80), ("1.2.3.4", 80), ("192.168.99.11", 80), (NODE_IP, 30080)):
            assert flow(rules, src, dst, port) == ("REJECT", False), (src, dst)


def test_node_ports_answer_on_every_local_address_and_masquerade():
    """Traffic policy Cluster: anyone reaches any endpoint and appears as the node."""
    rules = text(
        service("web", VIP, [("", 80, 30080, "TCP")], type="NodePort"),
        endpoints("web", REMOTE, f"{LOCAL}@{NODE}"),
    )
    for src in (POD, NODE_IP, CLIENT):
        assert flow(rules, src, NODE_IP, 30080) == (BOTH, True)
    assert flow(rules, NODE_IP, "127.0.0.1", 30080) == (BOTH, True)
    assert flow(rules, CLIENT, "192.168.0.12", 30080) == ("", False)


def test_localhost_node_ports_can_be_switched_off():
    """localhostNodePorts false excludes 127.0.0.0/8."""
    objects = (
        service("web", VIP, [("", 80, 30080, "TCP")], type="NodePort"),
        endpoints("web", REMOTE),
    )
    rules = text(*objects, localhost_node_ports=False)
    assert flow(rules, NODE_IP, "127.0.0.1", 30080) == ("", False)
    assert flow(rules, CLIENT, NODE_IP, 30080)[0] == f"{REMOTE}:8080"
    assert "KUBE-FIREWALL -m" not in rules


def test_node_port_addresses_limit_where_node_ports_answer():
    """With nodePortAddresses only the chosen addresses jump to KUBE-NODEPORTS."""
    objects = (
        service("web", VIP, [("", 80, 30080, "TCP")], type="NodePort"),
        endpoints("web", REMOTE),
    )
    rules = text(*objects, node_port_cidrs=("192.168.7.0/24",), own=(NODE_IP, "192.168.7.7"))
    assert flow(rules, CLIENT, NODE_IP, 30080) == ("", False)
    assert flow(rules, CLIENT, "192.168.7.7", 30080)[0] == f"{REMOTE}:8080"


@pytest.mark.parametrize("local_endpoint", [True, False])
def test_external_traffic_policy_local(local_endpoint):
    """External clients keep their address and reach local endpoints only (else DROP); pods and
    the node short-circuit to the whole cluster, the node masqueraded.
    """
    ends = (REMOTE, f"{LOCAL}@{NODE}") if local_endpoint else (REMOTE,)
    rules = text(
        service("web", VIP, [("", 80, 30080, "TCP")], type="LoadBalancer", lb=["1.2.3.4"],
                externalTrafficPolicy="Local"),
        endpoints("web", *ends),
    )  # fmt: skip
    everywhere = BOTH if local_endpoint else f"{REMOTE}:8080"
    outside = (f"{LOCAL}:8080", False) if local_endpoint else ("DROP", False)
    for dst, port in ((NODE_IP, 30080), ("1.2.3.4", 80)):
        assert flow(rules, CLIENT, dst, port) == outside
        assert flow(rules, POD, dst, port) == (everywhere, False)
        assert flow(rules, NODE_IP, dst, port) == (everywhere, True)
    assert flow(rules, POD, VIP) == (everywhere, False)


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ((REMOTE, f"{LOCAL}@{NODE}"), f"{LOCAL}:8080"),
        ((REMOTE,), "DROP"),
        ((), "REJECT"),
    ],
)
def test_internal_traffic_policy_local(ends, expected):
    """Only local endpoints; without one the packet is dropped, without any it is rejected."""
    rules = text(service("web", VIP, internalTrafficPolicy="Local"), endpoints("web", *ends))
    assert flow(rules, POD, VIP) == (expected, False)


def end(ip: str, **conditions: bool) -> dict[str, Any]:
    return {"addresses": [ip], "nodeName": NODE, "conditions": conditions}


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ([end("10.244.1.1"), end("10.244.1.2", ready=False)], "10.244.1.1:8080"),
        (
            [
                end("10.244.1.1", ready=False, serving=True, terminating=True),
                end("10.244.1.2", ready=False, serving=False, terminating=True),
            ],
            "10.244.1.1:8080",
        ),
        (
            [end("10.244.1.1", ready=True), end("10.244.1.2", ready=False, serving=True,
                                                terminating=True)],
            "10.244.1.1:8080",
        ),
        ([end("10.244.1.1", ready=False, serving=False, terminating=True)], "REJECT"),
        ([end("10.244.1.1", ready=False)], "REJECT"),
    ],
)  # fmt: skip
def test_terminating_endpoints_serve_only_when_nothing_is_ready(ends, expected):
    """Ready first; else serving and terminating; else nothing."""
    assert flow(text(service("web", VIP), endpoints("web", *ends)), CLIENT, VIP)[0] == expected


def test_source_ranges_guard_the_load_balancer_address_only():
    """Inside the range: served; outside: dropped; the NodePort stays open."""
    rules = text(
        service("web", VIP, [("", 80, 30080, "TCP")], type="LoadBalancer", lb=["1.2.3.4"],
                loadBalancerSourceRanges=[" 203.0.113.0/25"]),
        endpoints("web", REMOTE),
    )  # fmt: skip
    assert flow(rules, CLIENT, "1.2.3.4")[0] == f"{REMOTE}:8080"
    assert flow(rules, "203.0.113.200", "1.2.3.4")[0] == "DROP"
    assert flow(rules, "203.0.113.200", NODE_IP, 30080)[0] == f"{REMOTE}:8080"


def test_a_node_inside_the_source_ranges_may_use_the_load_balancer_address():
    """Its packets carry the load balancer's address as their source; outside they stay out."""

    def rule(source_range: str) -> bool:
        rules = text(
            service("web", VIP, type="LoadBalancer", lb=["1.2.3.4"],
                    loadBalancerSourceRanges=[source_range]),
            endpoints("web", REMOTE),
        )  # fmt: skip
        return "-s 1.2.3.4 -j KUBE-EXT-" in rules

    assert rule("192.168.0.0/24")
    assert not rule("203.0.113.0/25")


def test_an_endpoint_in_two_slices_counts_once():
    """While slices are rebalanced an address may stand in both."""
    slices = [endpoints("web", REMOTE), endpoints("web", REMOTE, LOCAL)]
    slices[1] = replace(slices[1], metadata=replace(slices[1].metadata, name="web-y"))
    rules = text(service("web", VIP), *slices)
    assert flow(rules, POD, VIP) == (BOTH, False)
    assert rules.count(f"--to-destination {REMOTE}:8080") == 1


def test_session_affinity_checks_every_endpoint_before_drawing():
    """rcheck rules for all endpoints come first, each endpoint chain records its clients."""
    rules = text(
        service("web", VIP, sessionAffinity="ClientIP",
                sessionAffinityConfig={"clientIP": {"timeoutSeconds": 600}}),
        endpoints("web", REMOTE, LOCAL),
    )  # fmt: skip
    svc = [line for line in rules.splitlines() if line.startswith("-A KUBE-SVC-")]
    kinds = ["--rcheck" in line for line in svc]
    assert kinds == [False, True, True, False, False]
    assert all("--seconds 600 --reap" in line for line in svc if "--rcheck" in line)
    assert rules.count("--set -m tcp") == 2


def test_zone_hints_keep_traffic_in_the_zone_when_every_endpoint_has_one():
    """Same zone when all are hinted; all endpoints when one is not, or no hint fits."""

    def hinted(ip: str, zone: str) -> dict[str, Any]:
        return {"addresses": [ip], "hints": {"forZones": [{"name": zone}]} if zone else {}}

    def seen(*zones: str, here: str = "zone-a") -> str:
        ends = [hinted(f"10.244.2.{i}", zone) for i, zone in enumerate(zones)]
        node = NodeFacts(NODE, here, (NODE_IP,))
        rules = text(service("web", VIP), endpoints("web", *ends), node=node)
        return flow(rules, POD, VIP)[0]

    assert seen("zone-a", "zone-b") == "10.244.2.0:8080"
    assert seen("zone-a", "") == "10.244.2.0:8080, 10.244.2.1:8080"
    assert seen("zone-a", "zone-b", here="zone-c") == "10.244.2.0:8080, 10.244.2.1:8080"


def test_headless_external_and_foreign_services_get_no_rules():
    """None of them has a ClusterIP that kube-proxy serves."""
    foreign = service("web", VIP)
    foreign.metadata.labels["service.kubernetes.io/service-proxy-name"] = "other"
    headless = service("db", "None")
    name = service("ext", "", type="ExternalName", externalName="example.org")
    bare = text(foreign, headless, name, endpoints("web", REMOTE), endpoints("db", REMOTE))
    assert "KUBE-SVC-" not in bare
    assert VIP not in bare


def test_udp_and_tcp_on_one_address_are_told_apart():
    """kube-dns has both; each has chains of its own."""
    rules = text(*six())
    assert flow(rules, POD, "10.96.0.10", 53, "udp")[0] == "10.244.1.9:53, 10.244.2.9:53"
    assert flow(rules, POD, "10.96.0.10", 53, "tcp")[0] == "10.244.1.9:53, 10.244.2.9:53"
    assert "-m udp -p udp -j DNAT" in rules
