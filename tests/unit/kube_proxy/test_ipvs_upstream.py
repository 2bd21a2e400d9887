"""The IPVS mode programs what upstream's own tests expect of it."""

from pathlib import Path

import msgspec
import pytest
import yaml

from podwire.api.views import EndpointSlice, Service
from tests.unit.kube_proxy.ipvs_node import IpvsNode, configured

TABLE = Path(__file__).parents[2] / "data" / "proxyipvs" / "proxier.yaml"
CASES = yaml.safe_load(TABLE.read_text())
NODE = "test-node"


def service(case):
    ports = []
    for word in case["ports"]:
        number, protocol, *node_port = word.split("/")
        port = {"name": "p", "port": int(number), "protocol": protocol}
        ports.append({**port, "nodePort": int(node_port[0])} if node_port else port)
    spec = {
        "type": case.get("type", "ClusterIP"),
        "clusterIP": case["ip"],
        "ports": ports,
        "externalIPs": case.get("external", []),
        "loadBalancerSourceRanges": case.get("ranges", []),
        "externalTrafficPolicy": "Local" if case.get("local") else "Cluster",
        "healthCheckNodePort": case.get("check", 0),
    }
    body = {
        "metadata": {"name": case["name"], "namespace": "ns1", "uid": case["name"]},
        "spec": spec,
        "status": {"loadBalancer": {"ingress": [{"ip": ip} for ip in case.get("lb", [])]}},
    }
    return msgspec.convert(body, Service)


def slices(case, name):
    """One slice per family."""
    (ports,) = {tuple(s["ports"]) for s in case["services"] if s["name"] == name}
    number, protocol = ports[0].split("/")[:2]
    for kind, other in (("IPv4", "IPv6"), ("IPv6", "IPv4")):
        ends = [e for e in case["slices"][name] if (":" in e) == (kind == "IPv6")]
        bodies = []
        for end in ends:
            ip, _, node = end.partition("@")
            bodies.append({"addresses": [ip], **({"nodeName": node} if node else {})})
        body = {
            "metadata": {
                "name": f"{name}-{other}",
                "namespace": "ns1",
                "labels": {"kubernetes.io/service-name": name},
                "uid": f"{name}-{kind}",
            },
            "addressType": kind,
            "endpoints": bodies,
            "ports": [{"name": "p", "port": int(number), "protocol": protocol}],
        }
        yield msgspec.convert(body, EndpointSlice)


@pytest.fixture(params=CASES, ids=lambda case: case["name"])
def case(request):
    return request.param


@pytest.fixture
def node(case):
    config = configured(node_port_addresses=case.get("node_port_addresses", ()))
    made = IpvsNode(NODE, case.get("node_ips", ()), case.get("family", "ipv4"), config)
    made.sync(
        *(service(each) for each in case["services"]),
        *(each for name in case["slices"] for each in slices(case, name)),
    )
    return made


def test_virtual_servers_sets_and_rules_are_upstreams(node, case):
    """Which virtual servers lead where, which entries are in which set, which rule jumps where."""
    if "servers" in case:
        assert node.servers() == {vs: sorted(rs) for vs, rs in case["servers"].items()}
    for name, entries in case.get("sets", {}).items():
        assert node.entries(name) == sorted(entries), name
    for chain, wanted in case.get("chains", {}).items():
        rules = [rule for table in ("nat", "filter") for rule in rules_of(node, chain, table)]
        assert rules == wanted, chain


def rules_of(node, chain, table):
    """``TARGET SET``, ``TARGET`` or ``TARGET -s NET`` of each rule of a chain in a table."""
    nat = {"KUBE-SERVICES", "KUBE-POSTROUTING", "KUBE-LOAD-BALANCER", "KUBE-MARK-MASQ"}
    both = {"KUBE-NODE-PORT"}
    if chain not in both and (chain in nat) != (table == "nat"):
        return
    for rule in node.chain(chain, table):
        words = rule.split()
        target = words[words.index("-j") + 1]
        if "--match-set" in words:
            yield f"{target} {words[words.index('--match-set') + 1]}"
        elif words[0] == "-s":
            yield f"{target} -s {words[1]}"
        else:
            yield target
