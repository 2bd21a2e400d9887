"""The HTTPS listener: TLS connections in, counters.Request to the server, bytes out."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from podwire.apiserver.http.authn import Authenticator
from podwire.apiserver.http.connection import HEAD_S, Connection
from podwire.apiserver.http.duplex import Upgrade
from podwire.apiserver.http.heads import Heads
from podwire.apiserver.http.tls import BUFFER_BYTES, TlsTransport
from podwire.apiserver.http.writing import Flusher
from podwire.apiserver.world import World
from podwire.client.counters import Api, Request, Response

AtOnce = Callable[[Request], Response | None]
"""The answer to a request, or None when it has to be sent."""

MAX_CONNECTIONS = 4096
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: what the CIS benchmark lists and upstream prefers; those of 1.3 are all good."""
_SHUTDOWN_S = 2.0
_BACKLOG = 1024


class HttpServer:
    """Serves an ``Api`` over TLS on one address; ``upgrade`` decides requests for other protocols.

    Listens on loopback unless told otherwise.
    """

    def __init__(
        self,
        api: Api,
        authenticator: Authenticator,
        upgrade: Upgrade,
        tls: ssl.SSLContext,
        world: World,
        *,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self.api = api
        self.at_once: AtOnce | None = getattr(api, "at_once", None)
        """Answers what needs no waiting; not every ``Api`` does."""
        self.authenticator = authenticator
        self.upgrade = upgrade
        self.heads = Heads(world.clock, world.rng)
        self.log: FilteringBoundLogger = world.log
        self.flusher: Flusher
        self._tls = tls
        self._max_connections = max_connections
        self._listening: asyncio.Server | None = None
        self._connections: dict[Connection, None] = {}
        self._empty: asyncio.Future[None] | None = None
        self.address = ("", 0)
        """Where it listens, once started."""

    async def start(self, host: str, port: int, *, listening: socket.socket | None = None) -> None:
        """Listen; ``listening`` is a socket that does already. Raises OSError when the port is
        taken.
        """
        loop = asyncio.get_running_loop()
        self.flusher = Flusher(loop)

        room = memoryview(bytearray(BUFFER_BYTES))

        def accepted() -> TlsTransport:
            return TlsTransport(
                self._tls, Connection(self), room, handshake_s=HEAD_S, shutdown_s=_SHUTDOWN_S
            )

        if listening is not None:
            listening.setblocking(False)
            self._listening = await loop.create_server(accepted, sock=listening, backlog=_BACKLOG)
        else:
            self._listening = await loop.create_server(accepted, host, port, backlog=_BACKLOG)
        self.address = self._listening.sockets[0].getsockname()[:2]

    async def stop(self) -> None:
        """Stop listening, let short requests finish, hang up on what is left."""
        if self._listening is None:
            return
        self._listening.close()
        for connection in list(self._connections):
            connection.stop()
        if not await self._all_gone():
            for connection in list(self._connections):
                connection.abort()
            await self._all_gone()

    async def _all_gone(self) -> bool:
        if self._connections:
            self._empty = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(_SHUTDOWN_S):
                    await self._empty
            except TimeoutError:
                return False
            finally:
                self._empty = None
        return True

    # ------------------------------------------------------------ the connections' side

    def joined(self, connection: Connection) -> bool:
        """A connection was made; False when there are too many."""
        if len(self._connections) >= self._max_connections:
            self.log.warning("too many connections", limit=self._max_connections)
            return False
        self._connections[connection] = None
        return True

    def left(self, connection: Connection) -> None:
        """A connection and its work ended."""
        self._connections.pop(connection, None)
        if not self._connections and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    def too_many(self) -> bytes:
        """What a connection beyond the limit is told, in the words of upstream's limit."""
        body = b"Too many requests, please try again later.\n"
        headers = {"content-type": "text/plain; charset=utf-8", "retry-after": "1"}
        framing = f"Content-Length: {len(body)}\r\nConnection: close\r\n"
        return self.heads.make(429, headers, {}, framing) + body


def tls_context(certificate_file: str, key_file: str, ca_pem: bytes) -> ssl.SSLContext:
    """Server TLS that asks for, but does not insist on, a client certificate of our CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.load_cert_chain(certificate_file, key_file)
    context.load_verify_locations(cadata=ca_pem.decode())
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    return context
