"""Stories about Deployments and their ReplicaSets, with a pretended kubelet."""

from __future__ import annotations

from typing import Any

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.api.status import ApiError
from podwire.client.counters import Request
from podwire.controllers.common import safe_hash
from tests.unit.controllers.cluster import Cluster, play, template, workload


def images(cluster: Cluster) -> list[str]:
    return sorted(p["spec"]["containers"][0]["image"] for p in cluster.live_pods())


def test_a_deployment_becomes_available():
    """Deployment -> ReplicaSet -> pods on nodes -> status, with upstream's words."""

    async def story(c: Cluster) -> None:
        for name in ("node-1", "node-2", "node-3"):
            c.node(name)
        c.api.put(kinds.DEPLOYMENT, workload("web", 3))
        await c.env.clock.sleep(30)
        deployment = c.api.get(kinds.DEPLOYMENT, "default/web")
        status = deployment["status"]
        assert status["readyReplicas"] == status["availableReplicas"] == 3
        assert status["updatedReplicas"] == status["replicas"] == 3
        assert "unavailableReplicas" not in status
        (rs,) = c.api.all(kinds.REPLICA_SET)
        name = rs["metadata"]["name"]
        conditions = {
            x["type"]: (x["status"], x["reason"], x["message"]) for x in status["conditions"]
        }
        assert conditions == {
            "Available": (
                "True", "MinimumReplicasAvailable", "Deployment has minimum availability."
            ),
            "Progressing": (
                "True",
                "NewReplicaSetAvailable",
                f'ReplicaSet "{name}" has successfully progressed.',
            ),
        }  # fmt: skip
        assert deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
        assert c.events("web") == [f"ScalingReplicaSet: Scaled up replica set {name} from 0 to 3"]
        nodes = sorted(p["spec"]["nodeName"] for p in c.live_pods())
        assert nodes == ["node-1", "node-2", "node-3"], "one owner's pods are spread"
        assert len(c.events(name)) == 3
        assert c.events(name)[0].startswith(f"SuccessfulCreate: Created pod: {name}-")

    play(story)


def test_a_rolling_update_keeps_within_surge_and_unavailable():
    """25 % of 4: never more than 5 pods, never fewer than 3 Ready."""

    async def story(c: Cluster) -> None:
        c.node("node-1")
        c.api.put(kinds.DEPLOYMENT, workload("web", 4))
        await c.env.clock.sleep(30)
        fewest, most = 99, 0

        def look(old: object, new: object) -> None:
            nonlocal fewest, most
            pods = [p for p in c.pods.list() if not p.metadata.deletion_timestamp]
            fewest = min(fewest, sum(p.ready for p in pods))
            most = max(most, len(pods))

        c.pods.on_change(look)
        fewest = 99
        c.change(kinds.DEPLOYMENT, "default/web", template=template("web", "nginx:2"))
        await c.env.clock.sleep(60)
        assert images(c) == ["nginx:2"] * 4
        assert (fewest, most) == (3, 5)
        old, new = sorted(
            c.api.all(kinds.REPLICA_SET),
            key=lambda s: s["metadata"]["annotations"]["deployment.kubernetes.io/revision"],
        )
        assert (old["spec"]["replicas"], new["spec"]["replicas"]) == (0, 4)
        assert c.api.get(kinds.DEPLOYMENT, "default/web")["metadata"]["annotations"] == {
            "deployment.kubernetes.io/revision": "2"
        }

    play(story)


def test_going_back_reuses_the_old_replica_set_with_a_new_revision():
    """What kubectl rollout undo does: it patches the old template in again."""

    async def story(c: Cluster) -> None:
        c.node("node-1")
        c.api.put(kinds.DEPLOYMENT, workload("web", 2))
        await c.env.clock.sleep(30)
        (first,) = c.names(kinds.REPLICA_SET)
        c.change(kinds.DEPLOYMENT, "default/web", template=template("web", "nginx:2"))
        await c.env.clock.sleep(30)
        c.change(kinds.DEPLOYMENT, "default/web", template=template("web", "nginx:1"))
        await c.env.clock.sleep(30)
        assert images(c) == ["nginx:1"] * 2
        assert len(c.names(kinds.REPLICA_SET)) == 2
        notes = c.api.get(kinds.REPLICA_SET, f"default/{first}")["metadata"]["annotations"]
        assert notes["deployment.kubernetes.io/revision"] == "3"
        assert notes["deployment.kubernetes.io/revision-history"] == "1"

    play(story)


def test_a_broken_image_stops_the_rollout_and_the_deadline_says_so():
    """Old pods keep serving; Progressing turns False at progressDeadlineSeconds."""

    async def story(c: Cluster) -> None:
        c.node("node-1")
        c.broken = lambda pod: pod.spec.containers[0].image == "nginx:bad"
        c.api.put(kinds.DEPLOYMENT, workload("web", 4, progressDeadlineSeconds=60))
        await c.env.clock.sleep(30)
        c.change(kinds.DEPLOYMENT, "default/web", template=template("web", "nginx:bad"))
        await c.env.clock.sleep(120)
        assert images(c).count("nginx:1") == 3
        conditions = c.api.get(kinds.DEPLOYMENT, "default/web")["status"]["conditions"]
        progressing = next(x for x in conditions if x["type"] == "Progressing")
        assert (progressing["status"], progressing["reason"]) == (
            "False", "ProgressDeadlineExceeded"
        )  # fmt: skip
        assert progressing["message"].endswith("has timed out progressing.")

    play(story)


