"""Cilium's maps as kube-proxy's eBPF mode writes them.

Expected lines are facts of cilium/cilium pkg/loadbalancer/tests/testdata (Apache-2.0, Authors of
Cilium): trafficpolicy, loadbalancer, clusterip (.txtar).
"""

from __future__ import annotations

from podwire.dataplane.ebpf import show
from podwire.kube_proxy.core import Proxier, Shared
from tests.unit.kube_proxy.flows import FlowNode, endpoint_slice, service

MIXED = {
    "type": "LoadBalancer", "clusterIP": "10.96.50.104", "externalTrafficPolicy": "Cluster",
    "internalTrafficPolicy": "Local", "ports": [{"name": "http", "port": 80}], "lb": ["1.1.1.1"],
}  # fmt: skip
ENDS = [{"ports": ["http 80"], "at": ["10.244.1.1 here", "10.244.2.1 other"]}]


def made(spec, ends=ENDS):
    return FlowNode({"services": {"test/echo": spec}, "endpoints": {"test/echo": ends}}, "ebpf")


def dump(node):
    return show.lines(node.kernel.netns("").ebpf)


def test_mixed_policies_make_two_scopes():
    """trafficpolicy.txtar, lbmaps_tp_mixed."""
    lb, cluster = "FLAGS=LoadBalancer+InternalLocal+two-scopes", "ClusterIP+InternalLocal"
    head, tail = "LBALG=undef AFFTimeout=0", "COUNT=0 QCOUNT=0"
    assert dump(made(MIXED)) == [
        "BE: ID=1 ADDR=10.244.1.1:80/TCP STATE=active",
        "BE: ID=2 ADDR=10.244.2.1:80/TCP STATE=active",
        "REV: ID=1 ADDR=1.1.1.1:80",
        "REV: ID=2 ADDR=10.96.50.104:80",
        "REV: ID=3 ADDR=1.1.1.1:80",
        f"SVC: ID=1 ADDR=1.1.1.1:80/TCP SLOT=0 {head} COUNT=2 QCOUNT=0 {lb}",
        f"SVC: ID=1 ADDR=1.1.1.1:80/TCP SLOT=1 BEID=1 {tail} {lb}",
        f"SVC: ID=1 ADDR=1.1.1.1:80/TCP SLOT=2 BEID=2 {tail} {lb}",
        (
            f"SVC: ID=2 ADDR=10.96.50.104:80/TCP SLOT=0 {head} COUNT=1 QCOUNT=0 "
            f"FLAGS={cluster}+non-routable"
        ),
        f"SVC: ID=2 ADDR=10.96.50.104:80/TCP SLOT=1 BEID=1 {tail} FLAGS={cluster}+non-routable",
        f"SVC: ID=3 ADDR=1.1.1.1:80/TCP/i SLOT=0 {head} COUNT=1 QCOUNT=0 {lb}",
        f"SVC: ID=3 ADDR=1.1.1.1:80/TCP/i SLOT=1 BEID=1 {tail} {lb}",
    ]


def test_affinity_names_its_backends_and_its_timeout():
    """clusterip.txtar: lbmaps, then without its backends (lbmaps5)."""
    spec = {
        "clusterIP": "10.96.50.104", "ports": [{"name": "http", "port": 80}],
        "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 42}},
    }  # fmt: skip
    node = made(spec, [{"ports": ["http 80"], "at": ["10.244.1.1 other"]}])
    flags = "FLAGS=ClusterIP+sessionAffinity+non-routable"
    at = "SVC: ID=1 ADDR=10.96.50.104:80/TCP"
    rev = "REV: ID=1 ADDR=10.96.50.104:80"
    assert dump(node) == [
        "AFF: ID=1 BEID=1",
        "BE: ID=1 ADDR=10.244.1.1:80/TCP STATE=active",
        rev,
        f"{at} SLOT=0 LBALG=undef AFFTimeout=42 COUNT=1 QCOUNT=0 {flags}",
        f"{at} SLOT=1 BEID=1 COUNT=0 QCOUNT=0 {flags}",
    ]
    node.delete("endpoints of test/echo")
    node.sync()
    assert dump(node) == [rev, f"{at} SLOT=0 LBALG=undef AFFTimeout=42 COUNT=0 QCOUNT=0 {flags}"]
    node.delete("test/echo")
    node.sync()
    assert dump(node) == []


def test_a_pod_that_two_services_share_stays_this_nodes_own():
    """One Service goes; the other's backend is still known to be local."""
    spec = {"clusterIP": "10.96.0.1", "ports": [{"name": "http", "port": 80}]}
    both = {"test/a": spec, "test/b": {**spec, "clusterIP": "10.96.0.2"}}
    node = FlowNode({"services": both, "endpoints": dict.fromkeys(both, ENDS)}, "ebpf")
    ebpf = node.kernel.netns("")
    node.delete("test/a")
    node.sync()
    assert list(ebpf.ebpf.endpoints) == ["10.244.1.1"]
    assert len(ebpf.ebpf.backends) == 2
    node.delete("test/b")
    node.sync()
    assert not ebpf.ebpf.endpoints
    assert not ebpf.ebpf.backends


def test_the_second_familys_first_sync_leaves_the_first_familys_entries():
    """Two proxiers, one kernel: each clears only what is its own."""
    node = made({**MIXED, "internalTrafficPolicy": "Cluster"})
    before = dump(node)
    six = Proxier(node.mode, node.proxier.settings, node.proxier.node, Shared(), "ipv6")
    spec = {"clusterIP": "fd00:96::1", "ports": [{"name": "http", "port": 80}]}
    six.service(None, service("test/six", spec))
    six.slice(None, endpoint_slice("test/six", 0, {"ports": ["http 80"], "at": ["fd00:10::5"]}))
    plan = six.plan(full=True, existing={}, now_ns=node.now_ns)
    node.run(*plan.commands)
    after = dump(node)
    assert set(before) < set(after)
    assert any("[fd00:96::1]:80/TCP SLOT=1" in line for line in after)
    node.sync(full=True)
    assert sorted(dump(node)) == after
