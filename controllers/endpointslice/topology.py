"""Hints by each zone's share of the CPUs: service.kubernetes.io/topology-mode: Auto (pure).

Source: kubernetes staging endpointslice/topologycache. Where upstream takes zones as a map gives
them, here they come by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Protocol

from podwire.api import quantity
from podwire.api.view import JSON
from podwire.api.views import EndpointSlice, Node, Service

ZONE = "topology.kubernetes.io/zone"
OVERLOAD = 0.2
"""So much more than its share an endpoint may have to bear."""
_ANNOTATIONS = ("service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode")
_CONTROL_PLANE = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
_INSUFFICIENT = (
    "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"
)
_EXCEEDS = (
    "Unable to allocate minimum required endpoints to each zone "
    "without exceeding overload threshold"
)

Shares = Mapping[str, float]
"""Zone -> its part of all CPUs."""


class Slice(Protocol):
    """A slice being worked on; ``changed``: it is written anyway."""

    stored: EndpointSlice | None
    endpoints: dict[str, JSON]
    changed: bool


def enabled(service: Service) -> bool:
    """Whether a Service asks for these hints; then spec.trafficDistribution counts for nothing."""
    notes = service.metadata.annotations
    return next((notes[n] for n in _ANNOTATIONS if n in notes), "") in {"Auto", "auto"}


def facts(node: Node | None) -> tuple[object, ...]:
    """What of a node decides about shares."""
    if node is None:
        return ()
    labels = node.metadata.labels
    hidden = any(name in labels for name in _CONTROL_PLANE)
    ready = any(c.type == "Ready" and c.status == "True" for c in node.status.conditions)
    return labels.get(ZONE, ""), node.status.allocatable.get("cpu", "0"), ready, hidden


def shares(nodes: Iterable[Node]) -> Shares:
    """Each zone's share of the CPUs of the ready nodes; {} when they do not tell (SetNodes)."""
    cpus: dict[str, int] = {}
    for node in nodes:
        zone, cpu, ready, hidden = facts(node)
        if hidden or not ready:
            continue
        milli = quantity.milli(str(cpu))
        if not zone or not milli:
            return {}
        cpus[str(zone)] = cpus.get(str(zone), 0) + milli
    total = sum(cpus.values())
    return {z: cpus[z] / total for z in sorted(cpus)} if len(cpus) > 1 else {}


@dataclass(frozen=True, slots=True)
class _Allocation:
    minimum: int
    maximum: int
    desired: float


@dataclass(slots=True)
class Topology:
    """Which Services have hints, and how many endpoints each zone has by them."""

    given: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    """Service -> address type -> zone -> endpoints."""

    def forget(self, service: str, family: str = "") -> bool:
        """A Service has no hints any more (in one family); whether it had any."""
        found = self.given.get(service)
        if found is None:
            return False
        found.pop(family, None)
        if not found or not family:
            del self.given[service]
        return True

    def overloaded(self, of: Shares) -> list[str]:
        """The Services whose endpoints do not suit the zones any more."""
        return [
            key
            for key, families in self.given.items()
            if any(_overloaded(zones, of) for zones in families.values())
        ]

    def hint(
        self, service: str, family: str, slices: Sequence[Slice], of: Shares
    ) -> tuple[str, str, str] | None:
        """Write hints into slices (AddHints), or take them all off.

        The event to tell of: (type, reason, message).
        """
        before = service in self.given
        zones = _assign(slices, of)
        if isinstance(zones, str):
            self.forget(service, family)
            for item in slices:
                _bare(item)
            return "Warning", "TopologyAwareHintsDisabled", f"{zones}, addressType: {family}"
        self.given.setdefault(service, {})[family] = zones
        if before:
            return None
        told = f"Topology Aware Hints has been enabled, addressType: {family}"
        return "Normal", "TopologyAwareHintsEnabled", told


def _bare(item: Slice) -> None:
    for uid, made in item.endpoints.items():
        if "hints" in made:
            item.endpoints[uid] = {k: v for k, v in made.items() if k != "hints"}
            item.changed = True


def _ready(item: Slice) -> list[tuple[str, JSON]]:
    return [(uid, made) for uid, made in item.endpoints.items() if made["conditions"].get("ready")]


