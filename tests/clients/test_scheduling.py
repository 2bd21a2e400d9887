"""What kubectl 1.37 shows of scheduling: pending pods and why, what lets them in, preemption."""

import json

import pytest

pytestmark = pytest.mark.xdist_group("scheduling")

IMAGE = "registry.k8s.io/pause:3.9"
READY = "--for=condition=Ready"


def run(cluster, name, spec=None, cpu=""):
    """``kubectl run`` with a spec of one's own."""
    container = {"name": name, "image": IMAGE}
    if cpu:
        container["resources"] = {"requests": {"cpu": cpu}}
    overrides = {"spec": {**(spec or {}), "containers": [container]}}
    cluster.kubectl("run", name, f"--image={IMAGE}", f"--overrides={json.dumps(overrides)}")


def wait_for_message(cluster, name, message):
    """Until the pod's condition says it."""
    path = '{.status.conditions[?(@.type=="PodScheduled")].message}'
    cluster.kubectl("wait", f"pod/{name}", f"--for=jsonpath={path}={message}", "--timeout=30s")


def node_of(cluster, name):
    """Where a pod is."""
    return cluster.kubectl("get", "pod", name, "-o", "jsonpath={.spec.nodeName}")


def test_a_pending_pod_tells_why_and_goes_when_the_reason_goes(fresh):
    """A label, a taint and a cordon, each in describe's words; then the pod is scheduled."""
    helpless = "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    run(fresh, "labelled", {"nodeSelector": {"disk": "ssd"}})
    why = "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."
    wait_for_message(fresh, "labelled", f"{why} {helpless}")
    described = fresh.kubectl("describe", "pod", "labelled")
    assert "PodScheduled   False" in described
    assert f"{why} {helpless}" in described
    fresh.kubectl("label", "node", "node-2", "disk=ssd")
    fresh.kubectl("wait", "pod/labelled", READY, "--timeout=30s")
    assert node_of(fresh, "labelled") == "node-2"

    fresh.kubectl("cordon", "node-1", "node-3")
    fresh.kubectl("taint", "node", "node-2", "dedicated=db:NoSchedule")
    run(fresh, "shut-out")
    why = (
        "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 node(s) were unschedulable."
    )
    wait_for_message(fresh, "shut-out", f"{why} {helpless}")
    fresh.kubectl("taint", "node", "node-2", "dedicated-")
    fresh.kubectl("wait", "pod/shut-out", READY, "--timeout=30s")
    assert node_of(fresh, "shut-out") == "node-2"
    run(fresh, "elsewhere", {"nodeSelector": {"kubernetes.io/hostname": "node-3"}})
    fresh.kubectl("uncordon", "node-1", "node-3")
    fresh.kubectl("wait", "pod/elsewhere", READY, "--timeout=30s")


def test_a_gated_pod_is_shown_as_such_until_its_gates_are_gone(fresh):
    """STATUS SchedulingGated, and the API server's own words."""
    run(fresh, "gated", {"schedulingGates": [{"name": "example.com/quota"}]})
    assert "SchedulingGated" in fresh.kubectl("get", "pod", "gated")
    conditions = fresh.kubectl("get", "pod", "gated", "-o", "jsonpath={.status.conditions}")
    assert json.loads(conditions)[0]["message"] == (
        "Scheduling is blocked due to non-empty scheduling gates"
    )
    patch = '[{"op":"remove","path":"/spec/schedulingGates"}]'
    fresh.kubectl("patch", "pod", "gated", "--type=json", "-p", patch)
    fresh.kubectl("wait", "pod/gated", READY, "--timeout=30s")


def test_a_deployment_is_spread_over_zones_and_another_keeps_its_pods_apart(fresh):
    """Two pods in each of three zones; one pod too many for three hosts."""
    for number in (1, 2, 3):
        fresh.kubectl("label", "node", f"node-{number}", f"topology.kubernetes.io/zone=z{number}")
    selector = {"matchLabels": {"app": "web"}}
    spread = {
        "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector,
        "matchLabelKeys": ["pod-template-hash"],
    }  # fmt: skip
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "x"}}}
    apart = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    for name, replicas, spec in (
        ("web", 6, {"topologySpreadConstraints": [spread]}),
        ("x", 4, {"affinity": apart}),
    ):
        template = {
            "metadata": {"labels": {"app": name}},
            "spec": {**spec, "containers": [{"name": "c", "image": IMAGE}]},
        }
        body = {
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
            "spec": {
                "replicas": replicas, "selector": {"matchLabels": {"app": name}},
                "template": template,
            },
        }  # fmt: skip
        fresh.kubectl("apply", "-f", "-", stdin=json.dumps(body))
    fresh.kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    path = "jsonpath={range .items[*]}{.spec.nodeName} {end}"
    nodes = fresh.kubectl("get", "pods", "-l", "app=web", "-o", path).split()
    assert sorted(nodes) == ["node-1", "node-1", "node-2", "node-2", "node-3", "node-3"]
    fresh.kubectl(
        "wait", "deployment/x", "--for=jsonpath={.status.readyReplicas}=3", "--timeout=30s"
    )
    events = fresh.kubectl("get", "events", "--field-selector", "reason=FailedScheduling")
    assert (
        "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules. preemption: "
        "0/3 nodes are available: 3 No preemption victims found for incoming pod."
    ) in events
    fresh.kubectl("delete", "deployment", "web", "x")


def test_preemption_spares_whom_a_budget_protects_and_says_what_it_did(fresh):
    """Three nodes are full; the victim is one of the two that no budget protects."""
    body = {
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
        "metadata": {"name": "high"}, "value": 1000,
    }  # fmt: skip
    fresh.kubectl("apply", "-f", "-", stdin=json.dumps(body))
    for number in (1, 2, 3):
        run(fresh, f"low-{number}", {"terminationGracePeriodSeconds": 1}, cpu="3")
        fresh.kubectl("wait", f"pod/low-{number}", READY, "--timeout=30s")
    fresh.kubectl("create", "pdb", "keep", "--selector", "run=low-1", "--min-available", "1")
    run(fresh, "high", {"priorityClassName": "high"}, cpu="3")
    fresh.kubectl("wait", "pod/high", READY, "--timeout=30s")
    assert "low-1" in fresh.kubectl("get", "pods")
    assert node_of(fresh, "high") != node_of(fresh, "low-1")
    events = fresh.kubectl("get", "events")
    uid = fresh.kubectl("get", "pod", "high", "-o", "jsonpath={.metadata.uid}")
    node = node_of(fresh, "high")
    assert f"Preempted by pod {uid} on node {node}" in events
    assert (
        f"preemption: found a potential placement for pod on node {node}, preempting 1 victims"
    ) in events
    nominated = fresh.kubectl("get", "pod", "high", "-o", "jsonpath={.status.nominatedNodeName}")
    assert nominated == "", "a nomination ends with the binding"
