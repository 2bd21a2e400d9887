"""ICMP as sockets meet it: which error a message means, and who waits for an echo."""

from __future__ import annotations

import asyncio
import errno
import os

from podwire.dataplane import family as families
from podwire.dataplane.packet import (
    ADMIN_PROHIBITED,
    FRAGMENTATION_NEEDED,
    HOST_PROHIBITED,
    HOST_UNREACHABLE,
    ICMPV6_UNREACHABLE,
    NET_PROHIBITED,
    NET_UNREACHABLE,
    PORT_UNREACHABLE,
    PROTOCOL_UNREACHABLE,
    Packet,
)

PING_BYTES = 64
"""ping(8): 56 bytes of data and 8 of ICMP."""

# Linux: icmp_err_convert in net/ipv4/icmp.c
_ERRNO = {
    NET_UNREACHABLE: errno.ENETUNREACH,
    HOST_UNREACHABLE: errno.EHOSTUNREACH,
    PROTOCOL_UNREACHABLE: errno.ENOPROTOOPT,
    PORT_UNREACHABLE: errno.ECONNREFUSED,
    FRAGMENTATION_NEEDED: errno.EMSGSIZE,
    NET_PROHIBITED: errno.ENETUNREACH,
    HOST_PROHIBITED: errno.EHOSTUNREACH,
    ADMIN_PROHIBITED: errno.EHOSTUNREACH,
}


# Linux: icmpv6_err_convert and tab_unreach in net/ipv6/icmp.c
_ERRNO6 = {
    0: errno.ENETUNREACH,
    1: errno.EACCES,
    2: errno.EHOSTUNREACH,
    3: errno.EHOSTUNREACH,
    4: errno.ECONNREFUSED,
    5: errno.EACCES,
    6: errno.EACCES,
}


def os_error(number: int) -> OSError:
    """The exception of an errno, with the C library's words (its subclass where there is one)."""
    return OSError(number, os.strerror(number))


def again(error: OSError) -> OSError:
    """The same error to raise once more (an exception object belongs to one traceback)."""
    return OSError(error.errno, error.strerror)


def error_of(packet: Packet) -> OSError:
    """What an ICMP error message means to the socket it is about."""
    if packet.protocol == "icmpv6":
        if packet.icmp_type == ICMPV6_UNREACHABLE:
            return os_error(_ERRNO6.get(packet.icmp_code, errno.EPROTO))
        return os_error(errno.EMSGSIZE if packet.icmp_mtu_bytes else errno.EHOSTUNREACH)
    if packet.icmp_type == 3:
        return os_error(_ERRNO.get(packet.icmp_code, errno.EHOSTUNREACH))
    return os_error(errno.EHOSTUNREACH)  # time exceeded


def echo_request(src: str, dst: str, ident: int, sequence: int) -> Packet:
    """The packet that ping sends."""
    family = families.of(dst)
    return Packet(
        src=src,
        dst=dst,
        protocol=family.icmp,
        icmp_type=family.echo,
        icmp_id=ident,
        icmp_seq=sequence,
        size_bytes=PING_BYTES + family.header_bytes,
    )


class Echoes:
    """The echo requests of a namespace that wait for their reply."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[int, int], asyncio.Future[None]] = {}
        self._ident = 0

    def register(self, sequence: int, answered: asyncio.Future[None]) -> int:
        """Expect a reply; the identifier to send."""
        self._ident = self._ident % 0xFFFF + 1
        self._waiting[self._ident, sequence] = answered
        return self._ident

    def forget(self, ident: int, sequence: int) -> None:
        """Expect it no longer."""
        self._waiting.pop((ident, sequence), None)

    def reply(self, packet: Packet) -> None:
        """An echo reply arrived."""
        waiter = self._waiting.get((packet.icmp_id, packet.icmp_seq))
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def error(self, original: Packet, error: OSError) -> None:
        """An ICMP error about a request arrived."""
        waiter = self._waiting.get((original.icmp_id, original.icmp_seq))
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)
