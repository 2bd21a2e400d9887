"""Nodes that fall silent, lose power, are cut off or deleted: what the cluster does about it."""

from itertools import pairwise

import pytest

from podwire.api import kinds
from podwire.api.times import parse_time
from podwire.sim.settings import CONTROL_PLANE, ClusterSettings
from podwire.sim.virtual import VirtualCluster
from tests.property.turmoil import front, workload
from tests.rotation import some

UNREACHABLE = "node.kubernetes.io/unreachable"
PATIENCE_S = 130.0
"""Longer than the longest back-off of a reflector that was cut off."""


PROBED_EVERY_S = 10
"""As Kubernetes' own default; stories last for many minutes."""


class Loss:
    """A cluster with ``web`` (a Deployment) and ``db`` (a StatefulSet), one pod of each a node."""

    def __init__(self, nodes=3, zones=(), replicas=None, seed=0):
        settings = ClusterSettings(nodes=nodes, zones=zones, time_profile="fast")
        self.cluster = VirtualCluster(settings, seed)
        self.cluster.boot()
        replicas = nodes if replicas is None else replicas
        self.cluster.apply(
            workload("Deployment", "web", replicas, PROBED_EVERY_S),
            front("web", "web"),
            workload("StatefulSet", "db", replicas, PROBED_EVERY_S, serviceName="db"),
            front("db", "db", clusterIP="None"),
        )
        assert self.cluster.converge()
        self.until = self.cluster.until
        self.sleep = self.cluster.sleep

    def node(self, name):
        return self.cluster.get(kinds.NODE, name)

    def ready(self, name):
        return next(c for c in self.node(name).status.conditions if c.type == "Ready")

    def taints(self, name):
        return sorted(f"{t.key}:{t.effect}" for t in self.node(name).spec.taints)

    def evicting(self):
        """Nodes with the NoExecute taint, and when they got it, in seconds."""
        return {
            n.metadata.name: parse_time(t.time_added) / 1e9
            for n in self.cluster.objects(kinds.NODE)
            for t in n.spec.taints
            if (t.key, t.effect) == (UNREACHABLE, "NoExecute")
        }

    def pods(self, app):
        found = [p for p in self.cluster.pods("default") if p.metadata.labels.get("app") == app]
        return sorted(found, key=lambda p: p.metadata.name)

    def endpoints(self, name):
        """(ready, not ready) of a Service's EndpointSlices."""
        selector = f"kubernetes.io/service-name={name}"
        slices = self.cluster.objects(kinds.ENDPOINT_SLICE, "default", selector)
        ready = [e.conditions.ready is not False for s in slices for e in s.endpoints]
        return sum(ready), len(ready) - sum(ready)

    def events(self, reason):
        events = self.cluster.objects(kinds.EVENT)
        return [(e.involved_object.name, e.message) for e in events if e.reason == reason]

    def running(self, name):
        """The nodes on which a pod's programs run at this moment."""
        kubelets = self.cluster.cluster.streams._kubelets
        return [
            node
            for node, kubelet in kubelets.items()
            for worker in kubelet.workers.values()
            if worker.pod.metadata.name == name and worker.instances
        ]

    def left_behind(self, node):
        """Namespaces of a node's kernel that belong to no pod of it."""
        kernel = self.cluster.cluster.fabric.hosts[node].kernel
        held = [
            p for p in self.cluster.pods()
            if p.spec.node_name == node and not p.spec.host_network and p.status.pod_ip
        ]  # fmt: skip
        return len([name for name in kernel.namespaces() if name]) - len(held)

    def healed(self):
        """Every node is there and Ready, no taint is left, and all that should run does."""
        nodes = self.cluster.objects(kinds.NODE)
        whole = [n.metadata.name for n in nodes if n.ready and not n.spec.taints]
        return self.cluster.all_ready() and whole == self.cluster.cluster.settings.node_names

    def partition(self, node, *, up=False):
        self.cluster.cluster.fabric.wire.set_link(node, CONTROL_PLANE, up=up)


