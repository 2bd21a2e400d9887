"""What is taken of the Service address range and of the node port range.

Source of the bands: kubernetes.io cluster-ip-allocation and KEP-3668: dynamic picks come from the
upper band first, so that low numbers stay free for those who ask for them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from podwire.api.status import ApiError
from podwire.apiserver.cache.hub import ROOT
from podwire.runtime.ports import Rng

FOLDER = "ranges"
"""Allocations live below ``/registry/ranges/``, as upstream's bitmaps do."""

IPS = f"{ROOT}{FOLDER}/serviceips/"
PORTS = f"{ROOT}{FOLDER}/servicenodeports/"


class Refused(Exception):  # noqa: N818  (an outcome that becomes a field error)
    """The allocation cannot be had; the text is upstream's."""


def _static_band(size: int, divisor: int, high: int) -> int:
    return min(max(16, size // divisor), high)


class Ranges:
    """Taken addresses and ports, followed through the store's watch."""

    def __init__(self, cidr: str, ports: tuple[int, int], rng: Rng) -> None:
        self.network = ipaddress.IPv4Network(cidr)
        self.cidr = cidr
        self.ports = ports
        self._rng = rng.child("allocation")
        self._base = int(self.network.network_address)
        self._addresses = self.network.num_addresses - 2
        self._taken: dict[str, None] = {}

    def see(self, key: str, value: bytes | None) -> None:
        """An allocation appeared or (None) went."""
        if value is None:
            self._taken.pop(key, None)
        else:
            self._taken[key] = None

    def ip_key(self, ip: str) -> str:
        """The key of a wanted address. Raises Refused."""
        try:
            address = ipaddress.IPv4Address(ip)
        except ValueError:
            address = None
        if address is None or not 0 < int(address) - self._base <= self._addresses:
            raise Refused(
                f"failed to allocate IP {ip}: the provided IP ({ip}) is not in the valid range. "
                f"The range of valid IPs is {self.cidr}"
            )
        key = IPS + str(address)
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

    def free_ip(self) -> str:
        """A free address. Raises ApiError when there is none."""
        band = _static_band(self._addresses + 2, 16, 256)
        base = self._base

        def text(offset: int) -> str:
            return str(ipaddress.IPv4Address(base + offset))

        offset = self._pick(
            1, self._addresses + 1, band, lambda n: IPS + text(n) not in self._taken
        )
        if offset is None:
            message = "failed to allocate a serviceIP: range is full"
            raise ApiError("InternalError", message)
        return text(offset)

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
