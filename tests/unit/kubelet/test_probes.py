"""Probes and hooks: what kubelet asks of running containers, and what follows from the answers."""

import pytest

READINESS = {
    "readinessProbe": {
        "httpGet": {"path": "/healthz", "port": "http"},
        "periodSeconds": 2,
        "failureThreshold": 2,
    }
}
EXCEEDED = "context deadline exceeded"
DEADLINE = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
WEB = {"name": "c", "image": "web", "ports": [{"name": "http", "containerPort": 8080}]}


def restarts(pod):
    statuses = pod.status.container_statuses
    return statuses[0].restart_count if statuses else 0


def test_a_pod_is_ready_while_its_readiness_probe_says_so(simulate):
    """An HTTP status of 500 takes the pod out after failureThreshold, 200 brings it back."""

    async def story(node):
        node.answers["p"] = 500
        await node.pod(containers=[{**WEB, **READINESS}])
        pod = await node.until(lambda p: p.status.phase == "Running")
        assert not pod.ready
        assert pod.condition("Ready").message == "containers with unready status: [c]"
        await node.env.clock.sleep(5)
        assert (
            "Unhealthy",
            "Readiness probe failed: HTTP probe failed with statuscode: 500",
        ) in await node.events("Unhealthy")
        node.answers["p"] = 200
        await node.ready()
        node.answers["p"] = 503
        changed = node.env.clock.now_ns()
        await node.until(lambda p: not p.ready)
        assert 2 <= (node.env.clock.now_ns() - changed) / 1e9 < 4.1
        assert restarts(await node.until(bool)) == 0

    simulate(story)


def test_a_failed_liveness_probe_restarts_the_container(simulate):
    """failureThreshold times in a row; the event says why."""

    async def story(node):
        probe = {"httpGet": {"port": 8080}, "periodSeconds": 1, "failureThreshold": 3}
        grace = {"terminationGracePeriodSeconds": 1}
        await node.pod(containers=[{**WEB, "livenessProbe": probe}], **grace)
        await node.ready()
        node.answers["p"] = 500
        await node.until(lambda p: restarts(p) == 1)
        node.answers["p"] = 200
        pod = await node.ready()
        assert pod.status.container_statuses[0].last_state["terminated"]["exitCode"] == 137
        assert ("Killing", "Container c failed liveness probe, will be restarted") in (
            await node.events("Killing")
        )

    simulate(story)


def test_the_startup_probe_holds_the_others_back(simulate):
    """A slow starter is neither ready nor killed until its startup probe has succeeded."""

    async def story(node):
        node.answers["p"] = 500
        probe = {"httpGet": {"port": 8080}, "periodSeconds": 1}
        await node.pod(
            containers=[
                {
                    **WEB,
                    "startupProbe": {**probe, "failureThreshold": 30},
                    "livenessProbe": {**probe, "failureThreshold": 1},
                }
            ]
        )
        pod = await node.until(lambda p: p.status.phase == "Running")
        assert pod.status.container_statuses[0].started is False
        await node.env.clock.sleep(10)
        node.answers["p"] = 200
        pod = await node.ready()
        assert pod.status.container_statuses[0].started is True
        assert restarts(pod) == 0

    simulate(story)


def test_a_startup_probe_that_never_succeeds_kills_the_container(simulate):
    """30 periods by default; here 3."""

    async def story(node):
        probe = {"tcpSocket": {"port": 9999}, "periodSeconds": 1, "failureThreshold": 3}
        await node.pod(containers=[{"name": "c", "image": "sleeper", "startupProbe": probe}])
        await node.until(lambda p: restarts(p) == 1)
        assert await node.events("Unhealthy", "Killing") == [
            (
                "Unhealthy",
                "Startup probe failed: dial tcp 10.244.0.2:9999: connect: connection refused",
            ),
            ("Killing", "Container c failed startup probe, will be restarted"),
        ]

    simulate(story)


