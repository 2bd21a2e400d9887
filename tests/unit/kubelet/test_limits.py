"""What a pod's spec allows it: time, memory, users, gates, names, words at its end."""

from podwire.api import kinds
from podwire.api.times import NS, parse_time
from podwire.client.api import STRATEGIC
from tests.unit.kubelet.conftest import state


def test_a_pod_may_only_be_active_for_so_long(simulate):
    """activeDeadlineSeconds counts from its start, and may be lowered meanwhile; it fails."""

    async def story(node):
        await node.pod(activeDeadlineSeconds=3600)
        pod = await node.ready()
        await node.client.patch(kinds.POD, "p", {"spec": {"activeDeadlineSeconds": 20}}, "default")
        began = parse_time(pod.status.start_time)
        pod = await node.until(lambda p: p.status.phase == "Failed")
        assert 20 <= (node.env.clock.now_ns() - began) / NS < 22
        assert pod.status.reason == "DeadlineExceeded"
        assert pod.status.message == "Pod was active on the node longer than the specified deadline"
        assert state(pod) == ("terminated", "Completed")
        assert [r for r, _ in await node.events("DeadlineExceeded", "Killing")] == [
            "DeadlineExceeded",
            "Killing",
        ]

    simulate(story)


def test_a_pod_with_a_readiness_gate_waits_for_whoever_opens_it(simulate):
    """Ready follows the condition that somebody else writes into the status."""

    async def story(node):
        await node.pod(readinessGates=[{"conditionType": "example.com/open"}])
        pod = await node.until(lambda p: state(p)[0] == "running")
        assert pod.condition("ContainersReady").status == "True"
        assert pod.condition("Ready").reason == "ReadinessGatesNotReady"
        gate = {"type": "example.com/open", "status": "True"}
        await node.client.patch(
            kinds.POD, "p", {"status": {"conditions": [gate]}}, "default",
            subresource="status", content_type=STRATEGIC,
        )  # fmt: skip
        pod = await node.ready()
        assert pod.condition("example.com/open").status == "True"

    simulate(story)


def test_a_failed_container_tells_the_end_of_its_log_where_its_policy_says_so(simulate):
    """Only when it failed, and left no message of its own."""

    async def story(node):
        node.exits = {"good": [0], "bad": [5]}
        policy = {"image": "batch", "terminationMessagePolicy": "FallbackToLogsOnError"}
        await node.pod(
            containers=[{"name": "good", **policy}, {"name": "bad", **policy}],
            restartPolicy="Never",
        )
        pod = await node.until(lambda p: p.status.phase == "Failed")
        good, bad = (status.state["terminated"] for status in pod.status.container_statuses)
        assert "message" not in good
        assert bad["message"] == "run 2\n"

    simulate(story)


def test_a_container_that_wants_more_memory_than_its_limit_is_killed(simulate):
    """At its start, or when its appetite grows; then it is restarted as any that failed."""

    async def story(node):
        limits = {"limits": {"memory": "100Mi"}}
        container = {"name": "c", "image": "sleeper", "resources": limits}
        await node.pod(containers=[container])
        await node.ready()
        notes = {"metadata": {"annotations": {"podwire.dev/memory": "250Mi"}}}
        await node.client.patch(kinds.POD, "p", notes, "default")
        pod = await node.until(lambda p: state(p) == ("waiting", "CrashLoopBackOff"))
        (status,) = pod.status.container_statuses
        ended = status.last_state["terminated"]
        assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)
        notes["metadata"]["annotations"]["podwire.dev/memory"] = "50Mi"
        await node.client.patch(kinds.POD, "p", notes, "default")
        await node.ready()

    simulate(story)


def test_a_container_must_not_run_as_root_where_the_spec_says_so(simulate):
    """runAsUser 0 is refused; what an unknown image runs as is not guessed."""

    async def story(node):
        context = {"runAsNonRoot": True}
        root = {"name": "root", "image": "sleeper", "securityContext": {"runAsUser": 0}}
        plain = {"name": "plain", "image": "sleeper", "securityContext": {"runAsUser": 7}}
        await node.pod(containers=[root, plain], securityContext={**context, "fsGroup": 9})
        pod = await node.until(lambda p: state(p)[1] == "CreateContainerConfigError")
        assert pod.status.container_statuses[0].state["waiting"]["message"] == (
            "container's runAsUser breaks non-root policy "
            f'(pod: "p_default({pod.metadata.uid})", container: root)'
        )
        (process,) = node.started
        user = process.spec.user
        assert (user.uid, user.gid, user.groups) == (7, 0, (9,))

    simulate(story)


def test_a_hostname_may_be_the_fully_qualified_one(simulate):
    """setHostnameAsFQDN; one that is too long for the kernel keeps the pod from starting."""

    async def story(node):
        await node.pod(hostname="a", subdomain="b", setHostnameAsFQDN=True)
        await node.ready()
        assert node.started[0].spec.hostname == "a.b.default.svc.cluster.local"
        await node.pod("q", hostname="a" * 60, subdomain="b", setHostnameAsFQDN=True)
        await node.env.clock.sleep(2)
        ((_, message),) = {*await node.events("FailedCreatePodSandBox", name="q")}
        assert "is too long (64 characters is the max, 88 characters requested)" in message

    simulate(story)
