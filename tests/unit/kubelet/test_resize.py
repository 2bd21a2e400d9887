"""Resources of running containers change in place."""

import asyncio
from functools import partial

from podwire.api import kinds
from podwire.client.api import STRATEGIC


def resources(cpu, memory):
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}}


def running(name="c", cpu="500m", memory="100Mi", **more):
    return {"name": name, "image": "sleeper", "resources": resources(cpu, memory), **more}


async def resize(node, cpu, memory, name="p"):
    body = {"spec": {"containers": [{"name": "c", "resources": resources(cpu, memory)}]}}
    return await node.client.patch(
        kinds.POD, name, body, "default", subresource="resize", content_type=STRATEGIC
    )


def has(cpu, memory):
    def wanted(pod):
        (status,) = pod.status.container_statuses
        return status.resources and status.resources.requests == {"cpu": cpu, "memory": memory}

    return wanted


def waiting(pod):
    return [
        (c.type, c.reason, c.message)
        for c in pod.status.conditions
        if c.type.startswith("PodResize")
    ]


def test_a_resize_happens_in_place(simulate):
    """Allocated, then actuated; the container runs on, and events tell it."""

    async def story(node):
        await node.pod(containers=[running()])
        await node.ready()
        await resize(node, "800m", "200Mi")
        pod = await node.until(waiting)
        assert waiting(pod) == [("PodResizeInProgress", "", "")]
        assert pod.status.container_statuses[0].allocated_resources["cpu"] == "800m"
        pod = await node.until(lambda p: has("800m", "200Mi")(p) and not waiting(p))
        assert pod.status.container_statuses[0].restart_count == 0
        started, completed = await node.events("ResizeStarted", "ResizeCompleted")
        assert completed[1].startswith('Pod resize completed: {"containers":[{"name":"c","resou')
        assert started[1].endswith('"generation":2}')

    simulate(story)


def test_a_container_may_have_to_restart_for_it(simulate):
    """resizePolicy RestartContainer: of the resource that changes only."""

    async def story(node):
        policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
        await node.pod(containers=[running(resizePolicy=policy)])
        await node.ready()
        await resize(node, "800m", "100Mi")
        pod = await node.until(has("800m", "100Mi"))
        assert pod.status.container_statuses[0].restart_count == 0
        await resize(node, "800m", "200Mi")
        pod = await node.until(lambda p: has("800m", "200Mi")(p) and not waiting(p))
        assert pod.status.container_statuses[0].restart_count == 1
        assert ("Killing", "Container c resize requires restart") in await node.events("Killing")

    simulate(story)


def test_what_a_node_never_has_is_infeasible_and_what_it_lacks_now_is_deferred(simulate):
    """A deferred resize happens when another pod has gone."""

    async def story(node):
        await node.pod(containers=[running()])
        await node.pod("other", containers=[running(cpu="2")])
        await node.ready()
        await node.ready("other")
        await resize(node, "100", "100Mi")
        pod = await node.until(waiting)
        infeasible = "Node didn't have enough capacity: cpu, requested: 100000, capacity: 4000"
        assert waiting(pod) == [("PodResizePending", "Infeasible", infeasible)]
        assert has("500m", "100Mi")(pod)
        await resize(node, "3", "100Mi")
        pod = await node.until(lambda p: waiting(p) and waiting(p)[0][1] == "Deferred")
        assert waiting(pod)[0][2] == (
            "Node didn't have enough resource: cpu, requested: 3000, used: 2000, capacity: 4000"
        )
        await node.delete("other")
        await node.until(lambda p: has("3", "100Mi")(p) and not waiting(p))

    simulate(story)


def test_a_container_status_tells_resources_user_and_mounts(simulate):
    """As kubectl get -o yaml shows them."""

    async def story(node):
        mount = {"name": "v", "mountPath": "/v", "readOnly": True}
        context = {"runAsUser": 7, "runAsGroup": 8, "supplementalGroups": [9]}
        await node.pod(
            containers=[running(volumeMounts=[mount])],
            volumes=[{"name": "v", "emptyDir": {}}],
            securityContext=context,
        )
        await node.ready()
        pod = await node.client.get_json(kinds.POD, "p", "default")
        (status,) = pod["status"]["containerStatuses"]
        assert status["resources"] == resources("500m", "100Mi")
        assert status["allocatedResources"] == {"cpu": "500m", "memory": "100Mi"}
        assert status["user"] == {"linux": {"uid": 7, "gid": 8, "supplementalGroups": [8, 9]}}
        assert status["volumeMounts"] == [{**mount, "recursiveReadOnly": "Disabled"}]

    simulate(story)


