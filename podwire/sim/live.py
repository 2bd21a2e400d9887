"""A cluster in real time: the composition behind HTTPS, with publications on loopback."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

from podwire.apiserver.certs import Authority, Pair
from podwire.apiserver.http.server import HttpServer, tls_context
from podwire.apiserver.http.upgrade import Upgrader
from podwire.client.counters import User
from podwire.fabric.attachments import Attachments
from podwire.fabric.publisher import Publisher
from podwire.runtime.files import write_private
from podwire.runtime.tasks import Nursery
from podwire.runtime.usage import process_usage
from podwire.sim.cluster import Cluster
from podwire.sim.keeping import Kept
from podwire.sim.settings import ADMIN, LOOPBACK, SERVER_NAMES, ClusterSettings


class LiveCluster:
    """``start`` returns when ``/readyz`` answers; ``stop`` ends everything in order."""

    def __init__(self, kept: Kept, settings: ClusterSettings, directory: Path) -> None:
        self.env = env = kept.env
        self._kept = kept
        self.settings = settings
        self._directory = directory
        self.cluster = Cluster(env, settings, kept)
        self.cluster.api_address = self._api_address
        self.admin: Pair = self.cluster.authority.client(
            ADMIN.name, [g for g in ADMIN.groups if g != "system:authenticated"]
        )
        self.token = kept.identity.token
        """The cluster's one bearer token."""
        self._http: HttpServer | None = None
        self._nursery = Nursery()

    @property
    def authority(self) -> Authority:
        """The cluster's certificate authority."""
        return self.cluster.authority

    @property
    def server_url(self) -> str:
        """Where kubectl finds the API server."""
        assert self._http is not None
        return f"https://{self._api_address()}"

    def _api_address(self) -> str:
        """The real address of the API server, "" before it listens."""
        return "{}:{}".format(*self._http.address) if self._http is not None else ""

    async def start(self, port: int = 0, host: str = LOOPBACK) -> None:
        """Boot the cluster and listen; port 0 is the one of the last time, or any that is free.

        Raises OSError when the port is taken.
        """
        authenticator = self.cluster.server.authenticator
        authenticator.know(
            {self.token: User("podwire-admin", ("system:masters", "system:authenticated"))}
        )
        upgrade = Upgrader(self.cluster.server)
        self.cluster.server.metrics.process = process_usage
        self._http = HttpServer(
            self.cluster.admin_api, authenticator, upgrade, self._tls(), self.env
        )
        await self._nursery.__aenter__()
        await self.cluster.start(self._nursery)
        await self._listen(self._http, host, port)
        publisher = Publisher(
            self.cluster.room_ctx("publisher"),
            self.cluster.fabric.real_sockets,
            self.settings.node_names[0],
        )
        self._nursery.start(publisher.run(), name="publisher")
        attachments = Attachments(self.cluster.room_ctx("attachments"))
        self._nursery.start(attachments.run(), name="attachments")

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
        pair = self.cluster.authority.server(SERVER_NAMES)
        certificate, key = self._directory / "apiserver.crt", self._directory / "apiserver.key"
        certificate.write_bytes(pair.certificate)
        write_private(key, pair.key)
        trusted = self.cluster.authority.pem + self.cluster.front_proxy.ca
        return tls_context(str(certificate), str(key), trusted)

    async def stop(self) -> None:
        """Stop listening, end the rooms."""
        if self._http is not None:
            self.cluster.server.stop()
            await self._http.stop()
        await self.cluster.stop()
        self._nursery.cancel()
        await self._nursery.__aexit__(None, None, None)
