"""Scenario files: errors name the field's path and what to write."""

from pathlib import Path

import pytest
from pydantic import TypeAdapter

from podwire.api import kinds
from podwire.chaos.checks import wrong
from podwire.chaos.faults import inject
from podwire.chaos.runner import run
from podwire.chaos.scenario import Check, Fault, ScenarioError, load
from podwire.sim.settings import ClusterSettings
from podwire.sim.virtual import VirtualCluster

ROOT = Path(__file__).resolve().parents[3]
GOOD = """
apiVersion: podwire.dev/v1alpha1
kind: Scenario
metadata: {name: x}
spec:
  steadyState:
    - trace: {from: pod/a, to: "pod/b:80", fate: DELIVERED}
  steps:
    - fault: {kind: link-partition, a: node-1, b: node-2}
    - wait: 1m
"""


def written(tmp_path, text):
    path = tmp_path / "scenario.yaml"
    path.write_text(text)
    return path


def test_a_scenario_is_read(tmp_path):
    """Durations have units, defaults are set."""
    scenario = load(written(tmp_path, GOOD))
    assert scenario.spec.steps[1].wait.seconds == 60
    assert scenario.spec.cluster.nodes == 3
    assert scenario.spec.steady_state[0].title == "pod/a > pod/b:80 DELIVERED"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("fate: DELIVERED", "fate: ARRIVED", "spec.steadyState.0.trace.fate"),
        ("wait: 1m", "wait: soon", "'soon' is no duration; write 500ms, 90s, 5m or 1h"),
        ("wait: 1m", "pause: 1m", "spec.steps.1.pause"),
        ("wait: 1m", "{}", "give exactly one of wait, fault, expect, heal"),
        ("kind: link-partition", "kind: meteor", "spec.steps.0.fault"),
        ("b: node-2", "b: 7", "spec.steps.0.fault.link-partition.b"),
        ("metadata: {name: x}", "metadata: {}", "metadata.name"),
        ("kind: Scenario", "kind: Story", "kind"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, old, new, told):
    """One line per field."""
    with pytest.raises(ScenarioError) as error:
        load(written(tmp_path, GOOD.replace(old, new)))
    assert told in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "a: [", "kind: Scenario"])
def test_junk_is_no_scenario(tmp_path, text):
    """Never another exception."""
    with pytest.raises(ScenarioError):
        load(written(tmp_path, text))


def test_the_shipped_scenarios_are_scenarios():
    """All load, and each has the name of its file."""
    found = [p for p in (ROOT / "examples/chaos").glob("*.yaml") if "Scenario" in p.read_text()]
    assert len(found) == 10
    assert [load(path).metadata.name for path in found] == [path.stem for path in found]


@pytest.mark.parametrize(
    ("check", "told"),
    [
        ("node: {node: node-1, ready: Perhaps}", "node.ready: Input should be 'True', 'False' or"),
        ("node: {node: node-1, taints: [gone]}", "node.taints: Value error, 'gone' is no KEY:EFF"),
        ("get: {kind: Gadget, name: g}", "get.kind: Value error, 'Gadget' is not served"),
        ("get: {kind: Pod, name: g, value: '('}", "get.value: Value error, '(' is no regular"),
        ("endpoints: {service: web}", "endpoints.ready: Field required"),
        ("event: {kind: Pod}", "event.reason: Field required"),
        ("{}", "give exactly one of ready, trace, exec, node, endpoints, get, event"),
    ],
)
def test_checks_are_read_field_by_field(tmp_path, check, told):
    """The path leads to the check's own field."""
    body = GOOD.replace('trace: {from: pod/a, to: "pod/b:80", fate: DELIVERED}', check)
    with pytest.raises(ScenarioError) as error:
        load(written(tmp_path, body))
    assert "spec.steadyState.0" in str(error.value)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("{kind: kubelet-stop}", "kubelet-stop: Value error, give exactly one of node, selector"),
        ("{kind: node-power-off, node: a, selector: {b: c}}", "give exactly one of node, selector"),
        ("{kind: node-cordon, node: a, for: 5m}", "node-cordon.for: Extra inputs"),
        ("{kind: node-taint, node: a, key: k, effect: NoExec}", "node-taint.effect: Input should"),
    ],
)
def test_faults_of_nodes_are_read_field_by_field(tmp_path, fault, told):
    """One node by name, or several by labels; nothing else."""
    body = GOOD.replace("{kind: link-partition, a: node-1, b: node-2}", fault)
    with pytest.raises(ScenarioError) as error:
        load(written(tmp_path, body))
    assert f"spec.steps.0.fault.{fault.split()[1].strip(',}')}" in str(error.value)
    assert told in str(error.value)


