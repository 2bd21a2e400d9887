"""Publications: real sockets on the loopback that lead into the modelled network.

``127.0.0.1:PORT <-> address:port`` as seen from one modelled host, so what curl or dig gets has
walked the dataplane. Only in real time: a simulation has no sockets, and asking raises.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
from collections import deque
from dataclasses import dataclass
from typing import Any

from structlog.typing import FilteringBoundLogger

from podwire.client.counters import Datagrams, Publication, Sockets, Stream
from podwire.runtime.ports import Clock, Timer
from podwire.runtime.simloop import SimLoop
from podwire.runtime.tasks import Event, Nursery

READ_BYTES = 64 * 1024
CONNECT_TIMEOUT_S = 30.0
SESSION_IDLE_S = 60.0
"""How long a UDP client's port in the modelled world outlives its last datagram."""
MAX_SESSIONS = 512
MAX_WAITING = 64
"""Datagrams a session holds until its modelled socket is bound."""
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Published:
    """One publication: where it listens, and where it leads from which (node, netns).

    One that was wanted and refused has host "" and a ``message``.
    """

    host: str
    host_port: int
    protocol: str
    address: str
    port: int
    via: tuple[str, str]
    name: str = ""
    message: str = ""

    def public(self, shown_host: str = "") -> Publication:
        """As counter 2 shows it."""
        real = f"{shown_host or self.host}:{self.host_port}" if self.host else ""
        host = f"[{self.address}]" if ":" in self.address else self.address
        modelled = f"{host}:{self.port}"
        return Publication(self.name, self.protocol, real, modelled, self.message)


class Publications:
    """All publications of a fabric. ``publish`` and ``unpublish`` are idempotent by target."""

    def __init__(self, sockets: Sockets, clock: Clock, log: FilteringBoundLogger) -> None:
        self._sockets = sockets
        self._clock = clock
        self._log = log
        self._open: dict[tuple[str, int, str], tuple[Published, _TcpRelay | _UdpRelay]] = {}
        self._refused: dict[tuple[str, int, str], Published] = {}
        self.shown_host = ""
        """The host that people see, where it is another than the one listened on (a container's
        ports are mapped by its engine).
        """

    async def publish(
        self,
        address: str,
        port: int,
        protocol: str = "tcp",
        *,
        via: tuple[str, str] = ("gateway", ""),
        host_port: int = 0,
        host: str = LOOPBACK,
        name: str = "",
    ) -> tuple[str, int]:
        """Open a real socket that leads to ``address:port``; where it listens.

        ``via`` is the modelled (node, netns) that clients appear to be on; ``host_port`` 0 takes
        any free port; ``name`` says what it is. Raises OSError when the real port is taken.
        """
        key = (address, port, protocol)
        known = self._open.get(key)
        if known is not None:
            return known[0].host, known[0].host_port
        if isinstance(asyncio.get_running_loop(), SimLoop):
            raise NotImplementedError("publications exist in real time only")
        relay: _TcpRelay | _UdpRelay
        relay = (_UdpRelay if protocol == "udp" else _TcpRelay)(self, address, port, via)
        real_port = await relay.open(host, host_port)
        published = Published(host, real_port, protocol, address, port, via, name)
        self._open[key] = (published, relay)
        self._refused.pop(key, None)
        self._log.info(
            "published", real=f"{host}:{real_port}", modelled=f"{address}:{port}/{protocol}"
        )
        return host, real_port

    async def unpublish(self, address: str, port: int, protocol: str = "tcp") -> None:
        """Close a publication and everything that goes through it; harmless when unknown."""
        self._refused.pop((address, port, protocol), None)
        known = self._open.pop((address, port, protocol), None)
        if known is not None:
            await known[1].close()

    def refuse(self, name: str, address: str, port: int, protocol: str, message: str) -> None:
        """Keep in mind that a publication was wanted and why there is none (until it is made, or
        is unpublished).
        """
        self._refused[address, port, protocol] = Published(
            "", 0, protocol, address, port, ("", ""), name, message
        )
        self._log.warning("not published", modelled=f"{address}:{port}/{protocol}", why=message)

    def published(self) -> list[Published]:
        """All publications, by target."""
        return [self._open[key][0] for key in sorted(self._open)]

    def listing(self) -> list[Publication]:
        """All publications and those refused, by target."""
        every = {**self._refused, **{key: known[0] for key, known in self._open.items()}}
        return [every[key].public(self.shown_host) for key in sorted(every)]

    async def close(self) -> None:
        """Close all publications."""
        for published in self.published():
            await self.unpublish(published.address, published.port, published.protocol)

    # what relays need
    @property
    def sockets(self) -> Sockets:
        """Counter 3."""
        return self._sockets

    @property
    def clock(self) -> Clock:
        """Time for idle sessions."""
        return self._clock


