"""echo-basic, httpd, httpbin, podinfo, redis, postgres, and agnhost's smaller subcommands."""

from __future__ import annotations

import json
import struct

import pytest

from podwire.client import http1
from podwire.kubelet.grpcprobe import grpc_check
from tests.unit.programs.test_programs import AGNHOST, World, story


def test_echo_basic_tells_the_request_and_where_it_ran() -> None:
    async def body(world: World) -> None:
        env = {"POD_NAME": "p", "NAMESPACE": "n", "SERVICE_NAME": "s"}
        image = "gcr.io/k8s-staging-gateway-api/echo-basic:v1"
        await world.start(image, env=env)
        told = json.loads((await world.get("/a?b=c", 3000)).body)
        assert (told["path"], told["pod"], told["namespace"]) == ("/a?b=c", "p", "n")
        assert told["host"] == "web"
        assert (await world.get("/status/418", 3000)).status == 418
        began_ns = world.env.clock.monotonic_ns()
        await world.get("/?delay=2s", 3000)
        assert world.env.clock.monotonic_ns() - began_ns >= 2 * 10**9

    story(body)


def test_httpd_works_and_logs() -> None:
    async def body(world: World) -> None:
        process, container = await world.start("httpd:2.4")
        assert b"It works!" in (await world.get("/")).body
        assert (await world.get("/nope")).status == 404
        assert process.lines[0].endswith('"GET / HTTP/1.1" 200 45')
        container.signal("TERM")
        assert await container.wait() == 0

    story(body)


def test_httpbin_answers_what_it_models_and_says_what_it_does_not() -> None:
    async def body(world: World) -> None:
        await world.start("kennethreitz/httpbin")
        told = json.loads((await world.get("/get?a=1")).body)
        assert (told["args"], told["origin"]) == ({"a": "1"}, "10.244.1.9")
        assert (await world.get("/status/503")).status == 503
        assert (await world.get("/redirect/2")).header("location") == "/relative-redirect/1"
        assert (await world.get("/image")).status == 501

    story(body)


def test_podinfo_can_be_made_unready_and_made_to_crash() -> None:
    async def body(world: World) -> None:
        _, container = await world.start("ghcr.io/stefanprodan/podinfo:6.9.2")
        assert json.loads((await world.get("/readyz", 9898)).body) == {"status": "OK"}
        assert json.loads((await world.get("/", 9898)).body)["hostname"] == "web-1"
        with pytest.raises((OSError, http1.HttpError)):
            await world.get("/panic", 9898)
        assert await container.wait() == 255

    story(body)


def test_redis_speaks_its_protocol_without_a_database() -> None:
    async def body(world: World) -> None:
        await world.start("redis:8")
        stream = await world.net.connect("node-1", "client", "10.244.1.5", 6379, 1)
        for said, answer in (
            (b"PING\r\n", b"+PONG\r\n"),
            (b"*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n", b"$2\r\nhi\r\n"),
            (b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n", b"-ERR not modelled: SET\r\n"),
        ):
            await stream.send(said)
            assert await stream.recv() == answer

    story(body)


def test_postgres_lets_clients_in_and_refuses_queries() -> None:
    async def body(world: World) -> None:
        _, refused = await world.start("postgres")
        assert await refused.wait() == 1
        await world.start("postgres", env={"POSTGRES_PASSWORD": "x"})
        stream = await world.net.connect("node-1", "client", "10.244.1.5", 5432, 1)
        await stream.send(struct.pack("!II", 8, 80877103))
        assert await stream.recv() == b"N"
        hello = b"user\0app\0\0"
        await stream.send(struct.pack("!II", 8 + len(hello), 196608) + hello)
        greeting = await stream.recv()
        assert greeting[:1] == b"R"
        assert greeting.endswith(b"Z\0\0\0\5I")
        await stream.send(b"Q" + struct.pack("!I", 14) + b"select 1;\0")
        assert b"not modelled: queries" in await stream.recv()

    story(body)


def test_agnhost_liveness_dies_after_ten_seconds() -> None:
    async def body(world: World) -> None:
        await world.start(AGNHOST, "liveness")
        assert (await world.get("/healthz", 8080)).body == b"ok"
        await world.env.clock.sleep(11)
        assert (await world.get("/healthz", 8080)).status == 500

    story(body)


def test_agnhost_prints_logs_at_an_even_pace_and_its_words() -> None:
    async def body(world: World) -> None:
        flags = ("--log-lines-total", "10", "--run-duration", "5s")
        process, container = await world.start(AGNHOST, "logs-generator", *flags)
        assert await container.wait() == 0
        assert len(process.errors) == 10
        assert world.env.clock.monotonic_ns() >= 5 * 10**9
        process, container = await world.start(AGNHOST, "entrypoint-tester", "a", "b")
        assert await container.wait() == 0
        assert process.lines == ["[/agnhost entrypoint-tester a b]"]

    story(body)


def test_agnhost_nettest_registers_who_writes() -> None:
    async def body(world: World) -> None:
        await world.start(AGNHOST, "nettest", "--peers", "1")
        assert (await world.get("/status", 8080)).body == b"running"
        state = json.loads((await world.get("/read", 8080)).body)
        assert (state["Hostname"], state["StillContactingPeers"]) == ("web-1", True)

    story(body)


def test_grpc_health_is_served_until_it_is_switched_off() -> None:
    async def health(world: World, service: str = "") -> tuple[bool, str]:
        clock = world.env.clock
        return await grpc_check(world.net, clock, "node-1", "10.244.1.5", 5000, service, 1.0)

    async def body(world: World) -> None:
        world.net.add("node-1", "", "10.244.1.1")
        await world.start(AGNHOST, "grpc-health-checking", "--delay-unhealthy-sec=60")
        assert await health(world) == (True, "")
        unknown = (
            "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service"
        )
        assert await health(world, "other") == (False, unknown)
        await world.get("/make-not-serving", 8080)
        unhealthy = (False, 'service unhealthy (responded with "NOT_SERVING")')
        assert await health(world) == unhealthy
        await world.get("/make-serving", 8080)
        assert await health(world) == (True, "")
        await world.env.clock.sleep(60)
        assert await health(world) == unhealthy

    story(body)