def test_recreate_waits_until_the_last_old_pod_is_gone():
    """No moment with pods of both templates."""

    async def story(c: Cluster) -> None:
        c.node("node-1")
        c.stop_s = 7
        c.api.put(kinds.DEPLOYMENT, workload("web", 3, strategy={"type": "Recreate"}))
        await c.env.clock.sleep(30)
        mixed: list[int] = []

        def look(old: object, new: object) -> None:
            kinds_of = {p.spec.containers[0].image for p in c.pods.list()}
            mixed.append(len(kinds_of))

        c.pods.on_change(look)
        c.change(kinds.DEPLOYMENT, "default/web", template=template("web", "nginx:2"))
        await c.env.clock.sleep(60)
        assert images(c) == ["nginx:2"] * 3
        assert max(mixed) == 1

    play(story)


def test_scaling_during_a_paused_rollout_is_proportional():
    """10 pods paused at 8 old + 5 new: 15 wanted is shared by size."""

    async def story(c: Cluster) -> None:
        c.node("node-1")
        c.broken = lambda pod: pod.spec.containers[0].image == "nginx:2"
        strategy = {
            "type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}
        }  # fmt: skip
        c.api.put(kinds.DEPLOYMENT, workload("web", 10, strategy=strategy))
        await c.env.clock.sleep(30)
        c.change(kinds.DEPLOYMENT, "default/web", template=template("web", "nginx:2"))
        await c.env.clock.sleep(30)
        assert (images(c).count("nginx:1"), images(c).count("nginx:2")) == (8, 5)
        c.change(kinds.DEPLOYMENT, "default/web", paused=True, replicas=15)
        await c.env.clock.sleep(30)
        assert (images(c).count("nginx:1"), images(c).count("nginx:2")) == (11, 7)

    play(story)


def test_old_replica_sets_beyond_the_history_limit_are_deleted():
    """revisionHistoryLimit 1 keeps one besides the current."""

    async def story(c: Cluster) -> None:
        c.node("node-1")
        c.api.put(kinds.DEPLOYMENT, workload("web", 1, revisionHistoryLimit=1))
        for version in range(2, 6):
            await c.env.clock.sleep(30)
            c.change(kinds.DEPLOYMENT, "default/web", template=template("web", f"nginx:{version}"))
        await c.env.clock.sleep(30)
        assert len(c.names(kinds.REPLICA_SET)) == 2

    play(story)


def test_late_watch_events_never_make_a_replica_set_overshoot():
    """Events arrive 3 s late; the number of pods never exceeds the wanted one."""

    async def story(c: Cluster) -> None:
        c.node("node-1")
        c.api.put(kinds.REPLICA_SET, workload("rs", 5))
        for _ in range(30):
            await c.env.clock.sleep(1)
            assert len(c.api.all(kinds.POD)) <= 5
            body = c.api.get(kinds.REPLICA_SET, "default/rs")
            note = {"poke": str(c.env.clock.now_ns())}
            c.api.put(kinds.REPLICA_SET, {
                **body, "metadata": {**body["metadata"], "annotations": note}
            })  # fmt: skip
        await c.env.clock.sleep(60)
        assert len(c.api.all(kinds.POD)) == 5

    play(story, watch_delay_s=3.0)


