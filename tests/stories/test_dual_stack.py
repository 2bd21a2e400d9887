"""Stories of a cluster with two IP families: addresses, Services, names, tunnels, rules."""

from ipaddress import ip_address, ip_network

import pytest

from podwire.api import kinds
from podwire.sim.settings import ClusterSettings
from podwire.sim.virtual import VirtualCluster
from tests.stories.test_connectivity import ARTICLE
from tests.stories.test_proxy_modes import tool

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: both}
spec:
  type: NodePort
  ipFamilyPolicy: RequireDualStack
  selector: {app: backend}
  ports: [{name: http, port: 80, targetPort: 8080, nodePort: 30099}]
"""


@pytest.fixture(scope="module")
def both():
    """Backend and frontend of the article, and a Service of both families; who breaks something
    mends it.
    """
    settings = ClusterSettings(time_profile="fast", ip_family="dual", nodes=2)
    with VirtualCluster(settings) as cluster:
        cluster.boot()
        cluster.apply(ARTICLE / "backend.yaml", ARTICLE / "frontend.yaml", SERVICE)
        assert cluster.converge()
        yield cluster


def frontend(cluster):
    return next(p for p in cluster.pods("default") if p.metadata.name.startswith("frontend"))


def far_backend(cluster):
    """A backend on another node than the frontend's."""
    here = frontend(cluster).spec.node_name
    return next(
        pod
        for pod in cluster.pods("default")
        if pod.metadata.name.startswith("backend") and pod.spec.node_name != here
    )


def curl(cluster, *words):
    return cluster.exec(frontend(cluster).metadata.name, "curl", "-s", "-g", *words)


def test_nodes_and_pods_have_an_address_of_each_family(both):
    """podCIDRs by node IPAM, podIPs by host-local, hostIPs and InternalIPs by kubelet."""
    nodes = {node.metadata.name: node for node in both.objects(kinds.NODE)}
    given = sorted(tuple(node.spec.pod_cidrs) for node in nodes.values())
    assert given == [
        ("10.244.0.0/24", "fd00:10:244::/64"),
        ("10.244.1.0/24", "fd00:10:244:1::/64"),
    ]
    for name, node in nodes.items():
        shown = [a.address for a in node.status.addresses if a.type == "InternalIP"]
        assert shown == [f"192.168.0.1{name[-1]}", f"fd00:192:168::1{name[-1]}"]
    for pod in both.pods("default"):
        node = nodes[pod.spec.node_name]
        for ip, cidr in zip(pod.status.pod_ips, node.spec.pod_cidrs, strict=True):
            assert ip_address(ip.ip) in ip_network(cidr)
        hosts = [a.address for a in node.status.addresses if a.type == "InternalIP"]
        assert [ip.ip for ip in pod.status.host_ips] == hosts


def test_a_service_of_both_families_answers_on_both(both):
    """By name over either family, by address, and by a node's IPv6 address and port."""
    four, six = both.get(kinds.SERVICE, "both").spec.cluster_ips
    pod = frontend(both)
    own = [ip.ip for ip in pod.status.pod_ips]
    for words, source in (
        (("-4", "http://both/clientip"), own[0]),
        (("-6", "http://both/clientip"), f"[{own[1]}]"),
        ((f"http://{four}/clientip",), own[0]),
        ((f"http://[{six}]/clientip",), f"[{own[1]}]"),
    ):
        answer = curl(both, *words)
        assert (answer.code, answer.stdout.rpartition(":")[0]) == (0, source), words
    assert curl(both, "http://[fd00:192:168::11]:30099/hostname").code == 0


def test_both_addresses_are_in_dns(both):
    """A and AAAA records of the Service."""
    answer = both.exec(frontend(both).metadata.name, "nslookup", "both").stdout
    for address in both.get(kinds.SERVICE, "both").spec.cluster_ips:
        assert f"Address: {address}\n" in answer


def test_a_service_of_one_family_is_refused_nothing_on_the_other(both):
    """The article's Service has no AAAA record: curl -6 finds no address."""
    assert curl(both, "-4", "http://backend/hostname").code == 0
    assert curl(both, "-6", "http://backend/hostname").code == 6


def test_a_trace_over_ipv6_shows_the_ip6tables_chains(both):
    """KUBE-SVC- and KUBE-SEP- of IPv6, every branch with its share."""
    six = both.get(kinds.SERVICE, "both").spec.cluster_ips[1]
    report = both.trace("deploy/frontend", f"[{six}]:80")
    assert report.fate == "DELIVERED"
    assert [round(b.probability, 3) for b in report.branches] == [0.333, 0.333, 0.333]
    steps = [step for hop in report.hops for step in hop.steps]
    assert any(step.result == "dnat" and step.object.startswith("KUBE-SEP-") for step in steps)


