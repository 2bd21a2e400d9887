"""Stories about StatefulSets and DaemonSets."""

from __future__ import annotations

from podwire.api import kinds
from tests.unit.controllers.cluster import Cluster, play, template, workload


def ready_names(c: Cluster) -> list[str]:
    return [p.metadata.name for p in c.pods.list() if p.ready]


def test_a_stateful_set_starts_its_pods_one_after_the_other():
    """web-1 is not created before web-0 is Ready; names, labels and hostname are stable."""

    async def story(c: Cluster) -> None:
        c.node("node-1")
        c.start_s = 5
        order: list[str] = []

        def look(old: object, new: object) -> None:
            names = [p.metadata.name for p in c.pods.list()]
            unready = [p for p in c.pods.list() if not p.ready]
            assert len(unready) <= 1
            order.extend(n for n in names if n not in order)

        c.pods.on_change(look)
        c.api.put(kinds.STATEFUL_SET, workload("web", 3, serviceName="peers"))
        await c.env.clock.sleep(60)
        assert order == ["web-0", "web-1", "web-2"]
        pod = c.api.get(kinds.POD, "default/web-1")
        assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("web-1", "peers")
        labels = pod["metadata"]["labels"]
        assert labels["statefulset.kubernetes.io/pod-name"] == "web-1"
        assert labels["apps.kubernetes.io/pod-index"] == "1"
        status = c.api.get(kinds.STATEFUL_SET, "default/web")["status"]
        assert status["currentRevision"] == status["updateRevision"]
        assert labels["controller-revision-hash"] == status["currentRevision"]
        assert status["readyReplicas"] == status["currentReplicas"] == 3
        assert c.events("web") == [
            f"SuccessfulCreate: create Pod web-{n} in StatefulSet web successful" for n in range(3)
        ]

    play(story)


def test_scaling_down_removes_the_highest_ordinal_first_and_waits():
    """web-2 is gone before web-1 goes."""

    async def story(c: Cluster) -> None:
        c.node("node-1")
        c.stop_s = 5
        c.api.put(kinds.STATEFUL_SET, workload("web", 3))
        await c.env.clock.sleep(30)
        c.change(kinds.STATEFUL_SET, "default/web", replicas=1)
        await c.env.clock.sleep(2)
        dying = [p.metadata.name for p in c.pods.list() if p.metadata.deletion_timestamp]
        assert dying == ["web-2"]
        await c.env.clock.sleep(20)
        assert c.names(kinds.POD) == ["web-0"]

    play(story)


def test_parallel_starts_all_at_once():
    """podManagementPolicy Parallel does not wait."""

    async def story(c: Cluster) -> None:
        c.node("node-1")
        c.start_s = 50
        c.api.put(kinds.STATEFUL_SET, workload("web", 3, podManagementPolicy="Parallel"))
        await c.env.clock.sleep(10)
        assert c.names(kinds.POD) == ["web-0", "web-1", "web-2"]

    play(story)


def test_a_partition_holds_the_update_back():
    """partition 2 of 3: only web-2 changes; dropping it rolls the rest, one at a time."""

    async def story(c: Cluster) -> None:
        c.node("node-1")
        c.api.put(kinds.STATEFUL_SET, workload("web", 3))
        await c.env.clock.sleep(30)
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
        new = template("web", "nginx:2")
        c.change(kinds.STATEFUL_SET, "default/web", template=new, updateStrategy=strategy)
        await c.env.clock.sleep(30)

        def images() -> list[str]:
            return [p["spec"]["containers"][0]["image"] for p in c.live_pods()]

        assert images() == ["nginx:1", "nginx:1", "nginx:2"]
        c.api.remove(kinds.POD, "default/web-0")
        await c.env.clock.sleep(30)
        assert images() == ["nginx:1", "nginx:1", "nginx:2"], "below the partition: old template"
        fewest = 3

        def look(old: object, new: object) -> None:
            nonlocal fewest
            fewest = min(fewest, len(ready_names(c)))

        c.pods.on_change(look)
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}
        c.change(kinds.STATEFUL_SET, "default/web", updateStrategy=strategy)
        await c.env.clock.sleep(60)
        assert images() == ["nginx:2"] * 3
        assert fewest == 2
        status = c.api.get(kinds.STATEFUL_SET, "default/web")["status"]
        assert status["currentRevision"] == status["updateRevision"]
        revisions = c.api.all(kinds.CONTROLLER_REVISION)
        assert sorted(r["revision"] for r in revisions) == [1, 2]

    play(story)


