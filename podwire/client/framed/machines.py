"""Power buttons and kubelets of nodes, for an API server that is not their process.

No counter of Kubernetes: the fabric has the power of its nodes, a kubelet room the kubelets.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from podwire.client.framed.methods import Method, Table

POWER = Method("machines.power", tuple[str, bool | None], bool)
"""(node, on): switch it, or only look (None); whether it has power now. Raises LookupError."""

KUBELET = Method("machines.kubelet", tuple[str, bool | None], bool)
"""(node, run): start or stop its kubelet, or only look (None); whether it runs now."""

Switch = Callable[[str, bool | None], Coroutine[Any, Any, bool]]


def serve_power(table: Table, switch: Switch) -> None:
    """Let the API server switch nodes on and off."""
    table.unary(POWER, switch)


def serve_switches(table: Table, switch: Switch) -> None:
    """Let the API server start and stop kubelets."""
    table.unary(KUBELET, switch)
