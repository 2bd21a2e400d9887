"""Which tools exist, by the name people type."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from podwire.dataplane.commands import CommandError
from podwire.dataplane.tools import (
    bridge,
    cilium,
    conntrack,
    ethtool,
    ip,
    ipset,
    iptables,
    ipvsadm,
    net_tools,
    nft,
    sysctl,
    tc,
)
from podwire.dataplane.tools.words import Result

if TYPE_CHECKING:
    from podwire.dataplane.kernel import Kernel

Tool = Callable[["Kernel", str, list[str], str, int], Result]

TOOLS: dict[str, Tool] = {
    "ip": ip.run,
    "bridge": bridge.run,
    "iptables": iptables.run,
    "iptables-save": iptables.save,
    "iptables-restore": iptables.restore,
    "ip6tables": iptables.run6,
    "ip6tables-save": iptables.save6,
    "ip6tables-restore": iptables.restore6,
    "nft": nft.run,
    "conntrack": conntrack.run,
    "ipset": ipset.run,
    "ipvsadm": ipvsadm.run,
    "ipvsadm-restore": ipvsadm.restored,
    "ipvsadm-save": ipvsadm.saved,
    "cilium-dbg": cilium.run,
    "sysctl": sysctl.run,
    "tc": tc.run,
    "route": net_tools.route,
    "arp": net_tools.arp,
    "ifconfig": net_tools.ifconfig,
    "ethtool": ethtool.run,
}

BUSYBOX: dict[str, Tool] = {
    "arp": partial(net_tools.arp, busybox=True),
    "ifconfig": partial(net_tools.ifconfig, busybox=True),
}
"""Tools whose text is another one in busybox."""


def run(kernel: Kernel, netns: str, argv: list[str], stdin: str, now_ns: int) -> Result:
    """Run a tool in a namespace: (stdout, stderr, exit code). Unknown ones exit 127."""
    name = argv[0].rsplit("/", 1)[-1] if argv else ""
    if name == "busybox" and len(argv) > 1:  # as an image's busybox, which prints differently
        argv = argv[1:]
        name = argv[0]
        tool = BUSYBOX.get(name) or TOOLS.get(name)
    else:
        tool = TOOLS.get(name)
    if tool is None:
        return "", f"{name}: command not modelled\n", 127
    try:
        return tool(kernel, netns, argv[1:], stdin, now_ns)
    except CommandError as error:
        return "", f"{error}\n", 1
