"""Nodes as machines: what the API server asks of whoever holds their power buttons.

No counter: in life a person or a cloud does it, not a component of Kubernetes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec

from podwire.api.status import ApiError
from podwire.api.untrusted import decoded
from podwire.apiserver import answers
from podwire.client.counters import Request, Response


@dataclass(frozen=True, slots=True)
class MachineState:
    """Whether a node has power, and whether its kubelet runs."""

    node: str
    powered: bool
    kubelet: bool


class Machines(Protocol):
    """Power buttons and kubelets of all nodes. All calls are idempotent.

    They raise LookupError for an unknown node.
    """

    async def stop_kubelet(self, node: str) -> MachineState:
        """The kubelet process ends, and its programs with it; the kernel goes on."""

    async def start_kubelet(self, node: str) -> MachineState:
        """It starts. Raises ConnectionError when the node has no power."""

    async def power_off(self, node: str, *, graceful: bool = False) -> MachineState:
        """Pull the plug: kernel, kubelet and programs are gone, the disk stays.

        ``graceful``: as ``systemctl poweroff`` does, the kubelet ends its pods before.
        """

    async def power_on(self, node: str) -> MachineState:
        """Boot, with a new boot id; the kubelet starts."""


POWER_OFF = ("systemctl", "poweroff")
"""What a graceful shutdown runs on the node: it returns when the kubelet lets the power go."""


class _Power(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    power: Literal["on", "off"]
    graceful: bool = False
    """Of "off": let the kubelet end its pods before."""


class _Kubelet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kubelet: Literal["running", "stopped"]


async def power(machines: Machines, node: str, request: Request) -> Response:
    """POST nodes/NODE/power {"power": "on" | "off", "graceful": BOOL}.

    Raises ApiError, LookupError.
    """
    try:
        asked = decoded(request.body, _Power)
    except ValueError as error:
        raise ApiError("BadRequest", f"power: {error}") from error
    if asked.power == "on":
        return _answer(await machines.power_on(node))
    return _answer(await machines.power_off(node, graceful=asked.graceful))


async def kubelet(machines: Machines, node: str, request: Request) -> Response:
    """POST nodes/NODE/kubelet {"kubelet": "running" | "stopped"}. Raises ApiError, LookupError."""
    try:
        run = decoded(request.body, _Kubelet).kubelet == "running"
    except ValueError as error:
        raise ApiError("BadRequest", f"kubelet: {error}") from error
    try:
        state = await (machines.start_kubelet(node) if run else machines.stop_kubelet(node))
    except ConnectionError as error:
        raise ApiError("Conflict", f"{error}; switch it on first") from error
    return _answer(state)


def _answer(state: MachineState) -> Response:
    return answers.json(
        {
            "node": state.node,
            "power": "on" if state.powered else "off",
            "kubelet": "running" if state.kubelet else "stopped",
        }
    )
