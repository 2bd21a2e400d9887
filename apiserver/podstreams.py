"""log and exec: which node and container are meant, then the kubelet is asked (counter 6).

Source of the messages: upstream pkg/registry/core/pod/strategy.go (LogLocation, ExecLocation) and
kubelet's server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.api.views import Pod
from podwire.apiserver import answers
from podwire.apiserver.calls import Call
from podwire.apiserver.routes import ResourceHandler
from podwire.client.counters import (
    ExecSession,
    Frame,
    KubeletStreams,
    LogOptions,
    Request,
    Response,
)

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver


async def log(server: Apiserver, call: Call) -> Response:
    """GET pods/{name}/log: the container's log as plain text."""
    query = call.query
    pod = await _pod(server, call)
    container = _container(pod, query.get("container"))
    options = LogOptions(
        follow=query.flag("follow"),
        previous=query.flag("previous"),
        timestamps=query.flag("timestamps"),
        tail_lines=_at_least(call, "tailLines", 0),
        since_seconds=_at_least(call, "sinceSeconds", 1),
        since_time=query.get("sinceTime"),
        limit_bytes=_at_least(call, "limitBytes", 1),
    )
    if options.since_seconds is not None and options.since_time:
        why = "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"
        raise _bad_option("sinceSeconds", why)
    answer = answers.raw(b"", 200, "text/plain")
    if pod.spec.node_name:
        kubelet = _kubelet(server, pod)
        try:
            lines = await kubelet.logs(
                pod.spec.node_name, call.namespace, call.name, container, options
            )
        except ConnectionError as error:
            raise _unreachable(pod, error) from None
        answer.stream = _LogStream(lines)
    return answer


async def refuse_plain(server: Apiserver, call: Call) -> Response:
    """Exec without an upgrade, or with one to SPDY: what is wrong otherwise is told first.

    kubectl asks again by SPDY when a WebSocket was refused and shows only the second answer.
    """
    await _startable(server, call)
    if call.request.headers.get("upgrade", "").lower().startswith("spdy"):
        message = "SPDY is not modelled; use a client that speaks WebSocket (kubectl >= 1.31)"
        raise ApiError("BadRequest", message)
    raise ApiError("BadRequest", "Upgrade request required")


async def open_exec(server: Apiserver, request: Request) -> tuple[ExecSession, bool]:
    """For the WebSocket adapter: a started command, and whether stdin is wanted.

    Raises ApiError as the plain request would be answered.
    """
    call = server.authorized(request)
    if call is None or call.subresource != "exec" or call.kind is not kinds.POD:
        raise ApiError("NotFound", "the server could not find the requested resource")
    pod, container, argv = await _startable(server, call)
    query = call.query
    kubelet = _kubelet(server, pod)
    try:
        session = await kubelet.exec(
            pod.spec.node_name, call.namespace, call.name, container, argv, query.flag("tty")
        )
    except ConnectionError as error:
        raise _unreachable(pod, error) from None
    return session, query.flag("stdin")


async def _startable(server: Apiserver, call: Call) -> tuple[Pod, str, list[str]]:
    """Pod, container and command of an exec that can start. Raises ApiError."""
    query = call.query
    pod = await _pod(server, call)
    container = _container(pod, query.get("container"))
    argv = query.all("command")
    if not argv:
        raise ApiError("BadRequest", "you must specify at least one command for the container")
    if pod.status.phase in {"Succeeded", "Failed"}:
        why = f"current phase is {pod.status.phase}"
        raise ApiError("BadRequest", f"cannot exec into a container in a completed pod; {why}")
    if not pod.spec.node_name:
        raise ApiError("BadRequest", f"pod {pod.metadata.name} does not have a host assigned")
    if not _running(pod, container):
        message = f'container not found ("{container}")'
        raise ApiError("InternalError", message)
    return pod, container, argv


HANDLERS: tuple[tuple[str, str, ResourceHandler], ...] = (
    ("get", "log", log),
    ("get", "exec", refuse_plain),
    ("create", "exec", refuse_plain),
)
"""Verb, subresource and handler, for the server's table."""


class _LogStream:
    """A kubelet's log as frames; closing it ends the kubelet's side too."""

    def __init__(self, lines: AsyncIterator[bytes]) -> None:
        self._lines = lines

    def __aiter__(self) -> _LogStream:
        return self

    async def __anext__(self) -> Frame:
        return Frame(await self._lines.__anext__())

    async def aclose(self) -> None:
        """The reader goes away."""
        close = getattr(self._lines, "aclose", None)
        if close is not None:
            await close()


async def _pod(server: Apiserver, call: Call) -> Pod:
    await server.caches.fresh()
    entry = server.caches.of(kinds.POD).get(call.namespace, call.name)
    if entry is None:
        raise call.not_found()
    pod: Pod = entry.view
    return pod


def _container(pod: Pod, asked: str) -> str:
    """The container meant. Raises ApiError BadRequest."""
    names = [c.name for c in pod.spec.containers]
    first = [c.name for c in pod.spec.init_containers]
    name = pod.metadata.name
    if asked:
        debuggers = [c.name for c in pod.spec.ephemeral_containers]
        if asked not in (*names, *first, *debuggers):
            raise ApiError("BadRequest", f"container {asked} is not valid for pod {name}")
        return asked
    if len(names) == 1:
        return names[0]
    message = (
        f"a container name must be specified for pod {name}, choose one of: [{' '.join(names)}]"
    )
    if first:
        message += f" or one of the init containers: [{' '.join(first)}]"
    raise ApiError("BadRequest", message)


def _running(pod: Pod, container: str) -> bool:
    found = pod.status
    statuses = (
        *found.container_statuses, *found.init_container_statuses,
        *found.ephemeral_container_statuses,
    )  # fmt: skip
    return any(s.name == container and "running" in (s.state or {}) for s in statuses)


def _kubelet(server: Apiserver, pod: Pod) -> KubeletStreams:
    if server.kubelets is None:
        raise _unreachable(pod, ConnectionError("no kubelet counter"))
    return server.kubelets


def _unreachable(pod: Pod, error: Exception) -> ApiError:
    message = f"error dialing backend: kubelet of node {pod.spec.node_name}: {error}"
    return ApiError("InternalError", f"Internal error occurred: {message}")


def _at_least(call: Call, name: str, least: int) -> int | None:
    number = call.query.number(name)
    if number is not None and number < least:
        why = f"Invalid value: {number}: must be greater than or equal to {least}"
        if least:
            why = f"Invalid value: {number}: must be greater than 0"
        raise _bad_option(name, why)
    return number


def _bad_option(field: str, why: str) -> ApiError:
    message = f'PodLogOptions "" is invalid: {field}: {why}'
    return ApiError("Invalid", message, details={"kind": "PodLogOptions"})
