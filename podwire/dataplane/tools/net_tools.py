"""``route``, ``ifconfig``, ``arp`` of net-tools 2.10, and busybox's where they differ."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from podwire.dataplane.link import Link
from podwire.dataplane.tools import ip_link, statistics
from podwire.dataplane.tools.words import Result, UsageError

if TYPE_CHECKING:
    from podwire.dataplane.fib import Route
    from podwire.dataplane.kernel import Kernel
    from podwire.dataplane.netns import Netns

_BITS = {"UP": 1, "BROADCAST": 2, "LOOPBACK": 8, "POINTOPOINT": 0x10, "RUNNING": 0x40,
         "NOARP": 0x80, "PROMISC": 0x100, "MULTICAST": 0x1000}  # fmt: skip
_SCOPES = {"global": "0x0<global>", "link": "0x20<link>", "host": "0x10<host>"}


def _mask(length: int) -> str:
    return str(ipaddress.ip_network(f"0.0.0.0/{length}").netmask)


def route(kernel: Kernel, netns: str, argv: list[str], _stdin: str, _now_ns: int) -> Result:
    """``route [-n]``."""
    if set(argv) - {"-n", "-e"}:
        return "", f"route: not modelled: {' '.join(argv)}\n", 4
    numeric = "-n" in argv
    lines = ["Destination     Gateway         Genmask         Flags Metric Ref    Use Iface"]
    for one in _routes(kernel.netns(netns)):
        words = _columns(one, numeric=numeric)
        metric = one.metric
        lines.append(f"{words} {metric:<6} 0        0 {one.dev}")
    return "Kernel IP routing table\n" + "".join(f"{line}\n" for line in lines), "", 0


def netstat_routes(kernel: Kernel, netns: str, *, numeric: bool) -> Result:
    """``netstat -r[n]``."""
    lines = ["Destination     Gateway         Genmask         Flags   MSS Window  irtt Iface"]
    lines += [
        f"{_columns(one, numeric=numeric)}   {one.advmss_bytes:>3} 0          0 {one.dev}"
        for one in _routes(kernel.netns(netns))
    ]
    return "Kernel IP routing table\n" + "".join(f"{line}\n" for line in lines), "", 0


def _routes(ns: Netns) -> list[Route]:
    return [one for one in ns.fib.routes("main") if not one.nexthops]


def _columns(one: Route, *, numeric: bool) -> str:
    refused = one.type in {"unreachable", "prohibit", "blackhole"}
    network, _, _ = one.prefix.shown.partition("/")
    if one.prefix.length == 0:
        network = "0.0.0.0" if numeric else "default"
    gateway = one.via or ("-" if refused else "0.0.0.0")
    flags = "!" if refused else "U"
    flags += "G" if one.via else ""
    flags += "H" if one.prefix.length == 32 else ""
    return f"{network:<15} {gateway:<15} {_mask(one.prefix.length):<15} {flags:<5}"


def arp(
    kernel: Kernel, netns: str, argv: list[str], _stdin: str, _now_ns: int, *, busybox: bool = False
) -> Result:
    """``arp [-n] [-a] [-e]``; busybox's has but one form."""
    letters = "".join(word[1:] for word in argv if word.startswith("-"))
    names = [word for word in argv if not word.startswith("-")]
    if letters.strip("nae") or names:
        return "", f"arp: not modelled: {' '.join(argv)}\n", 1
    entries = [e for e in kernel.netns(netns).neighbours.entries.values() if ":" not in e.ip]
    if "a" in letters or busybox:
        lines = []
        for e in entries:
            permanent = "PERM " if e.state == "PERMANENT" else " " if busybox else ""
            mac = f"{e.mac} [ether]" if e.mac else "<incomplete>"
            lines.append(f"? ({e.ip}) at {mac} {permanent}on {e.dev}")
        return "".join(f"{line}\n" for line in lines), "", 0
    lines = ["Address                  HWtype  HWaddress           Flags Mask            Iface"]
    for e in entries:
        if not e.mac:
            lines.append(f"{e.ip:<24}         (incomplete){'':<30}{e.dev}")
            continue
        flags = "CM" if e.state == "PERMANENT" else "C"
        lines.append(f"{e.ip:<24} ether   {e.mac:<19} {flags:<21} {e.dev}")
    return "".join(f"{line}\n" for line in lines) if entries else "", "", 0


