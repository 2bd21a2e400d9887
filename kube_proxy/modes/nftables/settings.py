"""What of the configuration shapes rules of the nftables mode, on one node and in one family."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from podwire.kube_proxy.addresses import node_port_cidrs, within
from podwire.kube_proxy.config import Config
from podwire.kube_proxy.model import NodeFacts


@dataclass(frozen=True, slots=True)
class Settings:
    """Hashable: part of the key under which renderings are shared."""

    mark: str = "0x4000"
    masquerade_all: bool = False
    local: str = ""
    """The match of traffic from this cluster's pods (``ip saddr 10.244.0.0/16``), "" if unknown."""
    not_local: str = ""
    """The match of traffic from elsewhere."""
    node_port_cidrs: tuple[str, ...] | None = None
    """None: every local address takes NodePorts; else those in these networks."""
    family: str = "ipv4"

    @property
    def of_pieces(self) -> tuple[bool, str, str, str]:
        """What of them shapes the rules of a single service port."""
        return self.masquerade_all, self.local, self.not_local, self.family

    @property
    def ip(self) -> str:
        """``ip`` or ``ip6``: the family of the table and the first word of matches."""
        return "ip6" if self.family == "ipv6" else "ip"

    @property
    def all_node_ips(self) -> bool:
        """Whether NodePorts are taken on every local address."""
        return self.node_port_cidrs is None


def settings_of(config: Config, node: NodeFacts, family: str) -> Settings:
    """The rule settings that a configuration means on a node. Raises ConfigError.

    Unlike in iptables and ipvs mode, NodePorts are taken on the node's primary address only unless
    ``nodePortAddresses`` says otherwise, and never on localhost. Source: cmd/kube-proxy.
    """
    own = node.addresses_of(family)
    words = [w for w in config.node_port_addresses or ("primary",) if w != "localhost"]
    word = "ip6" if family == "ipv6" else "ip"
    kind, value = config.local_match(family, node.pod_cidrs)
    local = not_local = ""
    if kind == "cidr":
        local, not_local = f"{word} saddr {value}", f"{word} saddr != {value}"
    elif kind == "interface":
        local, not_local = f"iif {value}", f"iif != {value}"
    elif kind == "prefix":
        local, not_local = f"iif {value}*", f"iif != {value}*"
    return Settings(
        mark=config.rules.mark,
        masquerade_all=config.rules.masquerade_all,
        local=local,
        not_local=not_local,
        node_port_cidrs=node_port_cidrs(words, own, family),
        family=family,
    )


def node_port_ips(settings: Settings, local_addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Those of a node's own addresses that take NodePorts, sorted; never loopback ones."""
    chosen = within(local_addresses, settings.node_port_cidrs or ())
    return tuple(sorted(ip for ip in chosen if not ip_address(ip).is_loopback))
