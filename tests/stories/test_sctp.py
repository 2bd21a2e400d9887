"""SCTP through a whole cluster: Services in kube-proxy's modes, NetworkPolicy, the tools' words."""

import json

import pytest

from podwire.api import kinds
from podwire.sim.settings import ClusterSettings
from podwire.sim.virtual import VirtualCluster
from tests.stories.test_proxy_modes import switch, tool

PODS = """
apiVersion: v1
kind: Pod
metadata: {name: client, labels: {app: client}}
spec:
  nodeName: node-1
  containers: [{name: c, image: registry.k8s.io/e2e-test-images/agnhost:2.53, args: [netexec]}]
---
apiVersion: v1
kind: Pod
metadata: {name: server, labels: {app: server}}
spec:
  nodeName: node-2
  containers:
    - name: c
      image: registry.k8s.io/e2e-test-images/agnhost:2.53
      args: [netexec, --sctp-port=9999]
    - name: porter
      image: registry.k8s.io/e2e-test-images/agnhost:2.53
      args: [porter]
      env: [{name: SERVE_SCTP_PORT_5000, value: anchors aweigh}]
---
apiVersion: v1
kind: Service
metadata: {name: sctp}
spec:
  type: NodePort
  selector: {app: server}
  clusterIP: 10.96.0.77
  ports:
    - {name: netexec, protocol: SCTP, port: 80, targetPort: 9999, nodePort: 30077}
    - {name: porter, protocol: SCTP, port: 81, targetPort: 5000}
    - {name: closed, protocol: SCTP, port: 82, targetPort: 82}
---
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec:
  selector: {app: nobody}
  clusterIP: 10.96.0.78
  ports: [{protocol: SCTP, port: 80}]
"""
POLICY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: only-netexec}
spec:
  podSelector: {matchLabels: {app: server}}
  ingress: [{ports: [{protocol: SCTP, port: 9999}, {protocol: TCP, port: 5000}]}]
"""


@pytest.fixture(scope="module")
def pair():
    """A client on node-1, servers on node-2, a Service that has them and one that has nobody."""
    settings = ClusterSettings(time_profile="fast", nodes=2, cni="calico")
    with VirtualCluster(settings) as cluster:
        cluster.boot()
        cluster.apply(PODS)
        assert cluster.converge()
        yield cluster


def connect(cluster, target, *words):
    """What ``agnhost connect`` says, and its code."""
    argv = ("/agnhost", "connect", target, "--protocol=sctp", "--timeout=3s", *words)
    result = cluster.exec("client", *argv)
    return result.stdout + result.stderr, result.code


def dial(cluster, port, request):
    """What netexec's /dial makes of a request to the Service."""
    url = f"localhost:8080/dial?host=sctp&port={port}&protocol=sctp&request={request}"
    return json.loads(cluster.exec("client", "curl", "-s", url).stdout)


@pytest.mark.parametrize("mode", ["iptables", "nftables", "ipvs"])
def test_a_service_carries_associations_in_every_mode(pair, mode):
    """By ClusterIP and node port; refused by ABORT; without endpoints nobody answers INIT."""
    if mode != "iptables":
        switch(pair, mode)
    assert connect(pair, "10.96.0.77:80") == ("", 0)
    assert connect(pair, "192.168.0.12:30077") == ("", 0)
    assert connect(pair, "10.96.0.77:82") == ("OTHER: connection refused\n", 1)
    assert connect(pair, "10.96.0.78:80") == ("TIMEOUT\n", 1)
    assert dial(pair, 80, "hostname") == {"responses": ["server"]}
    assert dial(pair, 81, "anything") == {"responses": ["anchors aweigh"]}
    assert "dport=9999" in tool(pair, "node-2", "conntrack", "-L", "-p", "sctp")


def test_a_policy_knows_sctp_from_tcp(pair):
    """Only the port that is allowed for SCTP is reached; the other's INITs are dropped."""
    pair.apply(POLICY)
    assert pair.converge()
    assert connect(pair, "sctp:80") == ("", 0)
    assert connect(pair, "sctp:81") == ("TIMEOUT\n", 1)
    pair.delete(kinds.NETWORK_POLICY, "only-netexec")


def test_netexec_dies_of_a_client_who_says_nothing(pair):
    """Upstream's server takes a failed read for fatal; and without a timeout connect has none."""
    fabric, pod = pair.cluster.fabric, pair.get(kinds.POD, "server")

    async def say_nothing():
        stream = await fabric.connect_sctp("node-1", "", pod.status.pod_ip, 9999, 3)
        await stream.close()

    pair.run(say_nothing())
    pair.until(lambda: pair.get(kinds.POD, "server").status.container_statuses[0].restart_count)
    assert connect(pair, "sctp:80", "--timeout=0s") == ("TIMEOUT\n", 1)