@pytest.fixture
def lose(request):
    """Make a ``Loss``; it is closed at the end."""
    made = []

    def make(**options):
        made.append(Loss(**options))
        return made[-1]

    yield make
    for each in made:
        each.cluster.close()


def test_a_silent_node_goes_through_upstreams_timeline(lose):
    """50 s to Unknown, one pass to NoExecute, 300 s to eviction; DaemonSets' pods stay."""
    world = lose()
    began = world.cluster.now_s
    world.cluster.stop_kubelet("node-1")
    (web,) = [p for p in world.pods("web") if p.spec.node_name == "node-1"]
    world.until(lambda: not world.node("node-1").ready, 60, "node-1 Unknown")
    assert 40 <= world.cluster.now_s - began <= 55.1
    told = {
        c.type: (c.status, c.reason, c.message)
        for c in world.node("node-1").status.conditions
        if c.type != "NetworkUnavailable"
    }
    unknown = ("Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.")
    assert told == dict.fromkeys(
        ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure"), unknown
    )
    world.sleep(1)
    assert world.taints("node-1") == [f"{UNREACHABLE}:NoSchedule"]
    assert ("node-1", "Node node-1 status is now: NodeNotReady") in world.events("NodeNotReady")
    assert (web.metadata.name, "Node is not ready") in world.events("NodeNotReady")
    assert world.endpoints("web") == (2, 1)
    world.until(world.evicting, 6, "the NoExecute taint")
    (since_s,) = world.evicting().values()

    def deleted_s():
        pod = world.cluster.get(kinds.POD, web.metadata.name)
        stamp = pod.metadata.deletion_timestamp
        grace_s = pod.metadata.deletion_grace_period_seconds
        return parse_time(stamp) / 1e9 - grace_s if stamp else None

    assert 300 <= world.until(deleted_s, 310, "the eviction") - since_s <= 301
    world.until(lambda: world.endpoints("web")[0] == 3, 20, "a replacement")
    assert "node-1" not in {p.spec.node_name for p in world.pods("web") if p.ready}
    agents = [p for p in world.cluster.pods("kube-system") if p.spec.node_name == "node-1"]
    daemons = [p for p in agents if p.metadata.controller().kind == "DaemonSet"]
    assert len(daemons) == 2
    assert not any(p.metadata.deletion_timestamp for p in daemons)


def test_kube_proxy_routes_around_a_node_that_is_not_ready(lose):
    """Traffic fails on one branch until the endpoint is gone; then no branch leads there."""
    world = lose()
    world.cluster.power_off("node-1")
    source = next(p for p in world.pods("web") if p.spec.node_name == "node-2").metadata.name

    def fates():
        report = world.cluster.trace(f"pod/{source}", "svc/web:80")
        return sorted(branch.fate.value for branch in report.branches)

    assert fates() == ["DELIVERED", "DELIVERED", "LINK_DOWN"]
    world.until(lambda: world.endpoints("web") == (2, 1), 60, "the endpoint is not ready")
    world.cluster.until_quiet()
    assert fates() == ["DELIVERED", "DELIVERED"]


def test_a_zone_loses_one_node_to_eviction_in_ten_seconds(lose):
    """--node-eviction-rate: four of eight fall silent together and are tainted one by one."""
    world = lose(nodes=8, replicas=0)
    for index in range(1, 5):
        world.cluster.stop_kubelet(f"node-{index}")
    world.sleep(120)
    times = sorted(world.evicting().values())
    assert len(times) == 4
    assert [later - sooner for sooner, later in pairwise(times)] == [10] * 3


def test_a_small_zone_that_is_mostly_down_evicts_nobody(lose):
    """Five of eight: partial disruption, and 8 nodes are no large zone."""
    world = lose(nodes=8)
    for index in range(1, 6):
        world.partition(f"node-{index}")
    world.sleep(700)
    assert world.taints("node-1") == [f"{UNREACHABLE}:NoSchedule"]
    # Who was Unknown before the third was, was within the rate: one node in ten seconds.
    assert len(world.evicting()) <= 1
    world.cluster.cluster.fabric.wire.heal()
    world.until(world.healed, PATIENCE_S, "all is well")


