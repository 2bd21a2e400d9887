"""Counter 4 over a session: CNI plugins that run in the room that has them.

A room that is lost while it executes a plugin has failed to execute it: kubelet gets what such a
plugin would have left, the specification's "try again later".
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from podwire.client.counters import Cni, CniOutput
from podwire.client.framed.methods import Method, Table
from podwire.client.framed.session import Connection

TRY_AGAIN = 11

EXECUTE = Method("cni.execute", tuple[str, str, dict[str, str], bytes], CniOutput)


def serve_cni(table: Table, cni: Cni) -> None:
    """Let a kubelet execute plugins."""
    table.unary(EXECUTE, cni.execute)


class _Configuration(msgspec.Struct):
    cniVersion: str = ""  # noqa: N815  the specification's name


class FramedCni:
    """Counter 4 at the other end of a link."""

    def __init__(self, link: Connection) -> None:
        self._link = link

    async def execute(
        self, node: str, plugin: str, env: Mapping[str, str], stdin: bytes
    ) -> CniOutput:
        """See ``counters.Cni``. Waits while the room with the plugins is away, as for a plugin
        that is slow.
        """
        session = await self._link.connected()
        try:
            output: CniOutput = await session.call(EXECUTE, node, plugin, dict(env), stdin)
        except ConnectionError as error:  # of this link, or of that room's own to the fabric
            return _try_again(stdin, error)
        return output

    async def available(self) -> None:
        """See ``counters.Cni``."""
        await self._link.connected()


def _try_again(stdin: bytes, error: ConnectionError) -> CniOutput:
    """The error document of a plugin that was interrupted. Source: CNI specification 1.1.0,
    section 5 "Error" and its code 11.
    """
    document = {
        "cniVersion": _version(stdin),
        "code": TRY_AGAIN,
        "msg": "the plugin was interrupted",
        "details": str(error),
    }
    return CniOutput(msgspec.json.encode(document), 1)


def _version(stdin: bytes) -> str:
    try:
        return msgspec.json.decode(stdin, type=_Configuration).cniVersion
    except (msgspec.DecodeError, msgspec.ValidationError):
        return ""
