"""Stories on a whole cluster in virtual time: Services, names, policies, traces."""

from pathlib import Path

import pytest

from podwire.api import kinds
from podwire.explain.table import render
from podwire.sim.settings import ClusterSettings
from podwire.sim.virtual import VirtualCluster

ARTICLE = Path(__file__).resolve().parents[2] / "examples/article"


def apply_pair(cluster):
    """Backend (3 pods) and frontend (2 pods) of the article, Ready."""
    cluster.apply(ARTICLE / "backend.yaml", ARTICLE / "frontend.yaml")
    assert cluster.converge()


@pytest.fixture(scope="module")
def pair():
    """They, on a cluster that is only asked, and given Services with names of their own."""
    with VirtualCluster(ClusterSettings(time_profile="fast")) as cluster:
        cluster.boot()
        apply_pair(cluster)
        yield cluster


def test_a_pod_gets_its_address_because_kubelet_called_cni(pair):
    """Each pod's address comes from its node's range and is on the node's bridge."""
    nodes = {n.metadata.name: n.spec.pod_cidr for n in pair.objects(kinds.NODE)}
    for pod in pair.pods("default"):
        prefix = nodes[pod.spec.node_name].rpartition(".")[0]
        assert pod.status.pod_ip.startswith(f"{prefix}.")
        lease = f"/var/lib/cni/networks/cbr0/{pod.status.pod_ip}"
        assert pair.run(pair.cluster.fabric.read_file(pod.spec.node_name, lease))


def test_a_service_works_because_its_rules_are_interpreted(pair):
    """All three branches arrive, each with a third of the probability, through DNAT."""
    report = pair.trace("deploy/frontend", "svc/backend:80")
    assert report.fate == "DELIVERED"
    assert len(report.branches) == 3
    assert [round(b.probability, 3) for b in report.branches] == [0.333, 0.333, 0.333]
    assert sum(b.drawn for b in report.branches) == 1
    steps = [step for hop in report.hops for step in hop.steps]
    assert any(step.result == "dnat" and step.object.startswith("KUBE-SEP-") for step in steps)
    assert report.exit_code == 0


def test_the_replay_line_draws_the_same_branch(pair):
    """--sport and --draw give the same walk again."""
    first = pair.trace("deploy/frontend", "svc/backend:80")
    again = pair.trace(
        "deploy/frontend", "svc/backend:80", source_port=first.flow.src_port, draw=first.draw
    )
    assert again.hops == first.hops
    assert f"--sport {first.flow.src_port}" in first.replay


def test_every_branch_can_be_drawn(pair):
    """Draws over [0, 1) reach each backend."""
    drawn = set()
    for draw in (0.1, 0.5, 0.9):
        report = pair.trace("deploy/frontend", "svc/backend:80", draw=draw)
        drawn |= {b.destination for b in report.branches if b.drawn}
    assert len(drawn) == 3


def test_a_name_resolves_because_a_dns_message_reached_coredns(pair):
    """The lookup is printed first: the search list in order, answered by a CoreDNS pod."""
    report = pair.trace("deploy/frontend", "backend:80")
    assert report.fate == "DELIVERED"
    first = report.lookup.asked[0]
    assert first.name == "backend.default.svc.cluster.local."
    assert first.server == "10.96.0.10"
    dns = {p.status.pod_ip for p in pair.pods("kube-system") if "coredns" in p.metadata.name}
    assert first.answered_by in dns
    assert [a.type for a in report.lookup.asked] == ["A", "AAAA"]
    assert len({a.answered_by for a in report.lookup.asked}) == 1  # one socket asks both
    assert render(report).splitlines()[1].startswith("lookup backend")


def test_ndots_costs_what_the_article_says(pair):
    """An external name passes the whole search list first; each name is asked for A and AAAA."""
    report = pair.trace("deploy/frontend", "api.external.com:443")
    names = [a.name for a in report.lookup.asked if a.type == "A"]
    assert names == [
        "api.external.com.default.svc.cluster.local.",
        "api.external.com.svc.cluster.local.",
        "api.external.com.cluster.local.",
        "api.external.com.",
    ]
    assert len(report.lookup.asked) == 8


