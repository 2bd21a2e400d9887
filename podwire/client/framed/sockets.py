"""Counter 3 over a session: a socket is a number at the fabric and an object here.

Every verb of a socket is one call, so a program meets errors and back-pressure where it would in
the same process. When the session ends, the fabric resets what was opened through it.
"""

from __future__ import annotations

import asyncio
import errno
import os
from typing import Any

from podwire.client.counters import Datagrams, Listener, Probe, ProbeAnswer, Sockets, Stream
from podwire.client.framed.calls import Pending, when_lost
from podwire.client.framed.errors import InterruptedCallError
from podwire.client.framed.methods import Method, Table
from podwire.client.framed.session import Connection, Session

_Address = tuple[str, int]

LISTEN = Method("sockets.listen", tuple[str, str, str, str, int], tuple[int, _Address])
ACCEPT = Method("sockets.accept", tuple[int], tuple[int, _Address, _Address])
CONNECT = Method(
    "sockets.connect",
    tuple[str, str, str, str, int, float, int],
    tuple[int, _Address, _Address],
)
BIND_UDP = Method("sockets.bind_udp", tuple[str, str, str, str, int], tuple[int, _Address])
LISTEN_SCTP = Method("sockets.listen_sctp", tuple[str, str, str, str, int], tuple[int, _Address])
CONNECT_SCTP = Method(
    "sockets.connect_sctp",
    tuple[str, str, str, str, int, float],
    tuple[int, _Address, _Address],
)
PROBE = Method("sockets.probe", tuple[str, str, Probe, float], ProbeAnswer)
SEND = Method("sockets.send", tuple[int, bytes])
RECV = Method("sockets.recv", tuple[int], bytes)
FINISH = Method("sockets.finish", tuple[int])
SEND_TO = Method("sockets.send_to", tuple[int, bytes, str, int])
RECV_FROM = Method("sockets.recv_from", tuple[int], tuple[bytes, str, int])
ABORT = Method("sockets.abort", tuple[int])
CLOSE = Method("sockets.close", tuple[int])
FORGET = Method("sockets.forget", tuple[int])
RELEASE = Method("sockets.release", tuple[str])

_Socket = Stream | Listener | Datagrams


# ---------------------------------------------------------------- the fabric's side


class Opened:
    """Connections that one session holds here, by number."""

    def __init__(self) -> None:
        self._by_id: dict[int, tuple[_Socket, str]] = {}
        self._last = 0

    def keep(self, socket: _Socket, owner: str = "") -> int:
        """Remember a socket; its number."""
        self._last += 1
        self._by_id[self._last] = (socket, owner)
        return self._last

    def _get(self, id: int) -> Any:
        found = self._by_id.get(id)
        if found is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return found[0]

    async def _send(self, id: int, data: bytes) -> None:
        await self._get(id).send(data)

    async def _recv(self, id: int) -> bytes:
        data: bytes = await self._get(id).recv()
        return data

    async def _finish(self, id: int) -> None:
        await self._get(id).close()

    def _abort(self, id: int) -> None:
        self._get(id).abort()

    def _forget(self, id: int) -> None:
        """Nobody on the other side holds it any more; what it sent stays under way."""
        self._by_id.pop(id, None)

    def _reset(self) -> None:
        """The session is gone, and with it everybody who held these."""
        for socket, _ in list(self._by_id.values()):
            if hasattr(socket, "abort"):
                socket.abort()
            else:
                socket.close()
        self._by_id.clear()

    def serve(self, table: Table, session: Session) -> None:
        """Let the peer use the connections that it holds."""
        table.unary(SEND, self._send)
        table.unary(RECV, self._recv)
        table.unary(FINISH, self._finish)
        table.post(ABORT, self._abort)
        table.post(FORGET, self._forget)
        session.on_end.append(self._reset)


