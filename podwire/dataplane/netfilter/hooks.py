"""The five hooks of the IPv4 stack, and what runs at each, in order."""

from __future__ import annotations

from podwire.dataplane.netns import Netns
from podwire.dataplane.run import Run
from podwire.dataplane.skb import Skb


def run(_run: Run, _ns: Netns, _skb: Skb, _hook: str) -> bool:
    """Pass a packet through a hook; False when it ended there."""
    return True


def bridged(ns: Netns) -> bool:
    """Whether bridged packets pass the hooks too (br_netfilter)."""
    return ns.sysctls.number("net.bridge.bridge-nf-call-iptables") == 1
