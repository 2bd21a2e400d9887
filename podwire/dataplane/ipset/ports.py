"""Ports of sets: ``tcp:80``, ``udp:domain``, ``icmp:echo-request``, ``gre:0``."""

from __future__ import annotations

from podwire.dataplane import netdb
from podwire.dataplane.ipset.types import IpsetError

PROTOCOLS = {**netdb.PROTOCOLS, "icmpv6": 58}
NAMES = {number: name for name, number in PROTOCOLS.items() if name != "ipv6-icmp"}
WITH_PORTS = ("tcp", "udp", "sctp", "udplite")

# fmt: off
ICMP = {
    "echo-reply": (0, 0), "network-unreachable": (3, 0), "host-unreachable": (3, 1),
    "protocol-unreachable": (3, 2), "port-unreachable": (3, 3), "fragmentation-needed": (3, 4),
    "source-route-failed": (3, 5), "network-unknown": (3, 6), "host-unknown": (3, 7),
    "network-prohibited": (3, 9), "host-prohibited": (3, 10), "TOS-network-unreachable": (3, 11),
    "TOS-host-unreachable": (3, 12), "communication-prohibited": (3, 13),
    "host-precedence-violation": (3, 14), "precedence-cutoff": (3, 15), "source-quench": (4, 0),
    "network-redirect": (5, 0), "host-redirect": (5, 1), "TOS-network-redirect": (5, 2),
    "TOS-host-redirect": (5, 3), "echo-request": (8, 0), "router-advertisement": (9, 0),
    "router-solicitation": (10, 0), "ttl-zero-during-transit": (11, 0),
    "ttl-zero-during-reassembly": (11, 1), "ip-header-bad": (12, 0),
    "required-option-missing": (12, 1), "timestamp-request": (13, 0), "timestamp-reply": (14, 0),
    "address-mask-request": (17, 0), "address-mask-reply": (18, 0),
}
ICMPV6 = {
    "no-route": (1, 0), "communication-prohibited": (1, 1), "address-unreachable": (1, 3),
    "port-unreachable": (1, 4), "packet-too-big": (2, 0), "ttl-zero-during-transit": (3, 0),
    "ttl-zero-during-reassembly": (3, 1), "bad-header": (4, 0), "unknown-header-type": (4, 1),
    "unknown-option": (4, 2), "echo-request": (128, 0), "echo-reply": (129, 0),
    "router-solicitation": (133, 0), "router-advertisement": (134, 0),
    "neighbour-solicitation": (135, 0), "neighbour-advertisement": (136, 0), "redirect": (137, 0),
}
# fmt: on
KINDS = {"icmp": ICMP, "icmpv6": ICMPV6}
TITLES = {
    name: {(t << 8) | c: word for word, (t, c) in table.items()} for name, table in KINDS.items()
}


def protocol(word: str) -> str:
    """A protocol's name. Raises IpsetError."""
    if word.isdigit() and int(word) < 256:
        return NAMES.get(int(word), word)
    if word.lower() in PROTOCOLS:
        return NAMES[PROTOCOLS[word.lower()]]
    raise IpsetError(f"Syntax error: cannot parse '{word}' as a protocol")


def _one(word: str, proto: str, whole: str) -> int:
    if word.isdigit() and int(word) < 65536:
        return int(word)
    if word in netdb.SERVICES:
        return netdb.SERVICES[word]
    why = f"'{whole}' is invalid as number"
    if word.isdigit():
        why = f"'{word}' is out of range 0-65535"
    raise IpsetError(
        f"Syntax error: {why}\nSyntax error: '{proto}' is invalid as number\n"
        f"cannot parse '{whole}' as a {proto} port"
    )


def single(text: str, proto: str = "tcp") -> tuple[int, int]:
    """``80``, ``tcp:81`` or ``90-92`` of a bitmap:port as first and last. Raises IpsetError."""
    head, colon, rest = text.partition(":")
    if colon and head in PROTOCOLS:
        proto, text = head, rest
    low, dash, high = text.partition("-")
    first = _one(low, proto, text)
    return first, _one(high, proto, text) if dash else first


def parse(text: str, family: str) -> list[tuple[str, int]]:
    """The (protocol, port) that an element's port stands for. Raises IpsetError."""
    head, colon, rest = text.partition(":")
    if not colon:
        low, high = single(text)
        return [("tcp", port) for port in range(min(low, high), max(low, high) + 1)]
    proto = protocol(head)
    if proto in WITH_PORTS:
        if not rest:
            raise IpsetError(
                f"Syntax error: '{text}' is invalid as number\nSyntax error: '{proto}' is invalid "
                f"as number\ncannot parse '{text}' as a {proto} port"
            )
        low, high = single(rest, proto)
        return [(proto, port) for port in range(min(low, high), max(low, high) + 1)]
    if proto in KINDS:
        if (proto == "icmpv6") != (family == "inet6"):
            title, need = ("ICMPv6", "inet6") if proto == "icmpv6" else ("ICMP", "inet")
            raise IpsetError(f"Syntax error: Protocol {title} can be used with family {need} only")
        return [(proto, _icmp(rest, proto))]
    if rest != "0":
        raise IpsetError(
            f"Syntax error: Protocol {head} can be used with pseudo port value 0 only."
        )
    return [(proto, 0)]


def _icmp(word: str, proto: str) -> int:
    if word in KINDS[proto]:
        kind, code = KINDS[proto][word]
        return kind << 8 | code
    kind_text, slash, code_text = word.partition("/")
    if slash and kind_text.isdigit() and code_text.isdigit():
        kind, code = int(kind_text), int(code_text)
        if kind < 256 and code < 256:
            return kind << 8 | code
    title = "ICMPv6" if proto == "icmpv6" else "ICMP"
    raise IpsetError(f"Syntax error: cannot parse {word} as an {title} type")


def show(port: tuple[str, int]) -> str:
    """``tcp:80`` as ipset prints it."""
    proto, number = port
    if proto in KINDS:
        title = TITLES[proto].get(number, f"{number >> 8}/{number & 255}")
        return f"{'ipv6-icmp' if proto == 'icmpv6' else proto}:{title}"
    return f"{proto}:{number}"
