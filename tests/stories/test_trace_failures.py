"""Broken networks, and what a trace says of them."""

from pathlib import Path

import msgspec
import pytest

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.dataplane import commands as c
from podwire.explain.table import render
from podwire.sim.settings import ClusterSettings
from podwire.sim.virtual import VirtualCluster

ARTICLE = Path(__file__).resolve().parents[2] / "examples/article"
POD = """
apiVersion: v1
kind: Pod
metadata: {name: %s, labels: {app: %s}}
spec:
  nodeName: %s
  containers:
    - name: c
      image: registry.k8s.io/e2e-test-images/agnhost:2.53
      args: [netexec]
      ports: [{name: http, containerPort: 8080}]
"""
EGRESS = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: only-backend}
spec:
  podSelector: {matchLabels: {app: a}}
  policyTypes: [Egress]
  egress: [{to: [{podSelector: {matchLabels: {app: b}}}], ports: [{port: 8080}]}]
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: b}
spec:
  selector: {app: b}
  ports: [{name: http, port: 80, targetPort: http}, {name: admin, port: 81, targetPort: http}]
"""


def paired(cluster):
    """Pod a on node-1, pod b on node-2, and a Service with two ports before b."""
    cluster.apply(POD % ("a", "a", "node-1"), POD % ("b", "b", "node-2"), SERVICE)
    assert cluster.converge()
    return cluster


@pytest.fixture
def pair(cluster):
    """A pair to break something of."""
    return paired(cluster)


@pytest.fixture(scope="module")
def healthy():
    """A pair that is only asked."""
    with VirtualCluster(ClusterSettings(time_profile="fast")) as cluster:
        cluster.boot()
        yield paired(cluster)


def run(cluster, node, *commands):
    """Kernel commands on a node."""
    cluster.run(cluster.cluster.fabric.execute(node, list(commands)))


def cidr(cluster, node):
    """A node's pod range."""
    return cluster.get(kinds.NODE, node, "").spec.pod_cidr


def told(report):
    """Fate, cause, nearest change."""
    return report.fate, report.cause.summary, report.nearest and report.nearest.change


def test_a_lost_route_is_named_and_given_back(pair):
    """The default route takes the packet; flannel's own route brings it home."""
    there = cidr(pair, "node-2")
    via = there.removesuffix("/24")
    run(pair, "node-1", c.RouteDel(dst=there))
    fate, why, nearest = told(pair.trace("pod/a", "pod/b:8080"))
    assert fate == "NULL_ROUTED"
    assert why == (
        f"node-1 has no route to {there} (pods of node-2) and sends it out by "
        "default via 192.168.0.1 dev eth0; gateway discards it"
    )
    assert nearest == f"on node-1: ip route replace {there} via {via} dev flannel.1 onlink"


def test_a_route_to_nobody_names_whom_it_asks(pair):
    """NEIGHBOR_UNREACHABLE, and the same route mends it."""
    there = cidr(pair, "node-2")
    run(pair, "node-1", c.RouteReplace(dst=there, via="192.168.0.99", dev="eth0"))
    fate, why, nearest = told(pair.trace("pod/a", "pod/b:8080"))
    assert fate == "NEIGHBOR_UNREACHABLE"
    assert why.startswith("nobody on eth0 of node-1 answers for 192.168.0.99")
    assert nearest.startswith(f"on node-1: ip route replace {there}")


def test_a_device_that_went_down_took_its_entries_along(pair):
    """flannel.1 down: up again, it also needs route, neighbour and FDB entry."""
    run(pair, "node-1", c.LinkSet(name="flannel.1", up=False))
    fate, _, nearest = told(pair.trace("pod/a", "pod/b:8080"))
    assert fate == "NULL_ROUTED"
    for words in ("ip link set flannel.1 up", "ip route replace", "ip neigh", "bridge fdb"):
        assert words in nearest


def test_a_bridge_that_is_down_is_brought_up(pair):
    """At the far node."""
    run(pair, "node-2", c.LinkSet(name="cni0", up=False))
    report = pair.trace("pod/a", "pod/b:8080")
    assert "its own pods" in report.cause.summary
    assert report.nearest.change == "on node-2: ip link set cni0 up"


def test_an_answer_that_cannot_come_back_shows_its_way(pair):
    """The packet arrives; the far node lacks the route to the asking pod."""
    back = cidr(pair, "node-1")
    run(pair, "node-2", c.RouteDel(dst=back))
    report = pair.trace("pod/a", "pod/b:8080")
    assert report.cause.summary.startswith("the packet arrived, its answer did not: node-2 has no")
    assert report.nearest.change.startswith(f"on node-2: ip route replace {back}")
    steps = [s for hop in [*report.hops, *report.reply_hops] for s in hop.steps]
    assert [s.n for s in steps] == list(range(1, len(steps) + 1))
    assert report.cause.step > sum(len(hop.steps) for hop in report.hops)
    assert "the way back" in render(report).splitlines()


def test_forwarding_that_is_off_is_named(pair):
    """One sysctl."""
    run(pair, "node-2", c.SysctlSet(key="net.ipv4.ip_forward", value="0"))
    fate, why, nearest = told(pair.trace("pod/a", "pod/b:8080"))
    assert (fate, why) == ("NO_ROUTE", "node-2 does not forward packets: net.ipv4.ip_forward is 0")
    assert nearest == "on node-2: sysctl -w net.ipv4.ip_forward=1"


