"""A cluster in virtual time: what its driver is told, and what happens when something breaks."""

import json

import pytest

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.sim.settings import ClusterSettings
from podwire.sim.virtual import NotConvergedError, RoomFailedError, VirtualCluster


@pytest.fixture
def small():
    """One node, not yet booted."""
    with VirtualCluster(ClusterSettings(nodes=1, time_profile="fast")) as made:
        yield made


def test_waiting_in_vain_shows_the_state(small):
    """The message names what was waited for, and every pod and node."""
    with pytest.raises(NotConvergedError, match=r"the moon did not hold within 5 virtual seconds"):
        small.until(lambda: False, 5, "the moon")
    assert "node node-1: Ready" in small.summary()


def test_a_room_that_fails_ends_the_run_with_its_name(small):
    """Not a timeout: the room's own error, at once."""

    async def broken():
        raise RuntimeError("pipe burst")

    small.boot()

    async def start():
        small.cluster._start_room("plumbing", broken())

    small.run(start())
    with pytest.raises(RoomFailedError, match=r"plumbing failed: RuntimeError\('pipe burst'\)"):
        small.sleep(10)
    assert small.cluster.rooms["plumbing"].component.status == "Failed"


def test_apply_creates_and_then_changes(small):
    """The second apply of an object patches it; a kind nobody serves says where to look."""
    small.boot()
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}}
    small.apply(body)
    small.apply(body | {"data": {"a": "2"}})
    assert small.get(kinds.CONFIG_MAP, "c").data == {"a": "2"}
    with pytest.raises(ApiError, match='unknown field "dta"'):
        small.apply(body | {"dta": {}})
    with pytest.raises(ApiError, match=r"docs/kinds\.md"):
        small.apply({"apiVersion": "x/v1", "kind": "Widget", "metadata": {"name": "w"}})


def test_a_stopped_kubelet_is_noticed_and_may_return(small):
    """Its Lease runs out; after the grace period the node is not Ready and tainted."""
    small.boot()
    small.stop_kubelet("node-1")
    small.until(lambda: not small.get(kinds.NODE, "node-1").ready, 75, "node-1 NotReady")
    assert 50 < small.now_s < 75

    def tainted():
        taints = small.get(kinds.NODE, "node-1").spec.taints
        return "node.kubernetes.io/unreachable" in {t.key for t in taints}

    small.until(tainted, 10, "the taint")
    small.start_kubelet("node-1")
    small.until(small.system_ready, 120, "the return of node-1")


def test_the_same_calls_and_seed_give_the_same_hash():
    """Two clusters in one process, one history."""

    def story(seed):
        with VirtualCluster(ClusterSettings(nodes=2, time_profile="fast"), seed) as made:
            made.boot()
            made.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
                        "spec": {"containers": [{"name": "c", "image": "nginx"}]}})  # fmt: skip
            made.converge()
            return made.trace_hash

    assert story(1) == story(1)
    assert story(1) != story(2)


def test_the_switches_of_a_node_are_an_api(small):
    """POST nodes/NODE/power and nodes/NODE/kubelet, for whoever has a kubeconfig."""
    small.boot()
    paths = "/apis/podwire.dev/v1alpha1/nodes"

    def post(path, body):
        answer = small.run(small.cluster.client.send("POST", f"{paths}/{path}", (), body))
        told = json.loads(answer.body)
        return told["power"], told["kubelet"]

    assert post("node-1/kubelet", {"kubelet": "stopped"}) == ("on", "stopped")
    assert post("node-1/kubelet", {"kubelet": "running"}) == ("on", "running")
    for _ in range(2):
        assert post("node-1/power", {"power": "off"}) == ("off", "stopped")
    for path, body, code, told in (
        ("node-1/kubelet", {"kubelet": "running"}, 409, "node node-1 has no power"),
        ("node-1/power", {"power": "dim"}, 400, "power: Invalid enum value 'dim'"),
        ("node-1/power", {"off": True}, 400, "power: "),
        ("node-9/power", {"power": "on"}, 404, 'nodes "node-9" not found'),
        ("gateway/power", {"power": "off"}, 404, 'nodes "gateway" not found'),
    ):
        with pytest.raises(ApiError) as refused:
            post(path, body)
        assert refused.value.code == code
        assert told in refused.value.message
    assert post("node-1/power", {"power": "on"}) == ("on", "running")
    small.until(small.all_ready, 120, "the return of node-1")


def test_nobody_talks_to_a_kubelet_across_a_cut_link(small):
    """exec and logs are dialled from the control plane; its packets must arrive."""
    small.boot()
    small.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
                 "spec": {"containers": [{"name": "c", "image": "nginx"}]}})  # fmt: skip
    small.converge()
    assert small.exec("p", "hostname").stdout == "p\n"
    small.cluster.fabric.wire.set_link("node-1", "control-plane", up=False)
    with pytest.raises(ConnectionError, match=r"dial tcp 192\.168\.0\.11:10250: i/o timeout"):
        small.exec("p", "hostname")
