"""What images do as process 1 of a container."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from podwire.client import http1
from podwire.kubelet.programs.host import ProgramHost
from podwire.kubelet.programs.netexec import uploaded
from podwire.kubelet.programs.registry import IMAGES, image_of
from podwire.kubelet.shell.find import find
from podwire.runtime import sim
from podwire.runtime.env import Env
from podwire.runtime.tasks import Nursery
from tests.unit.client.fake_api import FakeApi, make_ctx
from tests.unit.programs.fakes import FakeProcess, spec
from tests.unit.programs.flatnet import FlatNet

AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.53"


class World:
    """A network with a client at 10.244.1.9 and containers to start."""

    def __init__(self, env: Env) -> None:
        self.env = env
        self.net = FlatNet()
        self.net.add("node-1", "client", "10.244.1.9")
        self.host = ProgramHost(make_ctx(env, FakeApi(env)))
        self.started: list[Any] = []

    async def start(self, image: str, *argv: str, **more: Any) -> tuple[FakeProcess, Any]:
        files = more.pop("files", {})
        process = FakeProcess(self.net, spec(image, *argv, **more), files)
        container = await self.host.start(process)
        self.started.append(container)
        await asyncio.sleep(0.001)
        return process, container

    async def get(self, target: str, port: int = 80, ip: str = "10.244.1.5") -> http1.Response:
        stream = await self.net.connect("node-1", "client", ip, port, 1)
        async with asyncio.timeout(10):
            return await http1.fetch(stream, "GET", target, "web")

    async def ask(self, data: bytes, port: int) -> bytes:
        socket = await self.net.bind_udp("node-1", "client")
        await socket.send_to(data, "10.244.1.5", port)
        async with asyncio.timeout(1):
            return (await socket.recv_from())[0]


def story(body: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    async def main(env: Env) -> None:
        world = World(env)
        async with Nursery():
            await body(world)
        for container in world.started:
            container.signal("KILL")

    sim.run(main, horizon_s=100_000)


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("nginx", "nginx"),
        ("nginx:1.29-alpine", "nginx"),
        ("docker.io/library/nginx@sha256:" + "0" * 64, "nginx"),
        ("public.ecr.aws/nginx/nginx:stable", "nginx"),
        ("busybox:1.36", "busybox"),
        (AGNHOST, "agnhost"),
        ("nicolaka/netshoot", "netshoot"),
        ("localhost:5000/hashicorp/http-echo", "http-echo"),
        ("registry.k8s.io/e2e-test-images/jessie-dnsutils:1.7", "dnsutils"),
        ("mycorp/notnginx:1", "generic"),
        ("mycorp/api", "generic"),
    ],
)
def test_an_image_is_known_by_its_repository_in_any_registry(reference: str, name: str) -> None:
    """Kubelet asks ``describe`` and tells users when the answer is generic."""
    assert image_of(reference).name == name


def test_every_program_and_every_image_of_the_list_can_be_loaded() -> None:
    """A name in the list without code behind it would crash the first container."""

    async def body(world: World) -> None:
        for image in IMAGES:
            for binary in image.programs:
                assert find(image, binary) is not None
        assert world.host.describe("mycorp/api") == "generic"

    story(body)


def test_nginx_serves_its_page_logs_the_access_and_ends_with_zero() -> None:
    """The welcome page, 404, 405, a mounted page, TERM."""

    async def body(world: World) -> None:
        process, container = await world.start("nginx:1.29")
        page = await world.get("/")
        assert page.status == 200
        assert b"Welcome to nginx!" in page.body
        assert page.header("server").startswith("nginx/")
        assert (await world.get("/nothing")).status == 404
        start = '10.244.1.9 - - [01/Jan/2026:00:00:00 +0000] "GET / HTT'
        assert process.lines[9].startswith(start), "after nine lines of the image's entrypoint"
        container.signal("TERM")
        assert await container.wait() == 0
        with pytest.raises(ConnectionRefusedError):
            await world.get("/")
        files = {
            "/usr/share/nginx/html/index.html": b"mine",
            "/etc/nginx/conf.d/default.conf": b"server { listen 8080; }",
        }
        await world.start("nginx", "nginx", "-g", "daemon off;", files=files)
        assert (await world.get("/", 8080)).body == b"mine"

    story(body)


def test_http_echo_needs_a_text_and_whoami_tells_the_request() -> None:
    """Arguments without a command go to the image's entrypoint."""

    async def body(world: World) -> None:
        _, echo = await world.start("hashicorp/http-echo", "-text=hi", "-listen=:8080")
        assert (await world.get("/any", 8080)).body == b"hi\n"
        process, silent = await world.start(
            "hashicorp/http-echo", ip="10.244.1.6", env={"ECHO_TEXT": ""}
        )
        assert await silent.wait() == 127
        assert process.errors == ["Missing -text option or ECHO_TEXT env var!"]
        await world.start("traefik/whoami", ip="10.244.1.7")
        body = (await world.get("/x?y", ip="10.244.1.7")).body.decode()
        assert "Hostname: web-1\n" in body
        assert "\nGET /x?y HTTP/1.1\r\nHost: web\r\n" in body
        echo.signal("TERM")
        assert await echo.wait() == 2

    story(body)


