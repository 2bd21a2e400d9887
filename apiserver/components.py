"""Which rooms are alive, as their Leases tell it (``podwire get components``).

A renewTime is by its holder's clock, which may differ from this server's where rooms run on several
machines. So a server that watches Leases judges by when it saw them renewed, as upstream's node
lifecycle does (pkg/controller/nodelifecycle, nodeHealthData.probeTimestamp); of a Lease that it has
not seen renewed yet, renewTime is all that is known.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from podwire.api import kinds
from podwire.api.times import NS, TimeError, parse_time
from podwire.api.views import Lease
from podwire.client.api import Client
from podwire.client.identity import ROOMS
from podwire.client.leases import COMPONENT, COMPONENT_NAMESPACE, MESSAGE
from podwire.runtime.ports import Clock

NODE_LEASES = "kube-node-lease"

READY, NOT_READY, UNKNOWN, STOPPED, FAILED = "Ready", "NotReady", "Unknown", "Stopped", "Failed"


@dataclass(frozen=True, slots=True)
class Component:
    """One room. ``status`` is Ready, NotReady (alive but kept from its work), Unknown (its Lease
    expired), Stopped (it gave its Lease up) or Failed (its process says so).
    """

    name: str
    status: str
    message: str = ""


class Renewals:
    """When this server saw each Lease renewed, by its own clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[str, int]] = {}

    def observe(self, old: Lease | None, new: Lease | None) -> None:
        """A Lease came, changed or went (an informer's handler)."""
        about = new or old
        assert about is not None, "a change has a before or an after"
        if new is None:
            self._seen.pop(about.key, None)
        elif old is not None and old.spec.renew_time != new.spec.renew_time:
            self._seen[new.key] = (new.spec.renew_time, self._clock.monotonic_ns())

    def silent_s(self, lease: Lease) -> float:
        """Seconds since a Lease was renewed. Raises TimeError when nothing tells."""
        renewed, at_ns = self._seen.get(lease.key, ("", 0))
        if renewed and renewed == lease.spec.renew_time:
            return (self._clock.monotonic_ns() - at_ns) / NS
        return (self._clock.now_ns() - parse_time(lease.spec.renew_time)) / NS


def of_leases(leases: Iterable[Lease], renewals: Renewals) -> dict[str, Component]:
    """The components that hold or held a Lease, by name."""
    found: dict[str, Component] = {}
    for lease in leases:
        meta = lease.metadata
        if meta.namespace == NODE_LEASES:
            name = f"kubelet/{meta.name}"
        elif meta.namespace == COMPONENT_NAMESPACE and COMPONENT in meta.labels:
            name = meta.labels[COMPONENT]
        else:
            continue
        found[name] = _judge(name, lease, renewals)
    return found


def _judge(name: str, lease: Lease, renewals: Renewals) -> Component:
    if not lease.spec.holder_identity:
        return Component(name, STOPPED, "released its Lease")
    try:
        silent_s = renewals.silent_s(lease)
    except TimeError:
        return Component(name, UNKNOWN, "its Lease has no renewTime")
    if silent_s > lease.spec.lease_duration_seconds:
        return Component(name, UNKNOWN, f"its Lease was last renewed {silent_s:.0f}s ago")
    message = lease.metadata.annotations.get(MESSAGE, "")
    return Component(name, NOT_READY if message else READY, message)


async def listing(
    client: Client,
    renewals: Renewals,
    known: Iterable[Component],
    expected: Iterable[str] = (),
) -> dict[str, Any]:
    """The body of the answer: what Leases tell, and what the server ``known`` better itself.

    ``expected`` rooms that never held a Lease are told, too; ``room-NODE`` counts as the room.
    """
    # From the cache, so that it can be told while etcd is away.
    leases = (await client.list(kinds.LEASE, resource_version="0")).items
    found = of_leases(leases, renewals)
    found.update((component.name, component) for component in known)
    for room in expected:
        if not any(name == room or name.startswith(f"{room}-") for name in found):
            found[room] = Component(room, UNKNOWN, "it has not held a Lease yet")
    order = {name: index for index, name in enumerate(("etcd", *ROOMS))}
    shown = sorted(found.values(), key=lambda c: (order.get(c.name.partition("/")[0], 99), c.name))
    return {"items": [asdict(component) for component in shown]}
