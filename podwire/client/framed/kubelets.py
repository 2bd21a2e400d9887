"""Counter 6 over sessions: commands, logs, ports of kubelets that say where they are.

A kubelet writes its endpoint into an annotation of its Node; whoever asks dials it there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from podwire.api.status import ApiError
from podwire.client.counters import (
    ExecSession,
    KubeletStreams,
    LogOptions,
    Request,
    Resolver,
    Response,
    Stream,
    ToolResult,
)
from podwire.client.framed.api import Head, joined, parted
from podwire.client.framed.machines import KUBELET
from podwire.client.framed.messages import ProtocolError
from podwire.client.framed.methods import Method, Table
from podwire.client.framed.session import Session
from podwire.client.framed.sockets import ABORT, FramedStream, Opened, drop
from podwire.client.framed.transport import Link

DIAL_S = 5.0
"""How long a request waits for a kubelet that is not connected."""

EXEC = Method("kubelet.exec", tuple[str, str, str, str, list[str], bool], int)
ATTACH = Method("kubelet.attach", tuple[str, str, str, str, bool], int)
RESIZE = Method("kubelet.resize", tuple[int, int, int])
_Opened = tuple[int, tuple[str, int], tuple[str, int]]
PORT_FORWARD = Method("kubelet.port_forward", tuple[str, str, str, int], _Opened)
DIAL = Method("kubelet.dial", tuple[str, str, int, float], _Opened)
HTTP = Method("kubelet.http", tuple[str, Request], result=Head, item=list[bytes])
STDIN = Method("kubelet.stdin", tuple[int, bytes])
OUTPUT = Method("kubelet.output", tuple[int], item=tuple[int, bytes])
WAIT = Method("kubelet.wait", tuple[int], int)
CANCEL = Method("kubelet.cancel", tuple[int])
LOGS = Method("kubelet.logs", tuple[str, str, str, str, LogOptions], item=bytes)
RESOLVER = Method("kubelet.resolver", tuple[str, str, str], Resolver)
RUN = Method("kubelet.run", tuple[str, list[str], bytes], ToolResult)


# ---------------------------------------------------------------- kubelet's side


class _Commands:
    """The commands that one session started, by number."""

    def __init__(self, kubelets: KubeletStreams) -> None:
        self._kubelets = kubelets
        self._by_id: dict[int, ExecSession] = {}
        self._last = 0

    async def exec(
        self, node: str, namespace: str, pod: str, container: str, argv: list[str], tty: bool
    ) -> int:
        return self._keep(await self._kubelets.exec(node, namespace, pod, container, argv, tty))

    async def attach(self, node: str, namespace: str, pod: str, container: str, stdin: bool) -> int:
        return self._keep(await self._kubelets.attach(node, namespace, pod, container, stdin=stdin))

    def _keep(self, session: ExecSession) -> int:
        self._last += 1
        self._by_id[self._last] = session
        return self._last

    def _get(self, id: int) -> ExecSession:
        found = self._by_id.get(id)
        if found is None:
            raise LookupError(f"no command {id} runs")
        return found

    async def stdin(self, id: int, data: bytes) -> None:
        session = self._by_id.get(id)
        if session is not None:  # what is sent to a command that ended has no reader
            await session.send_stdin(data)

    async def output(self, id: int) -> tuple[None, AsyncIterator[tuple[int, bytes]]]:
        return None, self._get(id).output()

    async def wait(self, id: int) -> int:
        try:
            code = await self._get(id).wait()
        except ApiError:
            self._by_id.pop(id, None)
            raise
        self._by_id.pop(id, None)
        return code

    def resize(self, id: int, columns: int, rows: int) -> None:
        session = self._by_id.get(id)
        if session is not None:
            session.resize(columns, rows)

    def cancel(self, id: int) -> None:
        session = self._by_id.pop(id, None)
        if session is not None:
            session.cancel()

    def end(self) -> None:
        """The client's server is gone: its commands are killed."""
        for number in list(self._by_id):
            self.cancel(number)


def serve_kubelets(table: Table, kubelets: KubeletStreams, session: Session) -> None:
    """Let the API server reach into pods."""
    commands = _Commands(kubelets)

    async def logs(*args: Any) -> tuple[None, AsyncIterator[bytes]]:
        return None, await kubelets.logs(*args)

    opened = Opened()

    async def forward(node: str, namespace: str, pod: str, port: int) -> Any:
        stream = await kubelets.port_forward(node, namespace, pod, port)
        return opened.keep(stream), stream.local, stream.remote

    async def dial(node: str, address: str, port: int, timeout_s: float) -> Any:
        stream = await kubelets.dial(node, address, port, timeout_s)
        return opened.keep(stream), stream.local, stream.remote

    async def http(node: str, request: Request) -> Any:
        return parted(await kubelets.http(node, request))

    opened.serve(table, session)
    table.unary(PORT_FORWARD, forward)
    table.unary(DIAL, dial)
    table.stream(HTTP, http)
    table.unary(EXEC, commands.exec)
    table.unary(ATTACH, commands.attach)
    table.post(RESIZE, commands.resize)
    table.unary(STDIN, commands.stdin)
    table.stream(OUTPUT, commands.output)
    table.unary(WAIT, commands.wait)
    table.post(CANCEL, commands.cancel)
    table.stream(LOGS, logs)
    table.unary(RESOLVER, kubelets.resolver)
    table.unary(RUN, kubelets.run)
    session.on_end.append(commands.end)


# ---------------------------------------------------------------- the API server's side


KILLED = 137


