"""``python -m tests.oracle.able``: can this machine play Linux? If not, one line says why."""

from __future__ import annotations

import os
import shutil
import sys

from podwire.dataplane import commands as c
from tests.oracle.linux import Linux, LinuxError, Namespaces, leave_host, tool

PROGRAMS = (
    "ip", "bridge", "nft", "xtables-monitor", "stdbuf",
    "iptables-legacy-restore", "iptables-nft-restore",
    "ip6tables-legacy-restore", "ip6tables-nft-restore",
)  # fmt: skip


def why_not() -> str:
    """What is missing; "" when nothing is. This process leaves the host's namespace."""
    if os.name != "posix" or not shutil.which("ip"):
        return "no iproute2"
    try:
        for program in PROGRAMS:
            tool(program)
        leave_host()
        with Namespaces() as spaces:
            linux = Linux(spaces, "legacy")
            linux.add_fabric()
            linux.add_host("probe", "02:00:00:00:00:01")
            linux.perform("probe", c.LinkAdd(name="v", kind="vxlan", vni=1, local="192.0.2.1",
                                             dev="eth0"))  # fmt: skip
            linux.perform("probe", c.SysctlSet(key="net.bridge.bridge-nf-call-iptables", value="1"))
            linux.perform("probe", c.RulesRestore(text=RULES))
            linux.settle()
    except (OSError, LinuxError) as error:
        return f"the oracle needs a Linux to ask: {str(error).splitlines()[0]}"
    return ""


RULES = """*nat
:X - [0:0]
-A X -m statistic --mode random --probability 0.5 -m recent --name x --set -j MARK --or-mark 0x4000
-A X -m addrtype --dst-type LOCAL -j MASQUERADE --random-fully
COMMIT
"""

if __name__ == "__main__":
    reason = why_not()
    sys.stdout.write(f"{reason}\n" if reason else "")
    sys.exit(1 if reason else 0)
