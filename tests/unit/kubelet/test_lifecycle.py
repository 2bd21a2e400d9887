"""Pods from Pending to their end."""

from podwire.api import kinds
from podwire.api.times import parse_time
from tests.unit.kubelet.conftest import state

HTTP = {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 2}


def test_a_pod_becomes_ready_with_an_address_and_says_how(simulate):
    """Sandbox, CNI, image, container: statuses and events in upstream's words."""

    async def story(node):
        await node.pod(image="sleeper")
        pod = await node.ready()
        assert pod.status.phase == "Running"
        assert pod.status.pod_ip == "10.244.0.2"
        assert [ip.ip for ip in pod.status.pod_ips] == ["10.244.0.2"]
        assert pod.status.host_ip == "192.168.0.11"
        assert pod.status.qos_class == "BestEffort"
        assert [(c.type, c.status) for c in pod.status.conditions] == [
            ("PodReadyToStartContainers", "True"),
            ("Initialized", "True"),
            ("Ready", "True"),
            ("ContainersReady", "True"),
            ("PodScheduled", "True"),
        ]
        (status,) = pod.status.container_statuses
        assert status.image == "docker.io/library/sleeper:latest"
        assert status.image_id.startswith("docker.io/library/sleeper@sha256:")
        assert status.container_id.startswith("containerd://")
        assert status.started is True
        reasons = [reason for reason, _ in await node.events()]
        assert reasons == ["Pulling", "Pulled", "Created", "Started"]
        assert node.cni.verbs() == [("ADD", "flannel"), ("ADD", "portmap")]
        assert "prevResult" in node.cni.calls[1][3]
        env = node.cni.calls[0][2]
        assert "K8S_POD_NAMESPACE=default;K8S_POD_NAME=p" in env["CNI_ARGS"]
        assert env["CNI_NETNS"] == f"/var/run/netns/{node.fabric.netns()[0]}"
        assert await node.log() == "hello from c\n"

    simulate(story)


def test_a_deleted_pod_gets_term_then_leaves_nothing_behind(simulate):
    """preStop, TERM, final status, CNI DEL in reverse, deletion of the object."""

    async def story(node):
        await node.pod(image="sleeper")
        await node.ready()
        await node.delete()
        await node.gone()
        assert node.cni.verbs()[2:] == [("DEL", "portmap"), ("DEL", "flannel")]
        assert node.fabric.netns() == []
        assert not [path for path in node.fabric.disk if "/cni/results/" in path]
        killing = await node.events("Killing")
        assert killing == [("Killing", "Stopping container c")]

    simulate(story)


def test_a_program_that_ignores_term_is_killed_after_the_grace_period(simulate):
    """137 is what kubectl shows."""

    async def story(node):
        await node.pod(image="stubborn", terminationGracePeriodSeconds=7)
        await node.ready()
        before = node.env.clock.now_ns()
        await node.delete()
        last = await node.until(lambda pod: pod is None or state(pod)[0] == "terminated")
        took_s = (node.env.clock.now_ns() - before) / 1e9
        assert 7 <= took_s < 7.1
        assert last.status.container_statuses[0].state["terminated"]["exitCode"] == 137
        await node.gone()

    simulate(story)


def test_a_second_deletion_can_shorten_the_grace_period(simulate):
    """kubectl delete --grace-period=1 on a pod that is already terminating."""

    async def story(node):
        await node.pod(image="stubborn", terminationGracePeriodSeconds=300)
        await node.ready()
        before = node.env.clock.now_ns()
        await node.delete()
        await node.env.clock.sleep(3)
        await node.delete(grace_s=4)
        await node.gone()
        assert 4 <= (node.env.clock.now_ns() - before) / 1e9 < 4.2

    simulate(story)


def test_a_forced_deletion_frees_the_node_although_the_object_is_gone(simulate):
    """kubectl delete --force: the API forgets at once, the node cleans up."""

    async def story(node):
        await node.pod(image="stubborn")
        await node.ready()
        await node.delete(grace_s=0)
        await node.gone()
        await node.env.clock.sleep(2)
        assert node.fabric.netns() == []

    simulate(story)


def test_a_namesake_starts_while_the_old_pod_still_ends(simulate):
    """A StatefulSet's replacement is another pod: the uid tells them apart."""

    async def story(node):
        old = await node.pod(image="stubborn")
        await node.ready()
        await node.delete(grace_s=0)
        new = await node.pod(image="sleeper")
        pod = await node.ready()
        assert pod.metadata.uid == new.metadata.uid != old.metadata.uid
        await node.env.clock.sleep(5)
        assert len(node.fabric.netns()) == 1
        assert (await node.client.get(kinds.POD, "p", "default")).ready

    simulate(story)


