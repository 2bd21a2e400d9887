"""A flat network without kernels: the sockets counter for unit tests of programs.

Every namespace has one address and loopback; nothing is routed, filtered or delayed. ``silent``
addresses swallow everything, ``aliases`` rewrite a destination as a Service would.
"""

from __future__ import annotations

import asyncio
import errno
from dataclasses import dataclass, field

from podwire.client.counters import Probe, ProbeAnswer

Where = tuple[str, int]
"""(address, port)"""


class FlatStream:
    """One end of a connection."""

    def __init__(self, local: Where, remote: Where) -> None:
        self.local = local
        self.remote = remote
        self.peer: FlatStream | None = None
        self._inbox: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._ended = False
        self._closed = False

    async def send(self, data: bytes) -> None:
        """Deliver at once. Raises BrokenPipeError."""
        if self._closed or self.peer is None or self.peer._closed:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")
        self.peer._inbox.put_nowait(data)

    async def recv(self) -> bytes:
        """What was sent, b"" after close. Raises ConnectionResetError after abort."""
        if self._ended:
            return b""
        data = await self._inbox.get()
        if data is None:
            raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
        self._ended = not data
        return data

    async def close(self) -> None:
        """End the stream towards the peer."""
        if not self._closed and self.peer is not None:
            self.peer._inbox.put_nowait(b"")
        self._closed = True

    def abort(self) -> None:
        """Reset."""
        if not self._closed and self.peer is not None:
            self.peer._inbox.put_nowait(None)
        self._closed = True


class FlatListener:
    """A listening port."""

    def __init__(self, net: FlatNet, key: tuple[str, Where], local: Where) -> None:
        self.local = local
        self._net = net
        self._key = key
        self.backlog: asyncio.Queue[FlatStream | None] = asyncio.Queue()

    async def accept(self) -> FlatStream:
        """The next connection. Raises OSError after close."""
        stream = await self.backlog.get()
        if stream is None:
            raise OSError(errno.EBADF, "Bad file descriptor")
        return stream

    def close(self) -> None:
        """Stop listening."""
        if self._net.ports.pop(self._key, None) is not None:
            self.backlog.put_nowait(None)


class FlatDatagrams:
    """A UDP port."""

    def __init__(self, net: FlatNet, key: tuple[str, Where], local: Where) -> None:
        self.local = local
        self._net = net
        self._key = key
        self._aliased: dict[Where, Where] = {}
        self.inbox: asyncio.Queue[tuple[bytes, str, int] | None] = asyncio.Queue()

    async def send_to(self, data: bytes, address: str, port: int) -> None:
        """Deliver at once; a closed port refuses, a silent address swallows."""
        net, source = self._net, self._key[1]
        target = net.aliases.get((address, port), (address, port))
        self._aliased[target] = (address, port)
        if target[0] in net.silent or address in net.silent:
            return
        namespace, real = net.find(target, source)
        found = net.ports.get(("udp", real)) or net.ports.get(("udp", (namespace, real[1])))
        me = ("127.0.0.1" if target[0].startswith("127.") else self.local[0], self.local[1])
        if isinstance(found, FlatDatagrams):
            found.inbox.put_nowait((data, *found._aliased.get(me, me)))
        else:
            self.inbox.put_nowait(None)

    async def recv_from(self) -> tuple[bytes, str, int]:
        """The next datagram. Raises ConnectionRefusedError."""
        item = await self.inbox.get()
        if item is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        data, address, port = item
        return data, *self._aliased.get((address, port), (address, port))

    def close(self) -> None:
        """Release the port."""
        self._net.ports.pop(self._key, None)


@dataclass(slots=True)
class FlatNet:
    """The network; implements the sockets counter."""

    addresses: dict[tuple[str, str], str] = field(default_factory=dict)
    """(node, netns) -> its address"""
    aliases: dict[Where, Where] = field(default_factory=dict)
    silent: list[str] = field(default_factory=list)
    ports: dict[tuple[str, Where], FlatListener | FlatDatagrams] = field(default_factory=dict)
    """(protocol, (namespace key, port)) -> socket"""
    _next: int = 32768

    def add(self, node: str, netns: str, address: str) -> None:
        """Give a namespace its address."""
        self.addresses[node, netns] = address

    def find(self, target: Where, source: Where) -> tuple[str, Where]:
        """The namespace that has an address, and its port key."""
        if target[0].startswith("127.") or target[0] == "::1":
            return source[0], (source[0], target[1])
        for (node, netns), address in self.addresses.items():
            if address == target[0]:
                return f"{node}/{netns}", (f"{node}/{netns}", target[1])
        return "", ("", target[1])

    def _local(self, node: str, netns: str, port: int) -> tuple[Where, Where]:
        if not port:
            self._next += 1
            port = self._next
        return (f"{node}/{netns}", port), (self.addresses.get((node, netns), "0.0.0.0"), port)

    async def listen(self, node: str, netns: str, address: str, port: int) -> FlatListener:
        """Listen. Raises OSError(EADDRINUSE)."""
        where, local = self._local(node, netns, port)
        if ("tcp", where) in self.ports:
            raise OSError(errno.EADDRINUSE, "Address already in use")
        listener = self.ports["tcp", where] = FlatListener(self, ("tcp", where), local)
        return listener

    async def connect(
        self, node: str, netns: str, address: str, port: int, timeout_s: float, source_port: int = 0
    ) -> FlatStream:
        """Connect. Raises ConnectionRefusedError, TimeoutError, OSError(EHOSTUNREACH)."""
        where, local = self._local(node, netns, source_port)
        target = self.aliases.get((address, port), (address, port))
        if target[0] in self.silent:
            await asyncio.sleep(timeout_s)
            raise TimeoutError
        namespace, real = self.find(target, where)
        if not namespace:
            raise OSError(errno.EHOSTUNREACH, "No route to host")
        listener = self.ports.get(("tcp", real))
        if not isinstance(listener, FlatListener):
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        if target[0].startswith("127."):
            local = ("127.0.0.1", local[1])
        client, server = FlatStream(local, (address, port)), FlatStream(target, local)
        client.peer, server.peer = server, client
        listener.backlog.put_nowait(server)
        return client

    async def bind_udp(
        self,
        node: str,
        netns: str,
        address: str = "",
        port: int = 0,
    ) -> FlatDatagrams:
        """Bind. Raises OSError(EADDRINUSE)."""
        where, local = self._local(node, netns, port)
        if ("udp", where) in self.ports:
            raise OSError(errno.EADDRINUSE, "Address already in use")
        socket = self.ports["udp", where] = FlatDatagrams(self, ("udp", where), local)
        return socket

    async def listen_sctp(self, node: str, netns: str, address: str, port: int) -> FlatListener:
        """Packets are what SCTP is about: its tests have kernels."""
        raise NotImplementedError

    async def connect_sctp(
        self, node: str, netns: str, address: str, port: int, timeout_s: float
    ) -> FlatStream:
        """As ``listen_sctp``."""
        raise NotImplementedError

    def owned_by(self, owner: str) -> FlatNet:
        """One owner for all: tests close their own."""
        return self

    def release(self, owner: str) -> None:
        """Nothing is kept by owner."""

    async def probe(self, node: str, netns: str, probe: Probe, timeout_s: float) -> ProbeAnswer:
        """Half a millisecond to whoever exists. Raises TimeoutError."""
        if probe.address in self.addresses.values() or probe.address.startswith("127."):
            return ProbeAnswer("echo", probe.address, 0.0005)
        await asyncio.sleep(timeout_s)
        raise TimeoutError
