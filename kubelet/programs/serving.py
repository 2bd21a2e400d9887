"""What modelled servers share: listening, serving HTTP, ending on a signal."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

from podwire.client import grpc, http1
from podwire.client.counters import Datagrams, Listener, Stream
from podwire.kubelet.shell.command import Command
from podwire.kubelet.shell.tools.sleep import FOREVER_S
from podwire.runtime.tasks import Nursery

TERMINATED = 143
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Answer = Callable[[bytes, str, int], Awaitable[bytes]]
"""(datagram, source address, source port) -> reply; b"" for none."""


def now(command: Command) -> datetime:
    """The wall time of the program's clock."""
    return _EPOCH + timedelta(microseconds=command.env.clock.now_ns() // 1000)


class Server:
    """A server process: start ports, then ``until_signal``. Use as an async context manager."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.tasks = Nursery()
        self._open: list[Listener | Datagrams] = []

    async def __aenter__(self) -> Self:
        await self.tasks.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        for socket in self._open:
            socket.close()
        self.tasks.cancel()
        return await self.tasks.__aexit__(kind, error, trace)

    async def listen(self, port: int) -> Listener:
        """A TCP port. Raises OSError."""
        spec = self.command.spec
        listener = await self.command.env.sockets.listen(spec.node, spec.netns, "", port)
        self._open.append(listener)
        return listener

    async def http(
        self,
        port: int,
        handler: http1.Handler,
        *,
        tls: bool = False,
        plain: Callable[[], bytes] = http1.go_refusal,
    ) -> None:
        """Serve HTTP on a port; ``plain``: what plain HTTP is told where TLS is spoken.

        Raises OSError.
        """
        serving = http1.serve(await self.listen(port), handler, tls=tls, plain=plain)
        self.tasks.start(serving, name=f"http :{port}")

    async def grpc(self, port: int, handler: grpc.Handler) -> None:
        """Serve unary gRPC calls on a port. Raises OSError."""
        from podwire.client import grpcwire  # noqa: PLC0415  HTTP/2 is loaded on first use

        self.tasks.start(grpcwire.serve(await self.listen(port), handler), name=f"grpc :{port}")

    async def tcp(self, port: int, talk: Callable[[Stream], Awaitable[None]]) -> None:
        """Talk on each connection to a port, then close it. Raises OSError."""
        listener = await self.listen(port)
        self.tasks.start(_connections(self.tasks, listener, talk), name=f"tcp :{port}")

    async def udp(self, port: int, answer: Answer) -> None:
        """Answer datagrams on a port. Raises OSError."""
        spec = self.command.spec
        socket = await self.command.env.sockets.bind_udp(spec.node, spec.netns, "", port)
        self._open.append(socket)
        self.tasks.start(_datagrams(socket, answer), name=f"udp :{port}")

    async def listen_sctp(self, port: int) -> Listener:
        """An SCTP port. Raises OSError."""
        spec = self.command.spec
        listener = await self.command.env.sockets.listen_sctp(spec.node, spec.netns, "", port)
        self._open.append(listener)
        return listener

    async def sctp(self, port: int, talk: Callable[[Stream], Awaitable[None]]) -> None:
        """Talk on each association with a port, then shut it down. Raises OSError."""
        listener = await self.listen_sctp(port)
        self.tasks.start(_connections(self.tasks, listener, talk), name=f"sctp :{port}")

    async def until_signal(self, *names: str) -> str:
        """Wait for one of some signals (TERM, INT, QUIT by default); for ever without signals."""
        wanted = names or ("TERM", "INT", "QUIT")
        if self.command.signals is None:
            await self.command.env.clock.sleep(FOREVER_S)
            return ""
        while (name := await self.command.signals()) not in wanted:
            pass
        return name


async def _connections(
    tasks: Nursery, listener: Listener, talk: Callable[[Stream], Awaitable[None]]
) -> None:
    while True:
        try:
            stream = await listener.accept()
        except OSError:
            return
        tasks.start(_connection(stream, talk), name=f"talk with {stream.remote[0]}")


async def _connection(stream: Stream, talk: Callable[[Stream], Awaitable[None]]) -> None:
    try:
        await talk(stream)
        await stream.close()
    except OSError:
        stream.abort()
    except BaseException:
        stream.abort()
        raise


async def _datagrams(socket: Datagrams, answer: Answer) -> None:
    while True:
        try:
            data, address, port = await socket.recv_from()
        except ConnectionRefusedError:
            continue  # a client that went away before its answer came
        except OSError:
            return
        reply = await answer(data, address, port)
        if reply:
            await socket.send_to(reply, address, port)


def in_use(error: OSError) -> str:
    """Go's words for a failed bind."""
    taken = error.errno == errno.EADDRINUSE
    return "address already in use" if taken else error.strerror or str(error)
