"""Many who take and give nothing: watchers that do not read, commands that do not end.

Figures are printed (seen with -s); a sweep has the numbers of docs/security.md, CI a few.
"""

import asyncio
import ctypes
import gc
import sys
from contextlib import suppress

import pytest

from podwire.api import kinds
from podwire.apiserver.http import connection
from tests.fuzz.conftest import SWEEP
from tests.fuzz.door import resident_bytes
from tests.fuzz.test_wires import WEBSOCKET, sane
from tests.unit.apiserver_http.talking import AUTH, CONFIG_MAPS

WATCHERS = 500
COMMANDS = 300 if SWEEP else 5
EVENT_BYTES = 10_000
MIB = 2**20


async def opened(target, request, count):
    """Connections on which ``request`` was sent and the head of its answer read."""
    host, port = target.http.address
    found = []
    for _ in range(count):
        reader, writer = await asyncio.open_connection(host, port, ssl=target.tls(), limit=2**16)
        writer.write(request.encode())
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()
        found.append((reader, writer))
    return found


async def gone(target):
    """The server has let go of every connection."""
    while target.http._connections:  # noqa: ASYNC110  the server's inside has no event for tests
        await asyncio.sleep(0.01)


def told(what, before, during):
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # glibc keeps what is free for the next flood; nobody holds it
        trim(0)
    after = resident_bytes()
    sys.stdout.write(f"{what}: memory {before // MIB} -> {during // MIB} -> {after // MIB} MiB\n")
    return after


@pytest.mark.skipif(not SWEEP, reason="make sweep; one such watcher is in test_bodies.py")
async def test_watchers_that_never_read_are_cut_off_and_cost_little(target, monkeypatch):
    """Events are shared by all; what waits for each is bounded, in number and in its socket; who
    takes nothing for a while is hung up on.
    """
    monkeypatch.setattr(connection, "STALL_S", 2.0)
    await sane(target)
    watch = f"GET {CONFIG_MAPS}?watch=1 HTTP/1.1\r\n{AUTH}\r\n"
    before = resident_bytes()
    connections = await opened(target, watch, WATCHERS)
    client = target.client
    await client.create(kinds.CONFIG_MAP, {"metadata": {"name": "a"}}, "default")
    cache = target.server.caches.of(kinds.CONFIG_MAP)
    assert len(cache.watchers()) == WATCHERS
    written, during = 0, before
    while cache.watchers():
        patch = {"data": {"v": f"{written}" + "x" * EVENT_BYTES}}
        await client.patch(kinds.CONFIG_MAP, "a", patch, "default")
        written += 1
        assert written < 3000, "watchers that read nothing must be cut off"
        await asyncio.sleep(0)
        if written % 200 == 0:
            during = max(during, resident_bytes())
    await gone(target)  # nobody left of his own accord
    for _, writer in connections:
        writer.transport.abort()
    del connections, writer, _
    await sane(target)
    after = told(f"{WATCHERS} watchers, {written} events", before, during)
    # Each event once, and for each watcher what its transport and TLS hold at both ends.
    assert during - before < 2 * written * EVENT_BYTES + 2 * WATCHERS * MIB + 64 * MIB
    assert after - before < 2 * 1024 * EVENT_BYTES + 64 * MIB


async def test_commands_that_never_end_are_let_go_with_their_clients(target):
    """exec streams on which nothing happens, and some whose clients flood stdin, which nobody
    reads: they are held back, and nothing is left when they are gone.
    """
    await target.pod()
    await sane(target)
    before = resident_bytes()
    connections = await opened(target, WEBSOCKET, COMMANDS)
    frame = b"\x82\xfe\xff\xff\0\0\0\0" + bytes(0xFFFF)  # 64 KiB on channel 0, masked with zeros
    for _, writer in connections[::5]:
        for _ in range(50):
            writer.write(frame)
            with suppress(TimeoutError):
                await asyncio.wait_for(writer.drain(), 0.02)
    for _ in range(50):
        await asyncio.sleep(0)
    during = resident_bytes()
    commands = target.kubelets.started
    assert len(commands) == COMMANDS
    for _, writer in connections:
        writer.transport.abort()
    for command in commands:
        await asyncio.wait_for(command.cancelled.wait(), 30)
        command.exit(137)  # as the kubelet's does, once it is cancelled
    await gone(target)
    await sane(target)
    del connections, writer, _, command, commands[:]
    after = told(f"{COMMANDS} commands", before, during)
    assert after - before < 64 * MIB
    assert "Traceback" not in target.told.getvalue()
