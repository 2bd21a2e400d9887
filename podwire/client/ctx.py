"""``ctx``: everything a component is given. Every component is ``async def run(ctx)``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from structlog.typing import FilteringBoundLogger

from podwire.client.counters import Api, Cni, ContainerHost, Fabric, KubeletStreams, Sockets
from podwire.runtime.ports import Clock, Ids, Rng, TraceLog


@dataclass(frozen=True, slots=True)
class Ctx:
    """The world of one component. ``config`` is the room's own settings object."""

    api: Api
    fabric: Fabric
    sockets: Sockets
    cni: Cni
    hosts: tuple[ContainerHost, ...]
    kubelets: KubeletStreams
    clock: Clock
    rng: Rng
    ids: Ids
    trace: TraceLog
    log: FilteringBoundLogger
    config: Any = field(default=None)
