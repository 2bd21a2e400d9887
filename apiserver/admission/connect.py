"""CONNECT: exec, attach, port-forward and proxy go through admission as an object of options.

Source: apiserver pkg/endpoints/handlers/rest.go (ConnectResource); core/v1 types for the options.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.api.view import JSON
from podwire.api.views import Object
from podwire.apiserver.admission.review import Review
from podwire.apiserver.calls import Call

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver


def _options(name: str) -> Kind[Any]:
    return Kind(Object, "", "v1", name, name.lower(), name.lower())


_KINDS: dict[tuple[Kind[Any], str], Kind[Any]] = {
    (kinds.POD, "exec"): _options("PodExecOptions"),
    (kinds.POD, "attach"): _options("PodAttachOptions"),
    (kinds.POD, "portforward"): _options("PodPortForwardOptions"),
    (kinds.POD, "proxy"): _options("PodProxyOptions"),
    (kinds.SERVICE, "proxy"): _options("ServiceProxyOptions"),
    (kinds.NODE, "proxy"): _options("NodeProxyOptions"),
}
_FLAGS = ("stdin", "stdout", "stderr", "tty")


async def admit(server: Apiserver, call: Call) -> None:
    """Ask the plugins before anything is connected. Raises ApiError."""
    kind = _KINDS[call.kind, call.subresource]
    if server.admission.handles(call.kind, "CONNECT", call.subresource):
        await server.admission.admit(Review(
            server, call, call.kind, "CONNECT", call.namespace, call.name, _object(call, kind),
            None, call.subresource, kind,
        ))  # fmt: skip


def _object(call: Call, kind: Kind[Any]) -> JSON:
    query, obj = call.query, {"kind": kind.kind, "apiVersion": kind.api_version}
    found: JSON = {}
    if call.subresource in {"exec", "attach"}:
        found = {flag: True for flag in _FLAGS if query.flag(flag)}
        if container := query.get("container"):
            found["container"] = container
        if call.subresource == "exec":
            found["command"] = query.all("command")
    elif call.subresource == "portforward":
        ports = [int(port) for port in query.all("ports") if port.isdecimal()]
        found = {"ports": ports} if ports else {}
    elif call.tail:
        found = {"path": call.tail}
    return {**obj, **found}
