"""Upstream's own expectations of the iptables mode: dumps, syncs step by step, choices.

The facts are data (tests/data/proxydumps); here they meet podwire.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from podwire.api.views import EndpointSlice
from podwire.dataplane.commands import CommandError, RulesRestore
from podwire.dataplane.kernel import Kernel
from podwire.kube_proxy.core import Proxier, Shared
from podwire.kube_proxy.mode import Sync
from podwire.kube_proxy.model import NodeFacts, categorize, endpoints_of, service_ports
from podwire.kube_proxy.modes import MODES
from podwire.kube_proxy.modes.iptables.names import probability
from podwire.kube_proxy.modes.iptables.settings import Settings
from podwire.runtime.rng import SeededRng
from tests.unit.kube_proxy.conftest import restore_text
from tests.unit.kube_proxy.flows import NODE, endpoint_slice, service

DATA = Path(__file__).parents[2] / "data" / "proxydumps"
SETTINGS = Settings(local="-s 10.0.0.0/8", random_fully=False, nfacct=True)
Tables = dict[str, dict[str, list[str]]]
P80 = [{"name": "p80", "port": 80}]
TOTAL_NAT = 'sync_proxy_rules_iptables_total{table="nat"}'


def proxier(**changes: Any) -> Proxier:
    node = NodeFacts(NODE, "", ("192.168.0.2",))
    return Proxier(MODES["iptables"], replace(SETTINGS, **changes), node, Shared())


def add(made: Proxier, key: str, spec: dict[str, Any] | None, *ends: str, port: str = "") -> None:
    if spec is not None:
        new = service(key, {"ports": P80, **spec})
        made.service(made.services.get(key), new)
    if ends:
        name = port or "p80 80"
        entry = endpoint_slice(key, 1, {"ports": [name], "at": list(ends)})
        old = made.slices.get(key, {}).get(entry.metadata.name)
        made.slice(old, entry)


def tables(text: str) -> Tables:
    """Chains by table, the rules of each in order; "-X" holds the deleted chains, sorted."""
    found: Tables = {}
    table: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("*"):
            table = found.setdefault(line[1:], {"-X": []})
        elif line.startswith(":"):
            table[line[1:].partition(" ")[0]] = []
        elif line.startswith("-A "):
            chain, _, rule = line[3:].partition(" ")
            table.setdefault(chain, []).append(rule)
        elif line.startswith("-X "):
            table["-X"] = sorted([*table["-X"], line[3:]])
    return found


def overall(made: Proxier) -> Proxier:
    """The six Services of TestOverallIPTablesRules."""
    add(made, "ns1/svc1", {"clusterIP": "172.30.0.41"}, "10.180.0.1")
    local = {
        "type": "LoadBalancer", "externalTrafficPolicy": "Local", "clusterIP": "172.30.0.42",
        "ports": [{**P80[0], "nodePort": 3001}], "lb": ["1.2.3.4"],
        "externalIPs": ["192.168.99.22"], "healthCheckNodePort": 30000,
    }  # fmt: skip
    add(made, "ns2/svc2", local, "10.180.0.2")
    ports = [{**P80[0], "nodePort": 3003}]
    add(
        made,
        "ns3/svc3",
        {"type": "NodePort", "clusterIP": "172.30.0.43", "ports": ports},
        "10.180.0.3",
    )
    external = {"type": "NodePort", "clusterIP": "172.30.0.44", "externalIPs": ["192.168.99.33"]}
    add(made, "ns4/svc4", external, "10.180.0.4", "10.180.0.5 here")
    sticky = {
        "type": "LoadBalancer", "externalTrafficPolicy": "Cluster", "clusterIP": "172.30.0.45",
        "ports": [{**P80[0], "nodePort": 3002}], "lb": ["5.6.7.8"], "healthCheckNodePort": 30000,
        "loadBalancerSourceRanges": [" 203.0.113.0/25"], "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}},
    }  # fmt: skip
    add(made, "ns5/svc5", sticky, "10.180.0.3")
    add(made, "ns6/svc6", {"clusterIP": "172.30.0.46"})
    return made


def full(made: Proxier) -> Sync:
    plan = made.plan(full=True)
    assert plan is not None
    return plan


def test_the_rules_of_six_services_are_upstreams_rule_for_rule():
    """TestOverallIPTablesRules: the same chains, and in each the same rules in the same order."""
    plan = full(overall(proxier()))
    wanted = tables((DATA / "overall_iptables.txt").read_text())
    assert tables(restore_text(plan)) == wanted
    rules = sum(len(chain) for chain in wanted["nat"].values())
    assert plan.gauges[TOTAL_NAT] == rules, "the metric counts what was written"


def test_a_kernel_without_nfacct_gets_the_rules_without_counters():
    """TestDropInvalidRule: three forms of the INVALID rule; none when conntrack is liberal."""
    for changes, rule in (
        ({"nfacct": False}, "-m conntrack --ctstate INVALID -j DROP"),
        ({"tcp_be_liberal": True}, None),
    ):
        forward = tables(restore_text(full(proxier(**changes))))["filter"]["KUBE-FORWARD"]
        assert [r for r in forward if "INVALID" in r] == ([rule] if rule else [])
        assert len(forward) == (3 if rule else 2)


@pytest.mark.parametrize("random_fully", [False, True])
def test_masquerading_is_fully_random_where_the_kernel_can(random_fully):
    """TestMasqueradeRule."""
    made = proxier(random_fully=random_fully)
    last = tables(restore_text(full(made)))["nat"]["KUBE-POSTROUTING"][-1]
    assert last.endswith("-j MASQUERADE --random-fully" if random_fully else "-j MASQUERADE")


def test_addresses_with_leading_zeros_are_written_as_the_kernel_reads_them():
    """TestBadIPs: 172.30.0.041 is 172.30.0.41, 203.0.113.000/025 is 203.0.113.0/25."""
    bad, good = proxier(), proxier()
    spec = {"type": "LoadBalancer", "ports": [{**P80[0], "nodePort": 3001}]}
    add(bad, "ns1/svc1", {
        **spec, "clusterIP": "172.30.0.041", "lb": ["1.2.3.004"],
        "externalIPs": ["192.168.099.022"], "loadBalancerSourceRanges": ["203.0.113.000/025"],
    }, "10.180.00.001")  # fmt: skip
    add(good, "ns1/svc1", {
        **spec, "clusterIP": "172.30.0.41", "lb": ["1.2.3.4"],
        "externalIPs": ["192.168.99.22"], "loadBalancerSourceRanges": ["203.0.113.0/25"],
    }, "10.180.0.1")  # fmt: skip
    assert restore_text(full(bad)) == restore_text(full(good))


# ---------------------------------------------------------------- syncs, step by step

STEPS = yaml.safe_load((DATA / "repeated_iptables.yaml").read_text())["steps"]
TCP = "-m tcp -p tcp"


def expected(step: dict[str, Any]) -> Tables:
    """A step's restore input, from the data."""
    wanted = tables((DATA / "overall_iptables.txt").read_text())
    fixed = ("KUBE-FIREWALL", "KUBE-FORWARD")
    filter_table = {
        chain: rules if chain in fixed else [] for chain, rules in wanted["filter"].items()
    }
    if "rejected" in step:
        name, ip, port = step["rejected"]
        filter_table["KUBE-SERVICES"] = [
            f'-m comment --comment "{name} has no endpoints" {TCP} -d {ip} --dport {port} -j REJECT'
        ]
    nat: dict[str, list[str]] = {"-X": sorted(step.get("deleted", ())), "KUBE-NODEPORTS": []}
    for chain in ("KUBE-POSTROUTING", "KUBE-MARK-MASQ"):
        nat[chain] = wanted["nat"][chain]
    nat["KUBE-SERVICES"] = [
        f'-m comment --comment "{name} cluster IP" {TCP} -d {ip} --dport {port} -j {chain}'
        for name, ip, port, chain in step["services"]
    ] + wanted["nat"]["KUBE-SERVICES"][-1:]
    about = {chain: (name, ip, port) for name, ip, port, chain in step["services"]}
    for chain, ends in step.get("written", {}).items():
        name, ip, port = about[chain]
        head = f'-m comment --comment "{name} cluster IP" {TCP} -d {ip} --dport {port}'
        nat[chain] = [f"{head} ! -s 10.0.0.0/8 -j KUBE-MARK-MASQ"]
        for left, (end, sep) in zip(range(len(ends), 0, -1), ends.items(), strict=True):
            chance = (
                f"-m statistic --mode random --probability {probability(left)} " if left > 1 else ""
            )
            nat[chain].append(f'-m comment --comment "{name} -> {end}" {chance}-j {sep}')
            nat[sep] = [
                f"-m comment --comment {name} -s {end.partition(':')[0]} -j KUBE-MARK-MASQ",
                f"-m comment --comment {name} {TCP} -j DNAT --to-destination {end}",
            ]
    for chain in step.get("deleted", ()):
        nat[chain] = []
    return {"filter": filter_table, "nat": nat}


