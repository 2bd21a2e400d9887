"""Stories about namespaces, accounts, nodes, evictions and garbage."""

from __future__ import annotations

from podwire.api import kinds
from podwire.client.api import Client
from tests.unit.controllers.cluster import Cluster, play, workload


def test_a_namespace_gets_its_account_and_root_ca_and_keeps_them():
    """Deleted or changed, they come back."""

    async def story(c: Cluster) -> None:
        c.namespace("default")
        await c.env.clock.sleep(5)
        assert c.names(kinds.SERVICE_ACCOUNT) == ["default"]
        root_ca = c.api.get(kinds.CONFIG_MAP, "default/kube-root-ca.crt")
        assert root_ca["data"] == {"ca.crt": "CA TEXT"}
        c.api.remove(kinds.SERVICE_ACCOUNT, "default/default")
        c.api.put(kinds.CONFIG_MAP, {**root_ca, "data": {"ca.crt": "forged", "more": "x"}})
        await c.env.clock.sleep(5)
        assert c.names(kinds.SERVICE_ACCOUNT) == ["default"]
        root_ca = c.api.get(kinds.CONFIG_MAP, "default/kube-root-ca.crt")
        assert root_ca["data"] == {"ca.crt": "CA TEXT"}

    play(story)


def test_a_terminating_namespace_is_emptied_and_finalized():
    """Pods end gracefully first, and everything else stays as long as they do."""

    async def story(c: Cluster) -> None:
        c.node("node-1")
        c.namespace("default")
        c.stop_s = 10
        c.api.put(kinds.DEPLOYMENT, workload("web", 2))
        for kind in kinds.STORED:
            if kind.namespaced and not kind.behaves and "list" in kind.verbs:
                c.api.put(kind, {"metadata": {"name": "idle", "namespace": "default"}})
        await c.env.clock.sleep(20)
        await Client(c.api).delete(kinds.NAMESPACE, "default")
        await c.env.clock.sleep(5)
        namespace = c.api.get(kinds.NAMESPACE, "default")
        conditions = {x["type"]: x for x in namespace["status"]["conditions"]}
        assert {x["status"] for x in conditions.values()} == {"False"}
        assert len(c.api.all(kinds.POD)) == 2
        assert c.names(kinds.DEPLOYMENT) == ["web"]
        await c.env.clock.sleep(60)
        assert (kinds.NAMESPACE, "default") not in c.api.objects
        for kind in kinds.ALL:
            inside = [o for o in c.api.all(kind) if o["metadata"].get("namespace") == "default"]
            assert not inside, kind

    play(story)


def test_each_node_gets_a_subnet_of_its_own_and_a_freed_one_is_reused():
    """/24 slices of 10.244.0.0/16, lowest first."""

    async def story(c: Cluster) -> None:
        for n in range(1, 4):
            c.node(f"node-{n}")
        await c.env.clock.sleep(5)

        def subnets() -> list[str]:
            return [n["spec"]["podCIDR"] for n in c.api.all(kinds.NODE)]

        assert sorted(subnets()) == ["10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24"]
        freed = c.api.get(kinds.NODE, "node-2")["spec"]["podCIDR"]
        c.api.remove(kinds.NODE, "node-2")
        await c.env.clock.sleep(5)
        c.node("node-9")
        await c.env.clock.sleep(5)
        assert c.api.get(kinds.NODE, "node-9")["spec"]["podCIDR"] == freed
        assert len(set(subnets())) == 3

    play(story)


def test_a_silent_node_turns_unknown_after_50_s_and_its_pods_move():
    """Lease stops -> Unknown -> taints -> tolerationSeconds -> eviction -> a new pod elsewhere."""

    async def story(c: Cluster) -> None:
        c.node("node-1")
        c.node("node-2")
        body = workload("web", 2)
        body["spec"]["template"]["spec"]["tolerations"] = [
            {
                "key": f"node.kubernetes.io/{reason}",
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": 300,
            }
            for reason in ("not-ready", "unreachable")
        ]
        c.api.put(kinds.DEPLOYMENT, body)
        await c.env.clock.sleep(19)
        c.silent["node-1"] = None
        await c.env.clock.sleep(29)

        def ready() -> str:
            conditions = c.api.get(kinds.NODE, "node-1")["status"]["conditions"]
            return str(next(x["status"] for x in conditions if x["type"] == "Ready"))

        assert ready() == "True"
        await c.env.clock.sleep(20)
        assert ready() == "Unknown"
        taints = c.api.get(kinds.NODE, "node-1")["spec"]["taints"]
        assert [(t["key"], t["effect"]) for t in taints] == [
            ("node.kubernetes.io/unreachable", "NoSchedule"),
            ("node.kubernetes.io/unreachable", "NoExecute"),
        ]
        (stranded,) = [p for p in c.pods.list() if p.spec.node_name == "node-1"]
        assert not stranded.ready
        await c.env.clock.sleep(280)
        assert not c.pods.get("default", stranded.metadata.name).metadata.deletion_timestamp  # type: ignore[union-attr]
        await c.env.clock.sleep(40)
        assert c.pods.get("default", stranded.metadata.name) is None
        assert [p["spec"]["nodeName"] for p in c.live_pods()] == ["node-2", "node-2"]
        assert f"TaintManagerEviction: Marking for deletion Pod {stranded.key}" in c.events(
            stranded.metadata.name
        )

    play(story)