def test_a_missing_name_is_the_fate(pair):
    """NAME_UNRESOLVED, exit code 1."""
    report = pair.trace("deploy/frontend", "nosuch:80")
    assert report.fate == "NAME_UNRESOLVED"
    assert "NXDOMAIN" in report.cause.summary
    assert report.exit_code == 1


def test_a_trace_leaves_no_mark(pair):
    """Kernels' state hashes and history are as before."""
    hosts = pair.cluster.fabric.hosts.values()
    before = [host.kernel.state_hash() for host in hosts]
    pair.trace("deploy/frontend", "backend:80")
    pair.trace("deploy/frontend", "svc/backend:80")
    assert [host.kernel.state_hash() for host in hosts] == before


def test_packets_between_nodes_are_encapsulated(pair):
    """Cross-node traffic passes flannel.1; same-node traffic does not."""
    pods = pair.pods("default")
    source = next(p for p in pods if p.metadata.labels["app"] == "frontend")
    for pod in pods:
        if pod.metadata.labels["app"] != "backend":
            continue
        report = pair.trace(f"pod/{source.metadata.name}", f"pod/{pod.metadata.name}:8080")
        assert report.fate == "DELIVERED"
        stages = {step.stage for hop in report.hops for step in hop.steps}
        across = pod.spec.node_name != source.spec.node_name
        assert ("encap" in stages) is across
        assert ("decap" in stages) is across


def test_a_service_without_endpoints_is_refused_and_says_why(pair):
    """NO_ENDPOINTS names the Service and its selector; the nearest change was tried."""
    pair.apply(
        """
apiVersion: v1
kind: Service
metadata: {name: typo}
spec:
  selector: {app: bakcend}
  ports: [{port: 80, targetPort: 8080}]
"""
    )
    pair.until_quiet()
    report = pair.trace("deploy/frontend", "svc/typo:80")
    assert report.fate == "NO_ENDPOINTS"
    assert "selects app=bakcend; no pod has these labels" in report.cause.summary
    assert report.nearest.change == "set the selector of Service default/typo to {app: backend}"
    assert report.nearest.fate == "DELIVERED"


def test_a_wrong_target_port_is_found(pair):
    """REFUSED at the pod; the declared port is the nearest change."""
    pair.apply(
        """
apiVersion: v1
kind: Service
metadata: {name: wrong}
spec:
  selector: {app: backend}
  ports: [{port: 80, targetPort: 9090}]
"""
    )
    pair.converge()
    report = pair.trace("deploy/frontend", "svc/wrong:80")
    assert report.fate == "REFUSED"
    assert "nothing listens on TCP/9090" in report.cause.summary
    assert "it declares TCP/8080" in report.cause.summary
    assert report.nearest.change == "set targetPort: 8080 (now 9090) in Service default/wrong"


def test_flannel_ignores_policies_as_in_life(cluster):
    """The default deny of the article has no effect without an agent that enforces it."""
    cluster.apply(ARTICLE / "00-production.yaml", ARTICLE / "network-policies.yaml")
    assert cluster.converge()
    report = cluster.trace("deploy/backend", "svc/backend:80", namespace="production")
    assert report.fate == "DELIVERED"


@pytest.mark.podwire(cni="calico")
def test_the_articles_policies_admit_and_deny(cluster):
    """Frontend reaches backend's port only if its own egress allowed it; others are denied."""
    apply_pair(cluster)
    cluster.apply(ARTICLE / "00-production.yaml", ARTICLE / "network-policies.yaml")
    assert cluster.converge()
    out = cluster.trace("deploy/frontend", "svc/backend:80", namespace="production")
    assert out.fate == "DENIED_OUT"
    stranger = cluster.trace(
        "deploy/frontend", "svc/backend:80", destination_namespace="production"
    )
    assert stranger.fate == "DENIED_IN"
    assert {ref.name for ref in stranger.cause.objects} == {
        "allow-frontend-to-backend",
        "default-deny-all",
    }
    assert stranger.nearest.change.startswith(
        "add {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: default}}, "
        "podSelector: {matchLabels: {app: frontend}}} to ingress[0].from of NetworkPolicy"
    )
    assert stranger.nearest.fate == "DELIVERED"
    assert stranger.exit_code == 1
    names = cluster.trace("deploy/backend", "kube-dns.kube-system.svc.cluster.local:53",
                          namespace="production", protocol="udp")  # fmt: skip
    assert names.fate == "DELIVERED"


