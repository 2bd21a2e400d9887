"""gRPC's statuses and its health service, as grpc probes and modelled programs speak them.

The calls themselves are in ``grpcwire``, which is loaded when somebody makes or serves one.
Sources: grpc.github.io (statuscodes.md), grpc.health.v1 (health.proto).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import IntEnum

HEALTH_CHECK = "/grpc.health.v1.Health/Check"


class Code(IntEnum):
    """The status codes that are used here; their names are Go's."""

    OK = 0
    Unknown = 2
    NotFound = 5
    Unimplemented = 12
    Internal = 13
    Unavailable = 14


class Health(IntEnum):
    """grpc.health.v1.HealthCheckResponse.ServingStatus."""

    UNKNOWN = 0
    SERVING = 1
    NOT_SERVING = 2
    SERVICE_UNKNOWN = 3


class GrpcError(Exception):
    """A call failed with a status."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(f"rpc error: code = {code.name} desc = {message}")
        self.code = code
        self.message = message


Handler = Callable[[str, bytes], Awaitable[bytes]]
"""(path, message) -> the answer's message. Raises GrpcError."""


def check_request(service: str) -> bytes:
    """HealthCheckRequest: ``1: service``; names longer than 127 bytes are no Service names."""
    name = service.encode()[:127]
    return bytes((0x0A, len(name))) + name if name else b""


def asked_service(message: bytes) -> str:
    """The service a HealthCheckRequest asks for. Raises GrpcError."""
    if not message:
        return ""
    if len(message) < 2 or message[0] != 0x0A or message[1] != len(message) - 2:
        raise GrpcError(Code.Internal, "the request is no HealthCheckRequest")
    return message[2:].decode(errors="replace")


def check_response(status: Health) -> bytes:
    """HealthCheckResponse: ``1: status``."""
    return bytes((0x08, status.value)) if status else b""


def told_health(message: bytes) -> Health:
    """The status of a HealthCheckResponse; UNKNOWN when it says nothing that is known."""
    known = len(message) == 2 and message[0] == 0x08 and message[1] <= Health.SERVICE_UNKNOWN
    return Health(message[1]) if known else Health.UNKNOWN
