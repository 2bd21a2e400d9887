"""log, exec, attach and port-forward: which container is meant; the kubelet is asked (counter 6).

Source of the messages: upstream pkg/registry/core/pod/strategy.go (LogLocation, ExecLocation) and
kubelet's server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.api.status import ApiError
from podwire.api.times import TimeError, parse_time
from podwire.api.validation import field
from podwire.api.views import Object, Pod
from podwire.apiserver import answers, authorizer
from podwire.apiserver.admission import connect
from podwire.apiserver.calls import Call
from podwire.apiserver.routes import ResourceHandler
from podwire.client.counters import (
    ExecSession,
    Frame,
    KubeletStreams,
    LogOptions,
    Response,
    Stream,
)

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver


async def log(server: Apiserver, call: Call) -> Response:
    """GET pods/{name}/log: the container's log as plain text."""
    query = call.query
    pod = await _pod(server, call)
    container = _container(pod, query.get("container"))
    options = _log_options(call)
    answer = answers.raw(b"", 200, "text/plain")
    if pod.spec.node_name:
        try:
            lines = await _kubelet(server).logs(
                pod.spec.node_name, call.namespace, call.name, container, options
            )
        except ConnectionError as error:
            path = f"containerLogs/{call.namespace}/{call.name}/{container}"
            url = f"https://{pod.status.host_ip or pod.spec.node_name}:10250/{path}"
            return answers.error(ApiError("", f'Get "{url}": {error}', 500))
        answer.stream = _LogStream(lines)
    return answer


async def refuse_plain(server: Apiserver, call: Call) -> Response:
    """exec, attach or port-forward without an upgrade: what is wrong otherwise is told first."""
    await target(server, call, container=call.subresource != "portforward")
    raise ApiError("BadRequest", "Upgrade request required")


# ---------------------------------------------------------------- for those who upgrade


@dataclass(frozen=True, slots=True)
class Target:
    """The container (or, for its ports, the pod) that a request is about."""

    node: str
    namespace: str
    pod: str
    container: str = ""


async def target(server: Apiserver, call: Call, *, container: bool = True) -> Target:
    """What a request is about, if admission lets it. Raises ApiError.

    Who upgrades by GET (WebSockets) must be allowed to create, too, as if it were a POST.
    """
    if call.verb != "create":
        authorizer.demand(server, msgspec.structs.replace(call.attributes, verb="create"))
    await connect.admit(server, call)
    pod = await _pod(server, call)
    name = _container(pod, call.query.get("container")) if container else ""
    if not pod.spec.node_name:
        raise ApiError("BadRequest", f"pod {pod.metadata.name} does not have a host assigned")
    return Target(pod.spec.node_name, call.namespace, call.name, name)


async def execute(server: Apiserver, at: Target, argv: Sequence[str], *, tty: bool) -> ExecSession:
    """Start a command. Raises ApiError as the kubelet says it, ConnectionError without one."""
    kubelet = _kubelet(server)
    return await kubelet.exec(at.node, at.namespace, at.pod, at.container, argv, tty)


async def attach(server: Apiserver, at: Target, *, stdin: bool) -> ExecSession:
    """Attach to a container. Raises as ``execute``."""
    kubelet = _kubelet(server)
    return await kubelet.attach(at.node, at.namespace, at.pod, at.container, stdin=stdin)


async def port_forward(server: Apiserver, at: Target, port: int) -> Stream:
    """Connect to a port of a pod. Raises as ``execute``."""
    return await _kubelet(server).port_forward(at.node, at.namespace, at.pod, port)


def backend_lost(error: ConnectionError) -> Response:
    """A kubelet that cannot be reached, in upstream's words (a Status without a reason)."""
    return answers.error(ApiError("", f"error dialing backend: {error}", 500))


HANDLERS: tuple[tuple[str, str, ResourceHandler], ...] = (
    ("get", "log", log),
    ("get", "exec", refuse_plain),
    ("create", "exec", refuse_plain),
    ("get", "attach", refuse_plain),
    ("create", "attach", refuse_plain),
    ("get", "portforward", refuse_plain),
    ("create", "portforward", refuse_plain),
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


def _kubelet(server: Apiserver) -> KubeletStreams:
    if server.kubelets is None:
        raise ConnectionError("no kubelet counter")
    return server.kubelets


def _log_options(call: Call) -> LogOptions:
    """The query of a log. Raises ApiError: 400 for what cannot be read, 422 for what is wrong.

    Source: upstream ValidatePodLogOptions.
    """
    query = call.query
    options = LogOptions(
        follow=query.flag("follow"),
        previous=query.flag("previous"),
        timestamps=query.flag("timestamps"),
        tail_lines=query.number("tailLines"),
        since_seconds=query.number("sinceSeconds"),
        since_time=query.get("sinceTime"),
        limit_bytes=query.number("limitBytes"),
    )
    if options.since_time:
        try:
            parse_time(options.since_time)
        except TimeError as error:
            raise ApiError("BadRequest", str(error)) from None
    errors = field.Errors()
    errors.not_negative("tailLines", options.tail_lines)
    if options.limit_bytes is not None and options.limit_bytes < 1:
        errors.invalid("limitBytes", options.limit_bytes, POSITIVE)
    if options.since_seconds is not None and options.since_time:
        errors.forbidden("", "at most one of `sinceTime` or `sinceSeconds` may be specified")
    elif options.since_seconds is not None and options.since_seconds < 1:
        errors.invalid("sinceSeconds", options.since_seconds, POSITIVE)
    if errors.causes:
        raise field.invalid_error(_LOG_OPTIONS, call.name, errors.causes)
    return options


POSITIVE = "must be greater than 0"
_LOG_OPTIONS = Kind(Object, "", "v1", "PodLogOptions", "podlogoptions", "podlogoptions")
"""For error texts only: the query of a log is validated as an object upstream."""
