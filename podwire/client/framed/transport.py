"""Sessions over TCP: mutual TLS, redialled links, and listeners that know their callers.

Certificates name rooms, not machines: a peer is who its certificate says, wherever it listens.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any

from structlog.typing import FilteringBoundLogger

from podwire.client.framed import messages
from podwire.client.framed.messages import ProtocolError
from podwire.client.framed.session import GREETING_S, Serve, Session
from podwire.client.identity import Identity, room_of
from podwire.runtime.ports import Clock, Rng

FIRST_RETRY_S = 0.05
LAST_RETRY_S = 2.0
MAX_BACKLOG_BYTES = 4 * messages.MAX_FRAME_BYTES
"""What waits for a peer that answers pings but reads too little: more is not kept for it."""


class _Carrier(asyncio.Protocol):
    """An asyncio transport as a session's carrier; writes of one turn leave together."""

    def __init__(self, make: Callable[[_Carrier], Session]) -> None:
        self._make = make
        self._transport: asyncio.Transport | None = None
        self._parts: list[bytes] = []
        self._resumed: asyncio.Future[None] | None = None
        self._closing = False
        self.session: Session | None = None

    @property
    def certificate(self) -> dict[str, Any]:
        """The peer's certificate."""
        assert self._transport is not None
        return self._transport.get_extra_info("ssl_object").getpeercert() or {}

    @property
    def address(self) -> str:
        """Where the peer is."""
        assert self._transport is not None
        host, port = self._transport.get_extra_info("peername")[:2]
        return f"{host}:{port}"

    # -- what asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.session = self._make(self)

    def data_received(self, data: bytes) -> None:
        if self.session is not None:
            self.session.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.resume_writing()
        if self.session is not None:
            self.session.lose(_lost(exc))

    def pause_writing(self) -> None:
        if self._resumed is None:
            self._resumed = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        resumed, self._resumed = self._resumed, None
        if resumed is not None and not resumed.done():
            resumed.set_result(None)

    # -- what the session asks

    def write(self, data: bytes) -> None:
        if not self._parts:
            asyncio.get_running_loop().call_soon(self._flush)
        self._parts.append(data)

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        if self._transport is not None and not self._transport.is_closing() and parts:
            self._transport.write(b"".join(parts))
            backlog = self._transport.get_write_buffer_size()
            if backlog > MAX_BACKLOG_BYTES and self.session is not None:
                self.session.lose(ConnectionError(f"the peer left {backlog} bytes unread"))
                self._transport.abort()

    async def drained(self) -> None:
        if self._resumed is not None:
            await asyncio.shield(self._resumed)

    def close(self) -> None:
        if self._transport is not None and not self._closing:
            self._closing = True
            self._flush()
            self._transport.close()


def _lost(error: Exception | None) -> Exception:
    """Why a connection ended."""
    if isinstance(error, ConnectionError):
        return error
    return ConnectionResetError(str(error) if error else "the peer closed the connection")


