"""exec, attach and ports of pods in virtual time: counter 6 over real kernels and programs."""

import pytest

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.kubelet.stdio import PATIENT_BYTES

SHELL = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "shell"},
    "spec": {
        "containers": [
            {"name": "c", "image": "busybox", "stdin": True, "tty": True},
            {"name": "plain", "image": "busybox", "command": ["sleep", "infinity"]},
        ]
    },
}
WEB = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web"},
    "spec": {"containers": [{"name": "c", "image": "nginx", "ports": [{"containerPort": 80}]}]},
}
DENY = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "deny", "namespace": "default"},
    "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
}


@pytest.fixture
def pods(cluster):
    """A shell with a terminal and a web server; the nodes they are on."""
    cluster.apply(SHELL, WEB)
    assert cluster.converge()
    return {pod.metadata.name: pod.spec.node_name for pod in cluster.pods("default")}


async def until(output, wanted):
    """Read output until something appears in it."""
    seen = b""
    while wanted not in seen:
        seen += (await anext(output))[1]
    return seen


def test_a_shell_is_attached_to_typed_into_and_left(cluster, pods):
    """kubectl run -it: prompt, echo, the terminal's size; the next client finds it as it was."""
    streams = cluster.cluster.streams

    async def visit(typed, wanted):
        session = await streams.attach(pods["shell"], "default", "shell", "c", stdin=True)
        session.resize(100, 30)
        await session.send_stdin(typed)
        seen = await until(session.output(), wanted)
        session.cancel()
        return seen

    seen = cluster.run(visit(b"X=kept; stty size\r", b"30 100"))
    assert b"X=kept; stty size\r\n30 100\r\n" in seen
    assert b"X is kept" in cluster.run(visit(b"echo X is $X\r", b"X is kept"))
    assert cluster.pods("default")[0].status.container_statuses[0].restart_count == 0


def test_a_shell_that_is_left_by_exit_ends_its_container(cluster, pods):
    """Whoever is attached sees the end."""

    async def leave():
        session = await cluster.cluster.streams.attach(
            pods["shell"], "default", "shell", "c", stdin=True
        )
        await session.send_stdin(b"exit 3\r")
        async for _ in session.output():
            pass
        return await session.wait()

    assert cluster.run(leave()) == 0

    def code():
        status = cluster.get(kinds.POD, "shell").status.container_statuses[0]
        ended = (status.last_state or {}).get("terminated") or status.state.get("terminated") or {}
        return ended.get("exitCode")

    cluster.until(lambda: code() == 3)


def test_a_command_that_does_not_exist_is_refused_in_the_runtimes_words(cluster, pods):
    """No exit code: nothing ran. podwire says when it is podwire that lacks it."""
    for pod, container, argv, why in (
        ("web", "c", "dig", 'exec: "dig": executable file not found in $PATH: unknown'),
        ("web", "c", "/opt/x", 'exec: "/opt/x": stat /opt/x: no such file or directory: unknown'),
        ("shell", "plain", "frobnicate", "(podwire: frobnicate is not modelled)"),
    ):
        with pytest.raises(ApiError) as caught:
            cluster.exec(pod, argv, container=container)
        assert caught.value.message.endswith(why)
        assert "OCI runtime exec failed" in caught.value.message


@pytest.mark.podwire(cni="calico")
def test_a_forwarded_port_is_localhost_inside_the_pod(cluster, pods):
    """No policy stands between; nothing listens on 81."""
    cluster.apply(DENY)
    cluster.until_quiet()
    streams = cluster.cluster.streams

    async def ask(port):
        stream = await streams.port_forward(pods["web"], "default", "web", port)
        await stream.send(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        while data := await stream.recv():
            answer += data
        await stream.close()
        return stream.remote, answer

    remote, answer = cluster.run(ask(80))
    assert remote == ("127.0.0.1", 80)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    with pytest.raises(ApiError, match=r"127.0.0.1:81: connect: connection refused"):
        cluster.run(ask(81))


def test_a_command_waits_for_a_client_that_does_not_read(cluster, pods):
    """It prints without end, and no more is held than a pipe would hold; then it is killed."""
    flood = "while true; do echo 0123456789012345678901234567890123456789; done"

    async def look():
        session = await cluster.cluster.streams.exec(
            pods["shell"], "default", "shell", "plain", ["sh", "-c", flood], False
        )
        await cluster.env.clock.sleep(60)
        held = session._outbox.waiting_bytes
        output, seen = session.output(), 0
        while seen < 2 * held:
            seen += len((await anext(output))[1])
        session.cancel()
        return held, await session.wait()

    held, code = cluster.run(look())
    assert PATIENT_BYTES <= held < PATIENT_BYTES + 1000
    assert code == 137


def test_a_kubelet_that_is_away_is_told_by_every_stream(cluster, pods):
    """connection refused, until it is back."""
    streams, node = cluster.cluster.streams, pods["web"]
    cluster.run(cluster.cluster.stop_room(f"kubelet/{node}"))
    for call in (
        streams.attach(node, "default", "web", "c", stdin=False),
        streams.port_forward(node, "default", "web", 80),
        streams.dial(node, "10.0.0.1", 80, 1.0),
    ):
        with pytest.raises(ConnectionError, match="connection refused"):
            cluster.run(call)


def test_files_travel_as_archives(cluster, pods):
    """What kubectl cp does: tar out of one container, tar into another."""
    make = "mkdir -p /d/e; echo one > /d/a; seq 1 2000 > /d/e/b; tar cf - /d | base64 -w 0"
    packed = cluster.exec("shell", "sh", "-c", make, container="plain")
    assert packed.stderr == "tar: removing leading '/' from member names\n"
    unpack = f"echo {packed.stdout} | base64 -d | tar -xmf - -C /usr/share/nginx/html"
    assert cluster.exec("web", "sh", "-c", unpack).code == 0
    assert cluster.exec("web", "sh", "-c", "cd /usr/share/nginx/html; tail -n 1 d/e/b; cat d/a"
                        ).stdout == "2000\none\n"  # fmt: skip
    listed = cluster.exec("web", "sh", "-c", "cd /usr/share/nginx/html; tar cf - d | tar tf -")
    assert listed.stdout.split() == ["d/", "d/a", "d/e/", "d/e/b"]
