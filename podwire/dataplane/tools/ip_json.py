"""``ip -j``: devices, addresses and routes as JSON, with iproute2's keys and their order."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from podwire.dataplane.fib import Route
from podwire.dataplane.link import Address, Link
from podwire.dataplane.tools import ip_link, statistics
from podwire.dataplane.tools.options import Options

if TYPE_CHECKING:
    from podwire.dataplane.kernel import Kernel
    from podwire.dataplane.netns import Netns

FOREVER = 2**32 - 1


def text(objects: list[dict[str, Any]], options: Options) -> str:
    """The array as ``ip`` prints it."""
    if options.pretty:
        return json.dumps(objects, indent=4) + "\n"
    return json.dumps(objects, separators=(",", ":")) + "\n"


def link(kernel: Kernel, ns: Netns, of: Link, *, mode: bool) -> dict[str, Any]:
    """A device. ``mode``: as ``ip link`` shows it."""
    shown: dict[str, Any] = {"ifindex": of.index}
    peer = kernel.peer_of(of) if of.kind == "veth" else None
    if peer is not None and of.peer_netns != ns.name:
        shown["link_index"] = peer[1].index
    elif peer is not None:
        shown["link"] = of.peer_name
    shown |= {
        "ifname": of.name, "flags": ip_link.flags(kernel, ns, of).split(","), "mtu": of.mtu_bytes,
        "qdisc": ip_link.qdisc(of),
    }  # fmt: skip
    if of.master:
        shown["master"] = of.master
    shown["operstate"] = ip_link.state(kernel, ns, of)
    if mode:
        shown["linkmode"] = "DEFAULT"
    loop = of.kind == "loopback"
    shown |= {
        "group": "default", "txqlen": 1000, "link_type": "loopback" if loop else "ether",
        "address": of.mac, "broadcast": "00:00:00:00:00:00" if loop else "ff:ff:ff:ff:ff:ff",
    }  # fmt: skip
    if "link_index" in shown:
        shown |= {"link_netns": of.peer_netns} if of.peer_netns else {"link_netnsid": 0}
    return shown


def counted(kernel: Kernel, ns: Netns, of: Link, options: Options) -> dict[str, Any]:
    """What ``-s`` adds to a device."""
    if not options.statistics:
        return {}
    return {"stats64": statistics.json(kernel, ns, of, options.statistics)}


def _address(of: Address, dev: str) -> dict[str, Any]:
    family = "inet6" if ":" in of.ip else "inet"
    shown: dict[str, Any] = {
        "family": family, "local": of.ip, "prefixlen": of.prefix.length, "scope": of.scope,
    }  # fmt: skip
    if family == "inet":
        shown["label"] = dev
    return shown | {"valid_life_time": FOREVER, "preferred_life_time": FOREVER}


def addresses(of: Link, options: Options) -> list[dict[str, Any]]:
    """The ``addr_info`` of a device."""
    four = of.addresses if options.family != "6" else ()
    six = of.addresses6 if options.family != "4" else ()
    return [_address(one, of.name) for one in (*four, *six)]


def route(of: Route) -> dict[str, Any]:
    """A route."""
    shown: dict[str, Any] = {} if of.type == "unicast" else {"type": of.type}
    shown["dst"] = of.dst
    if of.via and not of.nexthops:
        shown["gateway"] = of.via
    if of.dev and not of.nexthops:
        shown["dev"] = of.dev
    if of.proto:
        shown["protocol"] = of.proto
    if of.scope and of.scope != "global":
        shown["scope"] = of.scope
    if of.src:
        shown["prefsrc"] = of.src
    if of.metric or of.prefix.bits == 128:
        shown["metric"] = of.metric
    shown["flags"] = ["onlink"] if of.onlink and not of.nexthops else []
    if of.mtu_bytes:
        shown["metrics"] = [{"mtu": of.mtu_bytes}]
    if of.prefix.bits == 128:
        shown["pref"] = "medium"
    if of.nexthops:
        shown["nexthops"] = [
            {**({"gateway": hop.via} if hop.via else {}), "dev": hop.dev, "weight": hop.weight,
             "flags": ["onlink"] if hop.onlink else []}
            for hop in of.nexthops
        ]  # fmt: skip
    return shown
