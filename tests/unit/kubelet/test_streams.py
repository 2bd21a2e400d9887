"""Logs and exec, as the API server asks for them."""

import asyncio

import pytest

from podwire.api.status import ApiError
from podwire.client.counters import LogOptions
from podwire.kubelet import programs
from podwire.kubelet.logs import ContainerLog
from podwire.runtime import sim

NS = 10**9


def test_logs_select_by_tail_age_and_size(monkeypatch):
    """tailLines, sinceSeconds, sinceTime, limitBytes, timestamps."""

    async def story(env):
        log = ContainerLog(env.clock)
        for i in range(4):
            log.write("stdout", f"line {i}")
            await env.clock.sleep(1)

        async def read(**options):
            return b"".join([c async for c in log.read(LogOptions(**options))]).decode()

        assert await read() == "line 0\nline 1\nline 2\nline 3\n"
        assert await read(tail_lines=2) == "line 2\nline 3\n"
        assert await read(tail_lines=0) == ""
        assert await read(since_seconds=2) == "line 2\nline 3\n"
        assert await read(since_time="2026-01-01T00:00:03Z") == "line 3\n"
        assert await read(limit_bytes=9) == "line 0\nli"
        assert await read(tail_lines=1, timestamps=True) == (
            "2026-01-01T00:00:03.000000000Z line 3\n"
        )

    sim.run(story)


def test_a_follower_sees_every_line_once_and_stops_with_the_container():
    """Also the lines written while it was busy."""

    async def story(env):
        log = ContainerLog(env.clock)
        log.write("stdout", "a\nb")
        seen = []

        async def follow():
            async for chunk in log.read(LogOptions(follow=True)):
                seen.append(chunk)
                await env.clock.sleep(0.5)

        reader = asyncio.create_task(follow())
        await env.clock.sleep(0.1)
        log.write("stderr", "c")
        await env.clock.sleep(1)
        log.write("stdout", "d")
        log.end()
        await reader
        assert b"".join(seen) == b"a\nb\nc\nd\n"

    sim.run(story)


def test_a_log_keeps_the_newest_lines_when_it_is_full():
    """A follower that was too slow goes on with what is left."""

    async def story(env):
        log = ContainerLog(env.clock, limit_bytes=20)
        for i in range(10):
            log.write("stdout", f"line {i}")
        assert log.text() == "line 8\nline 9\n"

    sim.run(story)


def test_logs_that_do_not_exist_are_refused_in_kubelets_words(simulate):
    """Waiting containers, unknown containers, previous instances, unknown pods."""

    async def story(node):
        async def refusal(name="p", container="c", **options):
            with pytest.raises(ApiError) as caught:
                await node.log(name, container, **options)
            return caught.value.reason, caught.value.message

        await node.pod(image="registry.invalid/x:1")
        await node.until(lambda p: p.status.container_statuses)
        assert await refusal() == (
            "BadRequest",
            'container "c" in pod "p" is waiting to start: ContainerCreating',
        )
        await node.pod("q")
        await node.ready("q")
        assert await refusal("q", previous=True) == (
            "BadRequest",
            'previous terminated container "c" in pod "q" not found',
        )
        assert (await refusal("q", "zz"))[1] == "container zz is not valid for pod q"
        assert (await refusal("nobody"))[0] == "NotFound"
        assert await node.log("q", "") == "hello from c\n"

    simulate(story)


async def cat(env, argv):
    """A command for these tests: copies stdin, tells its arguments on stderr."""
    env.write_stderr(" ".join(argv).encode())
    while data := await env.read_stdin():
        env.write_stdout(data.upper())
    return 3


def test_exec_carries_stdin_stdout_stderr_and_the_exit_code(simulate, monkeypatch):
    """With a tty there is one output stream, as in life."""
    monkeypatch.setattr(programs, "exec_command", cat)

    async def story(node):
        await node.pod()
        await node.ready()
        for tty, streams in ((False, [2, 1, 1]), (True, [1, 1, 1])):
            session = await node.streams.exec("node-1", "default", "p", "", ["cat", "-"], tty)
            for data in (b"a", b"b", b""):
                await session.send_stdin(data)
            output = [chunk async for chunk in session.output()]
            assert [stream for stream, _ in output] == streams
            assert b"".join(data for _, data in output) == b"cat -AB"
            assert await session.wait() == 3

    simulate(story)


def test_commands_end_with_their_container_and_with_their_client(simulate, monkeypatch):
    """137, and nothing keeps running."""
    monkeypatch.setattr(programs, "exec_command", cat)

    async def story(node):
        await node.pod(image="stubborn")
        await node.ready()
        kept = await node.streams.exec("node-1", "default", "p", "c", ["cat"], False)
        left = await node.streams.exec("node-1", "default", "p", "c", ["cat"], False)
        left.cancel()
        assert await left.wait() == 137
        await node.delete(grace_s=1)
        assert await kept.wait() == 137
        await node.gone()
        with pytest.raises(ApiError):
            await node.streams.exec("node-1", "default", "p", "c", ["cat"], False)

    simulate(story)


def test_exec_probes_judge_by_exit_code_and_time(simulate, monkeypatch):
    """Output becomes the event's message; a command that hangs times out."""

    async def command(env, argv):
        if argv == ["hang"]:
            await asyncio.get_running_loop().create_future()
        env.write_stdout(b"disk is on fire")
        return 1

    monkeypatch.setattr(programs, "exec_command", command)

    async def story(node):
        for name, word in (("p", "check"), ("q", "hang")):
            probe = {"exec": {"command": [word]}}
            await node.pod(
                name, containers=[{"name": "c", "image": "sleeper", "readinessProbe": probe}]
            )
            await node.until(lambda pod: pod.status.phase == "Running", name)
        await node.env.clock.sleep(12)
        assert await node.events("Unhealthy") == [
            ("Unhealthy", "Readiness probe failed: disk is on fire")
        ]
        assert await node.events("Unhealthy", name="q") == [
            ("Unhealthy", 'Readiness probe failed: command "hang" timed out')
        ]

    simulate(story)


def test_a_stopped_kubelet_ends_its_programs_and_answers_nobody(simulate):
    """What it told the kernel stays; the next kubelet cleans up and starts afresh."""

    async def story(node):
        await node.pod(image="web")
        first = await node.ready()
        node.kubelet.cancel()
        await node.env.clock.sleep(0.1)
        assert node.sockets.listeners == {}
        assert len(node.fabric.netns()) == 1
        with pytest.raises(ConnectionError):
            await node.log()
        node.restart()
        pod = await node.until(
            lambda p: p.ready and p.status.container_statuses[0].restart_count == 1
        )
        assert len(node.fabric.netns()) == 1
        assert pod.status.pod_ip != first.status.pod_ip
        assert [ip.ip for ip in pod.status.pod_ips] == [pod.status.pod_ip]
        last = pod.status.container_statuses[0].last_state["terminated"]
        assert (last["exitCode"], last["reason"]) == (255, "Unknown")

    simulate(story)
