"""Services on a host itself, such as the API server's port on host ``control-plane``.

The modelled world connects by TCP through kernels and wires; the handler gets plain streams.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from structlog.typing import FilteringBoundLogger

from podwire.client.counters import Stream
from podwire.fabric.streams import TcpListener, TcpSocket

Handler = Callable[[Stream], Awaitable[None]]


class Service:
    """A listener that hands every connection to ``handler``, each in a task of its own.

    A handler that fails resets its connection and is logged; the others go on.
    """

    def __init__(self, listener: TcpListener, handler: Handler, log: FilteringBoundLogger) -> None:
        self._listener = listener
        self._handler = handler
        self._log = log
        self._count = 0
        self._conversations: dict[asyncio.Task[None], None] = {}
        self._name = f"service {listener.space.node}:{listener.local[1]}"
        self._acceptor = asyncio.get_running_loop().create_task(self._accept(), name=self._name)

    async def _accept(self) -> None:
        while not self._listener.closed:
            try:
                stream = await self._listener.accept()
            except OSError:
                return  # closed
            self._count += 1
            task = asyncio.get_running_loop().create_task(
                self._converse(stream), name=f"{self._name} #{self._count}"
            )
            self._conversations[task] = None
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._conversations.pop(task, None)

    async def _converse(self, stream: TcpSocket) -> None:
        try:
            await self._handler(stream)
        except (ConnectionError, TimeoutError):
            stream.abort()
        except Exception:  # noqa: BLE001  a handler's bug ends its own conversation only
            self._log.exception("service handler failed", service=self._name)
            stream.abort()
        finally:
            stream.exit()

    async def close(self) -> None:
        """Stop listening, end all conversations and wait for them."""
        self._listener.close()
        tasks = [self._acceptor, *self._conversations]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
