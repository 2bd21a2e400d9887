"""Files of /proc that show a namespace's network: /proc/sys/net, /proc/net/route, arp
and dev; and of /sys/class/net.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from podwire.dataplane.tools import statistics

if TYPE_CHECKING:
    from podwire.dataplane.kernel import Kernel
    from podwire.dataplane.netns import Netns


def read(kernel: Kernel, netns: str, path: str) -> str | None:
    """A file's text; None when the model has no such file. Raises UsageError for what a dump does
    not tell.
    """
    ns = kernel.netns(netns)
    if path.startswith(statistics.SYS):
        return statistics.sys(kernel, ns, path)
    if path.startswith("/proc/sys/"):
        try:
            return f"{ns.sysctls.get(path.removeprefix('/proc/sys/').replace('/', '.'))}\n"
        except KeyError:
            return None
    name = path.removeprefix("/proc/self").removeprefix("/proc/thread-self")
    name = name.removeprefix("/proc").removeprefix("/net/")
    return {"route": _route, "arp": _arp, "dev": statistics.proc}.get(name, lambda _: None)(ns)


def _hex(address: str) -> str:
    """An address as the kernel prints it: its bytes as a little-endian number."""
    return f"{int.from_bytes(ipaddress.ip_address(address).packed, 'little'):08X}"


def _route(ns: Netns) -> str:
    head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT"
    lines = [head]
    for one in ns.fib.routes("main"):
        if one.nexthops or one.type != "unicast":
            continue
        network = one.prefix.shown.partition("/")[0] if one.prefix.length else "0.0.0.0"
        mask = str(ipaddress.ip_network(f"0.0.0.0/{one.prefix.length}").netmask)
        flags = 1 | (2 if one.via else 0) | (4 if one.prefix.length == 32 else 0)
        lines.append(
            f"{one.dev}\t{_hex(network)}\t{_hex(one.via or '0.0.0.0')}\t{flags:04X}\t0\t0\t"
            f"{one.metric}\t{_hex(mask)}\t{one.advmss_bytes}\t0\t0"
        )
    return "".join(f"{line:<127}\n" for line in lines)


def _arp(ns: Netns) -> str:
    lines = ["IP address       HW type     Flags       HW address            Mask     Device"]
    for entry in ns.neighbours.entries.values():
        if ":" in entry.ip:
            continue
        flags = 0x6 if entry.state == "PERMANENT" else 0x2 if entry.mac else 0
        mac = entry.mac or "00:00:00:00:00:00"
        lines.append(f"{entry.ip:<16} 0x{1:<10x}0x{flags:<10x}{mac:<17}     *        {entry.dev}")
    return "".join(f"{line}\n" for line in lines)