class _TcpRelay:
    """Accepts real connections and joins each to a modelled one."""

    def __init__(self, owner: Publications, address: str, port: int, via: tuple[str, str]) -> None:
        self._owner = owner
        self._target = (address, port)
        self._via = via
        self._server: asyncio.Server | None = None
        self._running: dict[asyncio.Task[Any], None] = {}

    async def open(self, host: str, host_port: int) -> int:
        self._server = await asyncio.start_server(self._accepted, host, host_port)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running[task] = None
        try:
            await self._join(reader, writer)
        except (OSError, asyncio.CancelledError):
            # the modelled side failed, the real one did, or we are closing: a reset says so,
            # and asyncio's server would report a cancelled handler as an error
            _reset(writer)
        finally:
            self._running.pop(task, None)
            writer.close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        node, netns = self._via
        stream = await self._owner.sockets.connect(
            node, netns, *self._target, timeout_s=CONNECT_TIMEOUT_S
        )
        await join(reader, writer, stream)


async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stream: Stream) -> None:
    """Carry bytes between a real connection and a modelled one until both directions ended.

    Raises OSError; the modelled side is aborted then.
    """
    try:
        async with Nursery() as nursery:
            nursery.start(_inward(reader, stream), name="inward")
            nursery.start(_outward(stream, writer), name="outward")
    except BaseException:
        stream.abort()
        raise


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close a real connection with RST instead of FIN (SO_LINGER of zero seconds)."""
    real = writer.get_extra_info("socket")
    if real is not None and real.fileno() >= 0:
        real.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _inward(reader: asyncio.StreamReader, stream: Stream) -> None:
    while data := await reader.read(READ_BYTES):
        await stream.send(data)
    await stream.close()


async def _outward(stream: Stream, writer: asyncio.StreamWriter) -> None:
    while data := await stream.recv():
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


class _UdpRelay(asyncio.DatagramProtocol):
    """Gives every real client a modelled port of its own while it talks."""

    def __init__(self, owner: Publications, address: str, port: int, via: tuple[str, str]) -> None:
        self._owner = owner
        self._target = (address, port)
        self._via = via
        self._transport: asyncio.DatagramTransport | None = None
        self._sessions: dict[Any, _Session] = {}

    async def open(self, host: str, host_port: int) -> int:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=(host, host_port)
        )
        self._transport = transport
        return int(transport.get_extra_info("sockname")[1])

    async def close(self) -> None:
        sessions = list(self._sessions.values())
        for session in sessions:
            session.end()
        await asyncio.gather(*(s.task for s in sessions), return_exceptions=True)
        if self._transport is not None:
            self._transport.close()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        session = self._sessions.pop(addr, None)
        if session is None:
            if len(self._sessions) >= MAX_SESSIONS:
                self._sessions[next(iter(self._sessions))].end()
            session = _Session(self, addr)
        self._sessions[addr] = session  # last in line: whoever is silent longest goes first
        session.from_client(data)

    async def bind(self) -> Datagrams:
        node, netns = self._via
        return await self._owner.sockets.bind_udp(node, netns)

    def to_client(self, data: bytes, client: Any) -> None:
        if self._transport is not None:
            self._transport.sendto(data, client)

    def forget(self, client: Any, session: _Session) -> None:
        if self._sessions.get(client) is session:
            del self._sessions[client]

    @property
    def clock(self) -> Clock:
        return self._owner.clock

    @property
    def target(self) -> tuple[str, int]:
        return self._target


class _Session:
    """One real client's conversation."""

    def __init__(self, relay: _UdpRelay, client: Any) -> None:
        self._relay = relay
        self._client = client
        self._waiting: deque[bytes] = deque(maxlen=MAX_WAITING)
        self._wake = Event()
        self._idle: Timer | None = None
        self.task = asyncio.get_running_loop().create_task(self._run(), name="publication udp")

    def from_client(self, data: bytes) -> None:
        self._waiting.append(data)
        self._wake.set()
        if self._idle is not None:
            self._idle.cancel()
        self._idle = self._relay.clock.call_later(SESSION_IDLE_S, self.end)

    def end(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._relay.forget(self._client, self)
        self.task.cancel()

    async def _run(self) -> None:
        try:
            modelled = await self._relay.bind()
        except OSError:  # the host has no power: silence, as on a wire
            self._relay.forget(self._client, self)
            return
        try:
            async with Nursery() as nursery:
                nursery.start(self._inward(modelled), name="publication udp inward")
                nursery.start(self._outward(modelled), name="publication udp outward")
        finally:
            modelled.close()

    async def _inward(self, modelled: Datagrams) -> None:
        while True:
            while self._waiting:
                with contextlib.suppress(OSError):  # unreachable now; UDP clients ask again
                    await modelled.send_to(self._waiting.popleft(), *self._relay.target)
            self._wake.clear()
            await self._wake.wait()

    async def _outward(self, modelled: Datagrams) -> None:
        while True:
            try:
                data, _, _ = await modelled.recv_from()
            except OSError as error:
                if error.errno == errno.EBADF:
                    self.end()  # its host lost power; the next datagram starts anew
                    return
                continue  # an ICMP error: a real client behind a relay cannot be told
            self._relay.to_client(data, self._client)
