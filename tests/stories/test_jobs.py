"""Jobs, CronJobs and autoscalers in a whole cluster, with pods that run and end."""

import json
from itertools import pairwise

import pytest

from podwire.api import kinds
from podwire.sim.settings import ClusterSettings
from podwire.sim.virtual import VirtualCluster


@pytest.fixture
def cluster():
    """Three nodes, fast times."""
    with VirtualCluster(ClusterSettings(time_profile="fast")) as made:
        made.boot()
        yield made


def template(script, restart="Never", **container):
    """A pod template that runs a shell script."""
    one = {"name": "c", "image": "busybox:1.36", "command": ["sh", "-c", script], **container}
    return {"spec": {"restartPolicy": restart, "containers": [one]}}


def job(name, script, restart="Never", **spec):
    """A Job that runs a shell script."""
    body = {**spec, "template": template(script, restart)}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": body}


def ended(cluster, name):
    """The condition by which a Job ended: (type, reason)."""
    found = cluster.get(kinds.JOB, name)
    end = found.finished if found is not None else None
    return end and (end.type, end.reason)


def pods(cluster, prefix=""):
    """The names of the pods of the namespace default."""
    names = sorted(p.metadata.name for p in cluster.pods("default"))
    return [name for name in names if name.startswith(prefix)]


def events(cluster, name):
    """``reason: message`` of the events about an object, in order."""
    cluster.sleep(1)  # the recorder writes behind
    found = [
        cluster.run(cluster.cluster.client.get_json(kinds.EVENT, e.metadata.name, "default"))
        for e in cluster.objects(kinds.EVENT, "default")
    ]
    about = [e for e in found if e["involvedObject"]["name"] == name]
    return [f"{e['reason']}: {e['message']}" for e in about]


def test_a_job_runs_its_completions_two_at_a_time(cluster):
    """Six in all, never more than two; then it is Complete, and no finalizer is left."""
    cluster.apply(job("work", "sleep 3", completions=6, parallelism=2))
    most = 0

    def done():
        nonlocal most
        running = [p for p in cluster.pods("default") if p.status.phase in {"Pending", "Running"}]
        most = max(most, len(running))
        return ended(cluster, "work")

    assert cluster.until(done, 120) == ("Complete", "CompletionsReached")
    status = cluster.get(kinds.JOB, "work").status
    assert (status.succeeded, status.active, status.ready, most) == (6, 0, 0, 2)
    assert status.completion_time
    assert len(pods(cluster)) == 6
    assert not any(p.metadata.finalizers for p in cluster.pods("default"))
    assert events(cluster, "work")[-1] == "Completed: Job completed"


def test_failed_pods_come_back_after_ten_and_twenty_seconds(cluster):
    """Then the backoff limit is reached."""
    cluster.apply(job("bad", "exit 3", backoffLimit=2))
    cluster.until(lambda: ended(cluster, "bad") == ("Failed", "BackoffLimitExceeded"), 120)
    made = sorted(p.metadata.creation_timestamp for p in cluster.pods("default"))
    seconds = [int(at[14:16]) * 60 + int(at[17:19]) for at in made]
    assert [b - a for a, b in pairwise(seconds)] == [10, 20]
    assert cluster.get(kinds.JOB, "bad").status.failed == 3


def test_on_failure_restarts_the_container_in_place(cluster):
    """One pod; its restarts count towards the limit."""
    cluster.apply(job("again", "exit 1", restart="OnFailure", backoffLimit=2))
    cluster.until(lambda: ended(cluster, "again") == ("Failed", "BackoffLimitExceeded"), 300)
    assert len(events(cluster, "again")) == 3, "created, deleted, failed"


def test_an_indexed_job_knows_its_indexes(cluster):
    """Each container sees its number; one index fails without holding up the others."""
    script = "echo index $JOB_COMPLETION_INDEX; test $JOB_COMPLETION_INDEX -ne 1"
    spec = {"completions": 3, "parallelism": 3, "completionMode": "Indexed"}
    cluster.apply(job("idx", script, backoffLimitPerIndex=1, **spec))
    cluster.until(lambda: ended(cluster, "idx") == ("Failed", "FailedIndexes"), 120)
    status = cluster.get(kinds.JOB, "idx").status
    assert (status.completed_indexes, status.failed_indexes) == ("0,2", "1")
    assert [name.rpartition("-")[0] for name in pods(cluster)] == [
        "idx-0", "idx-1", "idx-1", "idx-2",
    ]  # fmt: skip
    hosts = {p.spec.hostname for p in cluster.pods("default")}
    assert hosts == {"idx-0", "idx-1", "idx-2"}


