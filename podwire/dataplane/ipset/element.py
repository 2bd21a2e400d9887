"""Elements: reading ``10.0.0.1,tcp:80,10.0.0.0/8`` as keys, and printing keys back.

A key has one part per dimension: an address as an integer, a (network, length), a (protocol, port),
a (device, is a bridge port), a mark.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import msgspec

from podwire.dataplane.ipset import ports
from podwire.dataplane.ipset.address import BITS, masked, networks, number, text
from podwire.dataplane.ipset.types import IpsetError, SetType

Key = tuple[Any, ...]

ORDINALS = ("First", "Second", "Third")
COUNTS = ("none", "one", "two")
WORDS = ("Elem separator", "Two elem separators", "Three elem separators")


class Element(msgspec.Struct, frozen=True):
    """What a set keeps with a key. ``expires_ns`` 0: never."""

    expires_ns: int = 0
    packets: int = 0
    bytes: int = 0
    comment: str = ""
    nomatch: bool = False


def split(words: str, kind: SetType) -> list[str]:
    """The parts of an element's text. Raises IpsetError."""
    parts = words.split(",")
    want = len(kind.dimensions)
    if len(parts) > want:
        raise IpsetError(
            f"Syntax error: {WORDS[min(want, 3) - 1]} in {words}, but settype {kind.name} "
            f"supports {COUNTS[want - 1] if want < 4 else 'more'}."
        )
    if len(parts) < want:
        missing = ORDINALS[len(parts)]
        raise IpsetError(f"Syntax error: {missing} element is missing from {words}.")
    return parts


def keys(words: str, kind: SetType, family: str, netmask: int, limit: int) -> list[Key]:
    """The keys an element's text stands for (a range stands for many). Raises IpsetError."""
    if kind.name == "bitmap:port":
        low, high = ports.single(words)
        return [(port,) for port in range(min(low, high), max(low, high) + 1)]
    if kind.dimensions == ("set",):
        return [(words,)]
    choices: list[list[Any]] = []
    total = 1
    for i, (part, dimension) in enumerate(zip(split(words, kind), kind.dimensions, strict=True)):
        if dimension == "ip":
            found: list[Any] = _ips(part, family, netmask, single=i > 0, limit=limit)
        elif dimension == "net":
            found = _nets(part, family, zero=kind.zero_length)
        elif dimension == "port":
            found = list(ports.parse(part, family))
        elif dimension == "mark":
            found = [_mark(part)]
        else:
            found = [_iface(part)]
        choices.append(found)
        total *= len(found)
    if total > limit:
        raise IpsetError("Hash is full, cannot add more elements")
    return list(product(*choices))


def _address(word: str, family: str) -> int:
    try:
        return number(word, family)
    except ValueError:
        name = "IPv6" if family == "inet6" else "IPv4"
        raise IpsetError(
            f"Syntax error: cannot parse {word}: resolving to {name} address failed"
        ) from None


def _length(word: str, family: str) -> int:
    bits = BITS[family]
    if not word.isdigit():
        raise IpsetError(f"Syntax error: '{word}' is invalid as number")
    if int(word) > bits:
        raise IpsetError(f"Syntax error: '{word}' is out of range 0-{bits}")
    return int(word)


def _bounds(word: str, family: str) -> tuple[int, int, int]:
    """First and last address, and the prefix length (-1: a range)."""
    bits = BITS[family]
    head, slash, length_text = word.partition("/")
    if slash:
        length = _length(length_text, family)
        low = masked(_address(head, family), length, bits)
        return low, low | ((1 << (bits - length)) - 1), length
    first, dash, last = word.partition("-")
    low = _address(first, family)
    if not dash:
        return low, low, bits
    high = _address(last, family)
    return min(low, high), max(low, high), -1


def _ips(word: str, family: str, netmask: int, *, single: bool, limit: int) -> list[Any]:
    low, high, length = _bounds(word, family)
    bits = BITS[family]
    if length == 0:
        raise IpsetError("The value of the CIDR parameter of the IP address is invalid")
    if (single or family == "inet6") and low != high:
        raise IpsetError(f"Syntax error: plain IP address must be supplied: {word}")
    step = 1 << (bits - netmask) if netmask else 1
    low = masked(low, netmask, bits) if netmask else low
    if (high - low) // step >= limit:
        raise IpsetError("Hash is full, cannot add more elements")
    return list(range(low, high + 1, step))


def _nets(word: str, family: str, *, zero: bool) -> list[Any]:
    low, high, length = _bounds(word, family)
    if length == 0 and not zero:
        raise IpsetError("The value of the CIDR parameter of the IP address is invalid")
    return [(low, length)] if length >= 0 else list(networks(low, high, BITS[family]))


def _mark(word: str) -> int:
    try:
        return int(word, 0)
    except ValueError:
        raise IpsetError(f"Syntax error: '{word}' is invalid as number") from None


def _iface(word: str) -> tuple[str, bool]:
    physdev = word.startswith("physdev:")
    name = word.removeprefix("physdev:")
    if len(name) > 15:
        raise IpsetError(f"Syntax error: interface name '{name}' is longer than 15 characters")
    return name, physdev


def show(key: Key, kind: SetType, family: str) -> str:
    """A key as ipset prints it."""
    if kind.name == "bitmap:port" or kind.dimensions == ("set",):
        return str(key[0])
    return ",".join(
        _part(part, dimension, family) for part, dimension in zip(key, kind.dimensions, strict=True)
    )


def _part(part: Any, dimension: str, family: str) -> str:
    if dimension == "ip":
        return text(part, family)
    if dimension == "net":
        network, length = part
        suffix = "" if length == BITS[family] else f"/{length}"
        return f"{text(network, family)}{suffix}"
    if dimension == "port":
        return ports.show(part)
    if dimension == "mark":
        return f"0x{part:08x}"
    name, physdev = part
    return f"physdev:{name}" if physdev else str(name)
