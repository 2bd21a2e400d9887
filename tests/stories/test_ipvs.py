"""A cluster whose kube-proxy runs in IPVS mode."""

import pytest

from podwire.api import kinds
from podwire.explain.table import render
from tests.property.turmoil import policy
from tests.stories.test_dual_stack import SERVICE, curl
from tests.stories.test_explanations import ARTICLE, SERVICES, because
from tests.stories.test_node_commands import ask
from tests.stories.test_proxy_modes import switch

INNER = """
apiVersion: v1
kind: Service
metadata: {name: inner}
spec:
  internalTrafficPolicy: Local
  selector: {app: only}
  ports: [{name: web, port: 80, targetPort: 8080}]
"""
pytestmark = pytest.mark.podwire(proxy_mode="ipvs")


@pytest.fixture
def article(cluster):
    """The article's pair, and Services with mistakes."""
    cluster.apply(ARTICLE / "backend.yaml", ARTICLE / "frontend.yaml", SERVICES, INNER)
    assert cluster.converge()
    return cluster


def cluster_ip(cluster, name):
    return cluster.get(kinds.SERVICE, name).spec.cluster_ip


def test_pods_reach_services_by_virtual_servers_and_dns(article):
    """A name, a ClusterIP, every backend; nodes too."""
    report = article.trace("deploy/frontend", "svc/backend")
    assert report.fate == "DELIVERED"
    assert {branch.fate for branch in report.branches} == {"DELIVERED"}
    assert len(report.branches) > 1
    assert article.trace("node/node-1", "svc/backend").fate == "DELIVERED"


def test_a_trace_names_the_virtual_server_its_scheduler_and_the_real_server(article):
    """The table shows what IPVS did, there and back."""
    report = article.trace("deploy/frontend", "svc/backend")
    ip = cluster_ip(article, "backend")
    steps = [
        s for hop in (*report.hops, *report.reply_hops) for s in hop.steps if s.stage == "ipvs"
    ]
    assert [(s.object, s.result) for s in steps] == [
        (f"TCP {ip}:80 rr", "schedule"),
        (f"TCP {ip}:80 rr", "dnat"),
        (f"TCP {ip}:80 rr", "undo"),
    ]
    assert "Masq weight 1, one of " in render(report)


def test_mistakes_are_explained_as_well_as_in_iptables_mode(article):
    """No endpoint, no local endpoint, a port the Service does not have, ICMP."""
    fate, why = because(article.trace("deploy/frontend", "svc/misnamed"))
    assert fate == "NO_ENDPOINTS"
    assert why.startswith("Service default/misnamed targets port name htpp")
    report = article.trace("node/node-2", "svc/inner:80")
    assert report.fate == "NO_ENDPOINTS"
    assert "internalTrafficPolicy of Service default/inner is Local" in report.cause.summary
    assert report.nearest.change == (
        "set internalTrafficPolicy of Service default/inner to Cluster"
    )
    assert report.cause.rule == f"-A -t {cluster_ip(article, 'inner')}:80 -s rr"
    fate, why = because(article.trace("deploy/frontend", "svc/backend:81"))
    assert (fate, why) == (
        "REFUSED",
        "Service default/backend does not serve TCP/81; it has TCP/80",
    )
    fate, why = because(article.trace("deploy/frontend", "svc/backend", protocol="icmp"))
    assert fate == "REFUSED"
    assert "KUBE-IPVS-FILTER rejects all but its ports" in why


def test_a_node_port_service_falls_back_to_other_nodes_endpoints(article):
    """internalTrafficPolicy Local, no endpoint here: iptables mode drops, IPVS mode goes on."""
    report = article.trace("node/node-2", "svc/local:80")
    assert (report.fate, report.branches[0].node) == ("DELIVERED", "node-1")


