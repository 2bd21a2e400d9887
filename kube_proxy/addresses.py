"""A node's own addresses: what ``ip addr show`` lists, and which of them take NodePorts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address, ip_network

from podwire.kube_proxy.model import family_of

QUESTION = ("ip", "addr", "show")
LOOPBACK = {"ipv4": "127.0.0.0/8", "ipv6": "::1/128"}


def listed(listing: str) -> Iterator[tuple[str, str]]:
    """(device, address without prefix length) of each address that ``ip addr show`` printed."""
    device = ""
    for line in listing.splitlines():
        words = line.split()
        if line[:1].isdigit():
            device = words[1].rstrip(":").partition("@")[0]
        elif words and words[0] in {"inet", "inet6"}:
            yield device, words[1].partition("/")[0]


def own_addresses(listing: str) -> tuple[str, ...]:
    """All addresses, in the order of the devices."""
    return tuple(address for _, address in listed(listing))


def node_port_cidrs(
    words: Iterable[str], node_ips: tuple[str, ...], family: str
) -> tuple[str, ...] | None:
    """The networks that ``nodePortAddresses`` names; None for all. No word of this family means
    all, too: a list of the other family's networks leaves this one alone.

    Source: pkg/proxy/util NewNodePortAddresses; the words primary, localhost and all.
    """
    chosen: dict[str, None] = {}
    for word in words:
        if word == "primary":
            bits = 128 if family == "ipv6" else 32
            chosen.update({f"{ip}/{bits}": None for ip in node_ips[:1]})
        elif word == "localhost":
            chosen[LOOPBACK[family]] = None
        elif word == "all":
            return None
        elif family_of(word) == family:
            chosen[word] = None
    if not chosen or any(ip_network(cidr, strict=False).prefixlen == 0 for cidr in chosen):
        return None
    return tuple(chosen)


def within(addresses: Iterable[str], cidrs: Iterable[str]) -> tuple[str, ...]:
    """Those addresses that lie in one of the networks, each once, in their order."""
    networks = [ip_network(cidr, strict=False) for cidr in cidrs]
    return tuple(
        ip
        for ip in dict.fromkeys(addresses)
        if any(ip_address(ip) in network for network in networks)
    )