@pytest.mark.parametrize(
    ("rule", "fate"),
    [
        ('-p tcp -m tcp --dport 8080 -m comment --comment "no web" -j DROP', "DROPPED_BY_RULE"),
        ("-p tcp -m tcp --dport 8080 -j REJECT --reject-with tcp-reset", "REFUSED"),
    ],
)
def test_a_foreign_rule_is_quoted_and_deleted_on_trial(pair, rule, fate):
    """Its whole text is the cause; the nearest change is to delete it."""
    run(pair, "node-2", c.RulesRestore(text=f"*filter\n-I FORWARD 1 {rule}\nCOMMIT\n"))
    found, why, nearest = told(pair.trace("pod/a", "pod/b:8080"))
    assert found == fate
    assert f"-A FORWARD {rule}" in why
    assert nearest == f"on node-2: iptables -t filter -D FORWARD {rule}"


def test_what_is_not_modelled_is_unknown_and_names_the_rule(pair):
    """Exit code 4: never a guess."""
    text = "*filter\n-I FORWARD 1 -m geoip --src-cc DE -j DROP\nCOMMIT\n"
    run(pair, "node-2", c.RulesRestore(text=text))
    report = pair.trace("pod/a", "pod/b:8080")
    assert (report.fate, report.exit_code, report.nearest) == ("UNKNOWN", 4, None)
    assert "geoip" in report.cause.summary
    assert "chain FORWARD of node-2: -A FORWARD -m geoip" in report.cause.summary


def test_a_packet_that_is_too_large_is_sent_smaller_on_trial(healthy):
    """flannel's pods have an MTU of 1450."""
    assert healthy.trace("pod/a", "pod/b:8080", size_bytes=1450).fate == "DELIVERED"
    report = healthy.trace("pod/a", "pod/b:8080", size_bytes=1451)
    assert report.fate == "MTU_EXCEEDED"
    assert report.nearest.change == "send at most 1450 bytes"
    assert "--size 1451" in report.replay


@pytest.mark.podwire(cni="calico")
def test_a_policy_that_denies_dns_is_the_reason_of_an_unresolved_name(pair):
    """The edit is tried on the question's own packet."""
    pair.apply(EGRESS)
    pair.until_quiet()
    report = pair.trace("pod/a", "b:80")
    assert report.fate == "NAME_UNRESOLVED"
    assert report.cause.summary.startswith(
        "the question to DNS ends DENIED_OUT: default/a is isolated for egress by "
        "default/only-backend; no rule admits UDP/53 to kube-system/coredns-"
    )
    assert report.nearest.change == (
        "add {to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, "
        "podSelector: {matchLabels: {k8s-app: kube-dns}}}], "
        "ports: [{protocol: UDP, port: 53}]} to egress of NetworkPolicy default/only-backend"
    )
    assert "the question to DNS" in render(report)
    ping = pair.trace("pod/a", "pod/b", protocol="icmp")
    assert ping.fate == "DENIED_OUT"
    assert "ports" not in ping.nearest.change


@pytest.mark.podwire(cni="calico")
def test_two_ends_that_both_deny_need_an_edit_each(pair):
    """However many policies isolate them."""
    closed = EGRESS.partition("  egress:")[0].replace("[Egress]", "[Ingress, Egress]")
    closed = closed.replace("{matchLabels: {app: a}}", "{}")
    for number in range(14):
        pair.apply(closed.replace("only-backend", f"deny-{number}"))
    pair.until_quiet()
    fate, _, nearest = told(pair.trace("pod/a", "pod/b:8080"))
    assert fate == "DENIED_OUT"
    out, _, inward = nearest.partition("; and ")
    assert out.startswith("add {to: [{podSelector: {matchLabels: {app: b}}}]")
    assert inward.startswith("add {from: [{podSelector: {matchLabels: {app: a}}}]")


def test_a_name_that_belongs_to_another_namespace_is_suggested(healthy):
    """Looked up and walked to before it is printed."""
    report = healthy.trace("pod/a", "kube-dns:53", protocol="udp")
    assert report.fate == "NAME_UNRESOLVED"
    assert report.nearest.change == "ask kube-dns.kube-system:53"


def test_several_ports_must_be_told_apart(healthy):
    """The usage error lists what can be written instead."""
    with pytest.raises(ApiError, match=r"several TCP ports: svc/b:80 \(http\), svc/b:81 \(admin\)"):
        healthy.trace("pod/a", "svc/b")
    with pytest.raises(ApiError, match=r"no UDP port \(it has 80/TCP, 81/TCP\)"):
        healthy.trace("pod/a", "svc/b", protocol="udp")


def test_pods_reach_themselves_through_their_own_service(healthy):
    """Hairpin: masqueraded to the bridge's address."""
    assert healthy.trace("pod/b", "svc/b:80").fate == "DELIVERED"


def test_a_kubelet_that_is_gone_takes_its_programs_along(pair):
    """Its pods cannot be asked where they are; whoever asks them is refused by their kernel."""
    pair.run(pair.cluster.stop_room("kubelet/node-2"))
    with pytest.raises(ApiError, match="the kubelet of node-2, where default/b runs") as raised:
        pair.trace("pod/b", "pod/a:8080")
    assert raised.value.reason == "ServiceUnavailable"
    fate, why, _ = told(pair.trace("pod/a", "pod/b:8080"))
    assert fate == "REFUSED"
    assert why.endswith("which declares it: its program does not run, or listens elsewhere")


def test_the_table_names_places_and_its_ascii_form_is_ascii(healthy):
    """Pod and node namespaces apart; 110 columns at most with short names."""
    report = healthy.trace("pod/a", "svc/b:80")
    lines = render(report).splitlines()
    assert "node-1  pod default/a" in lines
    assert "node-2  pod default/b" in lines
    assert all(len(line) <= 110 for line in lines)
    assert render(report, ascii_only=True, verbose=True).isascii()
    json = msgspec.to_builtins(report)
    assert json["hops"][0]["steps"][0]["n"] == 1
