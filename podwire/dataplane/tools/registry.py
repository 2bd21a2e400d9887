"""Which tools exist, by the name people type."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from podwire.dataplane.commands import CommandError
from podwire.dataplane.tools import (
    bridge,
    cilium,
    conntrack,
    ip,
    ipset,
    iptables,
    ipvsadm,
    nft,
    ss,
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
    "ss": ss.run,
}


def run(kernel: Kernel, netns: str, argv: list[str], stdin: str, now_ns: int) -> Result:
    """Run a tool in a namespace: (stdout, stderr, exit code). Unknown ones exit 127."""
    name = argv[0].rsplit("/", 1)[-1] if argv else ""
    tool = TOOLS.get(name)
    if tool is None:
        return "", f"{name}: command not modelled\n", 127
    try:
        return tool(kernel, netns, argv[1:], stdin, now_ns)
    except CommandError as error:
        return "", f"{error}\n", 1