class Repeated:
    """TestSyncProxyRulesRepeated against a modelled kernel."""

    def __init__(self) -> None:
        self.made = proxier()
        self.kernel = Kernel(NODE, SeededRng(1))
        self.full = True
        self.step = iter(STEPS)

    def sync(self) -> Sync:
        existing: dict[tuple[str, ...], str] = {}
        if self.full:
            stdout, _, _ = self.kernel.tool("", ["iptables-save"], "", 0)
            existing["iptables-save",] = stdout
        plan = self.made.plan(full=self.full, existing=existing)
        assert plan is not None
        self.full = True
        for command in plan.commands:
            self.kernel.execute(command, 0)
        self.made.committed(plan)
        self.full = False
        return plan

    def check(self) -> None:
        step, plan = next(self.step), self.sync()
        command = plan.commands[-1]
        assert isinstance(command, RulesRestore)
        assert tables(command.text) == expected(step), step["name"]
        assert plan.gauges[TOTAL_NAT] == step["total"], step["name"]
        written = sum(len(rules) for chain, rules in expected(step)["nat"].items() if chain != "-X")
        assert plan.gauges['sync_proxy_rules_iptables_last{table="nat"}'] == written, step["name"]


def test_each_sync_writes_what_upstreams_writes():
    """TestSyncProxyRulesRepeated: new, deleted, without endpoints, changed, grown; and a partial
    sync that the kernel refuses is followed by a full one.
    """
    story = Repeated()
    made = story.made
    add(made, "ns1/svc1", {"clusterIP": "172.30.0.41"}, "10.0.1.1")
    p8080 = [{"name": "p8080", "port": 8080}]
    add(
        made,
        "ns2/svc2",
        {"clusterIP": "172.30.0.42", "ports": p8080},
        "10.0.2.1",
        port="p8080 8080",
    )
    story.check()
    add(made, "ns3/svc3", {"clusterIP": "172.30.0.43"}, "10.0.3.1")
    story.check()
    made.service(made.services["ns2/svc2"], None)
    story.check()
    add(made, "ns4/svc4", {"clusterIP": "172.30.0.44"})
    story.check()
    add(made, "ns4/svc4", None, "10.0.4.1")
    story.check()
    add(made, "ns3/svc3", None, "10.0.3.2")
    story.check()
    add(made, "ns3/svc3", None, "10.0.3.2", "10.0.3.3")
    story.check()
    assert made.plan(full=False) is None, "nothing changed: nothing is written"
    bad = "*nat\n-A KUBE-SVC-X27LE4BHSL4DOUIK -j KUBE-SEP-AYCN5HPXMIRJNJXU\nCOMMIT\n"
    story.kernel.execute(RulesRestore(text=bad), 0)
    made.service(made.services["ns4/svc4"], None)
    with pytest.raises(CommandError):
        story.sync()
    story.check()


