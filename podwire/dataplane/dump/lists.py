"""Lists with one thing a line: neighbours, forwarding tables, parameters, connections, sockets."""

from __future__ import annotations

import re
from typing import NamedTuple

from podwire.dataplane.addr import canonical
from podwire.dataplane.conntrack import ECHOES, SECOND_NS, Entry, Tuple
from podwire.dataplane.dump.text import Line, Section
from podwire.dataplane.link import FdbEntry
from podwire.dataplane.neigh import Neighbour

_STATES = ("PERMANENT", "NOARP", "REACHABLE", "STALE", "DELAY", "PROBE", "FAILED", "INCOMPLETE")


class Neighbours(NamedTuple):
    """Whose MACs are known, and who did not answer when asked."""

    known: list[Neighbour]
    silent: list[tuple[str, str]]
    """(device, address)."""


def _address(line: Line, word: str) -> str:
    try:
        return canonical(word)
    except ValueError:
        raise line.error(f'an address is expected rather than "{word}"') from None


def read_neighbours(section: Section) -> Neighbours:
    """``ip neigh``. Raises DumpError."""
    found = Neighbours([], [])
    for line in section.lines():
        ip = _address(line, line.next())
        dev = mac = state = ""
        while line:
            word = line.next()
            if word == "dev":
                dev = line.next("a device")
            elif word == "lladdr":
                mac = line.next("a MAC").lower()
            elif word in _STATES:
                state = word
            elif word in {"proto", "ref", "probes"}:
                line.next()
        if not dev:
            raise line.error('a neighbour\'s "dev" is missing')
        if mac and state not in {"FAILED", "INCOMPLETE"}:
            kept = state if state in {"PERMANENT", "NOARP"} else "REACHABLE"
            found.known.append(Neighbour(dev=dev, ip=ip, mac=mac, state=kept))
        elif state == "FAILED":
            found.silent.append((dev, ip))
    return found


def read_fdb(section: Section) -> dict[str, dict[str, FdbEntry]]:
    """``bridge fdb show``: by bridge (or tunnel), then MAC. Raises DumpError."""
    found: dict[str, dict[str, FdbEntry]] = {}
    for line in section.lines():
        mac = line.next().lower()
        if not re.fullmatch(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}", mac):
            raise line.error(f'a MAC is expected rather than "{mac}"')
        dev = master = dst = ""
        permanent = False
        while line:
            word = line.next()
            if word == "dev":
                dev = line.next("a device")
            elif word == "master":
                master = line.next("a bridge")
            elif word == "dst":
                dst = _address(line, line.next("an address"))
            permanent = permanent or word in {"permanent", "static"}
        multicast = int(mac[:2], 16) & 1
        if dst:
            found.setdefault(dev, {})[mac] = FdbEntry(port=dev, dst=dst, permanent=permanent)
        elif master and not multicast:
            found.setdefault(master, {}).setdefault(mac, FdbEntry(port=dev, permanent=permanent))
    return found


def read_sysctls(section: Section) -> dict[str, str]:
    """``sysctl -a``, or some of it. Raises DumpError."""
    found: dict[str, str] = {}
    for line in section.lines():
        key, equals, value = line.text.partition("=")
        if line.text.lstrip().startswith(("sysctl:", "#")):
            continue
        if not equals:
            raise section.error("KEY = VALUE is expected", line.number)
        key = key.strip()
        found[key if "." in key.partition("/")[0] else key.replace("/", ".")] = value.strip()
    return found


def read_sockets(section: Section) -> list[tuple[str, str, int]]:
    """``ss -lntuH``: (protocol, address, port) of what is bound. Raises DumpError."""
    found: list[tuple[str, str, int]] = []
    for line in section.lines():
        words = line.text.split()
        if words[0] == "Netid":
            continue
        if len(words) < 6 or words[0] not in {"tcp", "udp", "sctp"}:
            raise section.error(
                "tcp or udp, state, two queues and two addresses are expected (ss -lntuH)",
                line.number,
            )
        local, _, port = words[4].rpartition(":")
        address = local.partition("%")[0].strip("[]")
        if not port.isdigit():
            raise section.error(f'a port number is expected rather than "{port}" (ss -n)',
                                line.number, line.text.find(words[4]) + 1)  # fmt: skip
        address = "" if address in {"*", "::"} else address
        found.append((words[0], _address(line, address) if address else "", int(port)))
    return list(dict.fromkeys(found))


# ---------------------------------------------------------------- connections

_PROTOCOLS = ("tcp", "udp", "sctp", "icmp", "icmpv6", "udplite", "dccp", "gre", "unknown")


def read_connections(section: Section, now_ns: int) -> list[Entry]:
    """``conntrack -L`` (also ``-o extended``), or ``/proc/net/nf_conntrack``. Raises DumpError."""
    found: list[Entry] = []
    for line in section.lines():
        if line.text.startswith("conntrack v"):
            continue
        if line.peek() in {"ipv4", "ipv6"}:
            line.next()
            line.number_of("the family's number")
        protocol = line.next()
        if protocol not in _PROTOCOLS:
            raise line.error(f'a protocol is expected rather than "{protocol}"')
        line.number_of("the protocol's number")
        entry = _connection(line, protocol, len(found) + 1, now_ns)
        if entry is not None:
            found.append(entry)
    return found


def _connection(line: Line, protocol: str, number: int, now_ns: int) -> Entry | None:
    left = line.number_of("seconds that are left") if line.peek().isdigit() else 86400
    state, marks = "", list[str]()
    tuples: list[dict[str, str]] = [{}]
    rest: dict[str, int] = {}
    while line:
        word = line.next()
        key, equals, value = word.partition("=")
        if word.startswith("["):
            marks.append(word.strip("[]"))
        elif not equals:
            state = state or word
        elif key in {"src", "dst", "sport", "dport", "type", "code", "id"}:
            if key == "src" and "src" in tuples[-1]:
                tuples.append({})
            tuples[-1][key] = value
        elif value.isdigit():
            rest[key] = int(value)
    if len(tuples) != 2:
        raise line.error("both directions are expected: src=... dst=... src=... dst=...")
    if protocol not in {"tcp", "udp", "sctp", *ECHOES}:
        return None
    orig, reply = (_tuple(line, protocol, told) for told in tuples)
    unreplied = "UNREPLIED" in marks
    return Entry(
        id=number,
        orig=orig,
        reply=reply,
        created_ns=0,
        expires_ns=now_ns + left * SECOND_NS,
        tcp_state=state,
        mark=rest.get("mark", 0),
        confirmed=True,
        seen_reply=not unreplied,
        assured="ASSURED" in marks,
        snat=orig[1] != reply[3] or (protocol not in ECHOES and orig[2] != reply[4]),
        dnat=orig[3] != reply[1] or (protocol not in ECHOES and orig[4] != reply[2]),
        src_bound=True,
        dst_bound=True,
        zone=rest.get("zone", 0),
    )


def _tuple(line: Line, protocol: str, told: dict[str, str]) -> Tuple:
    names = ("id", "type") if protocol in ECHOES else ("sport", "dport")
    if not all(told.get(name, "").isdigit() for name in names):
        raise line.error(f"{' and '.join(names)} are expected")
    sides = [_address(line, told.get(name, "")) for name in ("src", "dst")]
    return (protocol, sides[0], int(told[names[0]]), sides[1], int(told[names[1]]))
