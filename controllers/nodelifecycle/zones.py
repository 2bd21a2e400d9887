"""Zones, their disruption states and the rates at which their nodes are tainted (pure).

Source: kubernetes pkg/controller/nodelifecycle (handleDisruption, ComputeZoneState,
ReducedQPSFunc), its scheduler/rate_limited_queue.go, and component-helpers/node/topology.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from podwire.api.times import NS
from podwire.api.views import Node
from podwire.controllers.config import ControllersConfig

EXCLUDED = "node.kubernetes.io/exclude-disruption"
"""A node with this label counts in no zone."""
_REGION = ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region")
_ZONE = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")
_FEW = 2
"""So many nodes of a zone may be down without disrupting it, whatever their share."""


class ZoneState(StrEnum):
    """How much of a zone is down."""

    INITIAL = "Initial"
    NORMAL = "Normal"
    PARTIAL = "PartialDisruption"
    FULL = "FullDisruption"


class Change(StrEnum):
    """What a pass did to the cluster as a whole."""

    NONE = "none"
    ENTERED = "entered full disruption"
    LEFT = "left full disruption"


def zone_key(node: Node) -> str:
    """Region and zone in upstream's form; "" for a node that has neither label."""
    labels = node.metadata.labels
    region, zone = (labels.get(new) or labels.get(old, "") for new, old in (_REGION, _ZONE))
    return f"{region}:\x00:{zone}" if region or zone else ""


def zone_state(statuses: Sequence[str], threshold: float) -> ZoneState:
    """The state of a zone by the Ready statuses of its nodes (at least one)."""
    ready = sum(status == "True" for status in statuses)
    lost = len(statuses) - ready
    if not ready and lost:
        return ZoneState.FULL
    if lost > _FEW and lost / len(statuses) >= threshold:
        return ZoneState.PARTIAL
    return ZoneState.NORMAL


@dataclass(slots=True)
class Limiter:
    """A token bucket of one token (EvictionRateLimiterBurst). Rate 0 never gives one."""

    rate: float
    """Tokens per second."""
    ready_ns: int = 0
    """When the next token is there."""

    def accept(self, now_ns: int) -> bool:
        """Take the token, if it is there."""
        if self.rate <= 0 or now_ns < self.ready_ns:
            return False
        self.ready_ns = now_ns + round(NS / self.rate)
        return True

    def swapped(self, rate: float, now_ns: int) -> Limiter:
        """The limiter of another rate; empty if this one is (SwapLimiter)."""
        if rate == self.rate:
            return self
        fresh = Limiter(rate, now_ns)
        if not self.accept(now_ns):
            fresh.accept(now_ns)
        return fresh


@dataclass(slots=True)
class Zone:
    """A zone's rate, and the nodes that wait for their NoExecute taint, first come first."""

    limiter: Limiter
    queue: dict[str, None] = field(default_factory=dict)


class Zones:
    """All zones, those seen earlier included."""

    def __init__(self, config: ControllersConfig) -> None:
        self._config = config
        self.by_key: dict[str, Zone] = {}
        self._states: dict[str, ZoneState] = {}
        """States of the zones that have nodes now."""

    def of(self, node: Node) -> Zone:
        """The zone of a node; a new one has the normal rate and a token."""
        key = zone_key(node)
        zone = self.by_key.get(key)
        if zone is None:
            zone = self.by_key[key] = Zone(Limiter(self._config.node_eviction_rate))
        return zone

    def state(self, key: str) -> ZoneState:
        """The state of a zone by the last pass."""
        return self._states.get(key, ZoneState.INITIAL)

    def enqueue(self, node: Node) -> None:
        """Let a node wait for its taint; its place is kept when it waits already."""
        zone = self.of(node)
        for other in self.by_key.values():
            if other is not zone:
                other.queue.pop(node.metadata.name, None)
        zone.queue.setdefault(node.metadata.name)

    def dequeue(self, name: str) -> None:
        """A node is not to be tainted after all."""
        for zone in self.by_key.values():
            zone.queue.pop(name, None)

    def take(self, now_ns: int) -> list[str]:
        """Nodes whose turn it is; each costs its zone a token."""
        taken: list[str] = []
        for zone in self.by_key.values():
            while zone.queue and zone.limiter.accept(now_ns):
                name = next(iter(zone.queue))
                del zone.queue[name]
                taken.append(name)
        return taken

    def next_ns(self) -> int | None:
        """When ``take`` will give something again, if ever."""
        waiting = [z.limiter for z in self.by_key.values() if z.queue and z.limiter.rate > 0]
        return min((limiter.ready_ns for limiter in waiting), default=None)

    def judge(self, statuses: Mapping[str, Sequence[str]], now_ns: int) -> Change:
        """Take in the Ready statuses per zone of one pass and set every zone's rate.

        With no Ready node in any zone the control plane suspects itself: no rate at all.
        """
        fresh = {
            key: zone_state(found, self._config.unhealthy_zone_threshold)
            for key, found in statuses.items()
        }
        before = {key: self._states.get(key, ZoneState.INITIAL) for key in fresh}
        all_are = all(state is ZoneState.FULL for state in fresh.values())
        all_were = all(state is ZoneState.FULL for state in before.values())
        self._states = fresh
        if all_are and all_were:
            return Change.NONE
        for key, state in fresh.items():
            if not all_are and not all_were and state is before[key]:
                continue
            zone = self.by_key[key]
            rate = 0.0 if all_are else self._rate(state, len(statuses[key]))
            zone.limiter = zone.limiter.swapped(rate, now_ns)
        if all_are:
            return Change.ENTERED
        return Change.LEFT if all_were else Change.NONE

    def _rate(self, state: ZoneState, size: int) -> float:
        config = self._config
        if state is not ZoneState.PARTIAL:
            return config.node_eviction_rate
        large = size > config.large_cluster_size_threshold
        return config.secondary_node_eviction_rate if large else 0.0
