"""A cluster whose kube-proxy writes Cilium's maps: eBPF mode."""

import pytest

from podwire.api import kinds
from podwire.sim.settings import ClusterSettings
from podwire.sim.virtual import VirtualCluster
from tests.stories.test_explanations import ARTICLE, SERVICES, because
from tests.stories.test_node_commands import ask
from tests.stories.test_proxy_modes import switch

NODE_PORT = """
apiVersion: v1
kind: Service
metadata: {name: outer}
spec:
  type: NodePort
  selector: {app: backend}
  ports: [{port: 80, targetPort: 8080, nodePort: 30099}]
"""
pytestmark = pytest.mark.podwire(proxy_mode="ebpf")


def furnished(cluster):
    """With the article's pair, and Services with mistakes."""
    cluster.apply(ARTICLE / "backend.yaml", ARTICLE / "frontend.yaml", SERVICES, NODE_PORT)
    assert cluster.converge()
    return cluster


@pytest.fixture(scope="module")
def article():
    """A furnished cluster that is only asked."""
    with VirtualCluster(ClusterSettings(time_profile="fast", proxy_mode="ebpf")) as cluster:
        cluster.boot()
        yield furnished(cluster)


def steps_of(report):
    return [s for hop in (*report.hops, *report.reply_hops) for s in hop.steps if s.stage == "ebpf"]


def test_a_socket_is_sent_to_a_backend_before_its_first_packet(article):
    """One translation, at connect(); nothing to undo on the way back."""
    report = article.trace("deploy/frontend", "svc/backend")
    assert report.fate == "DELIVERED"
    assert {branch.fate for branch in report.branches} == {"DELIVERED"}
    assert len(report.branches) > 1
    assert [(s.object, s.result) for s in steps_of(report)] == [("cil_sock4_connect", "dnat")]
    assert report.hops[0].steps[0].stage == "ebpf"
    assert article.trace("node/node-1", "svc/backend").fate == "DELIVERED"


def test_a_datagram_socket_hears_from_the_address_it_spoke_to(article):
    """A pod's resolver asks kube-dns by UDP: recvmsg() shows the cluster IP again."""
    report = article.trace("deploy/frontend", "backend:80")
    assert report.fate == "DELIVERED"


def test_a_client_outside_reaches_a_node_port(article):
    """Backends on both nodes answer it, through the tc programs of the node that it asked."""
    node = article.get(kinds.NODE, "node-1", "")
    address = next(a.address for a in node.status.addresses if a.type == "InternalIP")
    report = article.trace("external", f"{address}:30099")
    assert {branch.fate for branch in report.branches} == {"DELIVERED"}
    assert "cil_from_netdev" in [s.object for s in steps_of(report)]


def test_connect_fails_at_once_without_endpoints(article):
    """And the trace says which Service, and why it has none."""
    fate, why = because(article.trace("deploy/frontend", "svc/misnamed"))
    assert fate == "NO_ENDPOINTS"
    assert why.startswith("Service default/misnamed targets port name htpp")


def test_nodes_show_their_services_as_cilium_does(article):
    """``cilium-dbg service list``."""
    listed, code = ask(article, "cilium-dbg", "service", "list")
    assert code == 0
    assert listed.startswith("ID")
    assert f"{article.get(kinds.SERVICE, 'backend').spec.cluster_ip}:80/TCP" in listed


def test_the_mode_is_changed_and_leaves_nothing_behind(cluster):
    """To iptables: programs are detached. And back: no chain of Services is left."""
    assert cluster.converge()
    switch(cluster, "iptables")
    assert ask(cluster, "cilium-dbg", "bpf", "lb", "dump") == ("", 0)
    assert "KUBE-SVC-" in ask(cluster, "iptables-save")[0]
    assert cluster.trace("node/node-1", "svc/kube-dns:53", namespace="kube-system").fate == (
        "DELIVERED"
    )
    switch(cluster, "ebpf")
    assert "KUBE-" not in ask(cluster, "iptables-save")[0].replace("KUBE-KUBELET", "")
    assert cluster.trace("node/node-1", "svc/kube-dns:53", namespace="kube-system").fate == (
        "DELIVERED"
    )