def test_a_large_cluster_drops_comments_and_deletes_chains_later():
    """TestSyncProxyRulesLargeClusterMode: above 1000 endpoints."""
    made = proxier(masquerade_all=True)
    made.sync_period_s = 30.0

    def dnats(plan: Sync | None) -> list[str]:
        assert plan is not None
        made.committed(plan)
        lines = restore_text(plan).splitlines()
        return [line for line in lines if line.startswith("-A KUBE-SEP-") and "-j DNAT" in line]

    def many(net: int) -> list[str]:
        return [f"10.{net}.{i % 256}.{i // 256}" for i in range(499)]

    add(made, "ns1/svc1", {"clusterIP": "172.30.0.41"}, *many(0))
    p8080 = [{"name": "p8080", "port": 8080}]
    add(made, "ns2/svc2", {"clusterIP": "172.30.0.42", "ports": p8080}, *many(1), port="p8080 8080")
    p8081 = [{"name": "p8081", "port": 8081}]
    add(made, "ns3/svc3", {"clusterIP": "172.30.0.43", "ports": p8081})
    lines = dnats(made.plan(full=True))
    first = "-m tcp -p tcp -j DNAT --to-destination 10.0.0.0:80"
    assert f"-A KUBE-SEP-DKGQUZGBKLTPAR56 -m comment --comment ns1/svc1:p80 {first}" in lines
    assert len(lines) == 998
    assert all("--comment" in line for line in lines)
    add(made, "ns3/svc3", None, "203.0.113.4", "203.0.113.8", "203.0.113.12", port="p8081 8081")
    lines = dnats(made.plan(full=False))
    end = "-m tcp -p tcp -j DNAT --to-destination 203.0.113.4:8081"
    assert f"-A KUBE-SEP-RUVVH7YV3PHQBDOS {end}" in lines, "the others are left as they are"
    assert len(lines) == 3
    lines = dnats(made.plan(full=True))
    assert len(lines) == 1001
    assert not any("--comment" in line for line in lines)
    p8082 = [{"name": "p8082", "port": 8082}]
    add(
        made,
        "ns4/svc4",
        {"clusterIP": "172.30.0.44", "ports": p8082},
        "10.4.0.1",
        port="p8082 8082",
    )
    now = 40_000_000_000
    assert len(dnats(made.plan(full=False, now_ns=now))) == 1
    made.service(made.services["ns4/svc4"], None)
    plan = made.plan(full=False, now_ns=now + 1)
    assert dnats(plan) == []
    assert plan is not None
    assert "-X " not in restore_text(plan)
    assert plan.again_s is not None
    late = made.plan(full=False, now_ns=now + 31_000_000_000)
    assert dnats(late) == []
    assert late is not None
    for chain in ("KUBE-SVC-EBDQOQU5SJFXRIL3", "KUBE-SEP-SU5STNODRYEWJAUF"):
        assert f"-X {chain}" in restore_text(late)
    assert made.plan(full=False, now_ns=now + 32_000_000_000) is None


