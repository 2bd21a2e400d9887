"""A wire that can be cut, or made deaf: TCP on loopback between a client and an etcd."""

from __future__ import annotations

import asyncio
from typing import Self

from tests.etcds import free_port


class Proxy:
    def __init__(self, target: int) -> None:
        self.target = target
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.deaf = False
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        await self.mend()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def mend(self) -> None:
        self.deaf = False
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def cut(self) -> None:
        """Close every connection; refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self.target)
        self._writers += [writer, to_writer]
        for pump in (self._pump(reader, to_writer, False), self._pump(to_reader, writer, True)):
            self._tasks.append(asyncio.create_task(pump))

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: bool
    ) -> None:
        try:
            while data := await reader.read(65536):
                if self.deaf and answers:
                    continue
                writer.write(data)
                await writer.drain()
        except OSError:
            return
        finally:
            writer.transport.abort()