def test_a_node_that_comes_back_in_time_keeps_its_pods():
    """The taints go, the deletion is called off."""

    async def story(c: Cluster) -> None:
        c.node("node-1")
        c.node("node-2")
        c.api.put(kinds.DAEMON_SET, workload("agent", 0))
        await c.env.clock.sleep(20)
        c.silent["node-1"] = None
        await c.env.clock.sleep(100)
        assert c.api.get(kinds.NODE, "node-1")["spec"]["taints"]
        del c.silent["node-1"]
        await c.env.clock.sleep(20)
        assert not c.api.get(kinds.NODE, "node-1")["spec"].get("taints")
        assert len(c.live_pods()) == 2

    play(story)


def test_pods_of_a_deleted_node_are_removed_after_quarantine():
    """The node is gone for 40 s: its pods fail and vanish."""

    async def story(c: Cluster) -> None:
        c.node("node-1")
        c.api.put(kinds.REPLICA_SET, workload("rs", 1))
        await c.env.clock.sleep(20)
        (pod,) = c.names(kinds.POD)
        c.stop_s = 10_000
        c.api.remove(kinds.NODE, "node-1")
        await c.env.clock.sleep(30)
        assert pod in c.names(kinds.POD)
        await c.env.clock.sleep(20)
        assert pod not in c.names(kinds.POD)

    play(story)


def test_deleting_an_owner_deletes_what_it_owned_down_to_the_pods():
    """Background: Deployment -> ReplicaSet -> pods."""

    async def story(c: Cluster) -> None:
        c.node("node-1")
        c.api.put(kinds.DEPLOYMENT, workload("web", 3))
        await c.env.clock.sleep(20)
        await Client(c.api).delete(kinds.DEPLOYMENT, "web", "default")
        await c.env.clock.sleep(20)
        assert c.names(kinds.REPLICA_SET) == []
        assert c.names(kinds.POD) == []

    play(story)


def test_foreground_deletion_waits_for_the_dependents():
    """The Deployment stays until the last pod is gone."""

    async def story(c: Cluster) -> None:
        c.node("node-1")
        c.stop_s = 10
        c.api.put(kinds.DEPLOYMENT, workload("web", 2))
        await c.env.clock.sleep(20)
        await Client(c.api).delete(
            kinds.DEPLOYMENT, "web", "default", propagation_policy="Foreground"
        )
        await c.env.clock.sleep(5)
        assert c.names(kinds.DEPLOYMENT) == ["web"]
        assert len(c.names(kinds.POD)) == 2
        await c.env.clock.sleep(20)
        assert c.names(kinds.POD) == []
        assert c.names(kinds.REPLICA_SET) == []
        assert c.names(kinds.DEPLOYMENT) == []

    play(story)


def test_orphan_deletion_leaves_the_dependents():
    """The ReplicaSet lives on without an owner; its pods are untouched."""

    async def story(c: Cluster) -> None:
        c.node("node-1")
        c.api.put(kinds.DEPLOYMENT, workload("web", 2))
        await c.env.clock.sleep(20)
        await Client(c.api).delete(kinds.DEPLOYMENT, "web", "default", propagation_policy="Orphan")
        await c.env.clock.sleep(20)
        assert c.names(kinds.DEPLOYMENT) == []
        (rs,) = c.api.all(kinds.REPLICA_SET)
        assert "ownerReferences" not in rs["metadata"]
        assert len(c.live_pods()) == 2

    play(story)


def test_a_dependent_whose_owner_never_was_is_collected_and_a_known_owner_is_not_guessed_away():
    """Absent uid: live lookup, then deletion; a namesake with another uid does not count."""

    async def story(c: Cluster) -> None:
        await c.env.clock.sleep(1)
        owner = c.api.put(kinds.CONFIG_MAP, {"metadata": {"name": "own", "namespace": "default"}})

        def child(name: str, uid: str) -> None:
            reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "own", "uid": uid}
            meta = {"name": name, "namespace": "default", "ownerReferences": [reference]}
            c.api.put(kinds.SECRET, {"metadata": meta})

        child("kept", owner["metadata"]["uid"])
        child("gone", "00000000-0000-4000-8000-000000000000")
        await c.env.clock.sleep(10)
        assert c.names(kinds.SECRET) == ["kept"]

    play(story, watch_delay_s=0.2)
