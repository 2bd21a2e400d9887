"""IPAddresses of Services, and the condition of ServiceCIDRs (pure).

Source: kubernetes pkg/registry/core/service/ipallocator (the objects, and the loop that repairs
them) and pkg/controller/servicecidrs. Here the API server's allocation comes first and an
IPAddress follows it. Not modelled: taking addresses from ServiceCIDRs that people add.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from podwire.api import kinds
from podwire.api.view import JSON
from podwire.api.views import IPAddress, Service, ServiceCIDR
from podwire.client.effects import Create, Delete, Effect, Patch
from podwire.controllers.common import condition_json

FAMILY = "ipaddress.kubernetes.io/ip-family"
MANAGED_BY = "ipaddress.kubernetes.io/managed-by"
ALLOCATOR = "ipallocator.k8s.io"
DEFAULT_CIDR = "kubernetes"
_READY = "Kubernetes Service CIDR is ready"
_UNUSED = "not modelled: cluster IPs are taken from the ServiceCIDR kubernetes alone"


def addresses(service: Service | None) -> list[str]:
    """The cluster IPs that a Service holds, as IPAddresses are named."""
    found = []
    for text in service.spec.cluster_ips if service is not None else ():
        try:
            found.append(str(ipaddress.ip_address(text)))
        except ValueError:
            continue  # None, of a headless Service
    return found


def reconcile(service: Service | None, held: Sequence[IPAddress]) -> list[Effect]:
    """One pass over the addresses of a Service. ``held``: IPAddresses that name it."""
    wanted = addresses(service)
    have = [item.metadata.name for item in held]
    effects: list[Effect] = [
        Delete(kinds.IP_ADDRESS, item.metadata.name, uid=item.metadata.uid)
        for item in held
        if item.metadata.name not in wanted and item.metadata.labels.get(MANAGED_BY) == ALLOCATOR
    ]
    if service is not None:
        missing = [name for name in wanted if name not in have]
        effects += [
            Create(kinds.IP_ADDRESS, _body(service, name), exists_ok=True) for name in missing
        ]
    return effects


def _body(service: Service, name: str) -> JSON:
    family = f"IPv{ipaddress.ip_address(name).version}"
    meta = service.metadata
    parent = {"resource": "services", "namespace": meta.namespace, "name": meta.name}
    return {
        "metadata": {"name": name, "labels": {FAMILY: family, MANAGED_BY: ALLOCATOR}},
        "spec": {"parentRef": parent},
    }


def reconcile_cidr(item: ServiceCIDR, now_ns: int) -> list[Effect]:
    """Say whether addresses are taken from a ServiceCIDR."""
    meta = item.metadata
    if item.status.conditions or meta.deletion_timestamp:
        return []
    used = meta.name == DEFAULT_CIDR
    words = ("True", "", _READY) if used else ("False", "NotModelled", _UNUSED)
    condition = condition_json("Ready", *words, now_ns)
    patch = {
        "metadata": {"uid": meta.uid},
        "status": {"conditions": [{"reason": "", "message": "", **condition}]},
    }
    return [Patch(kinds.SERVICE_CIDR, meta.name, patch, subresource="status", missing_ok=True)]
