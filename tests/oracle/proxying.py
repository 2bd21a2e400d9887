"""kube-proxy on a node of the oracle's clusters: its pure core, driven by hand."""

from __future__ import annotations

from collections.abc import Callable

from podwire.kube_proxy.config import Config, RuleConfig
from podwire.kube_proxy.core import Proxier, Shared
from podwire.kube_proxy.mode import Answers, Argv, Sync
from podwire.kube_proxy.model import NodeFacts
from podwire.kube_proxy.modes import MODES as PROXY_MODES
from tests.oracle.cluster import (
    POD_NETWORK,
    POD_NETWORK6,
    Change,
    Cluster,
    node_ip,
    node_ip6,
    node_name,
    pod_cidrs,
)

SERVICE_CIDRS = ("10.96.0.0/24", "fd00:10:96::/112")
MODES = tuple(name for name in PROXY_MODES if name in {"iptables", "nftables"})
"""The modes that this machine's kernel can judge."""
Ask = Callable[[Argv], str]
"""Asks a node's tools."""


def config_of(cluster: Cluster) -> Config:
    """kube-proxy's configuration in a cluster."""
    proxy = cluster.proxy
    none = proxy.detect_local == "none"
    networks = (POD_NETWORK, POD_NETWORK6) if cluster.dual else (POD_NETWORK,)
    rules = RuleConfig(masquerade_all=proxy.masquerade_all)
    return Config(
        mode=proxy.mode,
        mode_given=True,
        cluster_cidr="" if none else ",".join(networks),
        detect_local_mode="ClusterCIDR" if none else proxy.detect_local,
        bridge_interface="cni0",
        iptables=rules,
        nftables=rules,
        localhost_node_ports=proxy.localhost_node_ports,
        node_port_addresses=proxy.node_port_addresses,
    )


class NodeProxy:
    """One node's proxier of one family: objects in, syncs out."""

    def __init__(self, cluster: Cluster, index: int, family: str = "ipv4") -> None:
        config = config_of(cluster)
        facts = NodeFacts(
            node_name(index),
            cluster.zones[index - 1],
            (node_ip(index), node_ip6(index)) if cluster.dual else (node_ip(index),),
            pod_cidrs(index, dual=cluster.dual),
        )
        mode = PROXY_MODES[config.mode]
        settings = mode.settings(config, facts, family)
        self.proxier = Proxier(mode, settings, facts, Shared(), family)
        self.proxier.service_cidrs = SERVICE_CIDRS if cluster.dual else SERVICE_CIDRS[:1]
        self.preparation = mode.prepare(settings)

    def take(self, objects: Change) -> None:
        """Take over what changed."""
        proxier = self.proxier
        for key, service in objects.services.items():
            old = proxier.services.get(key)
            if old is not None or service is not None:
                proxier.service(old, service)
        for key, entries in objects.slices.items():
            known = dict(proxier.slices.get(key, {}))
            for entry in entries:
                proxier.slice(known.pop(entry.metadata.name, None), entry)
            for entry in known.values():
                proxier.slice(entry, None)

    def plan(self, ask: Ask, now_ns: int, *, full: bool) -> Sync | None:
        """The next sync, as kube-proxy's shell comes to it."""
        mode, proxier = self.proxier.mode, self.proxier
        existing: Answers = {argv: ask(argv) for argv in mode.questions(proxier, full=full)}
        return proxier.plan(full=full, existing=existing, now_ns=now_ns)