# ---------------------------------------------------------------- choices and counts


def test_probabilities_are_upstreams_and_fall_strictly():
    """TestComputeProbability."""
    for n, text in {
        1: "1.0000000000", 2: "0.5000000000", 10: "0.1000000000", 100: "0.0100000000",
        1000: "0.0010000000", 10000: "0.0001000000", 100000: "0.0000100000", 100001: "0.0000099999",
    }.items():  # fmt: skip
        assert probability(n) == text
    shares = [float(probability(n)) for n in range(100_000, 1, -997)]
    assert shares == sorted(set(shares))


@pytest.mark.parametrize(
    ("internal", "external", "here", "wanted"),
    [
        ("Local", "", True, (0, 0)),
        ("", "Local", True, (0, 0)),
        ("Local", "Local", True, (0, 0)),
        ("Local", "", False, (1, 0)),
        ("", "Local", False, (0, 1)),
        ("Local", "Local", False, (1, 1)),
        ("Local", "Local", None, (0, 0)),
    ],
)
def test_services_without_local_endpoints_are_counted(internal, external, here, wanted):
    """TestNoEndpointsMetric; a Service without any endpoint is not counted."""
    made = proxier()
    spec: dict[str, Any] = {"clusterIP": "172.30.1.1", "ports": [{**P80[0], "nodePort": 123}]}
    spec |= {"internalTrafficPolicy": internal} if internal else {}
    spec |= {"type": "NodePort", "externalTrafficPolicy": external} if external else {}
    nodes = ("here" if here else "node0", "node1", "node2")
    ends = [f"10.0.1.{i} {name}" for i, name in enumerate(nodes, start=1)]
    add(made, "ns1/svc1", spec, *(ends if here is not None else ()))
    gauges = full(made).gauges
    name = "sync_proxy_rules_no_local_endpoints_total"
    found = tuple(gauges[f'{name}{{traffic_policy="{p}"}}'] for p in ("internal", "external"))
    assert found == wanted


