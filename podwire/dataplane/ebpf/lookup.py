"""What every program asks the maps: is this a Service, and which backend takes the client.

Source: cilium bpf/lib/lb.h (lb4_lookup_service, lb4_select_backend_id, affinity helpers).
"""

from __future__ import annotations

from typing import NamedTuple

from podwire.dataplane.cost import Meter
from podwire.dataplane.ebpf import maglev
from podwire.dataplane.ebpf.maps import SECOND_NS, Backend, Ebpf, Frontend, Service
from podwire.dataplane.netfilter.env import Chance


class Found(NamedTuple):
    """A Service that an address belongs to."""

    at: Frontend
    service: Service

    @property
    def words(self) -> str:
        """As a trace names it."""
        return f"lb{6 if ':' in self.at.ip else 4}_services_v2 {self.at}"

    @property
    def rule(self) -> str:
        """What stands for a rule's text: the entry, and the Service behind it."""
        none = "" if self.service.active else " has no endpoints"
        return f'{self.words} --comment "{self.service.name}{none}"'


def asked(meter: Meter | None, maps: int = 1) -> None:
    """Maps are asked, or written to."""
    if meter is not None:
        meter.asked("ebpf map", maps)


def find(
    ebpf: Ebpf, ip: str, port: int, protocol: str, meter: Meter | None, *, inside: bool
) -> Found | None:
    """The Service at an address; ``inside`` prefers what the cluster's own clients are to see."""
    at = Frontend(ip, port, protocol)
    asked(meter)
    service = ebpf.services.get(at)
    if service is not None and inside and service.has("two-scopes"):
        inner = at._replace(internal=True)
        asked(meter)
        within = ebpf.services.get(inner)
        if within is not None:
            return Found(inner, within)
    return Found(at, service) if service is not None else None


def sticky(ebpf: Ebpf, found: Found, client: str, now_ns: int, meter: Meter | None) -> int:
    """The backend that a client is to keep, 0 if none (any longer)."""
    service = found.service
    key = (client, service.id)
    asked(meter)
    known = ebpf.affinity.get(key)
    if known is None:
        return 0
    asked(meter)
    backend, used_ns = known
    expired = used_ns + service.affinity_s * SECOND_NS <= now_ns
    if expired or (service.id, backend) not in ebpf.affinity_match:
        del ebpf.affinity[key]
        return 0
    return backend if backend in ebpf.backends else 0


def keep(
    ebpf: Ebpf, found: Found, client: str, backend: int, now_ns: int, meter: Meter | None
) -> None:
    """A client's backend, used now."""
    asked(meter)
    ebpf.affinity[client, found.service.id] = (backend, now_ns)


def by_slot(ebpf: Ebpf, found: Found, slot: int, meter: Meter | None) -> int:
    """The backend in a slot (from 1), 0 if the slot is empty."""
    asked(meter)
    return ebpf.slots.get((found.at, slot), 0)


def choose(
    ebpf: Ebpf,
    found: Found,
    flow: tuple[str, int, str, int, str],
    chance: Chance,
    meter: Meter | None,
) -> int:
    """A backend for a new flow from outside: Maglev's, or a random one; 0 if there is none."""
    table = ebpf.maglev.get(found.service.id)
    algorithm = found.service.algorithm
    wanted = ebpf.config.get("algorithm", "random") if algorithm == "undef" else algorithm
    if wanted == "maglev" and table:
        asked(meter, 2)  # a map of maps
        sport = 0 if found.service.affinity_s else flow[1]
        spread = (flow[0], sport, *flow[2:])
        return table[maglev.slot(spread, len(table))]
    slot = chance.choose(str(found.at), found.service.active) + 1
    return by_slot(ebpf, found, slot, meter)


def backend(ebpf: Ebpf, number: int, meter: Meter | None) -> Backend | None:
    """A backend by its id."""
    if number:
        asked(meter)
    return ebpf.backends.get(number)
