"""The machines of a cluster, and what runs on those that are no nodes: the gateway (resolver,
outside server) and the control plane.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from podwire.api.status import ApiError
from podwire.apiserver import answers
from podwire.apiserver.server import Apiserver, DirectApi
from podwire.client import http1
from podwire.client.counters import ANONYMOUS, Listener, Request, Sockets
from podwire.client.framed.session import PING_S
from podwire.coredns.upstream import EXTERNAL, EXTERNAL6, Upstream, zone_of
from podwire.fabric.hardware import Fabric
from podwire.runtime.ports import Clock
from podwire.runtime.tasks import Nursery
from podwire.sim.settings import (
    API_PORT,
    CONTROL_PLANE,
    GATEWAY,
    ClusterSettings,
    node_address,
)

_OUTSIDE_PORTS = (80, 443)


def add_machines(
    fabric: Fabric, settings: ClusterSettings, machine_id: Callable[[str], str] = lambda _: ""
) -> None:
    """Gateway, control plane and nodes, on one underlay. ``machine_id`` names a node's machine as
    it was called before; "" for a new one.
    """
    family = settings.ip_family
    fabric.add_gateway(family=family)
    fabric.add_control_plane(family=family)
    for index, name in enumerate(settings.node_names, 1):
        fabric.add_node(name, node_address(index), machine_id=machine_id(name), family=family)


async def start_gateway(sockets: Sockets, nursery: Nursery, settings: ClusterSettings) -> None:
    """The resolver of the nodes on :53, and the outside world's one web server."""
    external = EXTERNAL6 if settings.six else EXTERNAL
    upstream = Upstream(zone_of(external))
    nursery.start(upstream.run(sockets, GATEWAY), name="gateway resolver")

    async def answer(request: http1.Request) -> http1.Response:
        host = request.header("host", external)
        return http1.text(f"{host} answers from outside the cluster\n")

    for port in _OUTSIDE_PORTS:
        listener = await sockets.listen(GATEWAY, "", external, port)
        nursery.start(http1.serve(listener, answer, tls=port == 443), name=f"outside :{port}")


async def open_control_plane(sockets: Sockets) -> Listener:
    """The API server's modelled address: what pods reach as kubernetes.default."""
    return await sockets.listen(CONTROL_PLANE, "", "", API_PORT)


async def reopen_control_plane(sockets: Sockets, clock: Clock) -> Listener:
    """The same after the link to the fabric was lost: a fabric that was not told (a cut
    cable) still has what this server opened before, until it takes it for gone.
    """
    while True:
        try:
            return await open_control_plane(sockets)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        await clock.sleep(PING_S)


async def serve_control_plane(listener: Listener, server: Apiserver) -> None:
    """Answer there until the listener closes. Who sends no credentials is anonymous."""
    api = DirectApi(server, ANONYMOUS)

    async def answer(asked: http1.Request) -> http1.Response:
        query = tuple(asked.query.items())
        headers = {name.lower(): value for name, value in asked.headers}
        try:
            user = server.authenticator.user(None, headers.get("authorization", ""))
        except ApiError as error:
            refused = answers.error(error)
            return http1.Response(refused.status, refused.body, list(refused.headers.items()))
        request = Request(asked.method, asked.path, query, headers, asked.body, user)
        response = await api.send(request)
        if response.stream is not None:
            await getattr(response.stream, "aclose", _nothing)()
            return http1.text("watching from inside a pod is not modelled\n", 501)
        return http1.Response(response.status, response.body, list(response.headers.items()))

    await http1.serve(listener, answer, tls=True)


async def _nothing() -> None:
    """For streams that need no closing."""