def test_nodes_show_virtual_servers_sets_and_the_device(article):
    """ipvsadm, ipset, ip: what an administrator would look at."""
    ip = cluster_ip(article, "backend")
    listed, code = ask(article, "ipvsadm", "-Ln")
    assert code == 0
    assert f"TCP  {ip}:80 rr\n" in listed
    assert f"{ip},tcp:80" in ask(article, "ipset", "list", "KUBE-CLUSTER-IP")[0]
    assert (
        f"inet {ip}/32 scope global kube-ipvs0"
        in ask(article, "ip", "addr", "show", "kube-ipvs0")[0]
    )


def test_the_mode_is_changed_as_in_life_and_leaves_no_rule_behind(cluster):
    """Edit the ConfigMap, restart the DaemonSet: to iptables and back."""
    assert cluster.converge()
    for mode, absent, present in (
        ("iptables", "KUBE-IPVS", "KUBE-SVC-"),
        ("ipvs", "KUBE-SVC-", "KUBE-IPVS"),
    ):
        switch(cluster, mode)
        rules = ask(cluster, "iptables-save")[0]
        assert absent not in rules
        assert present in rules
        assert bool(ask(cluster, "ipset", "list", "-n")[0]) == (mode == "ipvs")
        assert bool(ask(cluster, "ipvsadm", "-Sn")[0]) == (mode == "ipvs")
        report = cluster.trace("node/node-1", "svc/kube-dns:53", namespace="kube-system")
        assert report.fate == "DELIVERED"


@pytest.mark.podwire(ip_family="dual", nodes=2, proxy_mode="ipvs")
def test_both_families_have_virtual_servers(cluster):
    """A dual-stack Service answers at both cluster IPs and at a NodePort of both families."""
    cluster.apply(ARTICLE / "backend.yaml", ARTICLE / "frontend.yaml", SERVICE)
    assert cluster.converge()
    four, six = cluster.get(kinds.SERVICE, "both").spec.cluster_ips
    node = [a.address for a in cluster.get(kinds.NODE, "node-2", "").status.addresses]
    for door in (four, f"[{six}]", f"{node[0]}:30099", f"[{node[1]}]:30099"):
        answer = curl(cluster, f"http://{door}/")
        assert answer.code == 0, (door, answer)
    assert f"TCP  [{six}]:80 rr\n" in ask(cluster, "ipvsadm", "-Ln")[0]


@pytest.mark.podwire(proxy_mode="ipvs", cni="calico", nodes=1)
def test_policies_hold_for_pods_of_the_same_node(cluster):
    """What a virtual server sends to a pod of its own node passes OUTPUT; Calico judges it there:
    from pods and from outside, by cluster IP and by NodePort. The node itself may.
    """
    only_backend = policy("lock", "backend", [])
    door = SERVICE.replace("ipFamilyPolicy: RequireDualStack", "externalTrafficPolicy: Local")
    cluster.apply(ARTICLE / "backend.yaml", ARTICLE / "frontend.yaml", door, only_backend)
    assert cluster.converge()
    node_port = f"{cluster.get(kinds.NODE, 'node-1', '').internal_ip}:30099"
    for source in ("deploy/frontend", "external"):
        for target in ("svc/backend", node_port):
            if (source, target) == ("external", "svc/backend"):
                continue
            report = cluster.trace(source, target)
            assert {b.fate for b in report.branches} == {"DENIED_IN"}, (source, target)
            assert "default/lock" in report.cause.summary
    assert cluster.trace("node/node-1", "svc/backend").fate == "DELIVERED"
    cluster.delete(kinds.NETWORK_POLICY, "lock")
    assert cluster.converge()
    assert cluster.trace("deploy/frontend", "svc/backend").fate == "DELIVERED"
    assert cluster.trace("external", node_port).fate == "DELIVERED"


@pytest.mark.podwire(proxy_mode="iptables", cni="calico", nodes=1)
def test_calico_follows_a_change_of_the_mode(cluster):
    """The chains for IPVS and the set of the node's addresses come and go with kube-ipvs0."""
    assert cluster.converge()
    for mode in ("ipvs", "iptables"):
        switch(cluster, mode)
        told = mode == "ipvs"
        assert ("cali-forward-check" in ask(cluster, "iptables-save")[0]) == told
        assert ("cali40this-host" in ask(cluster, "ipset", "list", "-n")[0]) == told