class FramedExec:
    """A command that runs at a kubelet, which forgets it when it is cancelled."""

    def __init__(self, session: Session, id: int) -> None:
        self._session = session
        self._id = id
        self._cancelled = False

    async def send_stdin(self, data: bytes) -> None:
        """See ``counters.ExecSession``."""
        await self._session.call(STDIN, self._id, data)

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        """See ``counters.ExecSession``."""
        try:
            _, items = await self._session.stream(OUTPUT, self._id)
        except LookupError:
            if not self._cancelled:
                raise
            return
        assert items is not None, "output answers with items"
        try:
            async for item in items:
                yield item
        finally:
            await items.aclose()

    async def wait(self) -> int:
        """See ``counters.ExecSession``."""
        try:
            code: int = await self._session.call(WAIT, self._id)
        except LookupError:
            if not self._cancelled:
                raise
            return KILLED
        return code

    def resize(self, columns: int, rows: int) -> None:
        """See ``counters.ExecSession``."""
        self._session.post(RESIZE, self._id, columns, rows)

    def cancel(self) -> None:
        """See ``counters.ExecSession``."""
        self._cancelled = True
        self._session.post(CANCEL, self._id)


class FramedKubelets:
    """Counter 6 toward kubelets wherever they are.

    ``endpoint`` tells where a node's kubelet says it is ('' when it says nothing); ``link`` makes a
    connection to an address. ``run`` keeps those that were asked for.
    """

    def __init__(self, endpoint: Callable[[str], str], link: Callable[[str], Link]) -> None:
        self._endpoint = endpoint
        self._make = link
        self._links: dict[str, tuple[Link, asyncio.Task[None]]] = {}
        self._addresses: dict[str, str] = {}
        """Where each node's kubelet was when it was asked for last."""

    async def close(self) -> None:
        """Hang up."""
        tasks = [task for _, task in self._links.values()]
        self._links.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _session(self, node: str) -> Session:
        """The session to a node's kubelet. Raises ConnectionError."""
        address = self._endpoint(node)
        self._moved(node, address)
        if not address:
            raise ConnectionError(f"dial tcp {node}:10250: connect: connection refused")
        found = self._links.get(address)
        if found is None or found[1].done():
            link = self._make(address)
            task = asyncio.get_running_loop().create_task(_keep(link), name=f"kubelet {address}")
            found = self._links[address] = (link, task)
        link, _ = found
        try:
            async with asyncio.timeout(DIAL_S):
                return await link.connected()
        except TimeoutError:
            raise ConnectionError(f"dial tcp {address}: {link.why}") from None

    def _moved(self, node: str, address: str) -> None:
        """Hang up where no node's kubelet is any more: nobody else would end that link."""
        before = self._addresses.pop(node, "")
        if address:
            self._addresses[node] = address
        if before not in {"", address} and before not in self._addresses.values():
            found = self._links.pop(before, None)
            if found is not None:
                found[1].cancel()

    async def exec(
        self, node: str, namespace: str, pod: str, container: str, argv: Sequence[str], tty: bool
    ) -> ExecSession:
        """See ``counters.KubeletStreams``."""
        session = await self._session(node)
        number = await session.acquire(
            EXEC, node, namespace, pod, container, list(argv), tty,
            give_back=lambda started: session.post(CANCEL, started),
        )  # fmt: skip
        return FramedExec(session, number)

    async def attach(
        self, node: str, namespace: str, pod: str, container: str, *, stdin: bool
    ) -> ExecSession:
        """See ``counters.KubeletStreams``."""
        session = await self._session(node)
        number = await session.acquire(
            ATTACH, node, namespace, pod, container, stdin,
            give_back=lambda started: session.post(CANCEL, started),
        )  # fmt: skip
        return FramedExec(session, number)

    async def port_forward(self, node: str, namespace: str, pod: str, port: int) -> Stream:
        """See ``counters.KubeletStreams``."""
        return await self._stream(node, PORT_FORWARD, node, namespace, pod, port)

    async def dial(self, node: str, address: str, port: int, timeout_s: float) -> Stream:
        """See ``counters.KubeletStreams``."""
        return await self._stream(node, DIAL, node, address, port, timeout_s)

    async def _stream(self, node: str, method: Method, *args: Any) -> Stream:
        session = await self._session(node)
        number, local, remote = await session.acquire(
            method, *args, give_back=lambda opened: drop(session, opened[0], ABORT)
        )
        return FramedStream(session, number, local, remote)

    async def http(self, node: str, request: Request) -> Response:
        """See ``counters.KubeletStreams``."""
        return joined(*await (await self._session(node)).stream(HTTP, node, request))

    async def logs(
        self, node: str, namespace: str, pod: str, container: str, options: LogOptions
    ) -> AsyncIterator[bytes]:
        """See ``counters.KubeletStreams``."""
        session = await self._session(node)
        _, items = await session.stream(LOGS, node, namespace, pod, container, options)
        assert items is not None, "a log answers with items"
        return items

    async def resolver(self, node: str, namespace: str, pod: str) -> Resolver:
        """See ``counters.KubeletStreams``."""
        found: Resolver = await (await self._session(node)).call(RESOLVER, node, namespace, pod)
        return found

    async def run(self, node: str, argv: Sequence[str], stdin: bytes = b"") -> ToolResult:
        """See ``counters.KubeletStreams``."""
        session = await self._session(node)
        result: ToolResult = await session.call(RUN, node, list(argv), stdin)
        return result

    async def switch(self, node: str, run: bool | None) -> bool:
        """Start or stop a node's kubelet, or only look (None); whether it runs."""
        running: bool = await (await self._session(node)).call(KUBELET, node, run)
        return running


async def _keep(link: Link) -> None:
    """Hold a link; one that cannot be mended says why to whoever asks, and is made anew then."""
    try:
        await link.run()
    except ProtocolError as error:
        link.refuse(str(error))
