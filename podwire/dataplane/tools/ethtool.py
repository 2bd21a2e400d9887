"""``ethtool``: what drivers say of a device (-i) and of a veth's queues (-S)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.dataplane.tools.words import Result

if TYPE_CHECKING:
    from podwire.dataplane.kernel import Kernel

NO_DEVICE = 96
_DRIVERS = {
    "veth": ("veth", "1.0"), "bridge": ("bridge", "2.3"), "vxlan": ("vxlan", "0.1"),
    "dummy": ("dummy", "1.0"), "geneve": ("geneve", "0.6"), "wireguard": ("wireguard", "1.0.0"),
}  # fmt: skip
_VETH = (
    "rx_queue_0_xdp_packets", "rx_queue_0_xdp_bytes", "rx_queue_0_drops",
    "rx_queue_0_xdp_redirect", "rx_queue_0_xdp_drops", "rx_queue_0_xdp_tx",
    "rx_queue_0_xdp_tx_errors", "tx_queue_0_xdp_xmit", "tx_queue_0_xdp_xmit_errors",
)  # fmt: skip
"""A veth counts what XDP does; without an XDP program that is nothing."""


def run(kernel: Kernel, netns: str, argv: list[str], _stdin: str, _now_ns: int) -> Result:
    """``ethtool -S|-i DEV``; others are not modelled."""
    verb = argv[0] if argv else ""
    if verb not in {"-S", "--statistics", "-i", "--driver"} or len(argv) != 2:
        return "", f"ethtool: not modelled: {' '.join(argv) or 'no arguments'}\n", 1
    link = kernel.netns(netns).links.get(argv[1])
    statistics = verb in {"-S", "--statistics"}
    if link is None:
        what = "stats strings" if statistics else "driver"
        return "", f"Cannot get {what} information: No such device\n", NO_DEVICE
    if not statistics:
        return _driver(link.kind), "", 0
    if link.kind != "veth":
        if link.kind == "phys":
            return "", "ethtool: not modelled: the counters of a network card\n", 1
        return "", "no stats available\n", 94
    peer = kernel.peer_of(link)
    index = peer[1].index if peer is not None else 0
    lines = [f"     peer_ifindex: {index}", *(f"     {name}: 0" for name in _VETH)]
    return "NIC statistics:\n" + "".join(f"{line}\n" for line in lines), "", 0


def _driver(kind: str) -> str:
    driver, version = _DRIVERS.get(kind, (kind, ""))
    yes = "yes" if kind == "veth" else "no"
    return (
        f"driver: {driver}\nversion: {version}\nfirmware-version: \nexpansion-rom-version: \n"
        f"bus-info: \nsupports-statistics: {yes}\nsupports-test: no\nsupports-eeprom-access: no\n"
        "supports-register-dump: no\nsupports-priv-flags: no\n"
    )