def ifconfig(
    kernel: Kernel, netns: str, argv: list[str], _stdin: str, _now_ns: int, *, busybox: bool = False
) -> Result:
    """``ifconfig [-a] [DEV]``: addresses, flags and counters."""
    names = [word for word in argv if not word.startswith("-")]
    if len(names) > 1 or set(argv) - set(names) - {"-a"}:
        return "", f"ifconfig: not modelled: {' '.join(argv)}\n", 1
    ns = kernel.netns(netns)
    if names and names[0] not in ns.links:
        why = "error fetching interface information: Device not found"
        return "", f"{'ifconfig: ' if busybox else ''}{names[0]}: {why}\n", 1
    shown = [
        link
        for link in sorted(ns.links.values(), key=lambda x: x.name)
        if link.name in names or (not names and (link.up or "-a" in argv))
    ]
    block = _block_busybox if busybox else _block
    try:
        text = "".join(f"{block(kernel, ns, link)}\n" for link in shown)
    except UsageError as error:
        return "", f"ifconfig: {error.text}", error.code
    return text, "", 0


def _words(kernel: Kernel, ns: Netns, link: Link) -> list[str]:
    words = ip_link.flags(kernel, ns, link).split(",")
    words = ["RUNNING" if word == "LOWER_UP" else word for word in words if word != "NO-CARRIER"]
    order = ["UP", "BROADCAST", "LOOPBACK", "POINTOPOINT", "RUNNING", "NOARP", "MULTICAST"]
    return [word for word in order if word in words]


def _block(kernel: Kernel, ns: Netns, link: Link) -> str:
    words = _words(kernel, ns, link)
    bits = sum(_BITS[word] for word in words)
    lines = [f"{link.name}: flags={bits}<{','.join(words)}>  mtu {link.mtu_bytes}"]
    for a in link.addresses[:1]:
        broadcast = "  broadcast 0.0.0.0" if link.kind != "loopback" else ""
        lines.append(f"        inet {a.ip}  netmask {_mask(a.prefix.length)}{broadcast}")
    lines += [
        f"        inet6 {a.ip}  prefixlen {a.prefix.length}  scopeid {_SCOPES[a.scope]}"
        for a in link.addresses6
    ]
    if link.kind == "loopback":
        lines.append("        loop  txqueuelen 1000  (Local Loopback)")
    else:
        lines.append(f"        ether {link.mac}  txqueuelen 1000  (Ethernet)")
    lines += statistics.ifconfig(link)
    return "".join(f"{line}\n" for line in lines)


def _block_busybox(kernel: Kernel, ns: Netns, link: Link) -> str:
    loop = link.kind == "loopback"
    kind = "Local Loopback  " if loop else f"Ethernet  HWaddr {link.mac.upper()}  "
    lines = [f"{link.name:<9} Link encap:{kind}"]
    for a in link.addresses[:1]:
        broadcast = "" if loop else "  Bcast:0.0.0.0"
        lines.append(f"          inet addr:{a.ip}{broadcast}  Mask:{_mask(a.prefix.length)}")
    for a in link.addresses6:
        scope = a.scope.capitalize()
        lines.append(f"          inet6 addr: {a.cidr} Scope:{scope}")
    words = " ".join(_words(kernel, ns, link))
    lines.append(f"          {words}  MTU:{link.mtu_bytes}  Metric:1")
    lines += statistics.ifconfig_busybox(link)
    return "".join(f"{line}\n" for line in lines)
