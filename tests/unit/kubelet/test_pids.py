"""Which processes a container sees, and what signals do to them."""

import asyncio

from podwire.api import kinds

SHARED = {"shareProcessNamespace": True}
TWO = [{"name": "c", "image": "sleeper"}, {"name": "d", "image": "stubborn"}]


def shown(output):
    """(pid, user, command) of each line of ps."""
    lines = output.splitlines()
    assert lines[0] == "PID   USER     TIME  COMMAND"
    return [(int(words[0]), words[1], " ".join(words[3:])) for words in map(str.split, lines[1:])]


async def until_restarted(node, name):
    def restarted(pod):
        found = {s.name: s for s in pod.status.container_statuses}
        return found[name].restart_count == 1 and found[name].state.get("running")

    pod = await node.until(restarted)
    return next(s for s in pod.status.container_statuses if s.name == name)


def test_a_container_sees_its_own_processes(simulate):
    """Its first one and those that exec started; /proc tells the same."""

    async def story(node):
        await node.pod(containers=[{"name": "c", "image": "sleeper", "command": ["run", "me"]}])
        await node.ready()
        code, output = await node.run("ps")
        assert (code, shown(output)) == (0, [(1, "root", "run me"), (7, "root", "ps")])
        assert await node.run("cat", "/proc/1/cmdline") == (0, "run\0me\0")
        _, status = await node.run("cat", "/proc/1/status")
        assert status.startswith("Name:\trun\nState:\tS (sleeping)\n")

    simulate(story)


def test_containers_that_share_see_each_other_below_the_pause_process(simulate):
    """Others' processes can be signalled; the sandbox's own is number 1."""

    async def story(node):
        await node.pod(containers=TWO, **SHARED)
        await node.ready()
        _, output = await node.run("ps")
        assert shown(output) == [
            (1, "65535", "/pause"),
            (7, "root", "c"),
            (13, "root", "d"),
            (19, "root", "ps"),
        ]
        assert await node.run("kill", "13") == (0, "")
        status = await until_restarted(node, "d")
        assert status.last_state["terminated"]["exitCode"] == 143
        code, output = await node.run("kill", "-9", "999")
        assert (code, output) == (1, "kill: can't kill pid 999: No such process\n")

    simulate(story)


def test_the_first_process_of_a_namespace_is_safe_from_those_inside(simulate):
    """From inside neither TERM nor KILL ends one that does not listen; one that does gets it."""

    async def story(node):
        await node.pod(containers=TWO)
        await node.ready()
        assert await node.run("kill", "-9", "1", container="d") == (0, "")
        assert await node.run("kill", "-s", "TERM", "1", container="d") == (0, "")
        assert await node.run("kill", "1") == (0, "")
        status = await until_restarted(node, "c")
        assert status.last_state["terminated"]["exitCode"] == 0
        assert (await node.client.get(kinds.POD, "p", "default")).status.container_statuses[
            1
        ].restart_count == 0

    simulate(story)


def test_a_debugger_sees_its_target_and_ends_with_it(simulate):
    """kubectl debug --target: the target's namespace; without one, its own."""

    async def story(node):
        await node.pod(image="sleeper", restartPolicy="Always")
        await node.ready()
        ephemeral = [
            {"name": "debug", "image": "stubborn", "targetContainerName": "c"},
            {"name": "alone", "image": "stubborn"},
        ]
        await node.client.patch(
            kinds.POD, "p", {"spec": {"ephemeralContainers": ephemeral}}, "default",
            subresource="ephemeralcontainers",
        )  # fmt: skip
        await node.until(
            lambda p: len([s for s in p.status.ephemeral_container_statuses
                           if s.state.get("running")]) == 2
        )  # fmt: skip
        _, output = await node.run("ps", container="debug")
        assert [row[2] for row in shown(output)] == ["c", "debug", "ps"]
        _, output = await node.run("ps", container="alone")
        assert [row[2] for row in shown(output)] == ["alone", "ps"]
        assert await node.run("kill", "1", container="debug") == (0, "")
        pod = await node.until(
            lambda p: p.status.ephemeral_container_statuses[0].state.get("terminated")
        )
        ended, alone = pod.status.ephemeral_container_statuses
        assert ended.state["terminated"]["exitCode"] == 137
        assert alone.state.get("running")

    simulate(story)


def test_the_node_sees_all_processes_and_a_host_pid_pod_too(simulate):
    """Also those of other pods; when a pod is gone nothing of it is left."""

    async def story(node):
        await node.pod("other", containers=TWO)
        await node.ready("other")
        await node.pod(hostPID=True)
        await node.ready()
        _, output = await node.run("ps")
        commands = [row[2] for row in shown(output)]
        assert commands[:2] == ["/sbin/init", "/usr/local/bin/containerd"]
        assert commands[3:] == ["/pause", "c", "d", "/pause", "c", "ps"]
        result = await node.streams.run("node-1", ["ps"])
        assert [row[2] for row in shown(result.stdout)][-3:] == ["/pause", "c", "ps"]
        pid = next(row[0] for row in shown(result.stdout) if row[2] == "d")
        await node.streams.run("node-1", ["kill", "-KILL", str(pid)])
        await node.until(lambda p: p.status.container_statuses[1].restart_count == 1, "other")
        await node.delete("other")
        await node.gone("other")
        _, output = await node.run("ps")
        assert [row[2] for row in shown(output)][3:] == ["/pause", "c", "ps"]

    simulate(story)


def test_an_exec_ends_by_a_signal(simulate):
    """143 is what kubectl shows; others' users are not obeyed."""

    async def story(node):
        await node.pod()
        await node.ready()
        session = await node.streams.exec("node-1", "default", "p", "c", ["sleep", "99"], tty=False)
        await asyncio.sleep(1)
        assert await node.run("kill", "7") == (0, "")
        assert await session.wait() == 143
        await node.pod("q", containers=TWO, securityContext={"runAsUser": 5}, **SHARED)
        await node.ready("q")
        code, output = await node.run("kill", "1", name="q")
        assert (code, output) == (1, "kill: can't kill pid 1: Operation not permitted\n")

    simulate(story)
