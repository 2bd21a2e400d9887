"""What devices have counted, as the tools print it: ``ip -s``, /proc/net/dev, /sys, net-tools.

Held to a kernel's own figures by ``tests/system/test_device_counters.py``. Errors are not modelled:
their columns are 0. Nor are a dumped device's counters: they stayed on the machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from podwire.dataplane.tools import ip_link
from podwire.dataplane.tools.words import not_modelled

if TYPE_CHECKING:
    from podwire.dataplane.kernel import Kernel
    from podwire.dataplane.link import Link, Stats
    from podwire.dataplane.netns import Netns
    from podwire.dataplane.tools.options import Options

_RX = ("packets", "errors", "dropped", "missed", "mcast")
_TX = ("packets", "errors", "dropped", "carrier", "collsns")
_RX_ERRORS = ("length", "crc", "frame", "fifo", "overrun")
_TX_ERRORS = ("aborted", "fifo", "window", "heartbt", "transns")
_WIDTHS = (10, 7, 6, 7, 7, 7)
SYS = "/sys/class/net/"
_TYPES = {"loopback": 772, "ipip": 768, "wireguard": 65534}


def of(link: Link) -> Stats:
    """A device's counters. Raises UsageError for one that a dump told of."""
    if link.beyond is not None:
        raise not_modelled("the counters of a device that a dump tells of")
    return link.stats


def transitions(kernel: Kernel, ns: Netns, link: Link) -> int:
    """How often the carrier came and went (carrier_changes) of a device that came up once."""
    if link.kind in {"loopback", "vxlan", "dummy", "geneve", "ipip", "wireguard", "phys"}:
        return 0
    return 2 if link.up and ip_link.carrier(kernel, ns, link) else 1


def lines(kernel: Kernel, ns: Netns, link: Link, options: Options) -> list[str]:
    """The lines of ``ip -s`` or ``ip -s -s``: columns as wide as need be."""
    stats, detail = of(link), options.statistics
    counted_in = (stats.rx_bytes, stats.rx_packets, 0, 0, 0, stats.multicast)
    counted_out = (stats.tx_bytes, stats.tx_packets, 0, stats.tx_dropped, 0, 0)
    rx, tx = (tuple(map(options.number, numbers)) for numbers in (counted_in, counted_out))
    changes = transitions(kernel, ns, link)
    widths = [max(width, len(a), len(b)) for width, a, b in zip(_WIDTHS, rx, tx, strict=True)]

    def head(name: str, first: str, words: tuple[str, ...]) -> str:
        told = [first.rjust(widths[0] + 4 - len(f"    {name}:"))]
        told += [w.rjust(width) for w, width in zip(words, widths[1:], strict=True)]
        return f"    {name}:{' '.join(told)}"

    def row(values: tuple[int | str, ...]) -> str:
        told = [str(v).rjust(width) for v, width in zip(values, widths, strict=True)]
        return f"    {' '.join(told)} "

    shown = []
    for name, words, values, errors, counted in (
        ("RX", _RX, rx, _RX_ERRORS, ("", 0, 0, 0, 0, 0)),
        ("TX", _TX, tx, _TX_ERRORS, ("", 0, 0, 0, 0, changes)),
    ):
        shown += [f"{head(name, 'bytes', words)}{'':11}", row(values)]
        if detail > 1:
            shown += [head(f"{name} errors", "", errors), row(counted)]
    return shown


def json(kernel: Kernel, ns: Netns, link: Link, detail: int) -> dict[str, Any]:
    """The ``stats64`` of ``ip -s -j``."""
    stats = of(link)
    rx = {
        "bytes": stats.rx_bytes, "packets": stats.rx_packets, "errors": 0, "dropped": 0,
        "over_errors": 0, "multicast": stats.multicast,
    }  # fmt: skip
    tx = {
        "bytes": stats.tx_bytes, "packets": stats.tx_packets, "errors": 0,
        "dropped": stats.tx_dropped, "carrier_errors": 0, "collisions": 0,
    }  # fmt: skip
    if detail > 1:
        rx |= dict.fromkeys(
            ("length_errors", "crc_errors", "frame_errors", "fifo_errors", "missed_errors"), 0
        )
        tx |= dict.fromkeys(
            ("aborted_errors", "fifo_errors", "window_errors", "heartbeat_errors"), 0
        )
        tx["carrier_changes"] = transitions(kernel, ns, link)
    return {"rx": rx, "tx": tx}