@pytest.mark.podwire(cni="calico")
def test_the_nearest_change_works_when_it_is_made(cluster):
    """What the trace proposes is applied for real; the packet arrives."""
    apply_pair(cluster)
    policy = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed}
spec:
  podSelector: {matchLabels: {app: backend}}
  policyTypes: [Ingress]
  ingress: %s
"""
    cluster.apply(policy % "[]")
    cluster.until_quiet()
    denied = cluster.trace("deploy/frontend", "svc/backend:80")
    assert denied.fate == "DENIED_IN"
    assert denied.nearest.change == (
        "add {from: [{podSelector: {matchLabels: {app: frontend}}}], "
        "ports: [{protocol: TCP, port: 8080}]} to ingress of NetworkPolicy default/closed"
    )
    opened = "[{from: [{podSelector: {matchLabels: {app: frontend}}}], ports: [{port: 8080}]}]"
    cluster.apply(policy % opened)
    cluster.until_quiet()
    assert cluster.trace("deploy/frontend", "svc/backend:80").fate == "DELIVERED"
    assert cluster.exec("deploy/frontend", "curl", "-s", "-m", "5", "http://backend/").code == 0


def test_a_cut_link_is_named(cluster):
    """LINK_DOWN with the link; bringing it up is the nearest change."""
    apply_pair(cluster)
    pods = cluster.pods("default")
    frontend = next(p for p in pods if p.metadata.labels["app"] == "frontend")
    backend = next(
        p
        for p in pods
        if p.metadata.labels["app"] == "backend" and p.spec.node_name != frontend.spec.node_name
    )
    a, b = frontend.spec.node_name, backend.spec.node_name
    cluster.cluster.fabric.wire.set_link(a, b, up=False)
    report = cluster.trace(f"pod/{frontend.metadata.name}", f"pod/{backend.metadata.name}:8080")
    assert report.fate == "LINK_DOWN"
    assert a in report.cause.summary
    assert b in report.cause.summary
    assert report.nearest.change == f"bring the link between {a} and {b} up"


def test_addresses_outside_exit_the_cluster(pair):
    """EXITS_CLUSTER is a good end."""
    report = pair.trace("deploy/frontend", "198.51.100.7:443")
    assert report.fate == "EXITS_CLUSTER"
    assert report.exit_code == 0


def test_an_external_name_and_a_headless_service_live_in_dns_only(cluster):
    """CNAME to the outside; pods' own addresses and names."""
    cluster.apply(ARTICLE / "external-db.yaml", ARTICLE / "stateful-app.yaml")
    cluster.apply(ARTICLE / "frontend.yaml")
    assert cluster.converge()
    found = cluster.exec("deploy/frontend", "nslookup", "external-db")
    assert "mydb.example.com" in found.stdout
    answer = cluster.exec(
        "deploy/frontend", "curl", "-s", "http://stateful-app-1.stateful-app:8080/hostname"
    )
    assert answer.stdout == "stateful-app-1"


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_the_replay_line_replays_as_it_stands(pair, protocol):
    """Its words, given to the command line's parser, ask the same question."""
    report = pair.trace("deploy/frontend", "10.96.0.10:53", protocol=protocol)
    words = report.replay.split()
    assert words[:4] == ["podwire", "trace", "deploy/frontend", "10.96.0.10:53"]
    options = dict(zip(words[4::2], words[5::2], strict=True))
    again = pair.trace(
        "deploy/frontend",
        "10.96.0.10:53",
        protocol=options.get("--protocol", "tcp"),
        source_port=int(options["--sport"]),
        draw=float(options["--draw"]),
    )
    assert [h.steps[-1] for h in again.hops] == [h.steps[-1] for h in report.hops]