def test_a_crash_loop_backs_off_in_the_open(simulate):
    """Restart at once, then after 10 and 20 seconds; the waiting state tells why."""

    async def story(node):
        node.exits["c"] = [1, 1, 2, 0]
        await node.pod(image="batch")
        pod = await node.until(lambda p: state(p) == ("waiting", "CrashLoopBackOff"))
        status = pod.status.container_statuses[0]
        uid = pod.metadata.uid
        assert status.state["waiting"]["message"] == (
            f"back-off 10s restarting failed container=c pod=p_default({uid})"
        )
        assert status.last_state["terminated"]["exitCode"] == 1
        assert status.restart_count == 1
        assert pod.status.phase == "Running"
        pod = await node.until(
            lambda p: state(p)[0] == "running" and p.status.container_statuses[0].restart_count == 2
        )
        began = parse_time(pod.status.container_statuses[0].state["running"]["startedAt"])
        ended = pod.status.container_statuses[0].last_state["terminated"]["finishedAt"]
        assert began - parse_time(ended) == 10 * 10**9
        assert await node.log(previous=True) == "run 2\n"
        assert await node.log() == "run 3\n"
        back_off = await node.events("BackOff")
        assert back_off == [
            ("BackOff", f"Back-off restarting failed container c in pod p_default({uid})")
        ]

    simulate(story)


def test_a_job_like_pod_ends_succeeded_and_gives_its_address_back(simulate):
    """restartPolicy OnFailure: a failure is retried, a success ends the pod."""

    async def story(node):
        node.exits["c"] = [3, 0]
        await node.pod(image="batch", restartPolicy="OnFailure")
        pod = await node.until(lambda p: p.status.phase == "Succeeded")
        assert state(pod) == ("terminated", "Completed")
        assert pod.status.container_statuses[0].restart_count == 1
        assert pod.condition("Ready").reason == "PodCompleted"
        await node.env.clock.sleep(1)
        assert node.fabric.netns() == []
        await node.delete()
        await node.gone()

    simulate(story)


def test_init_containers_run_one_after_the_other_before_the_main_ones(simulate):
    """And a failing one holds the pod in Init until it succeeds."""

    async def story(node):
        node.exits |= {"i": [1, 0], "j": [0]}
        await node.pod(
            initContainers=[{"name": "i", "image": "batch"}, {"name": "j", "image": "batch"}]
        )
        pod = await node.until(lambda p: p.status.init_container_statuses != [])
        assert pod.status.phase == "Pending"
        assert state(pod) == ("waiting", "PodInitializing")
        pod = await node.ready()
        assert [p.spec.name for p in node.started] == ["i", "i", "j", "c"]
        assert [s.restart_count for s in pod.status.init_container_statuses] == [1, 0]
        assert all(s.ready for s in pod.status.init_container_statuses)

    simulate(story)


def test_a_failed_init_container_of_a_never_pod_fails_the_pod(simulate):
    """The main containers stay where they were: never initialized."""

    async def story(node):
        node.exits["i"] = [9]
        init = [{"name": "i", "image": "batch"}]
        await node.pod(initContainers=init, restartPolicy="Never")
        pod = await node.until(lambda p: p.status.phase == "Failed")
        assert state(pod) == ("waiting", "PodInitializing")
        assert pod.status.init_container_statuses[0].state["terminated"]["exitCode"] == 9

    simulate(story)


def test_a_deletion_in_the_middle_of_a_sidecars_end_still_ends_everything(simulate):
    """The job is done, its sidecar is slow to stop, and then somebody deletes the pod."""

    async def story(node):
        node.exits["c"] = [0]
        hook = {"preStop": {"sleep": {"seconds": 20}}}
        sidecar = {"name": "s", "image": "sleeper", "restartPolicy": "Always", "lifecycle": hook}
        await node.pod(image="batch", initContainers=[sidecar], restartPolicy="Never")
        await node.until(lambda p: state(p)[0] == "terminated")
        await node.env.clock.sleep(1)
        began = node.env.clock.now_ns()
        await node.delete(grace_s=5)
        await node.gone()
        assert (node.env.clock.now_ns() - began) / 1e9 < 8
        assert node.fabric.netns() == []

    simulate(story)


def test_a_sidecar_starts_first_and_stops_last(simulate):
    """Documentation "Sidecar Containers"."""

    async def story(node):
        await node.pod(
            initContainers=[{"name": "s", "image": "sleeper", "restartPolicy": "Always"}]
        )
        await node.ready()
        assert [p.spec.name for p in node.started] == ["s", "c"]
        await node.delete()
        await node.gone()
        killing = [message for _, message in await node.events("Killing")]
        assert killing == ["Stopping container c", "Stopping container s"]

    simulate(story)


def test_sandbox_failures_are_told_and_tried_again_without_leaks(simulate):
    """As every cluster shows while flannel is still starting."""

    async def story(node):
        node.cni.fail_adds = 2
        await node.pod()
        await node.ready()
        failed = await node.events("FailedCreatePodSandBox")
        assert len(failed) == 2
        assert failed[0][1].startswith(
            "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network"
        )
        assert 'plugin type="flannel" failed (add): open /run/flannel/subnet.env' in failed[0][1]
        assert len(node.fabric.netns()) == 1

    simulate(story)


