"""Which tools exist, by the name people type."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from podwire.dataplane.kernel import Kernel

Result = tuple[str, str, int]
Tool = Callable[["Kernel", str, list[str], str, int], Result]

TOOLS: dict[str, Tool] = {}


def run(kernel: Kernel, netns: str, argv: list[str], stdin: str, now_ns: int) -> Result:
    """Run a tool in a namespace: (stdout, stderr, exit code). Unknown ones exit 127."""
    name = argv[0].rsplit("/", 1)[-1] if argv else ""
    tool = TOOLS.get(name)
    if tool is None:
        return "", f"{name}: command not modelled\n", 127
    return tool(kernel, netns, argv[1:], stdin, now_ns)