def test_an_unknown_image_runs_as_the_generic_program_and_says_so() -> None:
    """HTTP 200 with the header on TCP ports, echo on UDP ports, 143 after TERM."""

    async def body(world: World) -> None:
        ports = ((8080, "TCP"), (5000, "UDP"))
        for argv in ((), ("/app/server", "--fast"), ("sh", "-c", "exec java -jar /app.jar")):
            process, container = await world.start("mycorp/api:1", *argv, ports=ports)
            answer = await world.get("/", 8080)
            assert answer.status == 200
            assert answer.header("X-Podwire-Modelled") == "generic"
            assert b"web-1" in answer.body
            assert await world.ask(b"ping", 5000) == b"ping"
            assert "generic program on 8080/TCP, 5000/UDP" in process.lines[0]
            container.signal("TERM")
            assert await container.wait() == 143

    story(body)


def test_a_command_that_a_known_image_lacks_cannot_start() -> None:
    """The runtime's ENOENT: kubelet turns it into RunContainerError."""

    async def body(world: World) -> None:
        with pytest.raises(OSError, match="executable file not found"):
            await world.start("nginx", "/opt/nothing")
        with pytest.raises(OSError, match="executable file not found"):
            await world.start("busybox", "java")

    story(body)


def test_sleep_as_process_one_ignores_term_and_kill_ends_it() -> None:
    """137 after the grace period, as everybody has seen."""

    async def body(world: World) -> None:
        _, container = await world.start("busybox", "sleep", "3600")
        container.signal("TERM")
        await asyncio.sleep(30)
        container.signal("KILL")
        assert await container.wait() == 137
        _, done = await world.start("busybox", "sleep", "2")
        assert await done.wait() == 0
        _, nothing = await world.start("busybox")
        assert await nothing.wait() == 0, "sh without a terminal ends at once"

    story(body)


def test_a_script_as_process_one_logs_and_can_trap_term() -> None:
    """The usual loop, and the usual trap."""

    async def body(world: World) -> None:
        script = "trap 'echo bye; exit 3' TERM; while true; do date +%S; sleep 10; done"
        process, container = await world.start("alpine", "sh", "-c", script)
        await asyncio.sleep(25)
        assert process.lines == ["00", "10", "20"]
        container.signal("TERM")
        assert await container.wait() == 3
        assert process.lines[-1] == "bye"

    story(body)