class Link:
    """A connection to one peer, dialled again whenever it is lost.

    ``address`` is ``host:port``; ``room`` is who must answer there.
    """

    def __init__(
        self,
        identity: Identity,
        room: str,
        address: str,
        *,
        clock: Clock,
        rng: Rng,
        log: FilteringBoundLogger,
        serve: Serve | None = None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.room = room
        self.address = address
        self._identity = identity
        self._clock = clock
        self._rng = rng.child(f"link {room}")
        self._log = log.bind(peer=room, address=address)
        self._serve = serve
        self._session: Session | None = None
        self._waiting: dict[asyncio.Future[None], None] = {}
        self._on_change = changed
        self.why = f"not connected to {room} at {address} yet"
        """What keeps it from being up."""
        self._told: dict[str, None] = {}
        """What was logged of this absence of the peer."""
        self._expected = False

    # -- what users of the link ask

    @property
    def up(self) -> bool:
        """Whether there is a session now."""
        return self._session is not None

    def session(self) -> Session:
        """The session. Raises ConnectionError while there is none."""
        if self._session is None:
            raise ConnectionError(self.why)
        return self._session

    async def connected(self) -> Session:
        """Wait until there is a session."""
        while self._session is None:
            await self._change()
        return self._session

    async def restored(self) -> None:
        """Wait for the next time that the peer can be reached again."""
        while self._session is not None:
            await self._change()
        await self.connected()

    async def _change(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[future] = None
        try:
            await future
        finally:
            self._waiting.pop(future, None)

    def _tell(self) -> None:
        self._on_change()
        waiting, self._waiting = self._waiting, {}
        for future in waiting:
            if not future.done():
                future.set_result(None)

    # -- keeping it up

    async def run(self) -> None:
        """Dial, hold, dial again, until cancelled.

        Raises ProtocolError for what another try cannot mend: a certificate that is not accepted,
        a peer of another version, another room at the address.
        """
        delay_s, starting = FIRST_RETRY_S, True
        try:
            while True:
                try:
                    session = await self._dial()
                except ProtocolError as error:
                    raise ProtocolError(f"{self.room} at {self.address}: {error}") from None
                except OSError as error:
                    why = f"cannot reach {self.room} at {self.address}: {words(error)}"
                    self._down(why, quietly=starting and delay_s < LAST_RETRY_S)
                    await self._clock.sleep(delay_s * (0.75 + 0.5 * self._rng.random()))
                    delay_s = min(delay_s * 2, LAST_RETRY_S)
                    continue
                delay_s, starting = FIRST_RETRY_S, False
                self._told.clear()
                self._log.info("connected")
                self._session, self.why = session, ""
                self._tell()
                await session.ended()
                self._session = None
                self._down(f"lost {self.room} at {self.address}: {session.error}")
                self._tell()
                if isinstance(session.error, ProtocolError):
                    raise session.error
        finally:
            if self._session is not None:
                self._session.close("the room stops")
                self._session = None

    def expect_loss(self) -> None:
        """This room stops, its peers perhaps with it: that a peer goes is no news any more."""
        self._expected = True

    def refuse(self, why: str) -> None:
        """Trying has ended: the next to ask are told why."""
        self._down(why)

    def _down(self, why: str, *, quietly: bool = False) -> None:
        """Remember why; log each reason once, not with every try, and not (``quietly``) while
        rooms that start together wait for each other.
        """
        if why != self.why:
            self.why = why
            self._on_change()
        if why not in self._told and not quietly and not self._expected:
            self._told[why] = None
            self._log.warning("not connected, trying again", error=why)

    async def _dial(self) -> Session:
        host, port = _place(self.address)
        loop = asyncio.get_running_loop()

        def make(carrier: _Carrier) -> Session:
            session = Session(
                carrier, self._clock, self._log, self._identity.room, self._serve, self.room
            )
            session.start()
            return session

        async with asyncio.timeout(GREETING_S):
            try:
                _, carrier = await loop.create_connection(
                    lambda: _Carrier(make),
                    host,
                    port,
                    ssl=self._identity.client_context,
                    server_hostname=self.room,
                )
            except ssl.SSLCertVerificationError as error:
                raise ProtocolError(_untrusted(error)) from None
            except ssl.SSLError as error:
                if error.reason in _NO_TLS:
                    raise ProtocolError(
                        "what answers there is no podwire room (no TLS): check the address"
                    ) from None
                raise
            assert carrier.session is not None
            try:
                await carrier.session.greeted()
            except BaseException:
                carrier.close()
                raise
        return carrier.session


def _place(address: str) -> tuple[str, int]:
    """Host and port. Raises ProtocolError: dialling it again does not help."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        host.encode("idna")  # as the resolver does
        number = int(port)
    except ValueError:  # UnicodeError is one
        number = 0
    if not host or not 0 < number < 65536:
        raise ProtocolError("it is no address: give HOST:PORT")
    return host, number


_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"})
"""OpenSSL's reasons when the peer's bytes are none of TLS."""


def words(error: OSError) -> str:
    """Why a socket did not do what it was asked to, in the system's words."""
    if isinstance(error, ssl.SSLError):  # its numbers are OpenSSL's, not the system's
        return f"TLS failed ({error.reason or error.strerror or error})".replace("_", " ").lower()
    if isinstance(error, TimeoutError) and error.errno is None:
        return "it does not answer"
    if error.errno is not None and error.errno > 0 and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno).lower()  # asyncio has words of its own for these
    return (error.strerror or str(error) or type(error).__name__).lower()


def _untrusted(error: ssl.SSLCertVerificationError) -> str:
    what = error.verify_message
    return (
        f"its certificate is not to be trusted ({what}): both sides need certificates of one "
        "authority that have not expired; issue them anew (podwire certs)"
    )


class FramedServer:
    """A listener for peers of this cluster: ``allowed`` are the rooms that may call."""

    def __init__(
        self,
        identity: Identity,
        allowed: Sequence[str],
        serve: Serve,
        *,
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        self._identity = identity
        self._allowed = tuple(allowed)
        self._serve = serve
        self._clock = clock
        self._log = log
        self._server: asyncio.Server | None = None
        self._sessions: dict[Session, None] = {}
        self._paused: str | None = None
        self.address = ""
        """``host:port``, once started."""

    async def start(self, host: str, port: int, *, listening: Any = None) -> None:
        """Listen; ``listening`` is a socket that does already. Raises OSError."""
        loop = asyncio.get_running_loop()
        where = {"sock": listening} if listening is not None else {"host": host, "port": port}
        self._server = await loop.create_server(
            lambda: _Carrier(self._make),
            ssl=self._identity.server_context,
            ssl_handshake_timeout=GREETING_S,
            backlog=256,
            **where,
        )
        bound = self._server.sockets[0].getsockname()
        self.address = f"{bound[0]}:{bound[1]}"

    def _make(self, carrier: _Carrier) -> Session:
        room = room_of(carrier.certificate)
        session = Session(carrier, self._clock, self._log, self._identity.room, self._serve, room)
        if room not in self._allowed:
            why = f"{room or 'this certificate'} may not call {self._identity.room}"
            self._log.warning("refused a peer", address=carrier.address, error=why)
            self._refuse(carrier, session, why, for_good=True)
            return session
        if self._paused is not None:
            self._refuse(carrier, session, self._paused, for_good=False)
            return session
        self._sessions[session] = None
        session.on_end.append(lambda: self._sessions.pop(session, None))
        session.start()
        return session

    def _refuse(self, carrier: _Carrier, session: Session, why: str, *, for_good: bool) -> None:
        carrier.write(messages.greeting(self._identity.room, why, for_good=for_good))
        session.lose(ConnectionRefusedError(why))
        carrier.close()

    def pause(self, why: str) -> None:
        """End every session and take no new ones: this room cannot serve now."""
        self._paused = why
        self._end_all(why)

    def resume(self) -> None:
        """Take peers again."""
        self._paused = None

    def _end_all(self, why: str) -> None:
        for session in list(self._sessions):
            session.close(why)

    async def stop(self) -> None:
        """Stop listening and end every session."""
        if self._server is not None:
            self._server.close()
        self._end_all("the room stops")
