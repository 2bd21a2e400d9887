"""Allocation of pod CIDRs (pure). Source: kubernetes pkg/controller/nodeipam/ipam."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network

from podwire.api import kinds
from podwire.api.views import Node
from podwire.client.effects import Effect, Emit, Patch


def first_free(cluster_cidr: str, mask_size: int, used: Collection[str]) -> str | None:
    """The lowest subnet that no node has; None when the range is exhausted."""
    network = ip_network(cluster_cidr)
    for index in range(1 << (mask_size - network.prefixlen)):
        subnet = _subnet(network, mask_size, index)
        if subnet not in used:
            return subnet
    return None


@lru_cache(maxsize=4096)
def _subnet(network: IPv4Network | IPv6Network, mask_size: int, index: int) -> str:
    step = 1 << (network.max_prefixlen - mask_size)
    return f"{network.network_address + index * step}/{mask_size}"


def allocate(
    cluster_cidrs: str, mask_size: int, mask_size_ipv6: int, used: Collection[str]
) -> tuple[str, ...]:
    """The lowest free subnet of every range; () when one of them is exhausted: all or none."""
    found = []
    for cidr in cluster_cidrs.split(","):
        subnet = first_free(cidr, mask_size_ipv6 if ":" in cidr else mask_size, used)
        if subnet is None:
            return ()
        found.append(subnet)
    return tuple(found)


def reconcile(node: Node, cidrs: tuple[str, ...]) -> list[Effect]:
    """Write the allocation into the node, or say that there is none."""
    if node.spec.pod_cidr or node.metadata.deletion_timestamp:
        return []
    if not cidrs:
        name = node.metadata.name
        message = f"Node {name} status is now: CIDRNotAvailable"
        return [Emit(node, "Normal", "CIDRNotAvailable", message)]
    spec = {"podCIDR": cidrs[0], "podCIDRs": list(cidrs)}
    patch = {"metadata": {"uid": node.metadata.uid}, "spec": spec}
    return [Patch(kinds.NODE, node.metadata.name, patch, missing_ok=True)]
