"""``sysctl``: reading and writing the parameters that are modelled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.dataplane.commands import CommandError, SysctlSet
from podwire.dataplane.sysctl import DEFAULTS
from podwire.dataplane.tools.words import Result

if TYPE_CHECKING:
    from podwire.dataplane.kernel import Kernel


COUNT = "net.netfilter.nf_conntrack_count"
"""Not a parameter but a figure, to read only."""


def run(kernel: Kernel, netns: str, argv: list[str], _stdin: str, now_ns: int) -> Result:
    """``sysctl [-n] KEY...``, ``sysctl [-w] KEY=VALUE...``, ``sysctl -a``."""
    ns = kernel.netns(netns)
    flags = [word for word in argv if word.startswith("-")]
    keys = [word for word in argv if not word.startswith("-")]
    if "-a" in flags:
        keys = sorted({**DEFAULTS, **ns.sysctls.written})
    out, err = [], []
    for word in keys:
        key, equals, value = word.partition("=")
        key = key.strip().replace("/", ".") if "." not in key else key.strip()
        try:
            if equals:
                kernel.execute(SysctlSet(netns=netns, key=key, value=value.strip()), now_ns)
            shown = str(len(ns.conntrack)) if key == COUNT else ns.sysctls.get(key)
        except CommandError as error:
            err.append(f"{error}\n")
        except KeyError:
            path = key.replace(".", "/")
            err.append(f"sysctl: cannot stat /proc/sys/{path}: No such file or directory\n")
        else:
            out.append(f"{shown}\n" if "-n" in flags else f"{key} = {shown}\n")
    return "".join(out), "".join(err), 1 if err else 0