@pytest.mark.parametrize(
    ("probe", "silent", "message"),
    [
        (
            {"httpGet": {"path": "/x", "port": 81}},
            False,
            'Get "http://10.244.0.2:81/x": dial tcp 10.244.0.2:81: connect: connection refused',
        ),
        (
            {"httpGet": {"path": "/x", "port": 81}, "timeoutSeconds": 2},
            True,
            f'Get "http://10.244.0.2:81/x": {DEADLINE}',
        ),
        ({"tcpSocket": {"port": 81}}, True, "dial tcp 10.244.0.2:81: i/o timeout"),
        ({"httpGet": {"port": "nope"}}, False, "couldn't find port: nope"),
        (
            {"grpc": {"port": 81}, "timeoutSeconds": 2},
            False,
            f'timeout: failed to connect service "10.244.0.2:81" within 2s: {EXCEEDED}',
        ),
    ],
)
def test_probe_failures_read_as_they_do_in_life(simulate, probe, silent, message):
    """Go's words for refused and unanswered connections."""

    async def story(node):
        node.sockets.silent = silent
        await node.pod(containers=[{"name": "c", "image": "sleeper", "readinessProbe": probe}])
        await node.until(lambda p: p.status.phase == "Running")
        await node.env.clock.sleep(15)
        assert await node.events("Unhealthy") == [
            ("Unhealthy", f"Readiness probe failed: {message}")
        ]

    simulate(story)


def test_probe_results_are_part_of_history(simulate):
    """trace-hash covers them."""

    async def story(node):
        facts = []
        record = node.env.trace.record
        node.env.trace.record = lambda kind, *f: (facts.append((kind, *f)), record(kind, *f))
        await node.pod(containers=[{**WEB, **READINESS}])
        await node.ready()
        assert ("probe", "node-1", "default", "p", "c", "readiness", "success") in facts

    simulate(story)


def test_pre_stop_takes_its_time_out_of_the_grace_period(simulate):
    """A sleep in preStop is the usual cure for lagging endpoints: TERM comes after it."""

    async def story(node):
        hook = {"preStop": {"sleep": {"seconds": 5}}}
        await node.pod(containers=[{"name": "c", "image": "sleeper", "lifecycle": hook}])
        await node.ready()
        began = node.env.clock.now_ns()
        await node.delete()
        await node.gone()
        assert 5 <= (node.env.clock.now_ns() - began) / 1e9 < 5.2
        assert await node.events("FailedPreStopHook") == []

    simulate(story)


def test_a_pre_stop_hook_that_outlasts_the_grace_period_leaves_term_two_seconds(simulate):
    """minimumGracePeriodInSeconds of the container runtime manager."""

    async def story(node):
        hook = {"preStop": {"sleep": {"seconds": 60}}}
        container = {"name": "c", "image": "stubborn", "lifecycle": hook}
        await node.pod(containers=[container], terminationGracePeriodSeconds=120)
        await node.ready()
        began = node.env.clock.now_ns()
        await node.delete(grace_s=3)
        await node.gone()
        assert 5 <= (node.env.clock.now_ns() - began) / 1e9 < 5.2
        assert await node.events("FailedPreStopHook") == [
            ("FailedPreStopHook", "PreStopHook failed")
        ]

    simulate(story)


def test_a_failed_post_start_hook_kills_the_container(simulate):
    """It waits to be started again and says why; an answer of any status would have done."""

    async def story(node):
        node.answers["p"] = 500
        hooks = {"postStart": {"httpGet": {"port": 9, "path": "/warm"}}}
        await node.pod(containers=[{**WEB, "lifecycle": hooks}], terminationGracePeriodSeconds=1)
        pod = await node.until(
            lambda p: any(
                s.state.get("waiting", {}).get("reason") == "PostStartHookError"
                for s in p.status.container_statuses
            )
        )
        told = pod.status.container_statuses[0]
        uid, address = pod.metadata.uid, pod.status.pod_ip
        assert told.state["waiting"]["message"] == (
            f'HTTP lifecycle hook (/warm) for Container "c" in Pod "p_default({uid})" failed - '
            f'error: Get "http://{address}:9/warm": dial tcp {address}:9: connect: connection '
            "refused"
        )
        assert told.last_state["terminated"]["exitCode"] == 137
        await node.until(lambda p: restarts(p) == 1)
        assert ("FailedPostStartHook", "PostStartHook failed") in await node.events(
            "FailedPostStartHook"
        )
        hooks = {"postStart": {"httpGet": {"port": 8080}}}
        node.answers["q"] = 500
        await node.pod("q", containers=[{**WEB, "lifecycle": hooks}])
        await node.ready("q")

    simulate(story)