def configure(cluster, text):
    """The section ``cilium`` of kube-proxy's ConfigMap; then a restart."""
    found = cluster.get(kinds.CONFIG_MAP, "kube-proxy", "kube-system")
    config = found.data["config.conf"].partition("cilium:")[0]
    patch = cluster.cluster.client.patch
    change = {"data": {"config.conf": f"{config}\ncilium: {{{text}}}\n"}}
    cluster.run(patch(kinds.CONFIG_MAP, "kube-proxy", change, "kube-system"))
    stamp = {"kubectl.kubernetes.io/restartedAt": text}
    change = {"spec": {"template": {"metadata": {"annotations": stamp}}}}
    cluster.run(patch(kinds.DAEMON_SET, "kube-proxy", change, "kube-system"))
    assert cluster.converge()


def test_a_backend_elsewhere_answers_the_client_itself(cluster):
    """DSR: the backend sees the client, and its node answers in the Service's name; TCP and UDP.
    In hybrid mode UDP is masqueraded as before.
    """
    furnished(cluster)
    node = cluster.get(kinds.NODE, "node-1", "")
    address = node.internal_ip
    configure(cluster, "bpf-lb-mode: dsr")
    report = cluster.trace("external", f"{address}:30099", draw=0.0)
    fates = {(b.fate, b.destination) for b in report.branches}
    assert {fate for fate, _ in fates} == {"DELIVERED"}
    seen = set()
    for draw in (0.1, 0.5, 0.9):
        report = cluster.trace("external", f"{address}:30099", draw=draw)
        drawn = next(b for b in report.branches if b.drawn)
        seen.add(drawn.node)
        last = report.hops[-1].steps[-1]
        assert f"{report.flow.src}:" in last.detail
        back = [hop.node for hop in report.reply_hops if hop.node]
        told = [s.detail for s in steps_of(report) if s.result == "learn"]
        if drawn.node == "node-1":
            assert told == []
        else:
            assert told == [f"dsr option {address}:30099"]
            assert "node-1" not in back
    assert len(seen) > 1
    fates = {}
    for size in (1442, 1443):
        report = cluster.trace("external", f"{address}:30099", size_bytes=size)
        fates[size] = {b.fate for b in report.branches}
    assert fates == {1442: {"DELIVERED"}, 1443: {"DELIVERED", "MTU_EXCEEDED"}}
    configure(cluster, "bpf-lb-mode: hybrid, bpf-lb-algorithm: maglev")
    report = cluster.trace("external", f"{address}:30099")
    assert {branch.fate for branch in report.branches} == {"DELIVERED"}
    dump = ask(cluster, "cilium-dbg", "bpf", "lb", "dump")[0]
    assert "MAGLEV: ID=" in dump
    assert "FLAGS=NodePort+dsr" in dump


def test_only_the_nodes_own_sockets_are_translated_if_asked_so(cluster):
    """bpf-lb-sock-hostns-only: a pod's packets are translated at its device, one by one."""
    furnished(cluster)
    configure(cluster, 'bpf-lb-sock-hostns-only: "true"')
    report = cluster.trace("deploy/frontend", "svc/backend")
    assert report.fate == "DELIVERED"
    assert "cil_from_container" in [s.object for s in steps_of(report)]
    assert [s.object for s in steps_of(cluster.trace("node/node-1", "svc/backend"))] == [
        "cil_sock4_connect"
    ]


def test_a_value_that_is_not_modelled_ends_the_pod_with_words(cluster):
    """XDP acceleration: the log says so, as for a mode that does not exist."""
    found = cluster.get(kinds.CONFIG_MAP, "kube-proxy", "kube-system")
    text = found.data["config.conf"] + "cilium: {bpf-lb-acceleration: native}\n"
    patch = cluster.cluster.client.patch
    change = {"data": {"config.conf": text}}
    cluster.run(patch(kinds.CONFIG_MAP, "kube-proxy", change, "kube-system"))
    pod = next(p for p in cluster.pods("kube-system") if p.metadata.name.startswith("kube-proxy"))
    cluster.delete(kinds.POD, pod.metadata.name, "kube-system")
    cluster.sleep(20)
    fresh = next(
        p for p in cluster.pods("kube-system")
        if p.metadata.name.startswith("kube-proxy") and p.spec.node_name == pod.spec.node_name
    )  # fmt: skip
    ended = fresh.status.container_statuses[0]
    assert ended.restart_count > 0
