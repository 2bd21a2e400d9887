"""The sockets of one container, counted: each message that arrives is told to its meter."""

from __future__ import annotations

from podwire.client.counters import (
    Datagrams,
    Listener,
    Probe,
    ProbeAnswer,
    Sockets,
    Stream,
)
from podwire.kubelet.usage import Meter
from podwire.runtime.ports import Clock


class MeteredSockets:
    """``counters.Sockets`` of a container's main program."""

    def __init__(self, sockets: Sockets, meter: Meter, clock: Clock) -> None:
        self._sockets = sockets
        self._meter = meter
        self._clock = clock

    def arrived(self) -> None:
        """A message was received."""
        self._meter.message(self._clock.now_ns())

    async def listen(self, node: str, netns: str, address: str, port: int) -> Listener:
        """As counters.Sockets."""
        return _Listener(await self._sockets.listen(node, netns, address, port), self)

    async def connect(
        self, node: str, netns: str, address: str, port: int, timeout_s: float, source_port: int = 0
    ) -> Stream:
        """As counters.Sockets."""
        stream = await self._sockets.connect(node, netns, address, port, timeout_s, source_port)
        return _Stream(stream, self)

    async def bind_udp(self, node: str, netns: str, address: str = "", port: int = 0) -> Datagrams:
        """As counters.Sockets."""
        return _Datagrams(await self._sockets.bind_udp(node, netns, address, port), self)

    async def listen_sctp(self, node: str, netns: str, address: str, port: int) -> Listener:
        """As counters.Sockets."""
        return _Listener(await self._sockets.listen_sctp(node, netns, address, port), self)

    async def connect_sctp(
        self, node: str, netns: str, address: str, port: int, timeout_s: float
    ) -> Stream:
        """As counters.Sockets."""
        stream = await self._sockets.connect_sctp(node, netns, address, port, timeout_s)
        return _Stream(stream, self)

    async def probe(self, node: str, netns: str, probe: Probe, timeout_s: float) -> ProbeAnswer:
        """As counters.Sockets."""
        return await self._sockets.probe(node, netns, probe, timeout_s)

    def owned_by(self, owner: str) -> Sockets:
        """As counters.Sockets; not counted."""
        return self._sockets.owned_by(owner)

    def release(self, owner: str) -> None:
        """As counters.Sockets."""
        self._sockets.release(owner)


class _Listener:
    def __init__(self, listener: Listener, sockets: MeteredSockets) -> None:
        self._listener = listener
        self._sockets = sockets
        self.local = listener.local

    async def accept(self) -> Stream:
        return _Stream(await self._listener.accept(), self._sockets)

    def close(self) -> None:
        self._listener.close()


class _Stream:
    def __init__(self, stream: Stream, sockets: MeteredSockets) -> None:
        self._stream = stream
        self._sockets = sockets
        self.local = stream.local
        self.remote = stream.remote
        self.send = stream.send
        self.close = stream.close
        self.abort = stream.abort

    async def recv(self) -> bytes:
        data = await self._stream.recv()
        if data:
            self._sockets.arrived()
        return data


class _Datagrams:
    def __init__(self, datagrams: Datagrams, sockets: MeteredSockets) -> None:
        self._datagrams = datagrams
        self._sockets = sockets
        self.local = datagrams.local
        self.send_to = datagrams.send_to
        self.close = datagrams.close

    async def recv_from(self) -> tuple[bytes, str, int]:
        found = await self._datagrams.recv_from()
        self._sockets.arrived()
        return found