def proc(ns: Netns) -> str:
    """``/proc/net/dev``."""
    received, sent = "packets errs drop fifo frame compressed", "packets errs drop fifo colls"
    told = [
        f"Inter-|   Receive{'':48}|  Transmit",
        f" face |bytes    {received} multicast|bytes    {sent} carrier compressed",
    ]
    for link in ns.links.values():
        stats = of(link)
        told.append(
            f"{link.name:>6}: {stats.rx_bytes:>7} {stats.rx_packets:>7}    0    0    0     0"
            f"          0 {stats.multicast:>9} {stats.tx_bytes:>8} {stats.tx_packets:>7}    0"
            f" {stats.tx_dropped:>4}    0     0       0          0"
        )
    return "".join(f"{line}\n" for line in told)


def sys(kernel: Kernel, ns: Netns, path: str) -> str | None:
    """A file below ``/sys/class/net``; None when the model has no such file."""
    name, _, rest = path.removeprefix(SYS).partition("/")
    link = ns.links.get(name)
    if link is None:
        return None
    group, _, counter = rest.rpartition("/")
    if group == "statistics":
        known = {f"{way}_{what}" for way, what in _SYS}
        value = getattr(of(link), counter, 0)
        return f"{value}\n" if counter in known or counter in _SYS_OTHERS else None
    facts = {
        "address": link.mac,
        "carrier": int(ip_link.carrier(kernel, ns, link)),
        "carrier_changes": transitions(kernel, ns, link),
        "ifindex": link.index,
        "mtu": link.mtu_bytes,
        "operstate": ip_link.state(kernel, ns, link).lower(),
        "tx_queue_len": 1000,
        "type": _TYPES.get(link.kind, 1),
    }
    return f"{facts[rest]}\n" if rest in facts else None


_SYS = [
    *(("rx", what) for what in (
        "bytes", "compressed", "crc_errors", "dropped", "errors", "fifo_errors", "frame_errors",
        "length_errors", "missed_errors", "nohandler", "over_errors", "packets",
    )),
    *(("tx", what) for what in (
        "aborted_errors", "bytes", "carrier_errors", "compressed", "dropped", "errors",
        "fifo_errors", "heartbeat_errors", "packets", "window_errors",
    )),
]  # fmt: skip
_SYS_OTHERS = ("collisions", "multicast")


def human(number: int) -> str:
    """Bytes as net-tools and busybox scale them, cut to a tenth: ``1.4 KiB``."""
    units, tenths = ["B", "KiB", "MiB", "GiB", "TiB"], number * 10
    while tenths >= 10240 and len(units) > 1:
        tenths //= 1024
        units.pop(0)
    return f"{tenths // 10}.{tenths % 10} {units[0]}"


def ifconfig(link: Link) -> list[str]:
    """The lines of net-tools' ``ifconfig``."""
    stats = of(link)
    at = "        "
    return [
        f"{at}RX packets {stats.rx_packets}  bytes {stats.rx_bytes} ({human(stats.rx_bytes)})",
        f"{at}RX errors 0  dropped 0  overruns 0  frame 0",
        f"{at}TX packets {stats.tx_packets}  bytes {stats.tx_bytes} ({human(stats.tx_bytes)})",
        f"{at}TX errors 0  dropped {stats.tx_dropped} overruns 0  carrier 0  collisions 0",
    ]


def ifconfig_busybox(link: Link) -> list[str]:
    """Those of busybox."""
    stats, at = of(link), "          "
    rx, tx = (f"{n} ({human(n)})" for n in (stats.rx_bytes, stats.tx_bytes))
    drops = f"dropped:{stats.tx_dropped} overruns:0"
    return [
        f"{at}RX packets:{stats.rx_packets} errors:0 dropped:0 overruns:0 frame:0",
        f"{at}TX packets:{stats.tx_packets} errors:0 {drops} carrier:0",
        f"{at}collisions:0 txqueuelen:1000 ",
        f"{at}RX bytes:{rx}  TX bytes:{tx}",
    ]


_LETTERS = {"BROADCAST": "B", "LOOPBACK": "L", "MULTICAST": "M", "NOARP": "O",
            "POINTOPOINT": "P", "LOWER_UP": "R", "UP": "U"}  # fmt: skip


def netstat(kernel: Kernel, netns: str, *, every: bool) -> str:
    """``netstat -i`` (``every``: -a, devices that are down too)."""
    ns = kernel.netns(netns)
    told = [
        "Kernel Interface table",
        "Iface             MTU    RX-OK RX-ERR RX-DRP RX-OVR    TX-OK TX-ERR TX-DRP TX-OVR Flg",
    ]
    for link in sorted(ns.links.values(), key=lambda x: x.name):
        if not (link.up or every):
            continue
        stats, words = of(link), ip_link.flags(kernel, ns, link).split(",")
        letters = "".join(letter for word, letter in _LETTERS.items() if word in words)
        told.append(
            f"{link.name:<15} {link.mtu_bytes:>5} {stats.rx_packets:>8}      0      0 0     "
            f" {stats.tx_packets:>8}      0 {stats.tx_dropped:>6}      0 {letters}"
        )
    return "".join(f"{line}\n" for line in told)