def test_a_replica_set_adopts_a_matching_orphan_and_releases_a_relabelled_pod():
    """The selector rules; the released pod lives on without an owner."""

    async def story(c: Cluster) -> None:
        c.node("node-1")
        orphan = {
            "metadata": {"name": "orphan", "namespace": "default", "labels": {"app": "rs"}},
            "spec": {"containers": [{"name": "c", "image": "x"}]},
        }
        c.api.put(kinds.POD, orphan)
        c.api.put(kinds.REPLICA_SET, workload("rs", 2))
        await c.env.clock.sleep(20)
        assert len(c.live_pods()) == 2
        (owner,) = c.api.get(kinds.POD, "default/orphan")["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["controller"]) == ("ReplicaSet", "rs", True)
        body = c.api.get(kinds.POD, "default/orphan")
        meta = {**body["metadata"], "labels": {"app": "debug"}}
        c.api.put(kinds.POD, {**body, "metadata": meta})
        await c.env.clock.sleep(20)
        assert "ownerReferences" not in c.api.get(kinds.POD, "default/orphan")["metadata"]
        assert len(c.live_pods()) == 3

    play(story)


def test_the_same_seed_gives_the_same_history():
    """Two runs of one story write the same requests in the same order."""

    async def story(c: Cluster) -> None:
        for name in ("node-1", "node-2"):
            c.node(name)
        c.api.put(kinds.DEPLOYMENT, workload("web", 6))
        await c.env.clock.sleep(30)
        c.change(kinds.DEPLOYMENT, "default/web", template=template("web", "nginx:2"))
        await c.env.clock.sleep(60)

    runs = [
        [(r.method, r.path, r.body) for r in play(story, seed).api.requests] for seed in (7, 7, 8)
    ]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_a_refused_pod_shows_as_replica_failure_until_it_is_allowed():
    """FailedCreate on the ReplicaSet, ReplicaFailure on both, then gone."""

    async def story(c: Cluster) -> None:
        c.node("node-1")

        def refuse(request: Request) -> ApiError | None:
            if request.method == "POST" and request.path.endswith("/pods"):
                return ApiError("Forbidden", 'pods "web-x" is forbidden: exceeded quota')
            return None

        def failures(kind: Kind[Any]) -> list[tuple[str, str]]:
            conditions = c.api.all(kind)[0]["status"]["conditions"]
            return [
                (x["reason"], x["message"]) for x in conditions if x["type"] == "ReplicaFailure"
            ]

        c.api.refuse = refuse
        c.api.put(kinds.DEPLOYMENT, workload("web", 2))
        await c.env.clock.sleep(30)
        words = [("FailedCreate", 'pods "web-x" is forbidden: exceeded quota')]
        assert failures(kinds.REPLICA_SET) == words
        assert failures(kinds.DEPLOYMENT) == words
        (name,) = c.names(kinds.REPLICA_SET)
        assert c.events(name) == [f"FailedCreate: Error creating: {words[0][1]}"]
        c.api.refuse = None
        await c.env.clock.sleep(60)
        assert len(c.live_pods()) == 2
        assert "conditions" not in c.api.all(kinds.REPLICA_SET)[0]["status"]
        assert failures(kinds.DEPLOYMENT) == []

    play(story)


def test_pausing_holds_the_rollout_and_resuming_lets_it_go():
    """Progressing says DeploymentPaused, then DeploymentResumed, then the end."""

    async def story(c: Cluster) -> None:
        c.node("node-1")
        c.api.put(kinds.DEPLOYMENT, workload("web", 2))
        await c.env.clock.sleep(30)

        def progressing() -> str:
            conditions = c.api.get(kinds.DEPLOYMENT, "default/web")["status"]["conditions"]
            return str(next(x["reason"] for x in conditions if x["type"] == "Progressing"))

        c.change(kinds.DEPLOYMENT, "default/web", paused=True)
        await c.env.clock.sleep(5)
        assert progressing() == "DeploymentPaused"
        c.change(kinds.DEPLOYMENT, "default/web", template=template("web", "nginx:2"))
        await c.env.clock.sleep(30)
        assert images(c) == ["nginx:1"] * 2
        c.change(kinds.DEPLOYMENT, "default/web", paused=False)
        await c.env.clock.sleep(30)
        assert images(c) == ["nginx:2"] * 2
        assert progressing() == "NewReplicaSetAvailable"

    play(story)


def test_scaling_is_told_with_both_sizes():
    """kubectl scale: up to 5, down to 1."""

    async def story(c: Cluster) -> None:
        c.node("node-1")
        c.api.put(kinds.DEPLOYMENT, workload("web", 2))
        for size in (5, 1):
            await c.env.clock.sleep(30)
            c.change(kinds.DEPLOYMENT, "default/web", replicas=size)
        await c.env.clock.sleep(30)
        assert len(c.live_pods()) == 1
        (name,) = c.names(kinds.REPLICA_SET)
        assert c.events("web") == [
            f"ScalingReplicaSet: Scaled up replica set {name} from 0 to 2",
            f"ScalingReplicaSet: Scaled up replica set {name} from 2 to 5",
            f"ScalingReplicaSet: Scaled down replica set {name} from 5 to 1",
        ]
        notes = c.api.get(kinds.REPLICA_SET, f"default/{name}")["metadata"]["annotations"]
        assert notes["deployment.kubernetes.io/desired-replicas"] == "1"

    play(story)


def test_a_foreign_replica_set_with_the_same_name_makes_the_hash_change():
    """collisionCount goes up, the rollout goes on under another name."""

    async def story(c: Cluster) -> None:
        c.node("node-1")
        wanted = workload("web", 1)
        wanted["spec"]["template"]["metadata"]["labels"] = {"x": "y"}
        wanted["spec"]["selector"] = {"matchLabels": {"x": "y"}}
        await c.env.clock.sleep(1)
        digest = safe_hash(wanted["spec"]["template"])
        body = workload("web", 0)
        body["metadata"]["name"] = f"web-{digest}"
        body["spec"]["selector"] = {"matchLabels": {"other": "one"}}
        c.api.put(kinds.REPLICA_SET, body)
        c.api.put(kinds.DEPLOYMENT, wanted)
        await c.env.clock.sleep(20)
        status = c.api.get(kinds.DEPLOYMENT, "default/web")["status"]
        assert status["collisionCount"] == 1
        assert status["availableReplicas"] == 1

    play(story)
