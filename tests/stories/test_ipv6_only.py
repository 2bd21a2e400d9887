"""Stories of a cluster that knows IPv6 alone: no address of IPv4 anywhere."""

import re

import pytest

from podwire.api import kinds
from tests.property.turmoil import policy
from tests.stories.test_connectivity import ARTICLE
from tests.stories.test_dual_stack import curl, frontend
from tests.stories.test_node_commands import ask
from tests.stories.test_trace_ingress import town

DOOR = """
apiVersion: v1
kind: Service
metadata: {name: door}
spec:
  type: NodePort
  selector: {app: backend}
  ports: [{port: 80, targetPort: 8080, nodePort: 30099}]
"""


def six(**options):
    return pytest.mark.podwire(ip_family="ipv6", nodes=2, **options)


def _works(cluster):
    """Names, Services, NodePorts, the API server, the world outside, and policies."""
    cluster.apply(ARTICLE / "backend.yaml", ARTICLE / "frontend.yaml", DOOR)
    assert cluster.converge()
    pod = frontend(cluster)
    assert [":" in ip.ip for ip in pod.status.pod_ips] == [True]
    service = cluster.get(kinds.SERVICE, "backend").spec
    assert (service.ip_families, service.cluster_ips) == (["IPv6"], [service.cluster_ip])
    for url in (
        "http://backend/hostname",
        f"http://[{service.cluster_ip}]/hostname",
        "http://[fd00:192:168::11]:30099/hostname",
        "http://example.com/",
    ):
        assert curl(cluster, url).code == 0, url
    assert curl(cluster, "-k", "https://kubernetes.default/version").code == 0
    for source, target in (
        ("deploy/frontend", "backend:80"),
        ("node/node-1", "svc/backend"),
        ("external", "[fd00:192:168::11]:30099"),
    ):
        report = cluster.trace(source, target)
        assert {b.fate for b in report.branches} == {"DELIVERED"}, (source, target)
    told = ask(cluster, "ip", "addr")[0] + ask(cluster, "ip", "route")[0]
    assert not re.search(r"192\.168|10\.244", told)
    if cluster.cluster.settings.cni == "calico":
        cluster.apply(policy("lock", "backend", ["nobody"]))
        assert cluster.converge()
        report = cluster.trace("deploy/frontend", "svc/backend")
        assert {b.fate for b in report.branches} == {"DENIED_IN"}
        assert "default/lock" in report.cause.summary
        assert curl(cluster, "-m", "2", "http://backend/hostname").code == 28


@six()
def test_flannel_and_iptables(cluster):
    """The defaults."""
    _works(cluster)


@six(cni="calico")
def test_calico_and_iptables(cluster):
    """Policies are ip6tables chains."""
    _works(cluster)


@six(cni="calico", proxy_mode="ipvs")
def test_calico_and_ipvs(cluster):
    """Virtual servers of IPv6, policies in OUTPUT."""
    _works(cluster)


@six(cni="calico", proxy_mode="nftables")
def test_calico_and_nftables(cluster):
    """table ip6 kube-proxy."""
    _works(cluster)


@six(cni="calico", proxy_mode="ebpf")
def test_calico_and_ebpf(cluster):
    """lb6 maps and cil_sock6 programs."""
    _works(cluster)


@six(ingress="nginx")
def test_an_ingress_asks_endpoints_of_ipv6(cluster):
    """From outside to the controller's NodePort, and on to the pods."""
    town(cluster, ARTICLE / "ingress.yaml", ARTICLE / "ingress-backends.yaml")
    report = cluster.trace("external", "ingress/app-ingress", url="https://app.example.com/api")
    assert report.fate == "DELIVERED"
    assert ":" in report.flow.src


@six()
def test_the_kubernetes_service_and_the_resolver_are_of_ipv6(cluster):
    """default/kubernetes, kube-dns, resolv.conf, flannel's variables."""
    assert cluster.get(kinds.SERVICE, "kubernetes").spec.cluster_ip == "fd00:10:96::1"
    assert cluster.get(kinds.SERVICE, "kube-dns", "kube-system").spec.cluster_ip == "fd00:10:96::a"
    env = ask(cluster, "cat", "/run/flannel/subnet.env")[0]
    assert env.startswith("FLANNEL_IPV6_NETWORK=fd00:10:244::/56\nFLANNEL_IPV6_SUBNET=")
    assert "FLANNEL_NETWORK" not in env
    assert ask(cluster, "cat", "/etc/resolv.conf")[0] == "nameserver fd00:192:168::1\n"
