"""kube-proxy on a node of the oracle's clusters: its pure core, driven by hand."""

from __future__ import annotations

from collections.abc import Callable

from podwire.kube_proxy.config import Config, RuleConfig
from podwire.kube_proxy.core import Proxier, Shared
from podwire.kube_proxy.mode import Answers, Argv, Sync
from podwire.kube_proxy.model import NodeFacts
from podwire.kube_proxy.modes import MODES as PROXY_MODES
from tests.oracle.cluster import POD_NETWORK, Change, Cluster, node_ip, node_name

MODES = tuple(name for name in PROXY_MODES if name in {"iptables", "nftables"})
"""The modes that this machine's kernel can judge."""
Ask = Callable[[Argv], str]
"""Asks a node's tools."""


def config_of(cluster: Cluster) -> Config:
    """kube-proxy's configuration in a cluster."""
    proxy = cluster.proxy
    none = proxy.detect_local == "none"
    rules = RuleConfig(masquerade_all=proxy.masquerade_all)
    return Config(
        mode=proxy.mode,
        mode_given=True,
        cluster_cidr="" if none else POD_NETWORK,
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
            (node_ip(index),),
            (f"10.244.{index}.0/24",),
        )
        mode = PROXY_MODES[config.mode]
        settings = mode.settings(config, facts, family)
        self.proxier = Proxier(mode, settings, facts, Shared(), family)
        self.preparation = mode.prepare(settings, family)

    def take(self, objects: Change) -> None:
        """Take over what changed."""
        proxier = self.proxier
        for key, service in objects.services.items():
            old = proxier.services.get(key)
            if old is not None or service is not None:
                proxier.service(old, service)
        for key, entry in objects.slices.items():
            known = next(iter(proxier.slices.get(key, {}).values()), None)
            if known is not None or entry is not None:
                proxier.slice(known, entry)

    def plan(self, ask: Ask, now_ns: int, *, full: bool) -> Sync | None:
        """The next sync, as kube-proxy's shell comes to it."""
        mode, proxier = self.proxier.mode, self.proxier
        existing: Answers = {argv: ask(argv) for argv in mode.questions(proxier, full=full)}
        return proxier.plan(full=full, existing=existing, now_ns=now_ns)