class _Sockets(Opened):
    """The sockets that one session opened."""

    def __init__(self, sockets: Sockets) -> None:
        super().__init__()
        self._sockets = sockets

    def _at(self, owner: str) -> Sockets:
        return self._sockets.owned_by(owner) if owner else self._sockets

    def _get(self, id: int) -> Any:
        found = self._by_id.get(id)
        if found is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return found[0]

    async def listen(
        self, owner: str, node: str, netns: str, address: str, port: int
    ) -> tuple[int, _Address]:
        listener = await self._at(owner).listen(node, netns, address, port)
        return self.keep(listener, owner), listener.local

    async def accept(self, id: int) -> tuple[int, _Address, _Address]:
        listener, owner = self._get(id), self._by_id[id][1]  # which may be forgotten meanwhile
        stream = await listener.accept()
        return self.keep(stream, owner), stream.local, stream.remote

    async def connect(
        self, owner: str, node: str, netns: str, address: str, port: int, timeout_s: float,
        source_port: int,
    ) -> tuple[int, _Address, _Address]:  # fmt: skip
        stream = await self._at(owner).connect(node, netns, address, port, timeout_s, source_port)
        return self.keep(stream, owner), stream.local, stream.remote

    async def bind_udp(
        self, owner: str, node: str, netns: str, address: str, port: int
    ) -> tuple[int, _Address]:
        socket = await self._at(owner).bind_udp(node, netns, address, port)
        return self.keep(socket, owner), socket.local

    async def listen_sctp(
        self, owner: str, node: str, netns: str, address: str, port: int
    ) -> tuple[int, _Address]:
        listener = await self._at(owner).listen_sctp(node, netns, address, port)
        return self.keep(listener, owner), listener.local

    async def connect_sctp(
        self, owner: str, node: str, netns: str, address: str, port: int, timeout_s: float
    ) -> tuple[int, _Address, _Address]:
        stream = await self._at(owner).connect_sctp(node, netns, address, port, timeout_s)
        return self.keep(stream, owner), stream.local, stream.remote

    async def send_to(self, id: int, data: bytes, address: str, port: int) -> None:
        await self._get(id).send_to(data, address, port)

    async def recv_from(self, id: int) -> tuple[bytes, str, int]:
        received: tuple[bytes, str, int] = await self._get(id).recv_from()
        return received

    def close(self, id: int) -> None:
        self._get(id).close()


def serve_sockets(table: Table, sockets: Sockets, session: Session) -> None:
    """Let a room's programs use sockets."""
    opened = _Sockets(sockets)
    opened.serve(table, session)
    table.unary(LISTEN, opened.listen)
    table.unary(ACCEPT, opened.accept)
    table.unary(CONNECT, opened.connect)
    table.unary(BIND_UDP, opened.bind_udp)
    table.unary(LISTEN_SCTP, opened.listen_sctp)
    table.unary(CONNECT_SCTP, opened.connect_sctp)
    table.unary(PROBE, sockets.probe)
    table.unary(SEND_TO, opened.send_to)
    table.unary(RECV_FROM, opened.recv_from)
    table.post(CLOSE, opened.close)
    table.post(RELEASE, sockets.release)


# ---------------------------------------------------------------- the room's side


class _Remote:
    """A socket at the fabric. What was on its way when a waiter here gave up is for the next one:
    nothing is lost.
    """

    def __init__(self, session: Session, id: int) -> None:
        self._session = session
        self._id = id
        self._waiting: Pending | None = None
        self._turn = asyncio.Lock()
        when_lost(self, session.post, FORGET, id)

    async def _wait(self, method: Method) -> Any:
        async with self._turn:  # of several who wait, each gets one answer, in their order
            return await self._answer(method)

    async def _answer(self, method: Method) -> Any:
        while True:
            if self._waiting is None:
                self._waiting = self._session.begin(method, self._id)
            waiting = self._waiting
            try:
                result = await waiting.result()
            except asyncio.CancelledError:
                waiting.interrupt()
                raise
            except InterruptedCallError:
                self._waiting = None
                continue  # an earlier waiter gave up, and nothing had come
            except BaseException:
                self._waiting = None
                raise
            self._waiting = None
            return result


def drop(session: Session, id: int, how: Method) -> None:
    """A socket that was opened for somebody who gave up meanwhile."""
    session.post(how, id)
    session.post(FORGET, id)


class FramedStream(_Remote):
    """A TCP connection or an SCTP association at the fabric."""

    def __init__(self, session: Session, id: int, local: _Address, remote: _Address) -> None:
        super().__init__(session, id)
        self.local = local
        self.remote = remote

    async def send(self, data: bytes) -> None:
        """See ``counters.Stream``."""
        await self._session.call(SEND, self._id, data)

    async def recv(self) -> bytes:
        """See ``counters.Stream``."""
        data: bytes = await self._wait(RECV)
        return data

    async def close(self) -> None:
        """See ``counters.Stream``."""
        await self._session.call(FINISH, self._id)

    def abort(self) -> None:
        """See ``counters.Stream``."""
        self._session.post(ABORT, self._id)