def test_zones_have_rates_of_their_own(lose):
    """Two nodes of two zones each: both zones evict at their own rate, at the same time."""
    world = lose(nodes=6, zones=("a", "b", "c"), replicas=0)
    for name in ("node-1", "node-2", "node-4", "node-5"):
        world.cluster.power_off(name)
    world.sleep(120)
    times = world.evicting()
    assert abs(times["node-1"] - times["node-4"]) >= 10
    assert abs(times["node-2"] - times["node-5"]) >= 10
    assert max(times.values()) - min(times.values()) < 40


def test_a_cluster_whose_nodes_are_all_silent_evicts_nobody(lose):
    """Ten minutes of full disruption; when links are back, no pod was deleted."""
    world = lose(zones=("a", "b", "c"))
    before = {p.metadata.uid for p in world.cluster.pods()}
    for name in world.cluster.cluster.settings.node_names:
        world.partition(name)
    world.sleep(600)
    assert world.evicting() == {}
    world.cluster.cluster.fabric.wire.heal()
    world.until(world.healed, PATIENCE_S, "all is well")
    assert {p.metadata.uid for p in world.cluster.pods()} == before


def test_a_node_that_reboots_in_time_keeps_its_pods(lose):
    """New boot id, Event Rebooted, evictions called off, sandboxes rebuilt, nothing left over."""
    world = lose()
    boot_id = world.node("node-1").status.node_info["bootID"]
    mine = {p.metadata.uid for p in world.cluster.pods() if p.spec.node_name == "node-1"}
    world.cluster.power_off("node-1")
    world.sleep(200)
    world.cluster.power_on("node-1")
    world.until(world.healed, 60, "all is well")
    world.cluster.until_quiet()
    fresh = world.node("node-1").status.node_info["bootID"]
    assert fresh != boot_id
    rebooted = f"Node node-1 has been rebooted, boot id: {fresh}"
    assert ("node-1", rebooted) in world.events("Rebooted")
    there = [p for p in world.cluster.pods() if p.spec.node_name == "node-1"]
    assert {p.metadata.uid for p in there} == mine
    assert all(p.status.container_statuses[0].restart_count == 1 for p in there)
    cancelled = [m for _, m in world.events("TaintManagerEviction") if m.startswith("Cancelling")]
    assert len(cancelled) >= 2
    assert world.left_behind("node-1") == 0


@pytest.mark.parametrize("how", some(["kubelet", "power", "partition"], 1))
def test_a_stateful_identity_waits_for_its_node(lose, how):
    """db-N stays Terminating for as long as its node is away, and returns with it, once only."""
    world = lose()
    lost = next(p for p in world.pods("db") if p.spec.node_name == "node-1")
    name = lost.metadata.name
    seen = []
    on_fact = world.cluster.history.on_fact

    def watched(kind, facts):
        seen.append(tuple(world.running(name)))
        on_fact(kind, facts)

    world.cluster.history.on_fact = watched
    {
        "kubelet": world.cluster.stop_kubelet,
        "power": world.cluster.power_off,
        "partition": world.partition,
    }[how]("node-1")
    world.sleep(1200)
    pod = world.cluster.get(kinds.POD, name)
    assert pod.metadata.uid == lost.metadata.uid
    assert pod.metadata.deletion_timestamp
    assert world.running(name) == (["node-1"] if how == "partition" else [])
    {
        "kubelet": world.cluster.start_kubelet,
        "power": world.cluster.power_on,
        "partition": lambda node: world.partition(node, up=True),
    }[how]("node-1")
    world.until(world.healed, PATIENCE_S, "all is well")
    world.cluster.until_quiet()
    pod = world.cluster.get(kinds.POD, name)
    assert pod.metadata.uid != lost.metadata.uid
    assert world.running(name) == [pod.spec.node_name]
    assert all(len(nodes) <= 1 for nodes in seen)
    assert world.left_behind("node-1") == 0


