"""host-local: addresses of one node's ranges, one file per address on the node's disk.

Source: containernetworking/plugins ipam/host-local (README, backend/allocator): files
``<dataDir>/<network>/<ip>`` hold ``containerID CR LF ifname``, ``last_reserved_ip.<set>`` the last
address given; the search starts behind it and wraps around.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from podwire.api.view import JSON
from podwire.cni.call import Call
from podwire.cni.spec import INTERNAL, INVALID_CONFIG, CniError

DATA_DIR = "/var/lib/cni/networks"


Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Range:
    """One range of addresses of one family, ends included."""

    subnet: IPv4Network | IPv6Network
    start: Address
    end: Address
    gateway: Address

    def __str__(self) -> str:
        return f"{self.start}-{self.end}"


RangeSet = tuple[Range, ...]


def parse_range(conf: JSON) -> Range:
    """A range with its defaults: all hosts of the subnet, the first one being the gateway."""
    ends = (str(conf.get(name) or "") for name in ("rangeStart", "rangeEnd", "gateway"))
    return _range(str(conf.get("subnet") or ""), *ends)


@lru_cache(maxsize=4096)  # all pods of a node get addresses of one range
def _range(text: str, start: str, end: str, gateway: str) -> Range:
    try:
        subnet = ip_network(text)
        # IPv6 has no broadcast address to spare at the end
        last = subnet.broadcast_address - (1 if subnet.version == 4 else 0)
        first = subnet.network_address + 1
        chosen = Range(
            subnet,
            ip_address(start or first),
            ip_address(end or last),
            ip_address(gateway or first),
        )
    except ValueError as error:
        raise CniError(INVALID_CONFIG, f"invalid range: {error}") from None
    if subnet.prefixlen > subnet.max_prefixlen - 2:
        raise CniError(INVALID_CONFIG, f"Network {text} too small to allocate from")
    for what, address in (("RangeStart", chosen.start), ("RangeEnd", chosen.end)):
        if address not in subnet:
            raise CniError(INVALID_CONFIG, f"{what} {address} not in network {text}")
    return chosen


def range_sets(ipam: JSON) -> list[RangeSet]:
    """The range sets of an ``ipam`` section (``subnet`` at the top is the old spelling)."""
    sets = [tuple(parse_range(r) for r in entry) for entry in ipam.get("ranges") or []]
    if ipam.get("subnet"):
        sets.insert(0, (parse_range(ipam),))
    if not sets:
        raise CniError(INVALID_CONFIG, "no IP ranges specified")
    return sets


def _holds(r: Range, address: Address) -> bool:
    same = address.version == r.subnet.version  # others cannot be compared
    return same and int(r.start) <= int(address) <= int(r.end)


def candidates(ranges: RangeSet, last: str) -> Iterator[tuple[Address, Range]]:
    """Every address of a set once, beginning behind ``last``; gateways are never given."""
    spans = [(r, int(r.start), int(r.end)) for r in ranges]
    behind = ip_address(last) if last else None
    index = next((i for i, r in enumerate(ranges) if behind and _holds(r, behind)), None)
    if behind is not None and index is not None:
        r, low, high = spans[index]
        spans = [
            (r, int(behind) + 1, high),
            *spans[index + 1 :],
            *spans[:index],
            (r, low, int(behind)),
        ]
    for r, low, high in spans:
        kind = type(r.start)
        for value in range(low, high + 1):
            if value != int(r.gateway):
                yield kind(value), r


def allocate(ranges: RangeSet, taken: Mapping[str, bytes], last: str) -> tuple[str, Range] | None:
    """The next free address of a set and its range; None when there is none."""
    for address, r in candidates(ranges, last):
        if str(address) not in taken:
            return str(address), r
    return None


def owner(container_id: str, ifname: str) -> bytes:
    """The content of a reservation file."""
    return f"{container_id}\r\n{ifname}".encode()


class HostLocal:
    """The IPAM plugin of bridge networks."""

    async def add(self, call: Call) -> JSON:
        """Reserve one address per range set; all or none."""
        ipam = _ipam(call)
        sets = range_sets(ipam)
        folder = _folder(call)
        fabric, node = call.world.fabric, call.node
        async with call.world.lock(node, folder):
            taken = await _reservations(call, folder)
            _refuse_second(call, taken)
            given: list[tuple[str, Range]] = []
            for index, ranges in enumerate(sets):
                marker = f"{folder}/last_reserved_ip.{index}"
                found = allocate(ranges, taken, await _last(call, marker))
                if found is None:
                    for address, _ in given:
                        await fabric.remove_file(node, f"{folder}/{address}")
                    names = ",".join(str(r) for r in ranges)
                    raise CniError(
                        INTERNAL,
                        f"failed to allocate for range {index}: "
                        f"no IP addresses available in range set: {names}",
                    )
                mine = owner(call.container_id, call.ifname)
                await fabric.write_file(node, f"{folder}/{found[0]}", mine)
                await fabric.write_file(node, marker, found[0].encode())
                taken[found[0]] = mine
                given.append(found)
        return {
            "interfaces": [],
            "ips": [
                {"address": f"{address}/{r.subnet.prefixlen}", "gateway": str(r.gateway)}
                for address, r in given
            ],
            "routes": [dict(route) for route in ipam.get("routes") or []],
            "dns": {},
        }

    async def delete(self, call: Call) -> None:
        """Give back what this container's interface holds."""
        folder = _folder(call)
        mine = owner(call.container_id, call.ifname)
        async with call.world.lock(call.node, folder):
            for address, content in (await _reservations(call, folder)).items():
                if content == mine:
                    await call.world.fabric.remove_file(call.node, f"{folder}/{address}")

    async def check(self, call: Call) -> None:
        """Some address must be reserved for this container's interface."""
        mine = owner(call.container_id, call.ifname)
        if mine not in (await _reservations(call, _folder(call))).values():
            raise CniError(
                INTERNAL,
                f"host-local: Failed to find address added by container {call.container_id}",
            )

    async def collect(self, call: Call) -> None:
        """Free the addresses of containers that the runtime no longer knows."""
        valid = {
            owner(str(a.get("containerID", "")), str(a.get("ifname", "")))
            for a in call.conf.get("cni.dev/valid-attachments") or []
        }
        folder = _folder(call)
        async with call.world.lock(call.node, folder):
            for address, content in (await _reservations(call, folder)).items():
                if content not in valid:
                    await call.world.fabric.remove_file(call.node, f"{folder}/{address}")

    async def status(self, call: Call) -> None:
        """The configuration must be readable."""
        range_sets(_ipam(call))


def _ipam(call: Call) -> JSON:
    ipam = call.conf.get("ipam")
    if not isinstance(ipam, dict):
        raise CniError(INVALID_CONFIG, "IPAM config missing 'ipam' key")
    return ipam


def _folder(call: Call) -> str:
    return f"{_ipam(call).get('dataDir') or DATA_DIR}/{call.network}"


async def _last(call: Call, marker: str) -> str:
    try:
        return (await call.world.fabric.read_file(call.node, marker)).decode()
    except FileNotFoundError:
        return ""


async def _reservations(call: Call, folder: str) -> dict[str, bytes]:
    """Every reserved address with the content of its file."""
    fabric, node = call.world.fabric, call.node
    found = {}
    for path in await fabric.list_files(node, f"{folder}/"):
        name = path.rpartition("/")[2]
        if name[:1].isdigit() or ":" in name:
            found[name] = await fabric.read_file(node, path)
    return found


def _refuse_second(call: Call, taken: Mapping[str, bytes]) -> None:
    mine = owner(call.container_id, call.ifname)
    for address, content in taken.items():
        if content == mine:
            raise CniError(
                INTERNAL,
                f"{address} has been allocated to {call.container_id}, "
                "duplicate allocation is not allowed",
            )
