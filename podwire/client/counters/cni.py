"""Counter 4: a plugin is executed: environment and stdin in, stdout and exit code out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class CniOutput:
    """What a plugin process left: stdout (JSON) and exit code."""

    stdout: bytes
    code: int


class Cni(Protocol):
    """Counter 4: executes a plugin binary on a node (CNI spec 1.1)."""

    async def execute(
        self, node: str, plugin: str, env: Mapping[str, str], stdin: bytes
    ) -> CniOutput:
        """Run ``plugin`` with CNI_* in ``env`` and the configuration on stdin."""

    async def available(self) -> None:
        """Wait until plugins can be executed: at once where they are in the same process.

        For callers who must be free to give up before they begin what is not to be interrupted.
        """
