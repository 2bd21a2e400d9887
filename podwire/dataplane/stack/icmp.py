"""ICMP: errors about packets, and echo."""

from __future__ import annotations

from podwire.dataplane.addr import is_multicast
from podwire.dataplane.netns import Netns
from podwire.dataplane.packet import (
    ICMP_ECHO_REPLY,
    ICMP_ERRORS,
    Packet,
    replace,
)
from podwire.dataplane.run import Run
from podwire.dataplane.skb import Skb

HEADER_BYTES = 28
LARGEST_ERROR_BYTES = 576


def error(run: Run, ns: Netns, skb: Skb, type: int, code: int, mtu_bytes: int = 0) -> None:
    """Send an ICMP error about a packet to its source (icmp_send).

    Never about another error, nor about what was sent to everyone. Rate limits are not modelled.
    """
    from podwire.dataplane.stack import ipv4  # noqa: PLC0415  # the layers call each other

    about = skb.packet
    is_error = about.protocol == "icmp" and about.icmp_type in ICMP_ERRORS
    if is_error or is_multicast(about.dst) or about.src in {"", "0.0.0.0"}:
        return
    source = about.dst if about.dst in ns.local else ""
    if not skb.in_dev and about.src in ns.local:
        source = about.src
    message = Packet(
        src=source,
        dst=about.src,
        protocol="icmp",
        icmp_type=type,
        icmp_code=code,
        icmp_mtu_bytes=mtu_bytes,
        original=replace(about, mark=0, payload=None),
        size_bytes=min(LARGEST_ERROR_BYTES, HEADER_BYTES + about.size_bytes),
        dont_fragment=False,
    )
    ipv4.output(run, ns, message)


def echo(run: Run, ns: Netns, request: Packet) -> None:
    """Answer an echo request, as the kernel does without any program."""
    from podwire.dataplane.stack import ipv4  # noqa: PLC0415

    if ns.sysctls.number("net.ipv4.icmp_echo_ignore_all"):
        return
    answer = replace(
        request, src=request.dst, dst=request.src, icmp_type=ICMP_ECHO_REPLY, ttl=64, mark=0
    )
    ipv4.output(run, ns, answer)