def test_flannel_gives_each_family_its_own_device_rules_and_variables(both):
    """flannel-v6.1 over the node's IPv6 address, MTU 20 less; subnet.env names both."""
    link = tool(both, "node-1", "ip", "-d", "link", "show", "dev", "flannel-v6.1")
    assert " mtu 1430 " in link
    assert "vxlan id 1 local fd00:192:168::11 dev eth0 " in link
    env = tool(both, "node-1", "cat", "/run/flannel/subnet.env")
    subnet = next(
        n.spec.pod_cidrs[1] for n in both.objects(kinds.NODE) if n.metadata.name == "node-1"
    )
    gateway = subnet.replace("::/", "::1/")
    assert f"FLANNEL_IPV6_NETWORK=fd00:10:244::/56\nFLANNEL_IPV6_SUBNET={gateway}\n" in env
    saved = tool(both, "node-1", "ip6tables-save", "-t", "nat")
    assert "-A FLANNEL-POSTRTG -s fd00:10:244::/56 ! -d ff00::/8 " in saved
    node = next(n for n in both.objects(kinds.NODE) if n.metadata.name == "node-2")
    notes = node.metadata.annotations
    assert notes["flannel.alpha.coreos.com/public-ipv6"] == "fd00:192:168::12"
    assert '"VtepMAC"' in notes["flannel.alpha.coreos.com/backend-v6-data"]


def test_a_large_answer_over_ipv6_crosses_the_smaller_tunnel(both):
    """Pods have 1450 bytes, the tunnel 1430: packet too big, then smaller segments."""
    six = far_backend(both).status.pod_ips[1].ip
    answer = curl(both, f"http://[{six}]:8080/echo?msg={'x' * 3000}")
    assert (answer.code, len(answer.stdout)) == (0, 3000)


def test_a_missing_route_over_ipv6_is_found_and_put_back(both):
    """The nearest change is flannel's own IPv6 route, and making it helps."""
    source = frontend(both)
    other = far_backend(both)
    there = next(n for n in both.objects(kinds.NODE) if n.metadata.name == other.spec.node_name)
    subnet = there.spec.pod_cidrs[1]
    node = source.spec.node_name
    tool(both, node, "ip", "-6", "route", "del", subnet)
    address = other.status.pod_ips[1].ip
    report = both.trace(f"pod/{source.metadata.name}", f"[{address}]:8080")
    assert report.fate == "NULL_ROUTED"
    assert subnet in report.cause.summary
    where, _, command = report.nearest.change.partition(": ")
    assert node in where
    assert command.startswith(f"ip route replace {subnet} via ")
    tool(both, node, *command.split())
    assert both.trace(f"pod/{source.metadata.name}", f"[{address}]:8080").fate == "DELIVERED"


LOCK = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: lock}
spec:
  podSelector: {matchLabels: {app: backend}}
  policyTypes: [Ingress]
  ingress: [{from: [{ipBlock: {cidr: %s}}], ports: [{port: 8080}]}]
"""


def _policies_hold(cluster):
    """Who is let in by an IPv6 block gets in over IPv6 and not over IPv4, and the reverse."""
    cluster.apply(ARTICLE / "backend.yaml", ARTICLE / "frontend.yaml", SERVICE)
    assert cluster.converge()
    targets = [pod for pod in cluster.pods("default") if pod.metadata.name.startswith("backend")]
    for let_in in (0, 1):
        cidrs = ("10.244.0.0/16", "fd00:10:244::/56")
        cluster.apply(LOCK % f'"{cidrs[let_in]}"')
        assert cluster.converge()
        for family, service in enumerate(cluster.get(kinds.SERVICE, "both").spec.cluster_ips):
            wanted = "DELIVERED" if family == let_in else "DENIED_IN"
            for pod in targets:
                at = ip_address(pod.status.pod_ips[family].ip)
                door = f"[{at}]" if at.version == 6 else f"{at}"
                assert cluster.trace("deploy/frontend", f"{door}:8080").fate == wanted, door
            door = f"[{service}]" if ":" in service else service
            report = cluster.trace("deploy/frontend", f"{door}:80")
            assert {branch.fate for branch in report.branches} == {wanted}, door
            code = curl(cluster, "-m", "3", f"http://{door}/hostname").code
            assert (code == 0) == (wanted == "DELIVERED")


@pytest.mark.podwire(ip_family="dual", nodes=2, cni="calico")
def test_calico_holds_policies_in_both_families(cluster):
    """With kube-proxy's iptables mode."""
    _policies_hold(cluster)


@pytest.mark.podwire(ip_family="dual", nodes=2, cni="calico", proxy_mode="ipvs")
def test_calico_holds_policies_in_both_families_of_ipvs(cluster):
    """What IPVS sends on is judged in OUTPUT, by ip6tables too."""
    _policies_hold(cluster)


@pytest.mark.podwire(ip_family="dual", nodes=2, cni="calico")
def test_a_pod_without_egress_still_finds_its_neighbours(cluster):
    """Neighbour discovery passes whatever the policies say: refused is the connection, no more."""
    cluster.apply(ARTICLE / "backend.yaml", ARTICLE / "frontend.yaml", SERVICE, """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: shut}
spec: {podSelector: {matchLabels: {app: frontend}}, policyTypes: [Egress]}
""")  # fmt: skip
    assert cluster.converge()
    six = cluster.get(kinds.SERVICE, "both").spec.cluster_ips[1]
    report = cluster.trace("deploy/frontend", f"[{six}]:80")
    assert report.fate == "DENIED_OUT"
    assert "default/shut" in report.cause.summary
    cluster.apply("""
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: shut}
spec:
  podSelector: {matchLabels: {app: frontend}}
  policyTypes: [Egress]
  egress: [{to: [{ipBlock: {cidr: "fd00:10:244::/56"}}]}]
""")
    assert cluster.converge()
    assert cluster.trace("deploy/frontend", f"[{six}]:80").fate == "DELIVERED"
