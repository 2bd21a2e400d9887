"""chaostoolkit-kubernetes 0.39: what chaos experiments do and ask."""

import json

import pytest
from chaosk8s.deployment.actions import create_deployment, delete_deployment, scale_deployment
from chaosk8s.deployment.probes import deployment_available_and_healthy
from chaosk8s.node.actions import cordon_node, uncordon_node
from chaosk8s.node.probes import get_nodes
from chaosk8s.pod.actions import exec_in_pods, terminate_pods
from chaosk8s.pod.probes import count_pods, pods_in_phase, read_pod_logs
from chaosk8s.service.probes import service_is_initialized

WEB = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "labels": {"app": "web"}},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "nginx"}]},
        },
    },
}


@pytest.fixture
def web(ns, tmp_path, until):
    """A healthy deployment, as an experiment's method makes it."""
    spec = tmp_path / "web.json"
    spec.write_text(json.dumps(WEB))
    create_deployment(str(spec), ns=ns)
    until(lambda: healthy(ns), 60)
    return ns


def healthy(ns):
    from chaoslib.exceptions import ActivityFailed  # noqa: PLC0415 only what this library raises

    try:
        return deployment_available_and_healthy("web", ns)
    except ActivityFailed:
        return False


def test_pods_are_counted_killed_and_replaced(web, until):
    assert count_pods("app=web", phase="Running", ns=web) == 2
    terminate_pods("app=web", ns=web, qty=1, grace_period=0)
    until(lambda: count_pods("app=web", phase="Running", ns=web) == 2, 60)
    assert pods_in_phase("app=web", phase="Running", ns=web)


def test_commands_run_in_pods(web):
    (first, second) = exec_in_pods("hostname", "app=web", ns=web, all=True, container_name="c")
    assert first["exit_code"] == second["exit_code"] == 0
    assert {first["stdout"].strip(), second["stdout"].strip()}


def test_a_deployment_is_scaled_and_deleted(web, until):
    scale_deployment("web", 1, ns=web)
    until(lambda: count_pods("app=web", phase="Running", ns=web) == 1, 60)
    delete_deployment("web", ns=web)
    until(lambda: count_pods("app=web", ns=web) == 0, 60)


def test_logs_and_services_are_probed(web):
    logs = read_pod_logs(label_selector="app=web", ns=web, last="1h")
    assert len(logs) == 2
    with pytest.raises(Exception, match="nosuch"):
        service_is_initialized("nosuch", ns=web)


def test_nodes_are_cordoned(ns):
    assert len(get_nodes()["items"]) == 3 if isinstance(get_nodes(), dict) else True
    cordon_node("node-3")
    uncordon_node("node-3")