class FramedListener(_Remote):
    """A listening TCP or SCTP socket at the fabric."""

    def __init__(self, session: Session, id: int, local: _Address) -> None:
        super().__init__(session, id)
        self.local = local

    async def accept(self) -> FramedStream:
        """See ``counters.Listener``."""
        number, local, remote = await self._wait(ACCEPT)
        return FramedStream(self._session, number, local, remote)

    def close(self) -> None:
        """See ``counters.Listener``."""
        if self._waiting is not None and not self._turn.locked():
            # Accepted for somebody who gave up: reset as all that nobody accepted.
            self._waiting.disown(self._reset)
            self._waiting = None
        self._session.post(CLOSE, self._id)

    def _reset(self, accepted: tuple[int, _Address, _Address]) -> None:
        drop(self._session, accepted[0], ABORT)


class FramedDatagrams(_Remote):
    """A UDP socket at the fabric."""

    def __init__(self, session: Session, id: int, local: _Address) -> None:
        super().__init__(session, id)
        self.local = local

    async def send_to(self, data: bytes, address: str, port: int) -> None:
        """See ``counters.Datagrams``."""
        await self._session.call(SEND_TO, self._id, data, address, port)

    async def recv_from(self) -> tuple[bytes, str, int]:
        """See ``counters.Datagrams``."""
        received: tuple[bytes, str, int] = await self._wait(RECV_FROM)
        return received

    def close(self) -> None:
        """See ``counters.Datagrams``."""
        self._session.post(CLOSE, self._id)


class FramedSockets:
    """Counter 3 at the other end of a link. Opening raises ConnectionError while it is down."""

    def __init__(self, link: Connection, owner: str = "") -> None:
        self._link = link
        self._owner = owner

    async def listen(self, node: str, netns: str, address: str, port: int) -> FramedListener:
        """See ``counters.Sockets``."""
        return await self._listen(LISTEN, node, netns, address, port)

    async def listen_sctp(self, node: str, netns: str, address: str, port: int) -> FramedListener:
        """See ``counters.Sockets``."""
        return await self._listen(LISTEN_SCTP, node, netns, address, port)

    async def _listen(
        self, method: Method, node: str, netns: str, address: str, port: int
    ) -> FramedListener:
        session = self._link.session()
        number, local = await session.acquire(
            method, self._owner, node, netns, address, port,
            give_back=lambda opened: drop(session, opened[0], CLOSE),
        )  # fmt: skip
        return FramedListener(session, number, local)

    async def connect(
        self, node: str, netns: str, address: str, port: int, timeout_s: float, source_port: int = 0
    ) -> FramedStream:
        """See ``counters.Sockets``."""
        return await self._connect(CONNECT, node, netns, address, port, timeout_s, source_port)

    async def connect_sctp(
        self, node: str, netns: str, address: str, port: int, timeout_s: float
    ) -> FramedStream:
        """See ``counters.Sockets``."""
        return await self._connect(CONNECT_SCTP, node, netns, address, port, timeout_s)

    async def _connect(self, method: Method, *arguments: Any) -> FramedStream:
        session = self._link.session()
        number, local, remote = await session.acquire(
            method, self._owner, *arguments,
            give_back=lambda opened: drop(session, opened[0], ABORT),
        )  # fmt: skip
        return FramedStream(session, number, local, remote)

    async def bind_udp(
        self, node: str, netns: str, address: str = "", port: int = 0
    ) -> FramedDatagrams:
        """See ``counters.Sockets``."""
        session = self._link.session()
        number, local = await session.acquire(
            BIND_UDP, self._owner, node, netns, address, port,
            give_back=lambda opened: drop(session, opened[0], CLOSE),
        )  # fmt: skip
        return FramedDatagrams(session, number, local)

    async def probe(self, node: str, netns: str, probe: Probe, timeout_s: float) -> ProbeAnswer:
        """See ``counters.Sockets``."""
        session = self._link.session()
        answer: ProbeAnswer = await session.call(PROBE, node, netns, probe, timeout_s)
        return answer

    def owned_by(self, owner: str) -> FramedSockets:
        """See ``counters.Sockets``."""
        return FramedSockets(self._link, owner)

    def release(self, owner: str) -> None:
        """See ``counters.Sockets``. Without a fabric there is nothing left to close."""
        if self._link.up:
            self._link.session().post(RELEASE, owner)