def test_the_out_of_service_taint_lets_a_stateful_identity_move_on(lose):
    """PodGC removes the terminating pods of a node that is not Ready and marked so."""
    world = lose()
    name = next(p for p in world.pods("db") if p.spec.node_name == "node-1").metadata.name
    world.cluster.power_off("node-1")
    world.sleep(400)
    assert world.cluster.get(kinds.POD, name).metadata.deletion_timestamp
    meta = {"resourceVersion": world.node("node-1").metadata.resource_version}
    taints = [
        *({"key": UNREACHABLE, "effect": effect} for effect in ("NoSchedule", "NoExecute")),
        {"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown",
         "effect": "NoExecute"},
    ]  # fmt: skip
    patch = {"metadata": meta, "spec": {"taints": taints}}
    world.cluster.run(world.cluster.cluster.client.patch(kinds.NODE, "node-1", patch))

    def moved():
        pod = world.cluster.get(kinds.POD, name)
        return pod is not None and pod.ready and pod.spec.node_name != "node-1"

    world.until(moved, 30, f"{name} moves")
    assert world.running(name) == [world.cluster.get(kinds.POD, name).spec.node_name]


def test_deleting_a_node_lets_its_pods_go_after_their_quarantine(lose):
    """40 s to 60 s later they are gone and replaced; the kubelet alone cannot register again."""
    world = lose()
    db = next(p for p in world.pods("db") if p.spec.node_name == "node-1")
    world.cluster.power_off("node-1")
    world.cluster.delete(kinds.NODE, "node-1", "")
    began = world.cluster.now_s

    def replaced():
        pod = world.cluster.get(kinds.POD, db.metadata.name)
        return pod is not None and pod.metadata.uid != db.metadata.uid

    world.until(replaced, 90, "the replacement")
    assert 40 <= world.cluster.now_s - began <= 62
    world.cluster.power_on("node-1")
    world.until(world.healed, 60, "node-1 is a node again")
    world.cluster.until_quiet()
    assert world.left_behind("node-1") == 0
    assert world.node("node-1").spec.pod_cidr


def test_a_forced_deletion_gives_an_identity_away_and_the_old_pod_dies_on_return(lose):
    """The partitioned kubelet runs the old one until it hears of it; then one is left."""
    world = lose()
    old = next(p for p in world.pods("db") if p.spec.node_name == "node-1")
    name = old.metadata.name
    world.partition("node-1")
    world.sleep(70)
    world.cluster.delete(kinds.POD, name, grace_s=0)
    fresh = lambda: (p := world.cluster.get(kinds.POD, name)) and p.ready and p  # noqa: E731
    pod = world.until(fresh, 30, "the replacement")
    assert sorted(world.running(name)) == sorted(["node-1", pod.spec.node_name])
    world.partition("node-1", up=True)
    world.until(lambda: world.running(name) == [pod.spec.node_name], PATIENCE_S, "one is left")
    world.until(world.healed, PATIENCE_S, "all is well")
    world.cluster.until_quiet()
    assert world.left_behind("node-1") == 0


def test_a_running_kubelet_of_a_deleted_node_ends_its_pods_and_returns_when_restarted(lose):
    """It posts to a node that is not there, and holds no Lease; a restart registers it anew."""
    world = lose()
    world.cluster.delete(kinds.NODE, "node-1", "")
    world.sleep(90)
    assert world.node("node-1") is None
    assert world.cluster.get(kinds.LEASE, "node-1", "kube-node-lease") is None
    assert not [p for p in world.cluster.pods() if p.spec.node_name == "node-1"]
    assert world.left_behind("node-1") == 0
    world.cluster.stop_kubelet("node-1")
    world.cluster.start_kubelet("node-1")
    world.until(world.healed, 60, "node-1 is a node again")
