"""What of the configuration shapes rules of the nftables mode, on one node and in one family."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from podwire.kube_proxy.config import Config
from podwire.kube_proxy.model import NodeFacts, family_of

_EVERYTHING = {"ipv4": "0.0.0.0/0", "ipv6": "::/0"}


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
    node_ip: str = ""

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

    Unlike in other modes, NodePorts are taken on the node's primary address only unless
    ``nodePortAddresses`` says otherwise.
    """
    own = node.addresses_of(family)
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
        node_port_cidrs=_node_port_cidrs(config.node_port_addresses, own, family),
        family=family,
        node_ip=own[0] if own else "",
    )


def _node_port_cidrs(
    words: tuple[str, ...], node_ips: tuple[str, ...], family: str
) -> tuple[str, ...] | None:
    """The networks whose addresses take NodePorts; None for all.

    Source: pkg/proxy/util NewNodePortAddresses, cmd/kube-proxy (nftables defaults to ``primary``).
    """
    chosen: dict[str, None] = {}
    for word in words or ("primary",):
        if word == "primary":
            bits = 128 if family == "ipv6" else 32
            chosen.update({f"{ip}/{bits}": None for ip in node_ips[:1]})
        elif word == "all":
            return None
        elif word != "localhost" and family_of(word) == family:
            chosen[word] = None
    if not chosen or _EVERYTHING[family] in chosen:
        return None
    return tuple(chosen)


def node_port_ips(settings: Settings, local_addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Those of a node's own addresses that take NodePorts, sorted; never loopback ones."""
    networks = [ip_network(cidr, strict=False) for cidr in settings.node_port_cidrs or ()]
    chosen = []
    for text in local_addresses:
        ip = ip_address(text)
        if ip.is_loopback or ip.version != networks[0].version:
            continue
        if any(ip in network for network in networks):
            chosen.append(text)
    return tuple(sorted(dict.fromkeys(chosen)))
