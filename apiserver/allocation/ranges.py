"""What is taken of the Service address range and of the node port range.

Source of the bands: kubernetes.io cluster-ip-allocation and KEP-3668: dynamic picks come from the
upper band first, so that low numbers stay free for those who ask for them. Ranges that people add
(ServiceCIDRs) are asked when those before them are full, in the order of their names; upstream's
order among them is that of a map.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial

from podwire.api.status import ApiError
from podwire.api.views import ServiceCIDR
from podwire.apiserver.cache.hub import ROOT
from podwire.apiserver.cache.kind import KindCache
from podwire.runtime.ports import Rng

FOLDER = "ranges"
"""Allocations live below ``/registry/ranges/``, as upstream's bitmaps do."""

IPS = f"{ROOT}{FOLDER}/serviceips/"
PORTS = f"{ROOT}{FOLDER}/servicenodeports/"


class Refused(Exception):  # noqa: N818  (an outcome that becomes a field error)
    """The allocation cannot be had; the text is upstream's."""


def _static_band(size: int, divisor: int, high: int) -> int:
    return min(max(16, size // divisor), high)


class Range:
    """The addresses of one family that Services may get."""

    def __init__(self, cidr: str) -> None:
        self.cidr = cidr
        self.network = ipaddress.ip_network(cidr)
        self.family = f"IPv{self.network.version}"
        self._base = int(self.network.network_address)
        spared = 2 if self.network.version == 4 else 1  # IPv6 has no broadcast address
        self.size = self.network.num_addresses - spared

    def address(self, offset: int) -> str:
        """The address at an offset, from 1."""
        return str(self.network.network_address + offset)

    def offset(self, ip: str) -> int:
        """The offset of an address, 0 when it is not in the range."""
        try:
            address = ipaddress.ip_address(ip)
        except ValueError:
            return 0
        if address.version != self.network.version:
            return 0
        offset = int(address) - self._base
        return offset if 0 < offset <= self.size else 0


_range = lru_cache(maxsize=256)(Range)


def ready_cidrs(cache: KindCache) -> Iterator[str]:
    """The ranges of ServiceCIDRs that are Ready and stay."""
    for entry in cache.entries():
        item: ServiceCIDR = entry.view
        ready = any(c.type == "Ready" and c.status == "True" for c in item.status.conditions)
        if ready and not item.metadata.deletion_timestamp:
            yield from item.spec.cidrs


class Ranges:
    """Taken addresses and ports, followed through the store's watch.

    ``cidrs`` is one range of Service addresses, or one of each family with a comma between; the
    first is the cluster's default family. ``added`` tells the ranges of other ServiceCIDRs that
    are Ready.
    """

    def __init__(
        self,
        cidrs: str,
        ports: tuple[int, int],
        rng: Rng,
        added: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        ranges = [Range(cidr.strip()) for cidr in cidrs.split(",")]
        self.families = {one.family: one for one in ranges}
        """By ``IPv4`` and ``IPv6``, the default family first."""
        self.ports = ports
        self._added = added
        self._rng = rng.child("allocation")
        self._taken: dict[str, None] = {}

    def see(self, key: str, value: bytes | None) -> None:
        """An allocation appeared or (None) went."""
        if value is None:
            self._taken.pop(key, None)
        else:
            self._taken[key] = None

    def _of(self, family: str) -> Iterator[Range]:
        yield self.families[family]
        for cidr in self._added():
            one = _range(cidr)
            if one.family == family and cidr != self.families[family].cidr:
                yield one

    def ip_key(self, ip: str, family: str) -> str:
        """The key of a wanted address. Raises Refused."""
        one = next((one for one in self._of(family) if one.offset(ip)), None)
        if one is None:
            valid = ", ".join(one.cidr for one in self._of(family))
            raise Refused(
                f"failed to allocate IP {ip}: the provided IP ({ip}) is not in the valid range. "
                f"The range of valid IPs is {valid}"
            )
        key = IPS + one.address(one.offset(ip))
        if key in self._taken:
            raise Refused(f"failed to allocate IP {ip}: provided IP is already allocated")
        return key

    def port_key(self, port: int) -> str:
        """The key of a wanted node port. Raises Refused."""
        low, high = self.ports
        if not low <= port <= high:
            raise Refused(
                f"provided port is not in the valid range. The range of valid ports is {low}-{high}"
            )
        key = f"{PORTS}{port}"
        if key in self._taken:
            raise Refused("provided port is already allocated")
        return key

    def free_ip(self, family: str) -> str:
        """A free address of a family. Raises ApiError when there is none."""
        for one in self._of(family):
            band = _static_band(one.network.num_addresses, 16, 256)
            offset = self._pick(1, one.size + 1, band, partial(self._free, one))
            if offset is not None:
                return one.address(offset)
        raise ApiError("InternalError", "failed to allocate a serviceIP: range is full")

    def _free(self, one: Range, offset: int) -> bool:
        return IPS + one.address(offset) not in self._taken

    def free_port(self, chosen: dict[int, None]) -> int:
        """A free node port that is not among ``chosen``. Raises ApiError when there is none."""
        low, high = self.ports
        band = low + _static_band(high - low + 1, 32, 128)

        port = self._pick(
            low, high + 1, band, lambda n: n not in chosen and f"{PORTS}{n}" not in self._taken
        )
        if port is None:
            message = "failed to allocate a nodePort: range is full"
            raise ApiError("InternalError", message)
        return port

    def _pick(self, low: int, high: int, band: int, free: Callable[[int], bool]) -> int | None:
        """A free number in [band, high), else in [low, band): a drawn one or the next free."""
        for start, end in ((min(max(low, band), high), high), (low, min(band, high))):
            size = end - start
            if size <= 0:
                continue
            first = self._rng.below(size)
            for step in range(size):
                number = start + (first + step) % size
                if free(number):
                    return number
        return None
