"""What a trace says about mistakes that people make."""

from pathlib import Path

import pytest

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.explain.table import render
from podwire.sim.settings import ClusterSettings
from podwire.sim.virtual import VirtualCluster

ARTICLE = Path(__file__).resolve().parents[2] / "examples/article"
SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: local}
spec:
  type: NodePort
  internalTrafficPolicy: Local
  selector: {app: only}
  ports: [{name: web, port: 80, targetPort: 8080, nodePort: 31111}]
---
apiVersion: v1
kind: Service
metadata: {name: misnamed}
spec:
  selector: {app: only}
  ports: [{port: 80, targetPort: htpp}]
---
apiVersion: v1
kind: Pod
metadata: {name: only, labels: {app: only}}
spec:
  nodeName: node-1
  containers:
    - name: c
      image: registry.k8s.io/e2e-test-images/agnhost:2.53
      args: [netexec]
      ports: [{name: http, containerPort: 8080}]
"""


@pytest.fixture(scope="module")
def mistakes():
    """One pod on node-1 behind Services with mistakes, and the article's pair; only asked."""
    with VirtualCluster(ClusterSettings(time_profile="fast")) as cluster:
        cluster.boot()
        cluster.apply(ARTICLE / "backend.yaml", ARTICLE / "frontend.yaml", SERVICES)
        assert cluster.converge()
        yield cluster


def because(report):
    """Fate and cause."""
    return report.fate, report.cause.summary


def test_a_port_that_a_service_does_not_have_is_named_with_those_it_has(mistakes):
    """Wherever the default route takes such a packet; ICMP to a cluster IP too."""
    fate, why = because(mistakes.trace("deploy/frontend", "svc/backend:81"))
    assert fate == "NULL_ROUTED"
    assert why == "Service default/backend does not serve TCP/81; it has TCP/80"
    _, why = because(mistakes.trace("deploy/frontend", "svc/backend", protocol="icmp"))
    assert why.startswith("Service default/backend does not serve ICMP")


def test_a_service_without_local_endpoints_names_its_policy_and_who_is_ready(mistakes):
    """The pods are ready, only not on this node."""
    fate, why = because(mistakes.trace("node/node-2", "svc/local:80"))
    assert fate == "NO_ENDPOINTS"
    assert "internalTrafficPolicy of Service default/local is Local" in why
    assert "node-2 has no endpoint of it; ready elsewhere: only on node-1" in why
    assert mistakes.trace("node/node-1", "svc/local:80").fate == "DELIVERED"
    nearest = mistakes.trace("node/node-2", "svc/local:80").nearest
    assert nearest.change == "set internalTrafficPolicy of Service default/local to Cluster"


def test_a_target_port_that_no_container_declares_is_named(mistakes):
    """Ready pods, and yet no endpoint."""
    fate, why = because(mistakes.trace("deploy/frontend", "svc/misnamed"))
    assert fate == "NO_ENDPOINTS"
    assert why == (
        "Service default/misnamed targets port name htpp, which default/only does not declare; "
        "it has http"
    )


def test_ports_may_be_named(mistakes):
    """svc/NAME:PORTNAME and pod/NAME:PORTNAME; an unknown name lists the known ones."""
    assert mistakes.trace("node/node-1", "svc/local:web").fate == "DELIVERED"
    assert mistakes.trace("deploy/frontend", "pod/only:http").fate == "DELIVERED"
    with pytest.raises(ApiError, match="has no port named 'dns'; it has: web"):
        mistakes.trace("node/node-1", "svc/local:dns")
    with pytest.raises(ApiError, match="none of its ports has a name"):
        mistakes.trace("node/node-1", "svc/backend:http")


def test_a_ping_is_answered_by_the_far_kernel(mistakes):
    """Not by the sender, to whom the answer comes back."""
    report = mistakes.trace("node/node-2", "pod/only", protocol="icmp")
    assert because(report) == ("DELIVERED", "default/only answers echo requests")
    assert report.hops[-1].node == "node-1"
    assert report.branches[0].node == "node-1"


def test_a_client_outside_reaches_a_node_port_and_its_answer_finds_it(mistakes):
    """The answer leaves through the gateway, where the client is."""
    report = mistakes.trace("203.0.113.7", "node/node-2:31111")
    assert because(report) == ("DELIVERED", "default/only listens on TCP/8080 (http)")


def test_an_unresolved_name_shows_no_address(mistakes):
    """No packet was sent: nothing to print but the name and the port."""
    header = render(mistakes.trace("deploy/frontend", "nosuch:80")).splitlines()[0]
    assert " > nosuch:80 " in header
    assert ":0 " not in header


def test_slices_that_lag_behind_ready_pods_are_told_apart():
    """A millisecond after the pods are ready, which under some seeds is before the slices are."""
    early = "the pods of Service default/local are ready, its EndpointSlices do not say so yet"
    for seed in range(20):
        with VirtualCluster(ClusterSettings(time_profile="fast"), seed) as cluster:
            cluster.boot()
            cluster.converge()
            cluster.apply(SERVICES)
            cluster.until(lambda: all(pod.ready for pod in cluster.pods("default")))
            if cluster.trace("node/node-1", "svc/local:80").cause.summary == early:
                return
    pytest.fail("the slices were never late")


def test_rules_that_lag_behind_ready_endpoints_are_told_apart(cluster):
    """kube-proxy syncs at most once a second: a pod is ready before its rules are."""
    cluster.converge()
    cluster.apply(SERVICES)
    cluster.until(
        lambda: any(
            s.endpoints and s.endpoints[0].conditions.ready
            for s in cluster.objects(kinds.ENDPOINT_SLICE, "default")
            if s.service_name == "local"
        )
    )
    fate, why = because(report := cluster.trace("node/node-1", "svc/local:80"))
    assert fate == "NO_ENDPOINTS"
    assert why == "the rules of node-1 are older than the ready endpoints of default/local"
    assert report.nearest.change == "wait until node-1's kube-proxy has synced"