def test_rules_decide_by_exit_code_whether_a_container_restarts(simulate):
    """restartPolicyRules come before the container's policy, that before the pod's."""

    async def story(node):
        codes = {"operator": "In", "values": [42]}
        ruled = {
            "name": "c",
            "image": "batch",
            "restartPolicy": "Never",
            "restartPolicyRules": [{"action": "Restart", "exitCodes": codes}],
        }
        node.exits = {"c": [42, 1], "d": [42]}
        plain = {"name": "d", "image": "batch", "restartPolicy": "Never"}
        await node.pod(containers=[ruled, plain], restartPolicy="Never")
        pod = await node.until(lambda p: p.status.phase == "Failed")
        assert [s.restart_count for s in pod.status.container_statuses] == [1, 0]

    simulate(story)


def statuses(pod):
    return pod.status.container_statuses


def test_a_rule_may_start_all_containers_anew(simulate):
    """RestartAllContainers: the others end, init containers run again, nothing waits; the pod, its
    address and its phase stay, and the status says why each of them ended.
    """

    async def story(node):
        codes = {"operator": "In", "values": [88]}
        rule = {"action": "RestartAllContainers", "exitCodes": codes}
        watcher = {"name": "c", "image": "batch", "restartPolicy": "Never"}
        node.exits = {"c": [88, 0], "i": [0, 0]}
        await node.pod(
            initContainers=[{"name": "i", "image": "batch"}],
            containers=[running(name="main"), {**watcher, "restartPolicyRules": [rule]}],
            restartPolicy="Never",
        )
        first = await node.until(lambda p: p.status.pod_ip)
        pod = await node.until(lambda p: [s.restart_count for s in statuses(p)] == [1, 1])
        (init,) = pod.status.init_container_statuses
        ends = [s.last_state["terminated"] for s in (init, *pod.status.container_statuses)]
        assert {(e["exitCode"], e["reason"]) for e in ends} == {(137, "RestartingAllContainers")}
        assert init.restart_count == 1
        assert (pod.status.pod_ip, pod.status.phase) == (first.status.pod_ip, "Running")
        pod = await node.until(lambda p: "terminated" in p.status.container_statuses[1].state)
        told = {c.type: c.status for c in pod.status.conditions}
        assert told["AllContainersRestarting"] == "False"
        assert [s.restart_count for s in pod.status.container_statuses] == [1, 1]
        assert pod.status.phase == "Running"

    simulate(story)


def test_a_probe_may_shorten_the_end_and_an_image_may_stop_by_another_signal(simulate):
    """terminationGracePeriodSeconds of a probe, stopSignal of a container."""

    async def story(node):
        probe = {
            "exec": {"command": ["false"]},
            "periodSeconds": 1,
            "failureThreshold": 1,
            "terminationGracePeriodSeconds": 3,
        }
        stubborn = {"name": "c", "image": "stubborn", "livenessProbe": probe}
        await node.pod(containers=[stubborn], terminationGracePeriodSeconds=600)
        await node.ready()
        await node.until(lambda p: p.status.container_statuses[0].restart_count == 1, limit_s=30)
        lifecycle = {"lifecycle": {"stopSignal": "SIGUSR1"}}
        pair = [{"name": "c", "image": "sleeper", **lifecycle}, {"name": "d", "image": "sleeper"}]
        await node.pod("q", containers=pair, os={"name": "linux"})
        pod = await node.ready("q")
        told = [s.stop_signal for s in pod.status.container_statuses]
        assert told == ["SIGUSR1", "SIGTERM"]
        heard = {}
        for process in node.started[-2:]:
            process.deliver = partial(heard.setdefault, process.spec.name)
        await node.delete("q", grace_s=1)
        await node.gone("q")
        assert heard == {"c": "USR1", "d": "TERM"}

    simulate(story)


def test_a_node_tells_the_images_it_has(simulate):
    """The largest first, ten seconds after one came."""

    async def story(node):
        await node.pod()
        await node.ready()
        await asyncio.sleep(11)
        body = await node.client.get_json(kinds.NODE, "node-1")
        images = body["status"]["images"]
        assert ["docker.io/library/sleeper:latest"] in [image["names"][1:] for image in images]
        sizes = [image["sizeBytes"] for image in images]
        assert sizes == sorted(sizes, reverse=True)

    simulate(story)