def test_two_pods_never_share_one_identity_even_when_watches_are_late():
    """A deleted pod's name is reused only after it is gone from the server."""

    async def story(c: Cluster) -> None:
        c.node("node-1")
        c.stop_s = 8
        c.api.put(kinds.STATEFUL_SET, workload("web", 2))
        await c.env.clock.sleep(60)
        uid = c.api.get(kinds.POD, "default/web-0")["metadata"]["uid"]
        c.api.requests.clear()
        creations = [e for e in c.api.log if e[1] is kinds.POD and e[2] == "ADDED"]
        assert len(creations) == 2
        body = c.api.get(kinds.POD, "default/web-0")
        meta = {**body["metadata"], "deletionTimestamp": "2026-01-01T00:01:00Z"}
        c.api.put(kinds.POD, {**body, "metadata": meta})
        await c.env.clock.sleep(5)
        assert c.api.get(kinds.POD, "default/web-0")["metadata"]["uid"] == uid
        await c.env.clock.sleep(60)
        assert c.api.get(kinds.POD, "default/web-0")["metadata"]["uid"] != uid
        assert len(c.names(kinds.POD)) == 2

    play(story, watch_delay_s=0.5)


def test_a_daemon_set_runs_one_pod_per_fitting_node():
    """Selectors and taints decide; a node added later gets its pod, a tainted one keeps none."""

    async def story(c: Cluster) -> None:
        c.node("node-1", labels={"disk": "ssd"})
        c.node("node-2")
        taint = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}
        c.node("node-3", labels={"disk": "ssd"}, spec={"taints": [taint]})
        body = workload("agent", 0)
        body["spec"]["template"]["spec"]["nodeSelector"] = {"disk": "ssd"}
        c.api.put(kinds.DAEMON_SET, body)
        await c.env.clock.sleep(20)
        assert [p["spec"]["nodeName"] for p in c.live_pods()] == ["node-1"]
        c.node("node-4", labels={"disk": "ssd"})
        await c.env.clock.sleep(20)
        nodes = sorted(p["spec"]["nodeName"] for p in c.live_pods())
        assert nodes == ["node-1", "node-4"]
        status = c.api.get(kinds.DAEMON_SET, "default/agent")["status"]
        assert status["desiredNumberScheduled"] == status["numberReady"] == 2
        assert status["numberAvailable"] == status["updatedNumberScheduled"] == 2
        pod = c.live_pods()[0]
        keys = [t["key"] for t in pod["spec"]["tolerations"]]
        assert keys == [
            "node.kubernetes.io/not-ready",
            "node.kubernetes.io/unreachable",
            "node.kubernetes.io/disk-pressure",
            "node.kubernetes.io/memory-pressure",
            "node.kubernetes.io/pid-pressure",
            "node.kubernetes.io/unschedulable",
        ]

    play(story)


def test_a_daemon_set_update_takes_down_one_node_at_a_time():
    """maxUnavailable 1 of 3."""

    async def story(c: Cluster) -> None:
        for n in range(1, 4):
            c.node(f"node-{n}")
        c.api.put(kinds.DAEMON_SET, workload("agent", 0))
        await c.env.clock.sleep(20)
        fewest = 3

        def look(old: object, new: object) -> None:
            nonlocal fewest
            ready = [p for p in c.pods.list() if p.ready and not p.metadata.deletion_timestamp]
            fewest = min(fewest, len(ready))

        c.pods.on_change(look)
        c.change(kinds.DAEMON_SET, "default/agent", template=template("agent", "agent:2"))
        await c.env.clock.sleep(60)
        assert [p["spec"]["containers"][0]["image"] for p in c.live_pods()] == ["agent:2"] * 3
        assert fewest == 2
        assert len(c.names(kinds.CONTROLLER_REVISION)) == 2

    play(story)


