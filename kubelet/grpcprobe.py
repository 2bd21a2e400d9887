"""The grpc probe: grpc.health.v1 over a connection without TLS.

Source of the words: pkg/probe/grpc.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from podwire.client import grpc
from podwire.client.counters import Sockets, Stream
from podwire.client.grpcwire import Client
from podwire.runtime.ports import Clock

_AGENT = "kube-probe/1.37"
_BACKOFF_S = (1.0, 1.6, 2.56, 4.1, 6.6, 10.5)
"""How grpc-go waits before it dials again (its jitter left out)."""


async def grpc_check(
    sockets: Sockets, clock: Clock, node: str, address: str, port: int, service: str,
    timeout_s: float,
) -> tuple[bool, str]:  # fmt: skip
    """One probe: whether the service is SERVING, and upstream's words when not."""
    authority = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    client: Client | None = None
    streams: list[Stream] = []
    try:
        async with asyncio.timeout(timeout_s):
            dial = partial(sockets.connect, node, "", address, port, timeout_s)
            client = await _dialled(dial, clock, authority, streams)
            answer = await client.call(grpc.HEALTH_CHECK, grpc.check_request(service))
    except TimeoutError:
        if client is not None:
            return False, f"timeout: health rpc did not complete within {timeout_s:g}s"
        why = f"within {timeout_s:g}s: context deadline exceeded"
        return False, f'timeout: failed to connect service "{authority}" {why}'
    except grpc.GrpcError as error:
        if error.code is grpc.Code.Unimplemented:
            why = "this server does not implement the grpc health protocol (grpc.health.v1.Health)"
            return False, f"error: {why}: {error.message}"
        return False, f"error: health rpc probe failed: {error}"
    except OSError as error:
        lost = grpc.GrpcError(grpc.Code.Unavailable, f"error reading from server: {error}")
        return False, f"error: health rpc probe failed: {lost}"
    finally:
        for stream in streams:
            await stream.close()
    status = grpc.told_health(answer)
    if status is grpc.Health.SERVING:
        return True, ""
    return False, f'service unhealthy (responded with "{status.name}")'


async def _dialled(
    dial: Callable[[], Awaitable[Stream]], clock: Clock, authority: str, streams: list[Stream]
) -> Client:
    """A greeted server. It is dialled until it answers; who asks sets the limit."""
    attempt = 0
    while True:
        try:
            stream = await dial()
            streams.append(stream)
            return await Client(stream, authority, _AGENT).open()
        except (OSError, grpc.GrpcError):
            await clock.sleep(_BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)])
            attempt += 1
