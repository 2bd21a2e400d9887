"""HTTPS to the real world: what the API server itself asks others (webhooks by URL, attached ones).

One request at a time on a connection, webhooks' connections kept for the next request, bodies
bounded, the server's certificate verified (but where an APIService says insecureSkipTLSVerify).
In virtual time there is no real world: asking raises. It shares HTTP's framing with the modelled
network (``podwire/client/http1.py``).
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass
from functools import lru_cache

from podwire.apiserver.certs import Pair
from podwire.client import http1
from podwire.runtime.files import private_file
from podwire.runtime.ports import Clock
from podwire.runtime.simloop import SimLoop

READ_BYTES = 64 * 1024
MAX_IDLE = 32
"""Connections kept per server."""
MAX_IDLE_NS = 90_000_000_000
"""How long one is kept (Go's IdleConnTimeout)."""
_UNKNOWN_AUTHORITY = (2, 18, 19, 20, 21)
_EXPIRED = (9, 10)
_HOSTNAME = (62, 64)
"""Codes of OpenSSL's verification."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A server and how it proves who it is; ``ca`` is PEM, b"" for the system's authorities, None
    when anybody will do. ``own`` is the certificate that proves who asks.
    """

    host: str
    port: int
    server_name: str
    ca: bytes | None
    own: Pair | None = None

    @property
    def address(self) -> str:
        """``host:port``, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class _Connection:
    """A real connection as a stream of counter 3."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.local: tuple[str, int] = ("", 0)
        self.remote: tuple[str, int] = ("", 0)
        self.http = http1.Reader(self)
        self.idle_since_ns = 0

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def recv(self) -> bytes:
        return await self._reader.read(READ_BYTES)

    async def close(self) -> None:
        self._writer.close()

    def abort(self) -> None:
        self._writer.transport.abort()

    @property
    def over(self) -> bool:
        """Whether the server ended it (or said something that nobody asked for)."""
        return self._reader.at_eof() or self._writer.is_closing()


class Outgoing:
    """A client that keeps its connections."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._idle: dict[Peer, deque[_Connection]] = {}

    async def post(self, peer: Peer, target: str, host: str, body: bytes) -> http1.Response:
        """POST JSON. Raises ConnectionError in Go's words, http1.HttpError. Has no deadline of its
        own; a caller that gives up cancels, which ends the connection.
        """
        headers = {
            "Host": host, "Content-Type": "application/json", "Accept": "application/json",
            "User-Agent": "kube-apiserver-admission",
        }  # fmt: skip
        message = http1.encode_request("POST", target, host, headers, body)
        while (kept := self._kept(peer)) is not None:
            try:
                return await self._exchange(peer, kept, message)
            except (OSError, http1.HttpError) as error:
                # The server may close what is idle at any time: nothing came, so ask anew.
                if isinstance(error, http1.HttpError) and error.status:
                    raise
        return await self._exchange(peer, await connect(peer), message)

    async def _exchange(
        self, peer: Peer, connection: _Connection, message: bytes
    ) -> http1.Response:
        try:
            await connection.send(message)
            response = await http1.read_response(connection.http, "POST")
        except BaseException:
            connection.abort()
            raise
        idle = self._idle.setdefault(peer, deque())
        ends = response.header("connection").lower() == "close" or response.version != "HTTP/1.1"
        if ends or len(idle) >= MAX_IDLE:
            connection.abort()
        else:
            connection.idle_since_ns = self._clock.monotonic_ns()
            idle.append(connection)
        return response

    def _kept(self, peer: Peer) -> _Connection | None:
        idle = self._idle.get(peer)
        while idle:
            connection = idle.pop()
            aged_ns = self._clock.monotonic_ns() - connection.idle_since_ns
            if not connection.over and aged_ns < MAX_IDLE_NS:
                return connection
            connection.abort()
        return None

    def close(self) -> None:
        """End what is kept."""
        for idle in self._idle.values():
            for connection in idle:
                connection.abort()
        self._idle.clear()


async def connect(peer: Peer) -> _Connection:
    """A new connection. Raises ConnectionError in Go's words, ValueError for a ``ca`` or an ``own``
    that is no PEM.
    """
    if isinstance(asyncio.get_running_loop(), SimLoop):
        raise ConnectionError(f"dial tcp {peer.address}: the real world is not modelled")
    try:
        context = _context(peer.ca, peer.own)
        reader, writer = await asyncio.open_connection(
            peer.host, peer.port, ssl=context, server_hostname=peer.server_name
        )
    except ssl.SSLCertVerificationError as error:
        raise ConnectionError(f"tls: failed to verify certificate: {_words(peer, error)}") from None
    except ssl.SSLError as error:
        raise ConnectionError(_tls_words(error)) from None
    except ConnectionRefusedError:
        raise ConnectionError(f"dial tcp {peer.address}: connect: connection refused") from None
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ConnectionError(f"dial tcp {peer.address}: {why}") from None
    return _Connection(reader, writer)


@lru_cache(maxsize=64)
def _context(ca: bytes | None, own: Pair | None) -> ssl.SSLContext:
    """Verifies as Go does: any certificate of the bundle is a root, also one that is no CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif ca:
        context.load_verify_locations(cadata=ca.decode("ascii", "replace"))
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    else:
        context.load_default_certs()
    if own is not None:
        with private_file(own.certificate + own.key) as path:
            context.load_cert_chain(path)
    return context


def _words(peer: Peer, error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in _UNKNOWN_AUTHORITY:
        return "x509: certificate signed by unknown authority"
    if error.verify_code in _EXPIRED:
        return "x509: certificate has expired or is not yet valid"
    if error.verify_code in _HOSTNAME:
        return f"x509: certificate is not valid for {peer.server_name}"
    return f"x509: {error.verify_message}"


def _tls_words(error: ssl.SSLError) -> str:
    if error.reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}:
        return "http: server gave HTTP response to HTTPS client"
    return f"remote error: tls: {(error.reason or 'handshake failure').lower().replace('_', ' ')}"
