"""ICMP as sockets meet it: which error a message means."""

from __future__ import annotations

import errno
import os

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
