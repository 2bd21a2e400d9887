"""A client that tells what a server did to each request, and the judge of it."""

from __future__ import annotations

import asyncio
import gc
import ssl
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from podwire.api import kinds
from tests.fuzz.drawing import Asked
from tests.unit.apiserver_http.conftest import TOKEN, Site
from tests.unit.apiserver_http.talking import answered

PATIENCE_S = 30.0
MEANT = frozenset((501, 503, 504))
UPSTREAMS = (
    b"failed to create typed patch object",
    b"failed to create typed live object",
)
"""What upstream, too, answers with 500: server-side apply where patch or object fit no schema."""


class Door:
    """One connection after the other; ``said`` counts answers by family and status."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.said: Counter[tuple[str, int]] = Counter()
        self.wrong: list[tuple[Any, ...]] = []
        self.slowest: tuple[float, Asked | None] = (0.0, None)
        self._open: Any = None

    async def ask(self, asked: Asked) -> int:
        """The status of the answer; what should not be is remembered."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(PATIENCE_S):
                status, body = await self._talk(asked)
        except TimeoutError:
            self.wrong.append(("no answer", asked))
            await self.close()
            return 0
        took = loop.time() - began
        if took > self.slowest[0]:
            self.slowest = (took, asked)
        self.said[asked.family, status] += 1
        if status >= 500 and status not in MEANT and not any(text in body for text in UPSTREAMS):
            self.wrong.append((status, body[:500], asked))
        if asked.family == "jwt" and status != 401:
            self.wrong.append(("believed", status, asked))
        return status

    async def _talk(self, asked: Asked) -> tuple[int, bytes]:
        for _ in range(2):
            if self._open is None:
                host, port = self.site.http.address
                self._open = await asyncio.open_connection(
                    host, port, ssl=self.site.tls(), limit=2**24
                )
            reader, writer = self._open
            headers = {"Host": "x", "Authorization": f"Bearer {TOKEN}", **asked.headers}
            head = f"{asked.method} {asked.target} HTTP/1.1\r\n"
            head += "".join(f"{key}: {value}\r\n" for key, value in headers.items())
            if asked.body or asked.method != "GET":
                head += f"Content-Length: {len(asked.body)}\r\n"
            try:
                writer.write(head.encode("latin-1", "replace") + b"\r\n" + asked.body)
                status, told, body = await answered(reader)
            except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
                await self.close()  # hung up on after the answer before
                continue
            if told.get("connection") == "close":
                await self.close()
            return status, body
        self.wrong.append(("hung up", asked))
        return 0, b""

    async def close(self) -> None:
        """Hang up."""
        if self._open is not None:
            self._open[1].transport.abort()
            self._open = None
            await asyncio.sleep(0)


async def still_sound(site: Site) -> None:
    """The server answers, and everything in the store decodes in every encoding."""
    for kind in kinds.STORED:
        if "list" not in kind.verbs:
            continue
        for accept in (
            "application/json",
            "application/vnd.kubernetes.protobuf",
            "application/json;as=Table;v=v1;g=meta.k8s.io",
        ):
            door = Door(site)
            status = await door.ask(Asked("list", "GET", kind.path(), {"Accept": accept}))
            await door.close()
            assert status == 200, (kind, accept, door.wrong)
        for entry in site.server.caches.of(kind).entries():
            assert msgspec.json.decode(entry.data)["metadata"]["name"] == entry.name
            assert entry.view is not None


def resident_bytes() -> int:
    """What the process holds now, after garbage is gone."""
    gc.collect()
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0