def test_host_network_pods_share_the_nodes_namespace_and_address(simulate):
    """They also start before any CNI is there: that is how the CNI itself gets installed."""

    async def story(node):
        await node.pod(hostNetwork=True)
        pod = await node.ready()
        assert pod.status.pod_ip == "192.168.0.11"
        assert node.cni.calls == []
        (process,) = node.started
        assert (process.spec.netns, process.spec.hostname) == ("", "node-1")
        assert process.files.read("/etc/resolv.conf") == b"nameserver 192.168.0.1\n"

    simulate(story, network=False)


def test_what_a_program_leaves_in_its_termination_log_is_shown(simulate):
    """terminationMessagePath, the default one."""

    async def story(node):
        await node.pod()
        await node.ready()
        await node.started[0].write_file("/dev/termination-log", b"so long")
        await node.delete()
        last = await node.until(lambda p: state(p)[0] == "terminated")
        assert last.status.container_statuses[0].state["terminated"]["message"] == "so long"

    simulate(story)


def test_the_second_pod_finds_the_image_on_the_node(simulate):
    """imagePullPolicy IfNotPresent; a real pull tells its size and duration."""

    async def story(node):
        for name in ("p", "q"):
            container = {"name": "c", "image": "sleeper:v1"}
            await node.pod(name, containers=[container])
            await node.ready(name)
        (first,) = await node.events("Pulled", name="p")
        (second,) = await node.events("Pulled", name="q")
        assert first[1].startswith('Successfully pulled image "sleeper:v1" in ')
        assert first[1].endswith(" bytes.")
        assert second[1] == (
            'Container image "sleeper:v1" already present on machine and can be accessed by the pod'
        )

    simulate(story, profile="typical")


def test_pods_live_on_while_the_api_server_is_out_of_reach(simulate):
    """A restart during the partition happens, and is told afterwards."""

    async def story(node):
        node.exits["c"] = [1]
        await node.pod(image="batch")
        await node.until(lambda p: state(p)[0] == "running")
        node.link.up = False
        node.exits["c"].append(1)
        await node.env.clock.sleep(8)
        assert len(node.started) == 2
        assert state(await node.until(bool)) == ("running", "")
        node.link.up = True
        pod = await node.until(lambda p: state(p) == ("waiting", "CrashLoopBackOff"))
        assert pod.status.container_statuses[0].restart_count == 1

    simulate(story)


def test_the_same_seed_gives_the_same_history(simulate):
    """And another seed another one."""

    async def story(node):
        node.exits["c"] = [1, 0]
        await node.pod(image="batch", restartPolicy="OnFailure")
        await node.pod("q", image="web")
        await node.ready("q")
        await node.until(lambda p: p.status.phase == "Succeeded")
        return node.env.trace.hash

    assert simulate(story, seed=1) == simulate(story, seed=1) != simulate(story, seed=2)


def debugger(name, image="sleeper", **fields):
    return {"spec": {"ephemeralContainers": [{"name": name, "image": image, **fields}]}}


def test_a_debugger_joins_a_running_pod_and_ends_with_it(simulate):
    """It is started once, is never Ready, and shares the pod's network."""

    async def story(node):
        await node.pod(image="sleeper")
        await node.ready()
        await node.client.patch(
            kinds.POD, "p", debugger("d"), "default", subresource="ephemeralcontainers"
        )
        pod = await node.until(
            lambda pod: any("running" in s.state for s in pod.status.ephemeral_container_statuses)
        )
        (status,) = pod.status.ephemeral_container_statuses
        assert (status.name, status.ready, status.restart_count) == ("d", False, 0)
        assert pod.ready
        first, second = node.started
        assert second.spec.name == "d"
        assert second.spec.netns == first.spec.netns
        await node.delete()
        await node.gone()

    simulate(story)


def test_a_debugger_that_ended_is_not_started_again(simulate):
    """Even in a pod that restarts everything else."""

    async def story(node):
        node.exits["d"] = [3]
        await node.pod(image="sleeper")
        await node.ready()
        await node.client.patch(
            kinds.POD, "p", debugger("d", "batch"), "default", subresource="ephemeralcontainers"
        )
        await node.until(
            lambda pod: any(
                s.state.get("terminated", {}).get("exitCode") == 3
                for s in pod.status.ephemeral_container_statuses
            )
        )
        await node.env.clock.sleep(600)
        pod = await node.client.get(kinds.POD, "p", "default")
        (status,) = pod.status.ephemeral_container_statuses
        assert (status.restart_count, len(node.started)) == (0, 2)
        assert pod.ready

    simulate(story)
