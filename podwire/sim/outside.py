"""The hosts around the nodes: gateway (resolver, outside server) and control plane.

They are modelled machines like the nodes, running small programs of their own.
"""

from __future__ import annotations

from podwire.apiserver.server import Apiserver
from podwire.client import http1
from podwire.client.counters import Request, Stream
from podwire.coredns.upstream import EXTERNAL, Upstream
from podwire.fabric.hardware import Fabric
from podwire.runtime.tasks import Nursery
from podwire.sim.settings import API_PORT, CONTROL_PLANE, GATEWAY

_OUTSIDE_PORTS = (80, 443)


async def start_gateway(fabric: Fabric, nursery: Nursery) -> None:
    """The resolver of the nodes on :53, and the outside world's one web server."""
    nursery.start(Upstream().run(fabric, GATEWAY), name="gateway resolver")

    async def answer(request: http1.Request) -> http1.Response:
        host = request.header("host", EXTERNAL)
        return http1.text(f"{host} answers from outside the cluster\n")

    for port in _OUTSIDE_PORTS:
        listener = await fabric.listen(GATEWAY, "", EXTERNAL, port)
        nursery.start(http1.serve(listener, answer, tls=port == 443), name=f"outside :{port}")


async def start_control_plane(fabric: Fabric, server: Apiserver) -> None:
    """The API server's modelled address: what pods reach as kubernetes.default."""

    async def answer(asked: http1.Request) -> http1.Response:
        query = tuple(asked.query.items())
        headers = {name.lower(): value for name, value in asked.headers}
        request = Request(asked.method, asked.path, query, headers, asked.body)
        response = await server.handle(request)
        if response.stream is not None:
            await getattr(response.stream, "aclose", _nothing)()
            return http1.text("watching from inside a pod is not modelled\n", 501)
        return http1.Response(response.status, response.body, list(response.headers.items()))

    async def converse(stream: Stream) -> None:
        await http1.serve_connection(stream, answer, tls=True)

    await fabric.serve(CONTROL_PLANE, API_PORT, converse)


async def _nothing() -> None:
    """For streams that need no closing."""
