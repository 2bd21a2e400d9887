"""The resolver beyond the cluster: a static zone on UDP and TCP port 53 of the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from podwire.client import dnswire
from podwire.client.counters import Datagrams, Listener, Sockets, Stream
from podwire.client.dnswire import AAAA, CNAME, RR, SOA, A, DnsError, Edns, Message, Soa
from podwire.runtime.tasks import Nursery

EXTERNAL, EXTERNAL6 = "203.0.113.10", "2001:db8::10"


def zone_of(address: str) -> dict[str, tuple[str, ...]]:
    """The names of the one outside server at an address. Name -> addresses, or one absolute name
    (a CNAME). ``*.`` stands for any sub-name.
    """
    names = ("example.com.", "*.example.com.", "external.com.", "*.external.com.")
    return dict.fromkeys(names, (address,))


DEFAULT_ZONE: Mapping[str, tuple[str, ...]] = zone_of(EXTERNAL)
TTL_S = 300
IDLE_S = 10.0


@dataclass(slots=True)
class Upstream:
    """Answers from a static zone; every other name is NXDOMAIN."""

    zone: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: dict(DEFAULT_ZONE))

    def answer(self, data: bytes, limit_bytes: int = 512) -> bytes:
        """The wire of the answer to a wire; b"" for what is no query."""
        try:
            message = dnswire.decode(data)
        except DnsError:
            return b""
        if message.qr or not message.questions:
            return b""
        reply = message.reply()
        reply.ra = True
        if message.edns is not None:
            reply.edns = Edns(1232)
            limit_bytes = max(limit_bytes, message.edns.size_bytes)
        self._fill(reply)
        return dnswire.encode(reply, max_bytes=limit_bytes)

    def _fill(self, reply: Message) -> None:
        question = reply.question
        name = question.name
        for _ in range(8):
            values = self._values(name.lower())
            if values is None:
                reply.rcode = dnswire.NXDOMAIN
                break
            if not values or not values[0].endswith("."):
                reply.answer += [
                    RR(name, question.type, TTL_S, value)
                    for value in values
                    if question.type == (AAAA if ":" in value else A)
                ]
                break
            reply.answer.append(RR(name, CNAME, TTL_S, values[0]))
            name = values[0]
        if not reply.answer or reply.rcode:
            data = Soa("a.root-servers.net.", "nstld.verisign-grs.com.", 2026010100, 1800, 900,
                       604800, 86400)  # fmt: skip
            reply.authority.append(RR(".", SOA, TTL_S, data))

    def _values(self, name: str) -> tuple[str, ...] | None:
        found = self.zone.get(name)
        labels = name.split(".")
        for i in range(1, len(labels)):
            if found is not None:
                break
            found = self.zone.get("*." + ".".join(labels[i:]))
        return found

    async def run(self, sockets: Sockets, node: str, netns: str = "", address: str = "") -> None:
        """Serve port 53 of a node until cancelled. Raises OSError when it is taken."""
        udp = await sockets.bind_udp(node, netns, address, 53)
        try:
            tcp = await sockets.listen(node, netns, address, 53)
        except OSError:
            udp.close()
            raise
        try:
            async with Nursery() as tasks:
                tasks.start(self._udp(udp), name="upstream dns udp")
                tasks.start(self._tcp(tcp), name="upstream dns tcp")
        finally:
            udp.close()
            tcp.close()

    async def _udp(self, socket: Datagrams) -> None:
        while True:
            try:
                data, address, port = await socket.recv_from()
            except ConnectionRefusedError:
                continue  # the client had given up
            except OSError:
                return
            answer = self.answer(data)
            if answer:
                await socket.send_to(answer, address, port)

    async def _tcp(self, listener: Listener) -> None:
        async with Nursery() as connections:
            while True:
                try:
                    stream = await listener.accept()
                except OSError:
                    return
                connections.start(self._connection(stream), name="upstream dns connection")

    async def _connection(self, stream: Stream) -> None:
        buffer = bytearray()
        try:
            while True:
                async with asyncio.timeout(IDLE_S):
                    data = await stream.recv()
                if not data:
                    break
                buffer += data
                while len(buffer) > 2 and len(buffer) >= 2 + int.from_bytes(buffer[:2], "big"):
                    end = 2 + int.from_bytes(buffer[:2], "big")
                    answer = self.answer(bytes(buffer[2:end]), 65535)
                    del buffer[:end]
                    await stream.send(len(answer).to_bytes(2, "big") + answer)
            await stream.close()
        except OSError:
            stream.abort()
