"""ICMP as sockets meet it: which error a message means, and who waits for an echo."""

from __future__ import annotations

import asyncio
import errno
import os

from podwire.dataplane.packet import (
    ADMIN_PROHIBITED,
    FRAGMENTATION_NEEDED,
    HOST_PROHIBITED,
    HOST_UNREACHABLE,
    ICMP_ECHO,
    NET_PROHIBITED,
    NET_UNREACHABLE,
    PORT_UNREACHABLE,
    PROTOCOL_UNREACHABLE,
    Packet,
)

PING_BYTES = 84
"""ping(8): 56 bytes of data, 8 of ICMP and 20 of IP header."""

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


def os_error(number: int) -> OSError:
    """The exception of an errno, with the C library's words (its subclass where there is one)."""
    return OSError(number, os.strerror(number))


def again(error: OSError) -> OSError:
    """The same error to raise once more (an exception object belongs to one traceback)."""
    return OSError(error.errno, error.strerror)


def error_of(packet: Packet) -> OSError:
    """What an ICMP error message means to the socket it is about."""
    if packet.icmp_type == 3:
        return os_error(_ERRNO.get(packet.icmp_code, errno.EHOSTUNREACH))
    return os_error(errno.EHOSTUNREACH)  # time exceeded


def echo_request(src: str, dst: str, ident: int, sequence: int) -> Packet:
    """The packet that ping sends."""
    return Packet(
        src=src,
        dst=dst,
        protocol="icmp",
        icmp_type=ICMP_ECHO,
        icmp_id=ident,
        icmp_seq=sequence,
        size_bytes=PING_BYTES,
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