def test_suspending_deletes_the_pods_and_resuming_starts_anew(cluster):
    """Nothing is counted as failed."""
    cluster.apply(job("pause", "sleep 20"))
    cluster.until(lambda: cluster.get(kinds.JOB, "pause").status.ready == 1, 60)
    patch = cluster.cluster.client.patch
    cluster.run(patch(kinds.JOB, "pause", {"spec": {"suspend": True}}, "default"))
    cluster.until(lambda: not pods(cluster), 60)
    status = cluster.get(kinds.JOB, "pause").status
    assert (status.active, status.failed, status.start_time) == (0, 0, "")
    assert cluster.get(kinds.JOB, "pause").condition("Suspended").reason == "JobSuspended"
    cluster.run(patch(kinds.JOB, "pause", {"spec": {"suspend": False}}, "default"))
    cluster.until(lambda: ended(cluster, "pause") == ("Complete", "CompletionsReached"), 120)
    told = [line.partition(":")[0] for line in events(cluster, "pause")]
    assert told == [
        "SuccessfulCreate", "SuccessfulDelete", "Suspended", "SuccessfulCreate", "Resumed",
        "Completed",
    ]  # fmt: skip


def test_a_deadline_ends_a_job_that_is_still_at_work(cluster):
    """Its pod is deleted, and Failed waits until it has gone."""
    cluster.apply(job("late", "sleep 1000", activeDeadlineSeconds=5))
    cluster.until(lambda: ended(cluster, "late") == ("Failed", "DeadlineExceeded"), 120)
    cluster.until(lambda: not pods(cluster), 60)
    assert "DeadlineExceeded: Job was active longer than specified deadline" in events(
        cluster, "late"
    )


def test_a_finished_job_goes_after_its_ttl_with_its_pods(cluster):
    """ttlSecondsAfterFinished."""
    cluster.apply(job("brief", "true", ttlSecondsAfterFinished=30))
    cluster.until(lambda: ended(cluster, "brief"), 60)
    cluster.sleep(25)
    assert cluster.get(kinds.JOB, "brief") is not None
    cluster.until(lambda: cluster.get(kinds.JOB, "brief") is None and not pods(cluster), 30)


def test_deleting_a_job_takes_its_running_pods_away(cluster):
    """The finalizer of pods that nobody counts any more is removed."""
    cluster.apply(job("gone", "sleep 1000", parallelism=3, completions=3))
    cluster.until(lambda: cluster.get(kinds.JOB, "gone").status.ready == 3, 60)
    delete = cluster.cluster.client.delete
    cluster.run(delete(kinds.JOB, "gone", "default", propagation_policy="Background"))
    cluster.until(lambda: not pods(cluster), 60)


def test_deleting_a_job_without_a_policy_leaves_its_pods_to_nobody(cluster):
    """Orphan is the old default of Jobs; they run on, without owner and without finalizer."""
    cluster.apply(job("left", "sleep 1000"))
    cluster.until(lambda: cluster.get(kinds.JOB, "left").status.ready == 1, 60)
    cluster.delete(kinds.JOB, "left")
    cluster.sleep(5)
    assert cluster.get(kinds.JOB, "left") is None
    (pod,) = cluster.pods("default")
    meta = pod.metadata
    assert (pod.ready, meta.finalizers, meta.owner_references) == (True, [], [])


def test_a_quota_that_refuses_pods_leaves_the_truth_in_the_status(cluster):
    """active counts what there is; once the quota grows the Job goes on."""
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}}
    cluster.apply({**quota, "spec": {"hard": {"pods": "1"}}})
    cluster.apply(job("many", "sleep 1000", parallelism=3, completions=3))
    cluster.until(lambda: cluster.get(kinds.JOB, "many").status.active == 1, 60)
    assert any("exceeded quota" in line for line in events(cluster, "many"))
    cluster.run(
        cluster.cluster.client.patch(
            kinds.named("v1", "ResourceQuota"), "few", {"spec": {"hard": {"pods": "5"}}}, "default"
        )
    )
    cluster.until(lambda: cluster.get(kinds.JOB, "many").status.active == 3, 120)


def test_a_cron_job_runs_on_the_minute(cluster):
    """Every minute a Job; three finished ones are kept."""
    body = {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": template("true")}}}
    cluster.apply(
        {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "tick"}, "spec": body}
    )
    cluster.sleep(330)
    names = [j.metadata.name for j in cluster.objects(kinds.JOB, "default")]
    assert names == ["tick-29453763", "tick-29453764", "tick-29453765"]
    status = cluster.get(kinds.CRON_JOB, "tick").status
    assert status.last_schedule_time == "2026-01-01T00:05:00Z"
    assert status.last_successful_time > status.last_schedule_time
    assert status.active == []
    told = events(cluster, "tick")
    assert "SuccessfulCreate: Created job tick-29453761" in told
    assert "SawCompletedJob: Saw completed job: tick-29453761, condition: Complete" in told
    assert "SuccessfulDelete: Deleted job tick-29453761" in told


