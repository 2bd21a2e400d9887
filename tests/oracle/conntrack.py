"""``conntrack -L`` and ``-D`` for machines without the tool, by ctnetlink.

Source of the numbers: linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator, Sequence

from podwire.dataplane.commands import ConntrackDelete

NETLINK_NETFILTER = 12
NFNL_SUBSYS_CTNETLINK = 1
GET, DELETE = 1, 2
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
TYPE_MASK = 0x3FFF
TUPLE_ORIG, TUPLE_REPLY = 1, 2
TUPLE_IP, TUPLE_PROTO = 1, 2
PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1, "icmpv6": 58}
FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}
Parsed = tuple[int, str, str, int, int]
"""Protocol number, source, destination, source port, destination port."""


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Netlink attributes: type and payload."""
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4:
            return
        yield kind & TYPE_MASK, data[at + 4 : at + length]
        at += (length + 3) & ~3


def _tuple(data: bytes) -> Parsed:
    found = dict(attributes(data))
    ip, proto = dict(attributes(found[TUPLE_IP])), dict(attributes(found[TUPLE_PROTO]))
    family = socket.AF_INET if 1 in ip else socket.AF_INET6
    src, dst = (ip[1], ip[2]) if 1 in ip else (ip[3], ip[4])
    ports = [struct.unpack("!H", proto[k])[0] if k in proto else 0 for k in (2, 3)]
    return proto[1][0], _text(family, src), _text(family, dst), ports[0], ports[1]


def _text(family: int, data: bytes) -> str:
    return socket.inet_ntop(family, data)


def _messages(link: socket.socket) -> Iterator[tuple[int, bytes]]:
    while True:
        data = link.recv(1 << 20)
        at = 0
        while at + 16 <= len(data):
            length, kind = struct.unpack_from("=IH", data, at)
            yield kind, data[at + 16 : at + length]
            at += (length + 3) & ~3


def _send(link: socket.socket, kind: int, flags: int, family: int, payload: bytes = b"") -> None:
    body = struct.pack("=BBH", family, 0, 0) + payload
    head = struct.pack("=IHHII", 16 + len(body), (NFNL_SUBSYS_CTNETLINK << 8) | kind,
                       NLM_F_REQUEST | flags, 1, 0)  # fmt: skip
    link.send(head + body)


def entries(link: socket.socket, family: int) -> list[tuple[bytes, Parsed, Parsed]]:
    """All connections of this namespace: the raw original tuple, original and reply."""
    _send(link, GET, NLM_F_DUMP, family)
    found = []
    for kind, payload in _messages(link):
        if kind == NLMSG_DONE:
            break
        if kind == NLMSG_ERROR:
            raise OSError(-struct.unpack_from("=i", payload)[0], "conntrack dump")
        parts = dict(attributes(payload[4:]))
        found.append((parts[TUPLE_ORIG], _tuple(parts[TUPLE_ORIG]), _tuple(parts[TUPLE_REPLY])))
    return found


def listing(family: int, protocol: str) -> str:
    """The connections of one protocol, a line each: what ``conntrack -L`` says of tuples."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as link:
        link.bind((0, 0))
        found = [(o, r) for _, o, r in entries(link, family) if o[0] == PROTOCOLS[protocol]]
    return "".join(f"{protocol} {_words(o)} {_words(r)}\n" for o, r in found)


def _words(key: Parsed) -> str:
    _, src, dst, sport, dport = key
    return f"src={src} dst={dst} sport={sport} dport={dport}"


def delete(wanted: Sequence[ConntrackDelete]) -> None:
    """Forget connections of the namespace that this thread is in. Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as link:
        link.bind((0, 0))
        for family in FAMILIES.values():
            asked = [w for w in wanted if _family(w) == family]
            for raw, orig, reply in entries(link, family) if asked else ():
                if any(_fits(w, orig, reply) for w in asked):
                    _forget(link, family, raw)


def _family(wanted: ConntrackDelete) -> int:
    return socket.AF_INET6 if ":" in wanted.orig_dst + wanted.reply_src else socket.AF_INET


def _fits(wanted: ConntrackDelete, orig: Parsed, reply: Parsed) -> bool:
    """Whether a connection agrees in every given field."""
    if orig[0] != PROTOCOLS[wanted.proto] or wanted.orig_dst not in {"", orig[2]}:
        return False
    if wanted.reply_src not in {"", reply[1]} or wanted.reply_sport not in {0, reply[3]}:
        return False
    return wanted.orig_dport in {0, orig[4]}


def _forget(link: socket.socket, family: int, raw: bytes) -> None:
    """Delete one connection by its original tuple, unless it went by itself."""
    padded = raw + b"\0" * (-len(raw) % 4)
    attribute = struct.pack("=HH", 4 + len(raw), 0x8000 | TUPLE_ORIG) + padded
    _send(link, DELETE, NLM_F_ACK, family, attribute)
    kind, payload = next(_messages(link))
    assert kind == NLMSG_ERROR
    code = -struct.unpack_from("=i", payload)[0]
    if code not in {0, errno.ENOENT}:
        raise OSError(code, "conntrack delete")
