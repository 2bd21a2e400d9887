"""What of the configuration shapes rules of the iptables mode, on one node and in one family."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from podwire.kube_proxy.addresses import LOOPBACK, node_port_cidrs, within
from podwire.kube_proxy.config import Config
from podwire.kube_proxy.iptables import local_match
from podwire.kube_proxy.model import NodeFacts


@dataclass(frozen=True, slots=True)
class Settings:
    """Hashable: part of the key under which renderings are shared."""

    mark: str = "0x4000"
    masquerade_all: bool = False
    local: str = ""
    """The match of traffic from this cluster's pods (``-s 10.244.0.0/16``), "" when unknown."""
    localhost_node_ports: bool = True
    """Whether NodePorts are served on 127.0.0.1 (never on ::1)."""
    node_port_cidrs: tuple[str, ...] | None = None
    """None: every local address takes NodePorts; else those in these networks."""
    random_fully: bool = True
    family: str = "ipv4"
    nfacct: bool = False
    """Whether the kernel counts by name (nfnetlink_acct) what some rules match."""
    tcp_be_liberal: bool = False
    """nf_conntrack_tcp_be_liberal: packets in state INVALID are not dropped."""

    @property
    def of_pieces(self) -> tuple[bool, str, str, bool]:
        """What of them shapes the rules of a single service port."""
        return self.masquerade_all, self.local, self.family, self.counts_localhost

    @property
    def counts_localhost(self) -> bool:
        """Whether NodePort traffic on localhost is counted by a rule of its own."""
        return self.nfacct and self.localhost_node_ports and self.family == "ipv4"

    @property
    def not_local(self) -> str:
        """The match of traffic from elsewhere."""
        return f"! {self.local}" if self.local else ""

    @property
    def not_loopback(self) -> str:
        """What the NodePort rule excludes when every local address takes NodePorts."""
        if self.family == "ipv4" and self.localhost_node_ports:
            return ""
        return f"! -d {LOOPBACK[self.family]}"


def settings_of(config: Config, node: NodeFacts, family: str) -> Settings:
    """The rule settings that a configuration means on a node. Raises ConfigError."""
    own = node.addresses_of(family)
    return Settings(
        mark=config.rules.mark,
        masquerade_all=config.rules.masquerade_all,
        local=local_match(*config.local_match(family, node.pod_cidrs)),
        localhost_node_ports=config.localhost_node_ports and family == "ipv4",
        node_port_cidrs=node_port_cidrs(config.node_port_addresses, own, family),
        family=family,
        tcp_be_liberal=config.conntrack_be_liberal,
    )


def node_port_ips(settings: Settings, local_addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Those of a node's own addresses that take NodePorts, sorted."""
    chosen = within(local_addresses, settings.node_port_cidrs or ())
    served = settings.localhost_node_ports
    return tuple(sorted(ip for ip in chosen if served or not ip_address(ip).is_loopback))
