"""The podwire command against a live cluster."""

import sys

import pytest

from tests.clients import outside
from tests.waiting import until

pytestmark = pytest.mark.xdist_group("live")


def test_up_with_wait_on_a_running_cluster_waits_for_it(live):
    """Twice is no error, and --wait means the same both times."""
    done = live.run(sys.executable, "-m", "podwire", "up", "--detach", "--wait=30s")
    assert "is running already" in done.stderr
    assert "Nodes and kube-system Ready" in done.stderr


def test_a_node_is_switched_off_and_on(live):
    """By the command; its kernel answers nothing meanwhile, its pods start again afterwards."""
    proxy = ("pods", "-l", "k8s-app=kube-proxy", "--field-selector", "spec.nodeName=node-3")
    system = ("-n", "kube-system")
    assert live.podwire("node", "power-off", "node-3") == "node-3: power off, kubelet stopped\n"
    try:
        refused = live.run(
            sys.executable, "-m", "podwire", "node", "start-kubelet", "node-3", code=1
        )
        assert "node node-3 has no power; switch it on first" in refused.stderr
        told = live.podwire("trace", "node/node-1", "node/node-3:10250", code=1)
        assert "LINK_DOWN" in told
    finally:
        on = live.podwire("node", "power-on", "node-3")
    assert on == "node-3: power on, kubelet running\n"
    restarted = "--for=jsonpath={.status.containerStatuses[0].restartCount}=1"
    live.kubectl("wait", restarted, *proxy, *system, "--timeout=30s")
    live.kubectl("wait", "--for=condition=Ready", "pods", "--all", *system, "--timeout=60s")
    events = live.kubectl("get", "events", "--field-selector", "reason=Rebooted")
    assert "Node node-3 has been rebooted, boot id: " in events


def test_a_kubelet_is_stopped_and_started(live):
    """Twice is no error; a node that is not there is."""
    for _ in range(2):
        told = live.podwire("node", "stop-kubelet", "node-2")
        assert told == "node-2: power on, kubelet stopped\n"
    told = live.podwire("node", "start-kubelet", "node-2")
    assert told == "node-2: power on, kubelet running\n"
    proxy = ("pods", "-l", "k8s-app=kube-proxy", "--field-selector", "spec.nodeName=node-2")
    system = ("-n", "kube-system")
    restarted = "--for=jsonpath={.status.containerStatuses[0].restartCount}=1"
    live.kubectl("wait", restarted, *proxy, *system, "--timeout=30s")
    live.kubectl("wait", "--for=condition=Ready", "pods", "--all", *system, "--timeout=60s")
    missing = live.run(sys.executable, "-m", "podwire", "node", "power-off", "node-9", code=1)
    assert 'nodes "node-9" not found' in missing.stderr


def test_a_process_is_attached_to_a_service(live, namespace):
    """A cluster in one process opens its door and shuts it, as rooms of their own do."""
    kubectl = ("-n", namespace)
    live.kubectl("run", "web", "--image=nginx", *kubectl)
    live.kubectl("create", "service", "clusterip", "outside", "--tcp=80:80", *kubectl)
    live.kubectl("wait", "pod/web", "--for=condition=Ready", "--timeout=30s", *kubectl)
    curl = ("exec", "web", *kubectl, "--", "curl", "-sS", "-m", "5", "http://outside/")
    with outside.server("127.0.0.1") as port:
        live.podwire("attach", "--detach", "svc/outside", f"127.0.0.1:{port}", *kubectl)
        until("reached", lambda: live.kubectl(*curl) == outside.TEXT)
        live.podwire("detach", "svc/outside", *kubectl)
