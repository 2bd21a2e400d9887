"""One execution of one plugin: what it was asked, and the world it may touch.

A plugin keeps nothing in memory between two calls: its state is the node's kernel and the node's
disk, both reached through the fabric counter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from podwire.api.view import JSON
from podwire.client.counters import Fabric
from podwire.cni.spec import INVALID_CONFIG, CniError
from podwire.dataplane.commands import Command, CommandError
from podwire.runtime.ports import Rng

EXISTS = ("File exists", "already assigned")
ABSENT = ("Cannot find device", "No such", "does not exist", "Cannot assign", "not found")


@dataclass(slots=True)
class World:
    """What plugin executions share: the counters, and the lock files of the nodes."""

    fabric: Fabric
    rng: Rng
    locks: dict[tuple[str, str], asyncio.Lock] = field(default_factory=dict)

    def lock(self, node: str, path: str) -> asyncio.Lock:
        """The advisory lock that plugins of a node take on a path (``flock`` in life)."""
        return self.locks.setdefault((node, path), asyncio.Lock())


@dataclass(frozen=True, slots=True)
class Call:
    """A plugin execution. ``netns`` is the namespace's name, "" when the runtime gave none."""

    verb: str
    node: str
    plugin: str
    container_id: str
    netns_path: str
    ifname: str
    conf: JSON
    world: World
    args: str = ""

    @property
    def netns(self) -> str:
        """``cni-<uuid>`` of ``/var/run/netns/cni-<uuid>``."""
        return self.netns_path.rpartition("/")[2]

    @property
    def network(self) -> str:
        """The network's name."""
        return str(self.conf.get("name", ""))

    @property
    def version(self) -> str:
        """The configuration's cniVersion."""
        return str(self.conf.get("cniVersion") or "0.1.0")

    def delegate(self, plugin: str, conf: JSON) -> Call:
        """The same call for another plugin, with its own configuration."""
        return replace(self, plugin=plugin, conf=conf)

    async def run(self, commands: Sequence[Command]) -> None:
        """Kernel commands on this call's node. Raises CommandError."""
        await self.world.fabric.execute(self.node, commands)

    async def ensure(self, command: Command) -> bool:
        """Run a command whose object may be there already; True when it was not."""
        try:
            await self.run([command])
        except CommandError as error:
            if not any(word in str(error) for word in EXISTS):
                raise
            return False
        return True

    async def drop(self, command: Command) -> bool:
        """Run a deletion whose object may be gone; True when it was there."""
        try:
            await self.run([command])
        except CommandError as error:
            if not any(word in str(error) for word in ABSENT):
                raise
            return False
        return True


class Plugin(Protocol):
    """A CNI plugin. ``add`` answers with a result in 1.1.0 form."""

    async def add(self, call: Call) -> JSON:
        """ADD. Raises CniError, CommandError."""

    async def delete(self, call: Call) -> None:
        """DEL: succeeds when there is nothing (left) to undo."""

    async def check(self, call: Call) -> None:
        """CHECK: raises CniError when the container is not as ADD left it."""

    async def collect(self, call: Call) -> None:
        """GC: give back what belongs to no attachment in ``cni.dev/valid-attachments``."""

    async def status(self, call: Call) -> None:
        """STATUS: raises CniError 50 or 51 when the plugin cannot serve ADD."""


def not_modelled(what: str) -> CniError:
    """The refusal of an option that podwire does not model."""
    return CniError(INVALID_CONFIG, f"{what} is not modelled")


def mac_of(rng: Rng) -> str:
    """A locally administered unicast address."""
    first, *rest = rng.bytes(6)
    return ":".join(f"{octet:02x}" for octet in (first & 0xFC | 0x02, *rest))