def test_agnhost_netexec() -> None:
    """The endpoints the Kubernetes end-to-end tests use."""

    async def body(world: World) -> None:
        _, container = await world.start(AGNHOST, "netexec", "--http-port=8080", "--udp-port=8081")
        for target, expected in {
            "/hostname": b"web-1",
            "/hostName": b"web-1",
            "/echo?msg=a%20b": b"a b",
            "/echo?code=x": b"argument 'code' must be an integer or empty, got \"x\"\n",
            "/shell?cmd=exit%203": b'{"error":"exit status 3"}',
            "/dial?host=10.244.1.5&port=8080": b"request parameter not specified. <nil>\n",
            "/dial?host=nope&port=1&request=x": (
                b"host and/or port param are invalid. lookup nope: no such host\n"
            ),
            "/dial?host=x&port=1&request=x&protocol=gopher": b"unsupported protocol. gopher\n",
            "/shell?cmd=echo%20hi": b'{"output":"hi\\n"}',
        }.items():
            assert (await world.get(target, 8080)).body == expected
        assert (await world.get("/clientip", 8080)).body.startswith(b"10.244.1.9:")
        assert (await world.get("/healthz", 8080)).status == 200
        assert (await world.get("/echo?msg=x&code=404", 8080)).status == 404
        assert (await world.get("/redirect?code=301&location=/x", 8080)).header("location") == "/x"
        assert await world.ask(b"hostname\n", 8081) == b"web-1"
        assert await world.ask(b"echo One two", 8081) == b"one two"
        dial = "/dial?request=hostname&protocol={}&host=10.244.1.5&port={}&tries=2"
        for protocol, port in (("http", 8080), ("udp", 8081)):
            answer = json.loads((await world.get(dial.format(protocol, port), 8080)).body)
            assert answer == {"responses": ["web-1", "web-1"]}
        answer = json.loads((await world.get(dial.format("http", 9), 8080)).body)
        refused = "dial tcp 10.244.1.5:9: connect: connection refused"
        assert answer == {"errors": [f'Get "http://10.244.1.5:9/hostname": {refused}'] * 2}
        answer = json.loads((await world.get(dial.format("udp", 9), 8080)).body)
        assert answer["errors"][0].startswith(
            "reading from udp connection failed. err:'read udp 10.244.1.5:"
        )
        assert (await world.get("/exit?code=4&timeout=5s&wait=1s", 8080)).status == 200
        assert await container.wait() == 4
        head = b'Content-Disposition: form-data; name="file"; filename="x"'
        form = b"--b\r\n" + head + b"\r\n\r\nhi\r\n--b--\r\n"
        assert uploaded("multipart/form-data; boundary=b", form) == b"hi"
        assert uploaded("text/plain", form) is None

    story(body)


def test_agnhost_serve_hostname_and_pause() -> None:
    """TCP writes and closes, UDP answers anything; TERM is obeyed after a minute."""

    async def body(world: World) -> None:
        argv = ("serve-hostname", "--tcp", "--udp", "--http=false", "--port", "9376")
        _, container = await world.start(AGNHOST, *argv)
        stream = await world.net.connect("node-1", "client", "10.244.1.5", 9376, 1)
        assert await stream.recv() == b"web-1"
        assert await stream.recv() == b""
        assert await world.ask(b"?", 9376) == b"web-1"
        container.signal("TERM")
        began = world.env.clock.monotonic_ns()
        assert await container.wait() == 0
        assert world.env.clock.monotonic_ns() - began == 60 * 10**9
        process, paused = await world.start(AGNHOST, "pause")
        assert process.lines == ["Paused"]
        paused.signal("TERM")
        assert await paused.wait() == 143

    story(body)


def test_two_servers_cannot_share_a_port() -> None:
    """The second one crashes with the kernel's reason."""

    async def body(world: World) -> None:
        await world.start("nginx")
        process, second = await world.start("nginx")
        assert await second.wait() == 1
        assert "(98: Address already in use)" in process.errors[0]

    story(body)