def test_a_replication_controller_keeps_its_pods(cluster):
    """And scales, by its old kind's own words."""
    spec = {
        "replicas": 2,
        "selector": {"app": "old"},
        "template": {
            "metadata": {"labels": {"app": "old"}},
            "spec": {"containers": [{"name": "c", "image": "nginx"}]},
        },
    }
    kind = kinds.REPLICATION_CONTROLLER
    cluster.apply(
        {"apiVersion": "v1", "kind": kind.kind, "metadata": {"name": "old"}, "spec": spec}
    )
    cluster.until(lambda: cluster.get(kind, "old").status.ready_replicas == 2, 60)
    cluster.delete(kinds.POD, pods(cluster)[0])
    cluster.until(lambda: cluster.get(kind, "old").status.ready_replicas == 2, 60)
    cluster.run(
        cluster.cluster.client.patch(
            kind, "old", {"spec": {"replicas": 0}}, "default", subresource="scale"
        )
    )
    cluster.until(lambda: not pods(cluster), 60)
    assert events(cluster, "old")[-1].startswith("SuccessfulDelete: Deleted pod: old-")


def test_an_autoscaler_follows_the_load(cluster):
    """Idle, one replica; under requests more of them; what it knows is what top shows."""
    labels = {"app": "php"}
    resources = {"requests": {"cpu": "200m"}, "limits": {"cpu": "500m"}}
    server = {
        "name": "php", "image": "registry.k8s.io/hpa-example", "resources": resources,
        "ports": [{"containerPort": 80}],
    }  # fmt: skip
    target = {"type": "Utilization", "averageUtilization": 50}
    cluster.apply(
        {
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "php"},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [server]}},
            },
        },
        {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "php"},
            "spec": {"selector": labels, "ports": [{"port": 80}]},
        },
        {
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "php"},
            "spec": {
                "maxReplicas": 10,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "php"},
                "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
            },
        },
    )  # fmt: skip

    def active():
        conditions = cluster.get(kinds.HORIZONTAL_POD_AUTOSCALER, "php").status.get("conditions")
        return {c["type"]: c["reason"] for c in conditions or ()}.get("ScalingActive")

    cluster.until(lambda: active() == "FailedGetResourceMetric", 60, "no figures yet")
    cluster.until(lambda: active() == "ValidMetricFound", 60)
    script = "while sleep 0.2; do wget -q -O- http://php; done"
    body = template(script, "Always")
    cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "load"}, **body})
    cluster.until(lambda: len(pods(cluster, "php-")) > 1, 120)
    answer = cluster.run(
        cluster.cluster.client.send("GET", "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods")
    )
    usage = [item["containers"][0]["usage"]["cpu"] for item in json.loads(answer.body)["items"]]
    assert usage
    assert any("above target" in line for line in events(cluster, "php"))


@pytest.mark.parametrize("heeded", [True, False])
def test_disruptions_are_no_failures_where_the_policy_says_so(heeded):
    """Evicted, tainted away, shut down with the node, lost with it: another pod does the work."""
    rule = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
    policy = {"podFailurePolicy": {"rules": [rule]}} if heeded else {}
    with VirtualCluster(ClusterSettings(nodes=5, time_profile="fast")) as cluster:
        cluster.boot()
        names = ("evicted", "tainted", "shutdown", "lost")
        for name in names:  # one by one, so that they spread
            body = job(name, "sleep 45", backoffLimit=0, **policy)
            body["spec"]["template"]["spec"]["containers"][0]["resources"] = {
                "requests": {"cpu": "500m"}
            }
            cluster.apply(body)
            cluster.until(lambda name=name: cluster.get(kinds.JOB, name).status.ready, 60, name)
        nodes = {p.metadata.labels["job-name"]: p.spec.node_name for p in cluster.pods("default")}
        assert len(set(nodes.values())) == len(names), "one pod a node"
        (pod,) = pods(cluster, "evicted")
        client = cluster.cluster.client
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
        path = f"/api/v1/namespaces/default/pods/{pod}/eviction"
        assert cluster.run(client.send("POST", path, (), body)).status == 201
        taint = {"spec": {"taints": [{"key": "away", "effect": "NoExecute"}]}}
        cluster.run(client.patch(kinds.NODE, nodes["tainted"], taint))
        cluster.power_off(nodes["shutdown"], graceful=True)
        cluster.power_off(nodes["lost"])
        cluster.delete(kinds.NODE, nodes["lost"], "")
        wanted = ("Complete", "CompletionsReached") if heeded else (
            "Failed", "BackoffLimitExceeded",
        )  # fmt: skip
        cluster.until(lambda: all(ended(cluster, name) for name in names), 400, "all ended")
        assert {name: ended(cluster, name) for name in names} == dict.fromkeys(names, wanted)
        failed = [cluster.get(kinds.JOB, name).status.failed for name in names]
        assert failed == ([0] * 4 if heeded else [1] * 4)
