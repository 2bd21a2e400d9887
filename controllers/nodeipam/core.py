"""Allocation of pod CIDRs (pure). Source: kubernetes pkg/controller/nodeipam/ipam."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Network

from podwire.api import kinds
from podwire.api.views import Node
from podwire.client.effects import Effect, Emit, Patch


def first_free(cluster_cidr: str, mask_size: int, used: Collection[str]) -> str | None:
    """The lowest subnet that no node has; None when the range is exhausted."""
    network = IPv4Network(cluster_cidr)
    base = int(network.network_address)
    size = 1 << (32 - mask_size)
    for index in range(1 << (mask_size - network.prefixlen)):
        subnet = f"{IPv4Network(base + index * size).network_address}/{mask_size}"
        if subnet not in used:
            return subnet
    return None


def reconcile(node: Node, cidr: str | None) -> list[Effect]:
    """Write the allocation into the node, or say that there is none."""
    if node.spec.pod_cidr or node.metadata.deletion_timestamp:
        return []
    if cidr is None:
        name = node.metadata.name
        message = f"Node {name} status is now: CIDRNotAvailable"
        return [Emit(node, "Normal", "CIDRNotAvailable", message)]
    patch = {"metadata": {"uid": node.metadata.uid}, "spec": {"podCIDR": cidr, "podCIDRs": [cidr]}}
    return [Patch(kinds.NODE, node.metadata.name, patch, missing_ok=True)]
