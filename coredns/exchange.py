"""One query to another name server, over the pod's own sockets."""

from __future__ import annotations

import asyncio

from podwire.client import dnswire
from podwire.client.counters import ContainerSpec, Sockets
from podwire.client.dnswire import DnsError, Message
from podwire.coredns.chain import PluginError


async def exchange(
    sockets: Sockets,
    spec: ContainerSpec,
    server: tuple[str, int],
    message: Message,
    timeout_s: float,
    *,
    tcp: bool = False,
) -> Message:
    """Send a query, return the answer with its id. Raises PluginError as Go words it."""
    ask = _tcp if tcp else _udp
    try:
        async with asyncio.timeout(timeout_s):
            return await ask(sockets, spec, server, message, timeout_s)
    except TimeoutError:
        kind = "tcp" if tcp else "udp"
        raise PluginError(
            f"read {kind} {spec.pod_ip}->{server[0]}:{server[1]}: i/o timeout"
        ) from None


async def _udp(
    sockets: Sockets, spec: ContainerSpec, server: tuple[str, int], message: Message, _: float
) -> Message:
    socket = await sockets.bind_udp(spec.node, spec.netns)
    try:
        await socket.send_to(dnswire.encode(message, compress=False), *server)
        while True:
            data, address, _port = await socket.recv_from()
            answer = _read(data)
            if answer is not None and answer.id == message.id and address == server[0]:
                return answer
    except ConnectionRefusedError:
        where = f"{spec.pod_ip}:{socket.local[1]}->{server[0]}:{server[1]}"
        raise PluginError(f"read udp {where}: read: connection refused") from None
    except OSError as error:
        if isinstance(error, TimeoutError):
            raise
        raise PluginError(f"write udp {server[0]}:{server[1]}: {error}") from None
    finally:
        socket.close()


async def _tcp(
    sockets: Sockets, spec: ContainerSpec, server: tuple[str, int], message: Message, limit: float
) -> Message:
    try:
        stream = await sockets.connect(spec.node, spec.netns, *server, limit)
    except ConnectionRefusedError:
        raise PluginError(
            f"dial tcp {server[0]}:{server[1]}: connect: connection refused"
        ) from None
    try:
        wire = dnswire.encode(message, compress=False)
        await stream.send(len(wire).to_bytes(2, "big") + wire)
        frame = b""
        while len(frame) < 2 or len(frame) < 2 + int.from_bytes(frame[:2], "big"):
            data = await stream.recv()
            if not data:
                raise PluginError("EOF")
            frame += data
        answer = _read(frame[2 : 2 + int.from_bytes(frame[:2], "big")])
    except ConnectionResetError:
        raise PluginError(
            f"read tcp {server[0]}:{server[1]}: read: connection reset by peer"
        ) from None
    finally:
        await stream.close()
    if answer is None or answer.id != message.id:
        raise PluginError("dns: bad answer")
    return answer


def _read(data: bytes) -> Message | None:
    try:
        return dnswire.decode(data)
    except DnsError:
        return None
