"""``cilium-dbg``: what the service maps hold, as Cilium's agent prints it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.dataplane.ebpf import show
from podwire.dataplane.tools.words import Result

if TYPE_CHECKING:
    from podwire.dataplane.kernel import Kernel


def run(kernel: Kernel, netns: str, argv: list[str], stdin: str, now_ns: int) -> Result:
    """``service list``, ``bpf lb list [--backends|--revnat]``, ``bpf lb dump`` (raw lines)."""
    del stdin, now_ns
    ebpf = kernel.netns(netns).ebpf
    words = tuple(argv)
    if words == ("service", "list"):
        return show.service_list(ebpf), "", 0
    if words == ("bpf", "lb", "list"):
        return show.lb_list(ebpf), "", 0
    if words == ("bpf", "lb", "dump"):
        return "".join(f"{line}\n" for line in show.lines(ebpf)), "", 0
    if words == ("status",):
        on = "True" if ebpf.attached else "False"
        return f"KubeProxyReplacement:    {on}\n", "", 0
    return "", f"Error: not modelled: cilium-dbg {' '.join(argv)}\n", 1
