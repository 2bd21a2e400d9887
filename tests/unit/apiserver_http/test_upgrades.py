"""Connections that become something else."""

import asyncio

from podwire.api.status import ApiError
from podwire.apiserver.http.duplex import Switch
from podwire.client.counters import Response
from tests.unit.apiserver_http.talking import (
    AUTH,
    settled,
    statuses,
    talk,
    until,
    wire,
)


def upgrading(path="/x"):
    """A request for another protocol."""
    return f"GET {path} HTTP/1.1\r\n{AUTH}Connection: Upgrade\r\nUpgrade: shout\r\n\r\n"


def shouting(seen):
    """An Upgrade that answers in capitals until it is told to stop."""

    async def upgrade(request):
        seen.append(request)
        if request.path == "/plain":
            return Response(200, b"no thanks")
        if request.path == "/wrong":
            raise ApiError("BadRequest", "unable to upgrade")

        async def serve(duplex):
            while data := await duplex.read():
                await duplex.write(data.upper())
                if data.endswith(b"."):
                    duplex.close()

        return Switch({"Upgrade": "shout", "Connection": "Upgrade"}, serve)

    return upgrade


async def test_an_upgraded_connection_carries_bytes_both_ways(site):
    """101, then what came with the request, then what comes later; either side ends it."""
    seen = []
    site.http.upgrade = shouting(seen)
    async with wire(site) as (reader, writer):
        writer.write(upgrading().encode() + b"early ")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        assert b"Upgrade: shout\r\n" in head
        assert await reader.readexactly(6) == b"EARLY "
        writer.write(b"late.")
        assert await reader.read() == b"LATE."
    assert seen[0].user.name == "robot"
    assert seen[0].headers["upgrade"] == "shout"


async def test_what_comes_before_the_101_is_kept_for_the_other_protocol(site):
    """However many pieces it comes in while the upgrade is being decided."""
    decide, asked = asyncio.Event(), asyncio.Event()
    shout = shouting([])

    async def upgrade(request):
        asked.set()
        await decide.wait()
        return await shout(request)

    site.http.upgrade = upgrade
    async with wire(site) as (reader, writer):
        writer.write(upgrading().encode() + b"one ")
        await asked.wait()
        for piece in (b"two ", b"three "):
            writer.write(piece)
            await writer.drain()
        decide.set()
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"four.")
        assert await reader.read() == b"ONE TWO THREE FOUR."


async def test_an_upgrade_may_be_answered_plainly(site):
    """A Response or an ApiError is an answer, and the connection ends."""
    site.http.upgrade = shouting([])
    assert (await talk(site, upgrading("/plain"))).endswith(b"no thanks")
    assert statuses(await talk(site, upgrading("/wrong"))) == [400]


async def test_an_upgraded_connection_waits_for_a_slow_reader(site):
    """write() waits; nothing is buffered without bound."""
    sent = 0

    async def upgrade(_request):
        async def serve(duplex):
            nonlocal sent
            while sent < 300:
                await duplex.write(b"x" * 100_000)
                sent += 1

        return Switch({"Upgrade": "flood"}, serve)

    site.http.upgrade = upgrade
    async with wire(site) as (reader, writer):
        writer.transport.pause_reading()
        writer.write(upgrading().encode())
        await settled(lambda: sent)
        assert sent < 150
        writer.transport.resume_reading()
        await reader.readuntil(b"\r\n\r\n")
        assert len(await reader.read()) == 30_000_000


async def test_an_upgraded_connection_ends_with_its_client(site):
    """read() gives b"", write() raises ConnectionError."""
    told = asyncio.get_running_loop().create_future()

    async def upgrade(_request):
        async def serve(duplex):
            assert await duplex.read() == b""
            try:
                while True:
                    await duplex.write(b"x")
                    await asyncio.sleep(0)
            except ConnectionError as error:
                told.set_result(error)

        return Switch({"Upgrade": "x"}, serve)

    site.http.upgrade = upgrade
    async with wire(site) as (reader, writer):
        writer.write(upgrading().encode())
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()
        assert isinstance(await told, ConnectionError)
    await until(lambda: not site.http._connections)