def _assign(slices: Sequence[Slice], of: Shares) -> dict[str, int] | str:
    """Endpoints per zone, or why there are no hints."""
    count = sum(len(_ready(item)) for item in slices)
    allocations = _allocations(count, of)
    if isinstance(allocations, str):
        return allocations
    zones = _kept(slices, allocations)
    created = [item for item in slices if item.stored is None]
    changed = [item for item in slices if item.stored is not None and item.changed]
    for item in (*created, *changed):
        for uid, made in _ready(item):
            zone = made.get("zone", "")
            if not zone:
                return "One or more endpoints do not have a zone specified"
            zones[zone] = zones.get(zone, 0) + 1
            item.endpoints[uid] = {**made, "hints": {"forZones": [{"name": zone}]}}
    giving, receiving = _moves(allocations, zones)
    for zone, number in _redistribute((*created, *changed), giving, receiving).items():
        zones[zone] = zones.get(zone, 0) + number
    return zones or "No hints allocated for zones"


def _allocations(count: int, of: Shares) -> dict[str, _Allocation] | str:
    """How many endpoints each zone is due (getAllocations)."""
    if not of:
        return _INSUFFICIENT
    if len(of) == 1:
        return "Nodes only ready in one zone"
    told = f"({count} endpoints, {len(of)} zones)"
    if len(of) > count:
        return f"Insufficient number of endpoints {told}"
    due = {zone: ratio * count for zone, ratio in of.items()}
    least = {zone: ceil(wanted * (1 / (1 + OVERLOAD))) for zone, wanted in due.items()}
    total = sum(least.values())
    if total > count:
        return f"{_EXCEEDS} {told}"
    return {
        zone: _Allocation(least[zone], least[zone] + count - total, max(due[zone], least[zone]))
        for zone in of
    }


def _kept(slices: Sequence[Slice], allocations: Mapping[str, _Allocation]) -> dict[str, int]:
    """The hints of slices that can stay as they are; others are to be changed."""
    zones: dict[str, int] = {}
    for item in slices:
        if item.stored is None or item.changed:
            continue
        found = _hinted(item, zones, allocations)
        if found is None:
            item.changed = True
            continue
        for zone, number in found.items():
            zones[zone] = zones.get(zone, 0) + number
    return zones


def _hinted(
    item: Slice, taken: Mapping[str, int], allocations: Mapping[str, _Allocation]
) -> dict[str, int] | None:
    """A slice's hints by zone; None when they do not suit (getHintsByZone)."""
    found: dict[str, int] = {}
    for _, made in _ready(item):
        names = [zone["name"] for zone in made.get("hints", {}).get("forZones", ())]
        if not names or any(name not in allocations for name in names):
            return None
        for name in names:
            found[name] = found.get(name, 0) + 1
    for zone, number in found.items():
        if number + taken.get(zone, 0) > allocations[zone].maximum:
            return None
    return found


def _moves(
    allocations: Mapping[str, _Allocation], zones: Mapping[str, int]
) -> tuple[dict[str, int], dict[str, int]]:
    """How many endpoints zones give and receive (getGivingAndReceivingZones)."""
    over: dict[str, float] = {}
    under: dict[str, float] = {}
    for zone, allocation in allocations.items():
        left = zones.get(zone, 0) - allocation.desired
        if left > 0:
            over[zone] = left
        elif left < 0:
            under[zone] = -left
    giving: dict[str, int] = {}
    receiving: dict[str, int] = {}
    while over and under:
        giver, receiver = max(over, key=over.__getitem__), max(under, key=under.__getitem__)
        most, least = max(over[giver], under[receiver]), min(over[giver], under[receiver])
        if most < 1.0 or least < 0.5:
            break
        giving[giver] = giving.get(giver, 0) + 1
        receiving[receiver] = receiving.get(receiver, 0) + 1
        over[giver] -= 1
        under[receiver] -= 1
    return giving, receiving


def _redistribute(
    slices: Sequence[Slice], giving: dict[str, int], receiving: dict[str, int]
) -> dict[str, int]:
    """Let endpoints of giving zones serve receiving ones; what that changes by zone."""
    moved: dict[str, int] = {}
    for item in slices:
        for uid, made in _ready(item):
            zone = made["zone"]
            if not giving.get(zone) or not receiving:
                continue
            to = next(iter(receiving))
            item.endpoints[uid] = {**made, "hints": {"forZones": [{"name": to}]}}
            giving[zone] -= 1
            receiving[to] -= 1
            if not receiving[to]:
                del receiving[to]
            moved[to] = moved.get(to, 0) + 1
            moved[zone] = moved.get(zone, 0) - 1
    return moved


def _overloaded(zones: Mapping[str, int], of: Shares) -> bool:
    if not zones:
        return False
    total = sum(zones.values())
    return not of or any(
        zones.get(zone, 0) < ceil(total * ratio * (1 / (1 + OVERLOAD)))
        for zone, ratio in of.items()
    )
