"""HTTP as bytes: what tests say to a server, and what it answers."""

import asyncio
import re
import ssl
from contextlib import asynccontextmanager, suppress

from podwire.client.counters import Response
from tests.unit.apiserver_http.conftest import PATIENCE_S, TOKEN

AUTH = f"Host: x\r\nAuthorization: Bearer {TOKEN}\r\n"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


@asynccontextmanager
async def wire(site):
    """A TLS connection on which the test writes bytes."""
    host, port = site.http.address
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection(host, port, ssl=site.tls(), limit=2**24)
        try:
            yield reader, writer
        finally:
            writer.close()
            with suppress(ConnectionError, ssl.SSLError):  # the server hung up first
                await writer.wait_closed()


async def talk(site, data):
    """Everything the server says to these bytes before it hangs up."""
    async with wire(site) as (reader, writer):
        writer.write(data.encode() if isinstance(data, str) else data)
        try:
            return await reader.read()
        except ConnectionError:
            return b""


async def until(condition):
    """What the loop brings about by itself."""
    while not condition():  # noqa: ASYNC110  the server's inside has no event for tests
        await asyncio.sleep(0.001)


async def settled(count):
    """Until a count that grows grows no more."""
    before = -1
    while count() != before or not before:
        before = count()
        await asyncio.sleep(0.1)


def statuses(answer):
    """The status codes in a conversation."""
    return [int(code) for code in re.findall(rb"HTTP/1\.1 (\d+)", answer)]


async def answered(reader):
    """One answer: its status, headers and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    headers = dict(field.lower().split(": ", 1) for field in fields if field)
    body = b""
    if "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    elif headers.get("transfer-encoding") == "chunked":
        parts = []
        while size := int(await reader.readline(), 16):
            parts.append(await reader.readexactly(size))
            await reader.readline()
        await reader.readline()
        body = b"".join(parts)
    return int(line.split(" ")[1]), headers, body


class Big:
    """Counter 1: a body in chunks of 100,000 bytes; counts those that were made."""

    def __init__(self, chunks):
        self.count = chunks
        self.made = 0

    async def send(self, _request):
        """The body, made while it is sent."""
        return Response(200, b"", {"content-type": "text/plain"}, None, self.chunks())

    def chunks(self):
        for i in range(self.count):
            self.made += 1
            yield b"%d" % (i % 10) * 100_000

    def whole(self):
        return b"".join(self.chunks())