def test_a_zone_without_a_name_is_told_with_its_path():
    """The cluster's settings speak of the scenario's fields."""
    scenario = load(ROOT / "examples/chaos/zone-outage.yaml")
    spec = scenario.spec
    cluster = spec.cluster.model_copy(update={"zones": ["a", "not a label"]})
    broken = scenario.model_copy(update={"spec": spec.model_copy(update={"cluster": cluster})})
    with pytest.raises(ScenarioError, match=r"spec\.cluster\.zones\.1: 'not a label'"):
        run(broken, ROOT, 0)


@pytest.fixture(scope="module")
def cluster():
    """Three nodes in two zones; who changes them undoes it."""
    with VirtualCluster(ClusterSettings(time_profile="fast", zones=("a", "b"))) as made:
        made.boot()
        yield made


def strike(cluster, **body):
    """Inject one fault."""
    fault = TypeAdapter(Fault).validate_python(body)
    return inject(fault, cluster, cluster.env.rng.child("test"))


def marks(cluster):
    """Node -> its taints and whether it is cordoned."""
    return {
        n.metadata.name: ([t.key for t in n.spec.taints], n.spec.unschedulable)
        for n in cluster.objects(kinds.NODE)
    }


def test_cordons_and_taints_are_undone(cluster):
    """A selector strikes every node that it matches."""
    zone = {"topology.kubernetes.io/zone": "a"}
    done, uncordon = strike(cluster, kind="node-cordon", selector=zone)
    assert done == "cordoned node-1, node-3"
    _, untaint = strike(cluster, kind="node-taint", node="node-2", key="k", effect="NoSchedule")
    cluster.sleep(1)
    cordoned = (["node.kubernetes.io/unschedulable"], True)
    assert marks(cluster) == {"node-1": cordoned, "node-2": (["k"], False), "node-3": cordoned}
    untaint()
    uncordon()
    cluster.sleep(1)
    assert marks(cluster) == dict.fromkeys(("node-1", "node-2", "node-3"), ([], False))


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"node": "node-9"}, "kubelet-stop: no node 'node-9'; there are node-1, node-2, node-3"),
        ({"selector": {"a": "b"}}, "kubelet-stop: no node has {'a': 'b'}"),
        ({"node": "pod/nosuch"}, "node: no pod default/nosuch is on a node"),
        ({"node": "deploy/x"}, "node: 'deploy/x' is neither NODE nor pod/NAME"),
    ],
)
def test_a_fault_without_a_node_says_so(cluster, body, told):
    """What was looked for, and what there is."""
    with pytest.raises(ScenarioError) as error:
        strike(cluster, kind="kubelet-stop", **body)
    assert str(error.value) == told


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"node": {"node": "node-1", "ready": "True", "taints": []}}, ""),
        ({"node": {"node": "node-1", "ready": True}}, ""),
        ({"node": {"node": "node-1", "ready": "Unknown"}}, "Ready is True"),
        ({"node": {"node": "node-1", "reason": "X"}}, "Ready has reason KubeletReady"),
        ({"node": {"node": "node-1", "taints": ["k:NoSchedule"]}}, "it has taints none"),
        ({"node": {"node": "node-9"}}, "there is no node node-9"),
        ({"endpoints": {"service": "kubernetes", "ready": 1, "notReady": 0}}, ""),
        ({"endpoints": {"service": "kubernetes", "ready": 2}}, "1 are ready, 0 are not"),
        ({"get": {"kind": "Node", "name": "node-2"}}, ""),
        ({"get": {"kind": "Node", "name": "node-9", "absent": True}}, ""),
        ({"get": {"kind": "Node", "name": "node-2", "absent": True}}, "it exists"),
        ({"get": {"kind": "Node", "name": "node-9"}}, 'nodes "node-9" not found'),
        ({"get": {"kind": "Node", "name": "node-2", "path": "status.addresses.0.address",
                  "value": "192.*"}}, ""),
        ({"get": {"kind": "Node", "name": "node-2", "path": "status.nothing.here"}}, "it is ''"),
        ({"event": {"kind": "Node", "name": "node-2", "reason": "Starting"}}, ""),
        ({"event": {"kind": "Node", "name": "node-2", "reason": "Rebooted"}}, "there is none"),
        ({"ready": {"selector": {"k8s-app": "kube-proxy"}, "namespace": "kube-system", "pods": 3,
                    "nodes": ["node-1", "node-2"]}}, "there are some on node-3"),
    ],
)  # fmt: skip
def test_checks_say_why_they_do_not_hold(cluster, body, why):
    """And nothing when they do."""
    assert wrong(Check.model_validate(body), cluster) == why
