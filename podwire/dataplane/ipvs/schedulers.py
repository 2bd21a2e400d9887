"""The schedulers: which real server gets the next connection.

Each is a function of a service, the packet's client and destination, and the time; it may change
the service's ``memory``. Sources: Linux net/netfilter/ipvs/ip_vs_{rr,wrr,lc,wlc,lblc,lblcr,sh,dh,
sed,nq,mh,fo,ovf}.c. ``service.dests`` are newest first, which is the order they go through.
"""

from __future__ import annotations

from collections.abc import Callable
from math import gcd
from typing import NamedTuple

from podwire.dataplane.addr import ip_int
from podwire.dataplane.ipset.address import number
from podwire.dataplane.ipvs.model import Address, Dest, Service
from podwire.dataplane.ipvs.siphash import hsiphash_u32

HASH_BITS = 8
"""sh and dh have 256 buckets (CONFIG_IP_VS_SH_TAB_BITS)."""
GOLDEN_32 = 0x61C88647
MAGLEV_SIZE = 4093
"""CONFIG_IP_VS_MH_TAB_INDEX 12: the fifth prime."""
MAGLEV_BITS = 6
MAGLEV_KEYS = (2654435761, 2654446892)


class Ask(NamedTuple):
    """The connection to be scheduled: client, port, virtual address; when; how long lblc and
    lblcr keep what they chose, in ns.
    """

    client: str
    port: int
    virtual: str
    now_ns: int
    keep_ns: int = 86400 * 1_000_000_000


Scheduler = Callable[[Service, Ask], Dest | None]


def _rr(service: Service, _ask: Ask) -> Dest | None:
    """Round robin: the next one in the list that takes connections."""
    dests = service.dests
    start = _position(service) + 1
    for step in range(len(dests)):
        dest = dests[(start + step) % len(dests)]
        if dest.usable:
            service.memory.last = dest.at
            return dest
    return None


def _position(service: Service) -> int:
    """Where the list stands: the index of the server chosen last, -1 at its head."""
    last = service.memory.last
    return next((i for i, dest in enumerate(service.dests) if dest.at == last), -1)


