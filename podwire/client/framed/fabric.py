"""Counter 2 over a session: kernels, disks and walks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from podwire.client.counters import CapturedFrame, Fabric, NodeInfo, Publication, ToolResult
from podwire.client.framed.methods import Method, Table
from podwire.client.framed.session import Connection
from podwire.dataplane.commands import AnyCommand, Command
from podwire.dataplane.verdict import WalkAnswer, WalkRequest

NODE = Method("fabric.node", tuple[str], NodeInfo)
EXECUTE = Method("fabric.execute", tuple[str, list[AnyCommand]])
EXECUTE_ALL = Method("fabric.execute_all", tuple[list[str], list[AnyCommand]], dict[str, str])
TOOL = Method("fabric.tool", tuple[str, str, list[str], str], ToolResult)
READ_FILE = Method("fabric.read_file", tuple[str, str], bytes)
WRITE_FILE = Method("fabric.write_file", tuple[str, str, bytes])
REMOVE_FILE = Method("fabric.remove_file", tuple[str, str])
LIST_FILES = Method("fabric.list_files", tuple[str, str], list[str])
WATCH_FILES = Method("fabric.watch_files", tuple[str, str], item=str)
CAPTURE = Method("fabric.capture", tuple[str, str, str], item=CapturedFrame)
WALK = Method("fabric.walk", tuple[WalkRequest], WalkAnswer)
ASK_DATAGRAM = Method(
    "fabric.ask_datagram",
    tuple[str, str, str, int, bytes, float, float | None],
    tuple[WalkAnswer, bytes | None],
)
PUBLICATIONS = Method("fabric.publications", tuple[()], list[Publication])


def serve_fabric(table: Table, fabric: Fabric) -> None:
    """Let a room command nodes and ask about them."""

    async def watch_files(node: str, prefix: str) -> tuple[None, AsyncIterator[str]]:
        return None, fabric.watch_files(node, prefix)

    async def capture(
        node: str, netns: str, device: str
    ) -> tuple[None, AsyncIterator[CapturedFrame]]:
        return None, fabric.capture(node, netns, device)

    table.unary(NODE, fabric.node)
    table.stream(CAPTURE, capture)
    table.unary(EXECUTE, fabric.execute)
    table.unary(EXECUTE_ALL, fabric.execute_all)
    table.unary(TOOL, fabric.tool)
    table.unary(READ_FILE, fabric.read_file)
    table.unary(WRITE_FILE, fabric.write_file)
    table.unary(REMOVE_FILE, fabric.remove_file)
    table.unary(LIST_FILES, fabric.list_files)
    table.stream(WATCH_FILES, watch_files)
    table.unary(WALK, fabric.walk)
    table.unary(ASK_DATAGRAM, fabric.ask_datagram)
    table.unary(PUBLICATIONS, fabric.publications)


class FramedFabric:
    """Counter 2 at the other end of a link. Every call raises ConnectionError while it is down."""

    def __init__(self, link: Connection) -> None:
        self._link = link

    async def node(self, node: str) -> NodeInfo:
        """See ``counters.Fabric``."""
        info: NodeInfo = await self._link.session().call(NODE, node)
        return info

    async def execute(self, node: str, commands: Sequence[Command]) -> None:
        """See ``counters.Fabric``."""
        await self._link.session().call(EXECUTE, node, commands)

    async def execute_all(
        self, nodes: Sequence[str], commands: Sequence[Command]
    ) -> dict[str, str]:
        """See ``counters.Fabric``."""
        failed: dict[str, str] = await self._link.session().call(EXECUTE_ALL, nodes, commands)
        return failed

    async def tool(self, node: str, netns: str, argv: Sequence[str], stdin: str = "") -> ToolResult:
        """See ``counters.Fabric``."""
        result: ToolResult = await self._link.session().call(TOOL, node, netns, argv, stdin)
        return result

    async def read_file(self, node: str, path: str) -> bytes:
        """See ``counters.Fabric``."""
        data: bytes = await self._link.session().call(READ_FILE, node, path)
        return data

    async def write_file(self, node: str, path: str, data: bytes) -> None:
        """See ``counters.Fabric``."""
        await self._link.session().call(WRITE_FILE, node, path, data)

    async def remove_file(self, node: str, path: str) -> None:
        """See ``counters.Fabric``."""
        await self._link.session().call(REMOVE_FILE, node, path)

    async def list_files(self, node: str, prefix: str) -> list[str]:
        """See ``counters.Fabric``."""
        paths: list[str] = await self._link.session().call(LIST_FILES, node, prefix)
        return paths

    async def watch_files(self, node: str, prefix: str) -> AsyncIterator[str]:
        """See ``counters.Fabric``."""
        _, items = await self._link.session().stream(WATCH_FILES, node, prefix)
        assert items is not None, "a watch answers with items"
        try:
            async for path in items:
                yield path
        finally:
            await items.aclose()

    async def capture(
        self, node: str, netns: str, device: str
    ) -> AsyncGenerator[CapturedFrame, None]:
        """See ``counters.Fabric``."""
        _, items = await self._link.session().stream(CAPTURE, node, netns, device)
        assert items is not None, "a capture answers with items"
        try:
            async for frame in items:
                yield frame
        finally:
            await items.aclose()

    async def walk(self, request: WalkRequest) -> WalkAnswer:
        """See ``counters.Fabric``."""
        answer: WalkAnswer = await self._link.session().call(WALK, request)
        return answer

    async def ask_datagram(
        self,
        node: str,
        netns: str,
        address: str,
        port: int,
        payload: bytes,
        timeout_s: float,
        draw: float | None = None,
    ) -> tuple[WalkAnswer, bytes | None]:
        """See ``counters.Fabric``."""
        answer: tuple[WalkAnswer, bytes | None] = await self._link.session().call(
            ASK_DATAGRAM, node, netns, address, port, payload, timeout_s, draw
        )
        return answer

    async def publications(self) -> list[Publication]:
        """See ``counters.Fabric``."""
        found: list[Publication] = await self._link.session().call(PUBLICATIONS)
        return found
