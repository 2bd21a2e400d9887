"""podwire's own paths (podwire.dev/v1alpha1): traces, nodes, endpoints, components.

They exist so that a kubeconfig suffices for everything the command line shows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.api.untrusted import decoded
from podwire.apiserver import answers, attachments
from podwire.apiserver.calls import Call, Query
from podwire.apiserver.machines import Machines, kubelet, power
from podwire.apiserver.routes import Route
from podwire.apiserver.traces import Tracer, decode_spec
from podwire.client import attached
from podwire.client.counters import Fabric, Publication, Request, Response, ToolResult

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

PREFIX = "/apis/podwire.dev/v1alpha1"
_MAX_WAIT_S = 600
_MAX_ARGUMENTS = 64

Listing = Callable[[], Awaitable[dict[str, Any]]]
"""Gives the body of an answer."""


class _Exec(msgspec.Struct, frozen=True):
    argv: list[str]
    stdin: str = ""


@dataclass(frozen=True, slots=True)
class Own:
    """What these paths need: the tracer, the fabric, who knows the API server's own real address
    ("" when it has none) and the components, and who has the power switches.
    """

    tracer: Tracer
    fabric: Fabric
    api_address: Callable[[], str]
    components: Listing
    wait_ready: Callable[[], Awaitable[None]]
    machines: Machines

    def install(self, server: Apiserver) -> None:
        """Enter the paths into the server's table."""
        server.routes.add_verb("create", self._trace, kind=kinds.TRACE)
        add = server.routes.add
        add(Route(f"{PREFIX}/endpoints", self._endpoints))
        add(Route(f"{PREFIX}/components", self._list(self.components)))
        add(Route(f"{PREFIX}/ready", self._ready))
        add(Route(attached.PATH, self._attachments, methods=("POST", "DELETE")))
        add(Route(f"{PREFIX}/nodes/*", self._node, methods=("POST",)))

    async def _endpoints(self, server: Apiserver, _request: Request) -> Response:
        """GET endpoints: the real addresses."""
        body = endpoints(self.api_address(), await self.fabric.publications())
        body |= {"apiModelled": server.config.advertised, "attached": attachments.listing(server)}
        return answers.json(body)

    async def _attachments(self, server: Apiserver, request: Request) -> Response:
        """POST and DELETE attachments: a process outside the model behind a Service."""
        return await attachments.handle(server, request, self.fabric)

    async def _ready(self, _server: Apiserver, request: Request) -> Response:
        """GET ready?timeoutSeconds=N: answers when the cluster is up, or when time is."""
        seconds = Query(request.query).number("timeoutSeconds") or 0
        try:
            async with asyncio.timeout(min(max(seconds, 0), _MAX_WAIT_S)):
                await self.wait_ready()
        except TimeoutError:
            return answers.json({"ready": False})
        return answers.json({"ready": True})

    async def _trace(self, _server: Apiserver, call: Call) -> Response:
        spec = decode_spec(call.request.body)
        report = await self.tracer.trace(spec)
        body = {
            "apiVersion": kinds.TRACE.api_version,
            "kind": kinds.TRACE.kind,
            "metadata": {"creationTimestamp": None},
            "spec": spec,
            "status": report,
        }
        return answers.json(body, 201)

    async def _node(self, server: Apiserver, request: Request) -> Response:
        """POST nodes/NODE/{exec,power,kubelet}. Raises ApiError."""
        rest = request.path.removeprefix(f"{PREFIX}/nodes/").strip("/")
        node, _, verb = rest.partition("/")
        try:
            match verb:
                case "exec":
                    return await self._exec(server, node, request)
                case "power":
                    return await power(self.machines, node, request)
                case "kubelet":
                    return await kubelet(self.machines, node, request)
        except LookupError:
            raise ApiError("NotFound", f'nodes "{node}" not found') from None
        return answers.page_not_found()

    async def _exec(self, server: Apiserver, node: str, request: Request) -> Response:
        """A command in the node's own network namespace.

        The node's kernel tools work without its kubelet, everything else is run by it.
        """
        try:
            asked = decoded(request.body, _Exec)
        except ValueError as error:
            raise ApiError("BadRequest", f"argv: {error}") from error
        if not 0 < len(asked.argv) <= _MAX_ARGUMENTS:
            raise ApiError("BadRequest", f"argv: give 1 to {_MAX_ARGUMENTS} words")
        result = await self._run(server, node, asked)
        return answers.json({"stdout": result.stdout, "stderr": result.stderr, "code": result.code})

    async def _run(self, server: Apiserver, node: str, asked: _Exec) -> ToolResult:
        if server.kubelets is not None:
            try:
                return await server.kubelets.run(node, asked.argv, asked.stdin.encode())
            except ConnectionError:
                pass  # its kubelet is down (or there is no such node): the kernel still answers
        return await self.fabric.tool(node, "", asked.argv, asked.stdin)

    @staticmethod
    def _list(items: Listing) -> Callable[[Apiserver, Request], Awaitable[Response]]:
        async def handler(_server: Apiserver, _request: Request) -> Response:
            return answers.json(await items())

        return handler


def endpoints(api: str, publications: Sequence[Publication]) -> dict[str, Any]:
    """The body of ``endpoints``: ``api``, ``dns``, ``dnsModelled``, ``nodePorts`` and ``ingress``.

    Each publication that could not be made has address "" and says why in ``message``.
    """
    node_ports: list[dict[str, Any]] = []
    ingress: list[dict[str, Any]] = []
    dns = modelled = ""
    for found in publications:
        what, _, name = found.name.partition(" ")
        shown: dict[str, Any] = {
            "protocol": found.protocol, "address": found.address, "modelled": found.modelled,
        }  # fmt: skip
        if found.message:
            shown["message"] = found.message
        if what == "dns":
            dns, modelled = dns or found.address, found.modelled
        elif what == "nodePort":
            number = int(found.modelled.rpartition(":")[2])
            node_ports.append({"service": name, "nodePort": number, **shown})
        elif what == "ingress":
            ingress.append({"port": name, **shown})
    ingress.sort(key=lambda entry: str(entry["port"]))
    return {
        "api": api, "dns": dns, "dnsModelled": modelled, "nodePorts": node_ports,
        "ingress": ingress,
    }  # fmt: skip