def _wrr(service: Service, _ask: Ask) -> Dest | None:
    """Weighted round robin: pass after pass over those whose weight reaches a falling mark."""
    dests, memory = service.dests, service.memory
    weights = [dest.weight for dest in dests if dest.weight > 0]
    step = gcd(*weights) if weights else 1
    highest = max(weights, default=0) - (step - 1)
    if highest <= 0:
        return None
    if memory.current > highest or memory.current <= 0:
        memory.current = highest
    position = _position(service)
    for _ in range(2 * (highest // step + 2)):
        for index in range(position + 1, len(dests)):
            dest = dests[index]
            if not dest.overloaded and dest.weight >= memory.current:
                memory.last = dest.at
                return dest
        position = -1
        memory.current -= step
        if memory.current <= 0:
            memory.current = highest
    return None


def _least(service: Service, load: Callable[[Dest], int], *, weighted: bool = True) -> Dest | None:
    """The least loaded (by weight); the first of equals. Loads are compared without division."""
    best: Dest | None = None
    for dest in service.dests:
        if not dest.usable:
            continue
        if best is None:
            best = dest
            continue
        mine, theirs = (best.weight, dest.weight) if weighted else (1, 1)
        if load(best) * theirs > load(dest) * mine:
            best = dest
    return best


def _overhead(dest: Dest) -> int:
    """An active connection counts as much as 256 inactive ones (ip_vs_dest_conn_overhead)."""
    return (dest.active << 8) + dest.inactive


def _lc(service: Service, _ask: Ask) -> Dest | None:
    """Least connections."""
    return _least(service, _overhead, weighted=False)


def _wlc(service: Service, _ask: Ask) -> Dest | None:
    """Weighted least connections."""
    return _least(service, _overhead)


def _sed(service: Service, _ask: Ask) -> Dest | None:
    """Shortest expected delay: as if the connection were there already."""
    return _least(service, lambda dest: dest.active + 1)


def _nq(service: Service, ask: Ask) -> Dest | None:
    """Never queue: an idle one first, else shortest expected delay."""
    idle = next((dest for dest in service.dests if dest.usable and dest.active == 0), None)
    return idle if idle is not None else _sed(service, ask)


def _fo(service: Service, _ask: Ask) -> Dest | None:
    """Weighted failover: the heaviest that is not overloaded."""
    best: Dest | None = None
    for dest in service.dests:
        if dest.usable and (best is None or dest.weight > best.weight):
            best = dest
    return best


def _ovf(service: Service, _ask: Ask) -> Dest | None:
    """Weighted overflow: the heaviest with fewer active connections than its weight."""
    best: Dest | None = None
    for dest in service.dests:
        fits = dest.usable and dest.active < dest.weight
        if fits and (best is None or dest.weight > best.weight):
            best = dest
    return best


# ---------------------------------------------------------------- hashing


def _fold(ip: str) -> int:
    """An address in 32 bits."""
    if ":" not in ip:
        return ip_int(ip)
    value = number(ip, "inet6")
    return (value >> 96 ^ value >> 64 ^ value >> 32 ^ value) & 0xFFFFFFFF


def _hash_32(value: int, bits: int) -> int:
    return ((value & 0xFFFFFFFF) * GOLDEN_32 & 0xFFFFFFFF) >> (32 - bits)


def _buckets(service: Service, *, weighted: bool) -> tuple[Address | None, ...]:
    """256 buckets dealt out in turn, as many in a row as a server weighs."""
    dests = service.dests
    size = 1 << HASH_BITS
    if not dests:
        return (None,) * size
    found: list[Address | None] = []
    index = dealt = 0
    for _ in range(size):
        dest = dests[index % len(dests)]
        found.append(dest.at)
        dealt += 1
        if not weighted or dealt >= dest.weight:
            index, dealt = index + 1, 0
    return tuple(found)


def _in_bucket(service: Service, at: Address | None) -> Dest | None:
    return service.dest(at) if at is not None else None


def _dh(service: Service, ask: Ask) -> Dest | None:
    """Destination hashing."""
    if service.memory.table is None:
        service.memory.table = _buckets(service, weighted=False)
    dest = _in_bucket(service, service.memory.table[_hash_32(_fold(ask.virtual), HASH_BITS)])
    return dest if dest is not None and dest.usable else None


def _sh(service: Service, ask: Ask) -> Dest | None:
    """Source hashing; with sh-fallback another bucket when the server takes nothing."""
    if service.memory.table is None:
        service.memory.table = _buckets(service, weighted=True)
    table, size = service.memory.table, 1 << HASH_BITS
    port = ask.port if "sh-port" in service.flags else 0
    first = _hash_32(port + _fold(ask.client), HASH_BITS)
    dest = _in_bucket(service, table[first])
    if dest is None or dest.usable or "sh-fallback" not in service.flags:
        return dest if dest is not None and dest.usable else None
    for offset in range(size):
        dest = _in_bucket(service, table[(first + (offset + first) % size) % size])
        if dest is None or dest.usable:
            return dest
    return None


def _maglev(service: Service) -> tuple[Address | None, ...]:
    """Maglev's lookup table: each server takes the free places it likes best, in turns of as
    many as it weighs (ip_vs_mh_permutate, ip_vs_mh_populate).
    """
    dests = [dest for dest in service.dests if dest.last_weight > 0]
    if not dests:
        return (None,) * MAGLEV_SIZE
    step = gcd(*(dest.last_weight for dest in dests))
    heaviest = max(dest.last_weight for dest in dests) // step
    shift = max(heaviest.bit_length() - MAGLEV_BITS, 0)
    places = []
    for dest in dests:
        word = dest.at.port + _fold(dest.at.ip)
        offset = hsiphash_u32(word, MAGLEV_KEYS[0]) % MAGLEV_SIZE
        skip = hsiphash_u32(word, MAGLEV_KEYS[1]) % (MAGLEV_SIZE - 1) + 1
        turns = (dest.last_weight // step) >> shift or 1
        places.append([offset, skip, turns])
    table: list[Address | None] = [None] * MAGLEV_SIZE
    filled = 0
    while filled < MAGLEV_SIZE:
        for dest, place in zip(dests, places, strict=True):
            for _ in range(place[2]):
                while table[place[0]] is not None:
                    place[0] = (place[0] + place[1]) % MAGLEV_SIZE
                table[place[0]] = dest.at
                filled += 1
                if filled == MAGLEV_SIZE:
                    return tuple(table)
    return tuple(table)


def _mh(service: Service, ask: Ask) -> Dest | None:
    """Maglev hashing of the client (with mh-port, of its port too)."""
    if service.memory.table is None:
        service.memory.table = _maglev(service)
    table = service.memory.table
    word = (ask.port if "mh-port" in service.flags else 0) + _fold(ask.client)
    first = hsiphash_u32(word, MAGLEV_KEYS[0]) % MAGLEV_SIZE
    dest = _in_bucket(service, table[first])
    if dest is None or dest.usable or "mh-fallback" not in service.flags:
        return dest if dest is not None and dest.usable else None
    for offset in range(MAGLEV_SIZE):
        turn = (offset + first) % MAGLEV_SIZE
        dest = _in_bucket(service, table[hsiphash_u32(word + turn, MAGLEV_KEYS[0]) % MAGLEV_SIZE])
        if dest is None or dest.usable:
            return dest
    return None


# ---------------------------------------------------------------- by destination


def _crowded(service: Service, dest: Dest) -> bool:
    """More active connections than weight, while another has less than half of its own."""
    return dest.active > dest.weight and any(
        other.active * 2 < other.weight for other in service.dests
    )


def _lblc(service: Service, ask: Ask) -> Dest | None:
    """Locality-based least connections: a virtual address stays with its server."""
    kept = service.memory.kept.get(ask.virtual)
    if kept is not None and ask.now_ns - kept[2] < ask.keep_ns:
        dest = service.dest(kept[0][0])
        if dest is not None and dest.usable and not _crowded(service, dest):
            service.memory.kept[ask.virtual] = (kept[0], kept[1], ask.now_ns)
            return dest
    dest = _wlc(service, ask)
    if dest is not None:
        service.memory.kept[ask.virtual] = ((dest.at,), ask.now_ns, ask.now_ns)
    return dest


def _lblcr(service: Service, ask: Ask) -> Dest | None:
    """The same with replication: a set of servers that grows under load and shrinks in time."""
    kept = service.memory.kept.get(ask.virtual)
    if kept is None or ask.now_ns - kept[2] >= ask.keep_ns:
        dest = _wlc(service, ask)
        if dest is not None:
            service.memory.kept[ask.virtual] = ((dest.at,), ask.now_ns, ask.now_ns)
        return dest
    members, changed_ns, _ = kept
    known = [dest for at in members if (dest := service.dest(at)) is not None]
    chosen = _least_of(known)
    if len(members) > 1 and ask.now_ns - changed_ns > ask.keep_ns:
        most = _most_of(known)
        if most is not None:
            members = tuple(at for at in members if at != most.at)
            changed_ns = ask.now_ns
    if chosen is None or _crowded(service, chosen):
        chosen = _wlc(service, ask)
        if chosen is not None and chosen.at not in members:
            members, changed_ns = (chosen.at, *members), ask.now_ns
    service.memory.kept[ask.virtual] = (members, changed_ns, ask.now_ns)
    return chosen


def _least_of(dests: list[Dest]) -> Dest | None:
    best: Dest | None = None
    for dest in dests:
        if dest.overloaded or (best is None and dest.weight <= 0):
            continue
        if best is None or _overhead(best) * dest.weight > _overhead(dest) * best.weight:
            best = dest
    return best


def _most_of(dests: list[Dest]) -> Dest | None:
    best: Dest | None = None
    for dest in dests:
        if dest.weight <= 0:
            continue
        if best is None or _overhead(best) * dest.weight < _overhead(dest) * best.weight:
            best = dest
    return best


SCHEDULERS: dict[str, Scheduler] = {
    "rr": _rr,
    "wrr": _wrr,
    "lc": _lc,
    "wlc": _wlc,
    "lblc": _lblc,
    "lblcr": _lblcr,
    "sh": _sh,
    "dh": _dh,
    "sed": _sed,
    "nq": _nq,
    "mh": _mh,
    "fo": _fo,
    "ovf": _ovf,
}
HASHING = ("sh", "dh", "mh")
"""These give a client always the same server: there is nothing to choose."""
FLAGS = {"sh": ("sh-fallback", "sh-port"), "mh": ("mh-fallback", "mh-port")}


def changed(service: Service, gone: Dest | None = None, *, before: Address | None = None) -> None:
    """A service's real servers or their weights changed: memories that depend on them.

    ``gone`` was just removed; ``before`` is the one that came before it in the list.
    """
    memory = service.memory
    memory.table = None
    if service.scheduler == "wrr":
        weights = [dest.weight for dest in service.dests if dest.weight > 0]
        step = gcd(*weights) if weights else 1
        highest = max(weights, default=0) - (step - 1)
        memory.last = None
        if memory.current > highest or not memory.current:
            memory.current = highest
        elif step > 1:
            memory.current = memory.current // step * step + 1
    elif gone is not None and memory.last == gone.at:
        memory.last = before
