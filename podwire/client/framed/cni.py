"""Counter 4 over a session: CNI plugins that run in the room that has them."""

from __future__ import annotations

from collections.abc import Mapping

from podwire.client.counters import Cni, CniOutput
from podwire.client.framed.methods import Method, Table
from podwire.client.framed.session import Connection

EXECUTE = Method("cni.execute", tuple[str, str, dict[str, str], bytes], CniOutput)


def serve_cni(table: Table, cni: Cni) -> None:
    """Let a kubelet execute plugins."""
    table.unary(EXECUTE, cni.execute)


class FramedCni:
    """Counter 4 at the other end of a link."""

    def __init__(self, link: Connection) -> None:
        self._link = link

    async def execute(
        self, node: str, plugin: str, env: Mapping[str, str], stdin: bytes
    ) -> CniOutput:
        """See ``counters.Cni``. Waits while the room with the plugins is away, as a pod waits for
        a plugin that is slow.
        """
        session = await self._link.connected()
        output: CniOutput = await session.call(EXECUTE, node, plugin, dict(env), stdin)
        return output
