"""What IPv6 adds to a cluster's network: addresses, a bridge's gateway, routes between nodes.

Pod networks are routed over the segment (as flannel's host-gw backend does), also from outside:
nothing masquerades IPv6 but Services.
"""

from __future__ import annotations

from collections.abc import Iterator

from podwire.dataplane import commands as c
from tests.oracle.cluster import (
    CLIENT,
    CLIENT_IP6,
    GATEWAY,
    GATEWAY_IP6,
    Cluster,
    node_ip6,
    node_name,
    pod_cidrs,
)

EDGE6 = """*filter
-A FORWARD -d 2001:db8:113::/48 -j ACCEPT
-A FORWARD -d 2001:db8:100::/48 -j ACCEPT
-A FORWARD -d fd00:10:244::/48 -j ACCEPT
-A FORWARD -j REJECT --reject-with icmp6-addr-unreachable
COMMIT
"""


def hosts(cluster: Cluster) -> Iterator[tuple[str, c.Command]]:
    """Addresses and routes of all hosts, once their cards are there."""
    addresses = {GATEWAY: GATEWAY_IP6, CLIENT: CLIENT_IP6}
    nodes = range(1, cluster.nodes + 1)
    addresses |= {node_name(i): node_ip6(i) for i in nodes}
    for host, address in addresses.items():
        yield host, c.SysctlSet(key="net.ipv6.conf.all.forwarding", value="1")
        yield host, c.AddrAdd(dev="eth0", cidr=f"{address}/64")
        router = "fd00:50::fe" if host == GATEWAY else GATEWAY_IP6
        yield host, c.RouteReplace(dst="::/0", via=router, dev="eth0")
        for i in nodes:
            if node_name(i) != host:
                (_, cidr) = pod_cidrs(i, dual=True)
                yield host, c.RouteReplace(dst=cidr, via=node_ip6(i), dev="eth0")
    for ip, i in cluster.entries.items():
        if ":" in ip:
            for host in (GATEWAY, CLIENT):
                yield host, c.RouteReplace(dst=f"{ip}/128", via=node_ip6(i), dev="eth0")
    yield GATEWAY, c.RulesRestore(text=EDGE6, family="ipv6")


def pods(cluster: Cluster) -> Iterator[tuple[str, c.Command]]:
    """The second address of every pod, once the bridges are there."""
    for i in range(1, cluster.nodes + 1):
        gateway = f"fd00:10:244:{i}::1"
        value = str(int(cluster.bridge_nf))
        key = "net.bridge.bridge-nf-call-ip6tables"
        yield node_name(i), c.SysctlSet(key=key, value=value)
        yield node_name(i), c.AddrAdd(dev="cni0", cidr=f"{gateway}/64")
        for pod in cluster.pods:
            if pod.node == i:
                ns, dev = pod.name, "eth0"
                yield node_name(i), c.AddrAdd(netns=ns, dev=dev, cidr=f"{pod.ip6}/64")
                yield node_name(i), c.RouteReplace(netns=ns, dst="::/0", via=gateway, dev=dev)
