"""The types of sets: their dimensions, options and revisions."""

from __future__ import annotations

from typing import NamedTuple

SMALLEST_HASH = 64
SMALLEST_LIST = 4
LONGEST_TIMEOUT_S = 2147483
LONGEST_NAME = 31
LARGEST_MAXELEM = 1 << 24


class IpsetError(Exception):
    """What ipset says (after its name and version), and its exit code: 2 asks for help."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code


class SetType(NamedTuple):
    """A type. ``dimensions``: ip, net, port, iface, mark; ``set`` for list:set."""

    name: str
    dimensions: tuple[str, ...]
    revision: int
    zero_length: bool = False
    """Whether a network may be /0."""

    @property
    def nets(self) -> tuple[int, ...]:
        """The positions of dimensions that are networks."""
        return tuple(i for i, kind in enumerate(self.dimensions) if kind == "net")


TYPES: dict[str, SetType] = {
    made.name: made
    for made in (
        SetType("hash:ip", ("ip",), 6),
        SetType("hash:ip,mark", ("ip", "mark"), 3),
        SetType("hash:ip,port", ("ip", "port"), 7),
        SetType("hash:ip,port,ip", ("ip", "port", "ip"), 6),
        SetType("hash:ip,port,net", ("ip", "port", "net"), 8),
        SetType("hash:net", ("net",), 7),
        SetType("hash:net,iface", ("net", "iface"), 8, zero_length=True),
        SetType("hash:net,net", ("net", "net"), 4, zero_length=True),
        SetType("hash:net,port", ("net", "port"), 8),
        SetType("hash:net,port,net", ("net", "port", "net"), 3, zero_length=True),
        SetType("bitmap:port", ("port",), 3),
        SetType("list:set", ("set",), 3),
    )
}

UNMODELLED = ("bitmap:ip", "bitmap:ip,mac", "hash:mac", "hash:ip,mac")

ALIASES = {
    "iphash": "hash:ip",
    "ipporthash": "hash:ip,port",
    "ipportiphash": "hash:ip,port,ip",
    "ipportnethash": "hash:ip,port,net",
    "nethash": "hash:net",
    "netporthash": "hash:net,port",
    "netifacehash": "hash:net,iface",
    "portmap": "bitmap:port",
    "setlist": "list:set",
}


def find(name: str) -> SetType:
    """The type of a name. Raises IpsetError."""
    name = ALIASES.get(name, name)
    found = TYPES.get(name)
    if found is not None:
        return found
    if name in UNMODELLED:
        raise IpsetError(f"not modelled: set type {name}")
    raise IpsetError(f"Syntax error: typename '{name}' is unknown")
