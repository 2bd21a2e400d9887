"""Programs of users' own: described in YAML, written in Python."""

from __future__ import annotations

from pathlib import Path

import pytest

from podwire.client import http1
from podwire.kubelet.programs import registry
from podwire.kubelet.programs.described import DescriptionError, read
from podwire.kubelet.programs.registry import image_of
from podwire.kubelet.programs.serving import TERMINATED, Server
from podwire.kubelet.shell.command import Command
from podwire.testing import program, programs_from
from tests.unit.programs.test_programs import World, story

SHOP = Path(__file__).parents[3] / "examples" / "programs" / "shop.yaml"


def test_the_example_in_yaml_starts_slowly_answers_late_and_fails_sometimes() -> None:
    async def body(world: World) -> None:
        process, _ = await world.start("registry.example/shop/cart:v2")
        with pytest.raises(ConnectionRefusedError):
            await world.get("/healthz", 8080)
        await process.printed("cart: listening")
        began_ns = world.env.clock.monotonic_ns()
        answers = [await world.get("/cart/7", 8080) for _ in range(200)]
        mean_s = (world.env.clock.monotonic_ns() - began_ns) / 1e9 / len(answers)
        assert mean_s == pytest.approx(0.02, abs=0.002)
        failed = [answer for answer in answers if answer.status == 503]
        assert 2 <= len(failed) <= 20
        good = next(answer for answer in answers if answer.status == 200)
        assert good.body == b'{"cart": "/cart/7", "pod": "web-1"}'
        assert good.header("content-type") == "application/json"
        assert {(await world.get("/nope", 8080)).status for _ in range(3)} <= {404, 503}

    with programs_from(SHOP):
        story(body)
    assert image_of("registry.example/shop/cart:v2").generic


def test_a_tcp_port_greets_and_replies() -> None:
    async def body(world: World) -> None:
        await world.start("shop/queue")
        stream = await world.net.connect("node-1", "client", "10.244.1.5", 4222, 1)
        assert await stream.recv() == b"INFO ready\r\n"
        await stream.send(b"PING\r\n")
        assert await stream.recv() == b"PONG\r\n"
        await stream.send(b"SUB\r\n")
        assert await stream.recv() == b"-ERR\r\n"

    with programs_from(SHOP):
        story(body)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("programs: [{image: a, ports: [{port: 70000}]}]", "programs.0.ports.0.port"),
        ("programs: [{image: a, color: red}]", "programs.0.color"),
        ("programs: [{image: a, ports: [{port: 1, failure_rate: 2}]}]", "failure_rate"),
        ("programs: {", "programs"),
        ("[]", "programs"),
    ],
)
def test_a_wrong_description_names_the_field(text: str, where: str) -> None:
    with pytest.raises(DescriptionError, match=where):
        read(text)


def test_a_program_in_python_is_found_by_its_image_and_runs() -> None:
    @program("example.com/shop/hello")
    async def hello(command: Command) -> int:
        async def answer(_request: http1.Request) -> http1.Response:
            return http1.text(f"{command.spec.pod} says hello\n")

        async with Server(command) as server:
            await server.http(8080, answer)
            await server.until_signal()
        return TERMINATED

    async def body(world: World) -> None:
        _, container = await world.start("example.com/shop/hello:1")
        assert (await world.get("/", 8080)).body == b"web-1 says hello\n"
        container.signal("TERM")
        assert await container.wait() == TERMINATED

    story(body)
    registry.unregister(image_of("example.com/shop/hello:1"))
