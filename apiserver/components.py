"""Which rooms are alive, as their Leases tell it (``podwire get components``)."""

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


def of_leases(leases: Iterable[Lease], now_ns: int) -> dict[str, Component]:
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
        found[name] = _judge(name, lease, now_ns)
    return found


def _judge(name: str, lease: Lease, now_ns: int) -> Component:
    if not lease.spec.holder_identity:
        return Component(name, STOPPED, "released its Lease")
    try:
        renewed_ns = parse_time(lease.spec.renew_time)
    except TimeError:
        return Component(name, UNKNOWN, "its Lease has no renewTime")
    late_s = (now_ns - renewed_ns) / NS - lease.spec.lease_duration_seconds
    if late_s > 0:
        silent_s = late_s + lease.spec.lease_duration_seconds
        return Component(name, UNKNOWN, f"its Lease was last renewed {silent_s:.0f}s ago")
    message = lease.metadata.annotations.get(MESSAGE, "")
    return Component(name, NOT_READY if message else READY, message)


async def listing(client: Client, clock: Clock, known: Iterable[Component]) -> dict[str, Any]:
    """The body of the answer: what Leases tell, and what the server ``known`` better itself."""
    # From the cache, so that it can be told while etcd is away.
    leases = (await client.list(kinds.LEASE, resource_version="0")).items
    found = of_leases(leases, clock.now_ns())
    found.update((component.name, component) for component in known)
    order = {name: index for index, name in enumerate(("etcd", *ROOMS))}
    shown = sorted(found.values(), key=lambda c: (order.get(c.name.partition("/")[0], 99), c.name))
    return {"items": [asdict(component) for component in shown]}
