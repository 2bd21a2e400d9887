"""ICMP and ICMPv6: errors about packets, and echo."""

from __future__ import annotations

from podwire.dataplane import family as families
from podwire.dataplane.addr import is_link_local, is_multicast
from podwire.dataplane.family import Trouble
from podwire.dataplane.netns import Netns
from podwire.dataplane.packet import Packet, replace
from podwire.dataplane.run import Run
from podwire.dataplane.skb import Skb

HEADER_BYTES = 8
NOBODY = ("", "0.0.0.0", "::")


def tell(run: Run, ns: Netns, skb: Skb, trouble: Trouble, mtu_bytes: int = 0) -> None:
    """Send the error that means ``trouble`` in the packet's family."""
    error(run, ns, skb, *families.of(skb.packet.dst).errors[trouble], mtu_bytes)


def error(run: Run, ns: Netns, skb: Skb, type: int, code: int, mtu_bytes: int = 0) -> None:
    """Send an ICMP error about a packet to its source (icmp_send, icmp6_send).

    Never about another error, nor about what was sent to everyone. Rate limits are not modelled.
    """
    from podwire.dataplane.stack import ip  # noqa: PLC0415  # the layers call each other

    about = skb.packet
    if about.is_icmp_error or about.is_discovery or is_multicast(about.dst) or about.src in NOBODY:
        return
    family = families.of(about.dst)
    source = about.dst if about.dst in ns.local else ""
    if not skb.in_dev and about.src in ns.local:
        source = about.src
    message = Packet(
        src=source,
        dst=about.src,
        protocol=family.icmp,
        icmp_type=type,
        icmp_code=code,
        icmp_mtu_bytes=mtu_bytes,
        original=replace(about, mark=0, payload=None),
        size_bytes=min(
            family.largest_error_bytes, family.header_bytes + HEADER_BYTES + about.size_bytes
        ),
        dont_fragment=False,
    )
    ip.output(run, ns, message, oif=skb.in_dev if is_link_local(about.src) else "")


def echo(run: Run, ns: Netns, skb: Skb) -> None:
    """Answer an echo request, as the kernel does without any program."""
    from podwire.dataplane.stack import ip  # noqa: PLC0415

    request = skb.packet
    family = families.of(request.dst)
    if ns.sysctls.number(family.ignore_echo) or is_multicast(request.dst):
        return
    answer = replace(
        request, src=request.dst, dst=request.src, icmp_type=family.echo_reply, ttl=64, mark=0
    )
    ip.output(run, ns, answer, oif=skb.in_dev if is_link_local(request.src) else "")
