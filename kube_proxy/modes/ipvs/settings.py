"""What of the configuration shapes the IPVS mode on one node and in one family."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from podwire.dataplane.ipvs.schedulers import SCHEDULERS
from podwire.kube_proxy.addresses import node_port_cidrs, within
from podwire.kube_proxy.config import Config, ConfigError
from podwire.kube_proxy.iptables import local_match
from podwire.kube_proxy.model import NodeFacts, family_of

DEFAULT_SCHEDULER = "rr"


@dataclass(frozen=True, slots=True)
class Settings:
    """Hashable: part of the key under which renderings are shared."""

    mark: str = "0x004000"
    masquerade_all: bool = False
    not_local: str = ""
    """The match of traffic from elsewhere (``! -s 10.244.0.0/16``), "" when unknown."""
    scheduler: str = DEFAULT_SCHEDULER
    node_port_cidrs: tuple[str, ...] | None = None
    """None: every address of the node takes NodePorts; else those in these networks."""
    exclude_cidrs: tuple[str, ...] = ()
    """Virtual servers in these are somebody else's."""
    strict_arp: bool = False
    timeouts_s: tuple[int, int, int] = (0, 0, 0)
    family: str = "ipv4"
    random_fully: bool = True

    def excludes(self, ip: str) -> bool:
        """Whether a virtual server is somebody else's."""
        return any(ip_address(ip) in ip_network(c, strict=False) for c in self.exclude_cidrs)


def settings_of(config: Config, node: NodeFacts, family: str) -> Settings:
    """What a configuration means on a node. Raises ConfigError."""
    only, rules = config.ipvs_only, config.rules
    scheduler = only.scheduler or DEFAULT_SCHEDULER
    if scheduler not in SCHEDULERS:
        raise ConfigError(
            "failed validate: KubeProxyConfiguration.KubeProxyIPVSConfiguration.Scheduler: "
            f'Invalid value: "{scheduler}": must be in {", ".join(SCHEDULERS)}, blank means the '
            "default algorithm method (currently rr)"
        )
    own = node.addresses_of(family)
    local = local_match(*config.local_match(family, node.pod_cidrs))
    seconds = (only.tcp_timeout_s, only.tcp_fin_timeout_s, only.udp_timeout_s)
    return Settings(
        mark=f"0x{1 << rules.masquerade_bit:06x}",
        masquerade_all=rules.masquerade_all,
        not_local=f"! {local}" if local else "",
        scheduler=scheduler,
        node_port_cidrs=node_port_cidrs(config.node_port_addresses, own, family),
        exclude_cidrs=tuple(c for c in only.exclude_cidrs if family_of(c) == family),
        strict_arp=only.strict_arp,
        timeouts_s=(int(seconds[0]), int(seconds[1]), int(seconds[2])),
        family=family,
    )


def node_port_ips(settings: Settings, node_ips: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the node's addresses that take NodePorts; never the loopback ones."""
    if settings.node_port_cidrs is None:
        return node_ips
    return within(node_ips, settings.node_port_cidrs)
