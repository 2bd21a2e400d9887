"""A cluster in real time: the composition behind HTTPS, with publications on loopback."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from podwire.api import kinds
from podwire.api.views import Service
from podwire.apiserver.certs import Pair
from podwire.apiserver.http.authn import Authenticator
from podwire.apiserver.http.server import HttpServer, tls_context
from podwire.apiserver.http.upgrade import Upgrader
from podwire.client.counters import User
from podwire.client.informer import Informers
from podwire.runtime.files import write_private
from podwire.runtime.tasks import Nursery
from podwire.sim.cluster import ADMIN, Cluster
from podwire.sim.keeping import Kept
from podwire.sim.settings import (
    CONTROL_PLANE_ADDRESS,
    DNS_ADDRESS,
    GATEWAY,
    KUBERNETES_ADDRESS,
    ClusterSettings,
    node_address,
)

LOOPBACK = "127.0.0.1"
_DNS_PORT_TRIES = 5
_SERVER_NAMES = (
    LOOPBACK,
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    KUBERNETES_ADDRESS,
    CONTROL_PLANE_ADDRESS,
)


class LiveCluster:
    """``start`` returns when ``/readyz`` answers; ``stop`` ends everything in order."""

    def __init__(self, kept: Kept, settings: ClusterSettings, directory: Path) -> None:
        self.env = env = kept.env
        self._kept = kept
        self.settings = settings
        self._directory = directory
        self.cluster = Cluster(env, settings, kept)
        self.cluster.real_addresses = self.endpoints
        self.admin: Pair = self.cluster.authority.client(
            ADMIN.name, [g for g in ADMIN.groups if g != "system:authenticated"]
        )
        self.token = kept.identity.token
        """The cluster's one bearer token."""
        self._http: HttpServer | None = None
        self._nursery = Nursery()
        self._node_ports: dict[tuple[str, int], dict[str, Any]] = {}
        self._dns = ""

    @property
    def server_url(self) -> str:
        """Where kubectl finds the API server."""
        assert self._http is not None
        host, port = self._http.address
        return f"https://{host}:{port}"

    async def start(self, port: int = 0, host: str = LOOPBACK) -> None:
        """Boot the cluster and listen; port 0 is the one of the last time, or any that is free.

        Raises OSError when the port is taken.
        """
        authenticator = Authenticator(
            {self.token: User("podwire-admin", ("system:masters", "system:authenticated"))}
        )
        upgrade = Upgrader(self.cluster.server)
        self._http = HttpServer(
            self.cluster.admin_api, authenticator, upgrade, self._tls(), self.env.log
        )
        await self._nursery.__aenter__()
        await self.cluster.start(self._nursery)
        await self._listen(self._http, host, port)
        self._nursery.start(self._publish(), name="publications")

    async def _listen(self, http: HttpServer, host: str, port: int) -> None:
        before = self._kept.identity.port
        try:
            await http.start(host, port or before)
        except OSError as error:
            if port or not before or error.errno != errno.EADDRINUSE:
                raise
            self.env.log.warning(
                "the port of the last time is taken: kubeconfigs made then do not fit", port=before
            )
            await http.start(host, 0)
        if self._kept.options.keeps:
            await self._kept.keep_port(http.address[1])

    def _tls(self) -> Any:
        pair = self.cluster.authority.server(_SERVER_NAMES)
        certificate, key = self._directory / "apiserver.crt", self._directory / "apiserver.key"
        certificate.write_bytes(pair.certificate)
        write_private(key, pair.key)
        return tls_context(str(certificate), str(key), self.cluster.authority.pem)

    async def stop(self) -> None:
        """Stop listening, end the rooms."""
        if self._http is not None:
            self.cluster.server.stop()
            await self._http.stop()
        await self.cluster.stop()
        self._nursery.cancel()
        await self._nursery.__aexit__(None, None, None)

    # -- real addresses

    async def endpoints(self) -> dict[str, Any]:
        """The real addresses: ``api``, ``dns`` (UDP and TCP), ``nodePorts``."""
        host, port = self._http.address if self._http else ("", 0)
        return {
            "api": f"{host}:{port}",
            "dns": self._dns,
            "nodePorts": [self._node_ports[key] for key in sorted(self._node_ports)],
        }

    async def _publish(self) -> None:
        """DNS at once; NodePorts as Services come and go."""
        await self._publish_dns()
        informers = Informers(self.cluster.client, self.cluster.room_ctx("publications"))
        services = informers.informer(kinds.SERVICE)
        wanted: asyncio.Queue[Callable[[], Any]] = asyncio.Queue()

        def changed(old: Service | None, new: Service | None) -> None:
            before, after = _node_ports(old), _node_ports(new)
            for key, name in before.items():
                if after.get(key) != name:
                    wanted.put_nowait(partial(self._unpublish, *key))
            for key, name in after.items():
                if before.get(key) != name:
                    wanted.put_nowait(partial(self._publish_port, *key, name))

        services.on_change(changed)
        async with Nursery() as nursery:
            nursery.start(informers.run(), name="publications informers")
            while True:
                await (await wanted.get())()

    async def _publish_dns(self) -> None:
        """One real port for both protocols, as dig expects it."""
        publications = self.cluster.fabric.publications
        via = (self.settings.node_names[0], "")
        for _ in range(_DNS_PORT_TRIES):
            host, port = await publications.publish(DNS_ADDRESS, 53, "udp", via=via)
            try:
                await publications.publish(DNS_ADDRESS, 53, "tcp", via=via, host_port=port)
            except OSError:
                await publications.unpublish(DNS_ADDRESS, 53, "udp")  # TCP of that port is taken
            else:
                self._dns = f"{host}:{port}"
                return
        self.env.log.warning("DNS is not published: no port is free for both UDP and TCP")

    async def _publish_port(self, protocol: str, port: int, name: str) -> None:
        """The same port on loopback when it is free, any other when it is not."""
        address = node_address(1)
        publish = partial(
            self.cluster.fabric.publications.publish, address, port, protocol, via=(GATEWAY, "")
        )
        try:
            host, real = await publish(host_port=port)
        except OSError as error:
            if error.errno not in {errno.EADDRINUSE, errno.EACCES}:
                raise
            host, real = await publish()
        self._node_ports[protocol, port] = {
            "service": name,
            "nodePort": port,
            "protocol": protocol,
            "address": f"{host}:{real}",
            "modelled": f"{address}:{port}",
        }

    async def _unpublish(self, protocol: str, port: int) -> None:
        if self._node_ports.pop((protocol, port), None) is not None:
            await self.cluster.fabric.publications.unpublish(node_address(1), port, protocol)


def _node_ports(service: Service | None) -> dict[tuple[str, int], str]:
    """(protocol, nodePort) -> ``namespace/service[:port name]``."""
    if service is None or service.spec.type not in {"NodePort", "LoadBalancer"}:
        return {}
    return {
        (port.protocol.lower(), port.node_port): service.key
        + (f":{port.name}" if port.name else "")
        for port in service.spec.ports
        if port.node_port and port.protocol in {"TCP", "UDP"}
    }