CHOICES = yaml.safe_load((DATA / "choices.yaml").read_text())["cases"]


@pytest.mark.parametrize("case", CHOICES, ids=[case["name"] for case in CHOICES])
def test_a_node_chooses_endpoints_as_upstream_does(case):
    """TestCategorizeEndpoints: policies, hints, terminating endpoints."""
    spec: dict[str, Any] = {"clusterIP": "10.96.0.1", "ports": [{**P80[0]}]}
    if "external" in case:
        spec |= {"type": "NodePort", "externalTrafficPolicy": case["external"]}
        spec["ports"][0]["nodePort"] = case.get("nodePort", 8080)
    if "internal" in case:
        spec["internalTrafficPolicy"] = case["internal"]
    (port,) = service_ports(service("ns/svc", spec))
    slices: list[EndpointSlice] = []
    if case["at"]:
        slices = [endpoint_slice("ns/svc", 1, {"ports": ["p80 80"], "at": case["at"]})]
    node = NodeFacts(NODE, case.get("zone", ""), ())
    choice = categorize(port, endpoints_of(port, slices, NODE), node)

    def octets(endpoints: Any) -> list[int]:
        return sorted(int(e.ip.rpartition(".")[2]) for e in endpoints)

    assert octets(choice.cluster) == case.get("cluster", [])
    assert octets(choice.local) == case.get("local", [])
    everything = case.get("all", case.get("cluster", case.get("local")))
    assert octets(choice.reachable) == everything
    assert choice.any is (bool(everything) or case.get("remote", False))
    assert port.uses_cluster is ("cluster" in case)
    assert port.uses_local is ("local" in case)


MAPS = yaml.safe_load((DATA / "endpoint_maps.yaml").read_text())["cases"]
PORTS = ("p11", "p12", "p13", "p14", "p21", "p22", "p23", "p33", "p44", "p45", "p122", "p11-2")


@pytest.mark.parametrize("case", MAPS, ids=[case["name"] for case in MAPS])
def test_endpoints_follow_their_slices(case):
    """TestUpdateEndpointsMap: added, changed and removed slices; local ready endpoints are counted
    for the healthCheckNodePort.
    """
    made = proxier()
    ports = [{"name": n, "port": i, "protocol": "UDP"} for i, n in enumerate(PORTS, start=1)]
    keys = ("ns1/ep1", "ns2/ep2", "ns3/ep3", "ns4/ep4")
    for number, key in enumerate(keys):
        spec = {
            "type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": ports,
            "clusterIP": f"10.96.0.{number + 1}", "healthCheckNodePort": 30000 + number,
        }  # fmt: skip
        made.service(None, service(key, spec))

    def slices(of: dict[str, Any]) -> dict[str, EndpointSlice]:
        return {
            name: endpoint_slice(name.rpartition("-")[0], int(name.rpartition("-")[2]), body)
            for name, body in of.items()
        }

    before, after = slices(case["before"]), slices(case["after"])
    for entry in before.values():
        made.slice(None, entry)
    for name in sorted({**before, **after}):
        made.slice(before.get(name), after.get(name))
    found = {
        f"{key}:{port.port_name}": [e.text for e in endpoints_of(port, made.slices_of(key), NODE)]
        for key in keys
        for port in service_ports(made.services[key])
    }
    assert {name: ends for name, ends in found.items() if ends} == case["wanted"]
    counted = {key: check.local_endpoints for key, check in made.checks().items()}
    assert {key: count for key, count in counted.items() if count} == case["local"]
