"""agnhost's grpc-health-checking, and the health service that other programs offer."""

from __future__ import annotations

from collections.abc import Callable

from podwire.api.times import NS
from podwire.client import grpc, http1
from podwire.client.http1 import Request, Response
from podwire.kubelet.programs.go import flags
from podwire.kubelet.programs.serving import TERMINATED, Server, in_use
from podwire.kubelet.shell.command import Command, UsageError
from podwire.kubelet.text import go_duration

Ask = Callable[[str], grpc.Health | None]
"""The health of a service by name; None: it is unknown."""


def health_service(ask: Ask) -> grpc.Handler:
    """A handler of grpc.health.v1.Health/Check alone."""

    async def answer(path: str, message: bytes) -> bytes:
        if path != grpc.HEALTH_CHECK:
            service = path.rpartition("/")[0].lstrip("/")
            raise grpc.GrpcError(grpc.Code.Unimplemented, f"unknown service {service}")
        status = ask(grpc.asked_service(message))
        if status is None:
            raise grpc.GrpcError(grpc.Code.NotFound, "unknown service")
        return grpc.check_response(status)

    return answer


async def grpc_health_checking(command: Command, args: list[str]) -> int:
    """``grpc-health-checking [--port 5000] [--http-port 8080] [--delay-unhealthy-sec N]
    [--service NAME]``: SERVING for N seconds (for ever unless told); /make-serving and
    /make-not-serving set it.
    """
    given = flags(args)
    numbers = {"port": "5000", "http-port": "8080", "delay-unhealthy-sec": "-1"}
    for name, default in numbers.items():
        numbers[name] = text = given.get(name, default)
        if not text.lstrip("-").isdigit():
            raise UsageError(f'invalid argument "{text}" for "--{name}" flag')
    delay_s, clock = int(numbers["delay-unhealthy-sec"]), command.env.clock
    began_ns = clock.now_ns()
    forced: list[bool] = []

    def ask(service: str) -> grpc.Health | None:
        if service != given.get("service", ""):
            return None
        late = 0 <= delay_s * NS <= clock.now_ns() - began_ns
        unhealthy = forced[-1] if forced and forced[-1] else late
        return grpc.Health.NOT_SERVING if unhealthy else grpc.Health.SERVING

    async def switch(request: Request) -> Response:
        if request.path not in {"/make-serving", "/make-not-serving"}:
            return http1.text("404 page not found\n", 404)
        forced[:] = [request.path == "/make-not-serving"]
        return http1.text(go_duration(clock.now_ns() - began_ns))

    async with Server(command) as server:
        try:
            await server.http(int(numbers["http-port"]), switch)
            await server.grpc(int(numbers["port"]), health_service(ask))
        except OSError as error:
            command.err(f"Error while starting the listening service {in_use(error)}\n")
            return 1
        command.err(f"Http server starting to listen on :{numbers['http-port']}\n")
        command.err(f"gRPC server starting to listen on :{numbers['port']}\n")
        await server.until_signal("TERM", "INT")
    return TERMINATED
