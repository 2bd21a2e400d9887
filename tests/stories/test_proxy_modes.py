"""kube-proxy changes its mode as an admin changes it, and nothing of the old one is left behind."""

import pytest

from podwire.api import kinds
from tests.stories.test_trace_failures import POD

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: %s}
spec:
  type: NodePort
  selector: {app: %s}
  clusterIP: %s
  ports: [{name: http, port: 80, targetPort: 8080, nodePort: %d}]
"""
WEB, NONE = "10.96.0.50", "10.96.0.51"


@pytest.fixture
def pair(cluster):
    """Pods a and b on node-1, c on node-2; b and c answer for web, nobody for none."""
    cluster.apply(
        POD % ("a", "a", "node-1"), POD % ("b", "web", "node-1"), POD % ("c", "web", "node-2"),
        SERVICE % ("web", "web", WEB, 30080), SERVICE % ("none", "none", NONE, 30081),
    )  # fmt: skip
    assert cluster.converge()
    return cluster


def switch(cluster, mode):
    """Edit the ConfigMap, restart the DaemonSet."""
    found = cluster.get(kinds.CONFIG_MAP, "kube-proxy", "kube-system")
    config = found.data["config.conf"]
    lines = [line for line in config.splitlines() if not line.startswith("mode:")]
    text = "\n".join([*lines, f"mode: {mode}", ""])
    patch = cluster.cluster.client.patch
    change = {"data": {"config.conf": text}}
    cluster.run(patch(kinds.CONFIG_MAP, "kube-proxy", change, "kube-system"))
    stamp = {"kubectl.kubernetes.io/restartedAt": f"2026-01-01T00:00:00Z-{mode}"}
    change = {"spec": {"template": {"metadata": {"annotations": stamp}}}}
    cluster.run(patch(kinds.DAEMON_SET, "kube-proxy", change, "kube-system"))
    assert cluster.converge()


def tool(cluster, node, *argv):
    """What a tool prints on a node."""
    return cluster.run(cluster.cluster.fabric.tool(node, "", argv)).stdout


def test_nftables_mode_takes_over_and_gives_back(pair):
    """All Services work in either mode; the table, and the chains, are there or gone."""
    switch(pair, "nftables")
    for node in ("node-1", "node-2"):
        assert "KUBE-SVC" not in tool(pair, node, "iptables-save")
        assert "chain nat-prerouting {" in tool(pair, node, "nft", "list", "chains", "ip")
    assert pair.trace("pod/a", f"{WEB}:80").fate == "DELIVERED"
    assert pair.trace("pod/b", f"{WEB}:80").fate == "DELIVERED"
    switch(pair, "iptables")
    for node in ("node-1", "node-2"):
        assert tool(pair, node, "nft", "list", "ruleset") == ""
        assert "KUBE-SVC" in tool(pair, node, "iptables-save")
    assert pair.trace("pod/a", f"{WEB}:80").fate == "DELIVERED"


def test_what_a_client_sees_otherwise_in_nftables_mode(pair):
    """An unknown port is refused, an unallocated cluster IP drops; iptables lets both leave."""
    assert pair.trace("pod/a", f"{WEB}:81").fate not in {"REFUSED", "DROPPED_BY_RULE"}
    switch(pair, "nftables")
    assert pair.trace("pod/a", f"{WEB}:81").fate == "REFUSED"
    assert pair.trace("pod/a", "10.96.0.99:80").fate == "DROPPED_BY_RULE"


def test_a_service_without_endpoints_is_named_in_either_mode(pair):
    """The trace's cause is as good in nftables mode as in iptables mode."""
    before = pair.trace("pod/a", f"{NONE}:80")
    switch(pair, "nftables")
    after = pair.trace("pod/a", f"{NONE}:80")
    assert after.fate == before.fate == "NO_ENDPOINTS"
    assert after.cause.summary == before.cause.summary
    assert 'comment "default/none:http" : goto reject-chain' in after.cause.rule
