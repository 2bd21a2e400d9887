"""What the kernel's tools say: virtual servers with their connections, sets, addresses."""

from __future__ import annotations

from dataclasses import dataclass, field

from podwire.kube_proxy.addresses import listed
from podwire.kube_proxy.model import family_of

DEVICE = "kube-ipvs0"
OPTIONS = {"TCP": "-t", "UDP": "-u", "SCTP": "--sctp-service"}
LIST = ("ipvsadm", "-Ln")
SETS = ("ipset", "save")
LINKS = ("ip", "link", "show")
NAMES = ("ipset", "list", "-n")


@dataclass(slots=True)
class RealServer:
    """A real server as ``ipvsadm -Ln`` lists it."""

    weight: int
    connections: int
    """Active and inactive ones."""


@dataclass(slots=True)
class Listed:
    """A virtual server as ``ipvsadm -Ln`` lists it."""

    flags: str
    """As ``-A`` takes them: ``-s rr -p 10800``."""
    dests: dict[str, RealServer] = field(default_factory=dict)


def virtual_servers(listing: str) -> dict[str, Listed]:
    """By option (``-t 10.96.0.1:443``); those by firewall mark are nobody's business here."""
    found: dict[str, Listed] = {}
    current: Listed | None = None
    for line in listing.splitlines():
        words = line.split()
        if len(words) >= 3 and words[0] in OPTIONS:
            current = found[f"{OPTIONS[words[0]]} {words[1]}"] = Listed(_flags(words[2:]))
        elif words[:1] == ["FWM"]:
            current = None
        elif len(words) == 6 and words[0] == "->" and current is not None and words[3].isdigit():
            current.dests[words[1]] = RealServer(int(words[3]), int(words[4]) + int(words[5]))
    return found


def _flags(words: list[str]) -> str:
    flags = f"-s {words[0]}"
    rest = iter(words[1:])
    scheduled = ""
    for word in rest:
        if word == "persistent":
            flags += f" -p {next(rest, '')}"
        elif word == "mask":
            flags += f" -M {next(rest, '')}"
        elif word.startswith("("):
            scheduled = f" -b {word.strip('()')}"
    return flags + scheduled


def ip_of(option: str) -> str:
    """The address of ``-t 10.96.0.1:443``."""
    return option.split(" ", 1)[1].rpartition(":")[0].strip("[]")


def set_entries(saved: str) -> dict[str, dict[str, None]]:
    """The entries of each set that ``ipset save`` printed."""
    found: dict[str, dict[str, None]] = {}
    for line in saved.splitlines():
        words = line.split()
        if words[:1] == ["create"]:
            found[words[1]] = {}
        elif words[:1] == ["add"]:
            found.setdefault(words[1], {})[words[2]] = None
    return found


def addresses(listing: str, family: str) -> tuple[dict[str, None], dict[str, None]]:
    """The addresses on the mode's device, and the node's other ones. Neither loopback nor
    link-local ones count (GetAllLocalAddressesExcept).
    """
    held: dict[str, None] = {}
    own: dict[str, None] = {}
    for device, ip in listed(listing):
        local = ip.startswith(("127.", "fe80:")) or ip == "::1"
        if family_of(ip) == family and not local:
            (held if device == DEVICE else own)[ip] = None
    return held, own