def test_on_delete_waits_for_the_user():
    """updateStrategy OnDelete: a pod changes only when someone deletes it."""

    async def story(c: Cluster) -> None:
        c.node("node-1")
        c.api.put(kinds.DAEMON_SET, workload("agent", 0, updateStrategy={"type": "OnDelete"}))
        await c.env.clock.sleep(20)
        c.change(kinds.DAEMON_SET, "default/agent", template=template("agent", "agent:2"))
        await c.env.clock.sleep(20)
        (pod,) = c.live_pods()
        assert pod["spec"]["containers"][0]["image"] == "nginx:1"
        c.api.remove(kinds.POD, f"default/{pod['metadata']['name']}")
        await c.env.clock.sleep(20)
        assert c.live_pods()[0]["spec"]["containers"][0]["image"] == "agent:2"

    play(story)


def test_late_watch_events_never_give_a_node_two_daemon_pods():
    """Events arrive 2 s late while nodes change all the time."""

    async def story(c: Cluster) -> None:
        for n in range(1, 5):
            c.node(f"node-{n}")
        c.api.put(kinds.DAEMON_SET, workload("agent", 0))
        for second in range(40):
            await c.env.clock.sleep(1)
            c.node("node-1", labels={"tick": str(second)})
            assert len(c.live_pods()) <= 4
        await c.env.clock.sleep(120)
        assert sorted(p["spec"]["nodeName"] for p in c.live_pods()) == [
            f"node-{n}" for n in range(1, 5)
        ]

    play(story, watch_delay_s=2.0)


def test_a_surging_daemon_set_never_leaves_a_node_without_a_ready_pod():
    """maxSurge 1: the old pod goes once the new one is available; so does undo."""

    async def story(c: Cluster) -> None:
        for n in range(1, 4):
            c.node(f"node-{n}")
        c.start_s = 4
        rolling = {"maxSurge": 1, "maxUnavailable": 0}
        strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
        body = workload("agent", 0, updateStrategy=strategy, minReadySeconds=2)
        c.api.put(kinds.DAEMON_SET, body)
        await c.env.clock.sleep(20)
        fewest, most = 3, 0

        def look(old: object, new: object) -> None:
            nonlocal fewest, most
            alive = [p for p in c.pods.list() if not p.metadata.deletion_timestamp]
            fewest = min(fewest, len({p.spec.node_name for p in alive if p.ready}))
            most = max(most, len(alive))

        c.pods.on_change(look)
        for image, made in (("agent:2", 2), ("nginx:1", 2)):
            c.change(kinds.DAEMON_SET, "default/agent", template=template("agent", image))
            await c.env.clock.sleep(60)
            assert [p["spec"]["containers"][0]["image"] for p in c.live_pods()] == [image] * 3
            assert len(c.names(kinds.CONTROLLER_REVISION)) == made
        assert (fewest, most) == (3, 4)
        revisions = c.api.all(kinds.CONTROLLER_REVISION)
        assert sorted(r["revision"] for r in revisions) == [2, 3], "undo gives the old one a number"

    play(story)


def test_a_claim_template_becomes_a_claim_of_each_pod():
    """Which is what the pod mounts, under the template's name."""

    async def story(c: Cluster) -> None:
        c.node("node-1")
        claims = [{"metadata": {"name": "data"}}]
        c.api.put(kinds.STATEFUL_SET, workload("db", 1, volumeClaimTemplates=claims))
        await c.env.clock.sleep(20)
        spec = c.api.get(kinds.POD, "default/db-0")["spec"]
        claim = {"claimName": "data-db-0"}
        assert spec["volumes"] == [{"name": "data", "persistentVolumeClaim": claim}]
        assert c.api.get(kinds.PERSISTENT_VOLUME_CLAIM, "default/data-db-0")

    play(story)
