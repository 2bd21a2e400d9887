"""The seventeen ipsets of the mode: names, types, and the rules that look into them.

Source: pkg/proxy/ipvs/ipset.go (names, comments), proxier.go (ipsetInfo, ipsetWithIptablesChain).
"""

from __future__ import annotations

from typing import NamedTuple

LOOP_BACK = "KUBE-LOOP-BACK"
CLUSTER_IP = "KUBE-CLUSTER-IP"
EXTERNAL_IP = "KUBE-EXTERNAL-IP"
EXTERNAL_IP_LOCAL = "KUBE-EXTERNAL-IP-LOCAL"
LOAD_BALANCER = "KUBE-LOAD-BALANCER"
LOAD_BALANCER_FW = "KUBE-LOAD-BALANCER-FW"
LOAD_BALANCER_LOCAL = "KUBE-LOAD-BALANCER-LOCAL"
SOURCE_IP = "KUBE-LOAD-BALANCER-SOURCE-IP"
SOURCE_CIDR = "KUBE-LOAD-BALANCER-SOURCE-CIDR"
NODE_PORT = {"tcp": "KUBE-NODE-PORT-TCP", "udp": "KUBE-NODE-PORT-UDP",
             "sctp": "KUBE-NODE-PORT-SCTP-HASH"}  # fmt: skip
NODE_PORT_LOCAL = {"tcp": "KUBE-NODE-PORT-LOCAL-TCP", "udp": "KUBE-NODE-PORT-LOCAL-UDP",
                   "sctp": "KUBE-NODE-PORT-LOCAL-SCTP-HASH"}  # fmt: skip
HEALTH_CHECK = "KUBE-HEALTH-CHECK-NODE-PORT"
IPVS_IPS = "KUBE-IPVS-IPS"

LONGEST_NAME = 31
NODE = "@node"
"""Stands in an entry for each of the node's own addresses."""


class SetInfo(NamedTuple):
    """A set's type and its comment in rules."""

    kind: str
    comment: str


SETS: dict[str, SetInfo] = {
    LOOP_BACK: SetInfo(
        "hash:ip,port,ip",
        "Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose",
    ),
    CLUSTER_IP: SetInfo(
        "hash:ip,port", "Kubernetes service cluster ip + port for masquerade purpose"
    ),
    EXTERNAL_IP: SetInfo(
        "hash:ip,port",
        "Kubernetes service external ip + port for masquerade and filter purpose",
    ),
    EXTERNAL_IP_LOCAL: SetInfo(
        "hash:ip,port",
        "Kubernetes service external ip + port with externalTrafficPolicy=local",
    ),
    LOAD_BALANCER: SetInfo("hash:ip,port", "Kubernetes service lb portal"),
    LOAD_BALANCER_FW: SetInfo(
        "hash:ip,port",
        "Kubernetes service load balancer ip + port for load balancer with sourceRange",
    ),
    LOAD_BALANCER_LOCAL: SetInfo(
        "hash:ip,port",
        "Kubernetes service load balancer ip + port with externalTrafficPolicy=local",
    ),
    SOURCE_IP: SetInfo(
        "hash:ip,port,ip",
        "Kubernetes service load balancer ip + port + source IP for packet filter purpose",
    ),
    SOURCE_CIDR: SetInfo(
        "hash:ip,port,net",
        "Kubernetes service load balancer ip + port + source cidr for packet filter purpose",
    ),
    NODE_PORT["tcp"]: SetInfo("bitmap:port", "Kubernetes nodeport TCP port for masquerade purpose"),
    NODE_PORT_LOCAL["tcp"]: SetInfo(
        "bitmap:port", "Kubernetes nodeport TCP port with externalTrafficPolicy=local"
    ),
    NODE_PORT["udp"]: SetInfo("bitmap:port", "Kubernetes nodeport UDP port for masquerade purpose"),
    NODE_PORT_LOCAL["udp"]: SetInfo(
        "bitmap:port", "Kubernetes nodeport UDP port with externalTrafficPolicy=local"
    ),
    NODE_PORT["sctp"]: SetInfo(
        "hash:ip,port",
        "Kubernetes nodeport SCTP port for masquerade purpose with type 'hash ip:port'",
    ),
    NODE_PORT_LOCAL["sctp"]: SetInfo(
        "hash:ip,port",
        "Kubernetes nodeport SCTP port with externalTrafficPolicy=local with type 'hash ip:port'",
    ),
    HEALTH_CHECK: SetInfo("bitmap:port", "Kubernetes health check node port"),
    IPVS_IPS: SetInfo("hash:ip", "Addresses on the ipvs interface"),
}


def name_of(name: str, family: str) -> str:
    """A set's name in the kernel: both families live beside each other (NewIPSet)."""
    if family == "ipv4":
        return name
    return name.replace("KUBE-", "KUBE-6-", 1)[:LONGEST_NAME]


def create(name: str, family: str) -> str:
    """The line that makes a set."""
    kind = SETS[name].kind
    if kind == "bitmap:port":
        return f"create {name_of(name, family)} bitmap:port range 0-65535\n"
    inet = "inet6" if family == "ipv6" else "inet"
    return f"create {name_of(name, family)} {kind} family {inet} hashsize 1024 maxelem 65536\n"


def addable(entry: str) -> bool:
    """Whether ipset takes an entry. It refuses a network of length 0: of a source range 0.0.0.0/0
    upstream logs "Failed to add entry", and the load balancer is closed to everybody.
    """
    return not entry.endswith("/0")
