"""Services of type LoadBalancer: who gives them an address, and what it does in each mode."""

import pytest

from podwire.api import kinds
from podwire.client.api import MERGE
from tests.stories.test_connectivity import ARTICLE
from tests.stories.test_proxy_modes import tool

ADDRESS = "203.0.113.200"
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: balanced}
spec:
  type: LoadBalancer
  externalTrafficPolicy: %s
  loadBalancerSourceRanges: %s
  selector: {app: backend}
  ports: [{port: 80, targetPort: 8080}]
"""


def balanced(cluster, ip_mode, policy="Cluster", ranges="[]"):
    """The Service, and the address that an administrator (or a controller) writes."""
    cluster.apply(SERVICE % (policy, ranges))
    status = {"loadBalancer": {"ingress": [{"ip": ADDRESS, "ipMode": ip_mode}]}}
    patch = cluster.cluster.client.patch
    cluster.run(
        patch(
            kinds.SERVICE, "balanced", {"status": status}, "default",
            subresource="status", content_type=MERGE,
        )
    )  # fmt: skip
    assert cluster.converge()


def fates(cluster, source):
    """Where packets to the address end."""
    report = cluster.trace(source, f"{ADDRESS}:80")
    return {branch.fate for branch in report.branches} or {report.fate}


@pytest.mark.parametrize("mode", [
    pytest.param("iptables", marks=pytest.mark.podwire(nodes=2)),
    pytest.param("ipvs", marks=pytest.mark.podwire(nodes=2, proxy_mode="ipvs")),
    pytest.param("nftables", marks=pytest.mark.podwire(nodes=2, proxy_mode="nftables")),
    pytest.param("ebpf", marks=pytest.mark.podwire(nodes=2, proxy_mode="ebpf")),
])  # fmt: skip
def test_an_address_written_by_hand_works_in_every_mode(cluster, mode):
    """Nobody gives one. ipMode VIP: nodes answer for it, whoever asks; Proxy: they leave it to the
    load balancer. Clients outside come in where the network brings them: here, by a route.
    """
    cluster.apply(ARTICLE / "backend.yaml", ARTICLE / "frontend.yaml", SERVICE % ("Cluster", "[]"))
    assert cluster.converge()
    assert cluster.get(kinds.SERVICE, "balanced").status.load_balancer.ingress == []
    tool(cluster, "gateway", "ip", "route", "add", ADDRESS, "via", "192.168.0.11")
    balanced(cluster, "VIP")
    for source in ("deploy/frontend", "node/node-2", "external"):
        assert fates(cluster, source) == {"DELIVERED"}, source
    balanced(cluster, "Proxy")
    assert fates(cluster, "deploy/frontend") != {"DELIVERED"}
    balanced(cluster, "VIP", ranges='["192.0.2.0/24"]')
    assert fates(cluster, "external") == {"DROPPED_BY_RULE"}, mode
    assert fates(cluster, "192.0.2.7") == {"DELIVERED"}
