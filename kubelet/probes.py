"""Startup, liveness and readiness probes of one container instance.

Behaviour of pkg/kubelet/prober and pkg/probe: the startup probe holds the others back; thresholds
count equal results in a row; messages are the ones ``kubectl describe pod`` shows.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from dataclasses import dataclass

from podwire.api.podports import resolve_port
from podwire.api.times import NS
from podwire.api.views import Container, HTTPGetAction, Pod, Probe
from podwire.client import http1
from podwire.client.counters import Sockets
from podwire.kubelet.core import ProbeCounter
from podwire.kubelet.exec import run_captured
from podwire.kubelet.state import Instance, Kubelet

Report = Callable[[str, bool], None]
"""(probe kind, verdict): called when a verdict changed."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where the probes of a pod's container go."""

    pod: Pod
    container: Container
    address: str


async def probe_forever(
    kubelet: Kubelet, instance: Instance, target: Target, kind: str, report: Report
) -> None:
    """Probe until cancelled; a startup probe ends with its first success."""
    probe = _probe(target.container, kind)
    counter = ProbeCounter(probe.success_threshold or 1, probe.failure_threshold or 3)
    if kind != "startup":  # alive until proven dead, unready until proven ready
        counter.verdict = kind == "liveness"
    clock = kubelet.ctx.clock
    due = instance.started_ns + probe.initial_delay_seconds * NS
    while True:
        await clock.sleep(max(0, due - clock.now_ns()) / NS)
        due = clock.now_ns() + (probe.period_seconds or 10) * NS
        success, message = await attempt(kubelet, instance, target, probe)
        meta = target.pod.metadata
        kubelet.ctx.trace.record(
            "probe", kubelet.config.node, meta.namespace, meta.name, instance.name, kind,
            "success" if success else message,
        )  # fmt: skip
        if not success and not instance.stopping:
            kubelet.event(
                target.pod, "Warning", "Unhealthy",
                f"{kind.capitalize()} probe failed: {message}", instance.name,
            )  # fmt: skip
        if counter.count(success):
            report(kind, success)
            if kind == "startup" or (kind == "liveness" and not success):
                return


def _probe(container: Container, kind: str) -> Probe:
    probe: Probe | None = getattr(container, f"{kind}_probe")
    assert probe is not None, "only probes that exist are started"
    return probe


async def attempt(
    kubelet: Kubelet, instance: Instance, target: Target, probe: Probe
) -> tuple[bool, str]:
    """One probe: whether it succeeded, and upstream's words when not."""
    timeout_s = float(probe.timeout_seconds or 1)
    if probe.exec is not None:
        return await _exec(kubelet, instance, probe.exec.command, timeout_s)
    sockets, node = kubelet.ctx.sockets, kubelet.config.node
    if probe.http_get is not None:
        return await _http(sockets, node, target, probe.http_get, timeout_s)
    if probe.tcp_socket is not None:
        host = probe.tcp_socket.host or target.address
        port = resolve_port(target.pod, probe.tcp_socket.port)
        if port is None:
            return False, f"couldn't find port: {probe.tcp_socket.port}"
        return await _tcp(sockets, node, host, port, timeout_s)
    from podwire.kubelet.grpcprobe import grpc_check  # noqa: PLC0415  HTTP/2 is loaded on first use

    assert probe.grpc is not None, "validation lets no other handler in"
    return await grpc_check(
        sockets, kubelet.ctx.clock, node, target.address, probe.grpc.port, probe.grpc.service,
        timeout_s,
    )  # fmt: skip


async def _exec(
    kubelet: Kubelet, instance: Instance, argv: list[str], timeout_s: float
) -> tuple[bool, str]:
    try:
        async with asyncio.timeout(timeout_s):
            code, output, _ = await run_captured(kubelet, instance, argv)
    except TimeoutError:
        words = " ".join(argv)
        return False, f'command "{words}" timed out'
    return code == 0, output


def dial_error(error: OSError, address: str, port: int) -> str:
    """A failed connect in the words of Go's net package."""
    if isinstance(error, ConnectionRefusedError):
        why = "connect: connection refused"
    elif isinstance(error, TimeoutError):
        why = "i/o timeout"
    elif error.errno == errno.ENETUNREACH:
        why = "connect: network is unreachable"
    else:
        why = "connect: no route to host"
    return f"dial tcp {address}:{port}: {why}"


async def _tcp(
    sockets: Sockets, node: str, address: str, port: int, timeout_s: float
) -> tuple[bool, str]:
    try:
        stream = await sockets.connect(node, "", address, port, timeout_s)
    except OSError as error:
        return False, dial_error(error, address, port)
    await stream.close()
    return True, ""


async def _http(
    sockets: Sockets, node: str, target: Target, action: HTTPGetAction, timeout_s: float
) -> tuple[bool, str]:
    status, why = await http_get(sockets, node, target, action, timeout_s)
    if status and not 200 <= status < 400:
        why = f"HTTP probe failed with statuscode: {status}"
    return not why, why


async def http_get(
    sockets: Sockets, node: str, target: Target, action: HTTPGetAction, timeout_s: float,
    agent: str = "kube-probe",
) -> tuple[int, str]:  # fmt: skip
    """Ask for a page: (status, "") of what was answered, or (0, what went wrong)."""
    host = action.host or target.address
    port = resolve_port(target.pod, action.port)
    if port is None:
        return 0, f"couldn't find port: {action.port}"
    path = action.path or "/"
    tls = action.scheme.upper() == "HTTPS"
    url = f"{action.scheme.lower() or 'http'}://{host}:{port}{path}"
    headers = [(h.name, h.value) for h in action.http_headers]
    if not http1.header(headers, "user-agent"):
        headers.append(("User-Agent", f"{agent}/1.37"))
    headers += [("Accept", "*/*"), ("Connection", "close")]
    timed_out = (
        f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
    )
    stream = None
    try:
        async with asyncio.timeout(timeout_s):
            stream = await sockets.connect(node, "", host, port, timeout_s)
            answer = await http1.fetch(
                stream, "GET", path, f"{host}:{port}", headers, tls_name=host if tls else ""
            )
    except TimeoutError:
        return 0, timed_out
    except http1.HttpError as error:
        why = "EOF" if error.status == 0 else "net/http: HTTP/1.x transport connection broken"
        return 0, f'Get "{url}": {why}'
    except OSError as error:
        if stream is None:
            return 0, f'Get "{url}": {dial_error(error, host, port)}'
        return 0, f'Get "{url}": read tcp {host}:{port}: connection reset by peer'
    finally:
        if stream is not None:
            await stream.close()
    return answer.status, ""
