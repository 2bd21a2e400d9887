"""IPAddresses of Services, and the condition of ServiceCIDRs (pure).

Source: kubernetes pkg/registry/core/service/ipallocator (the objects, and the loop that repairs
them) and pkg/controller/servicecidrs. Here the API server's allocation comes first and an
IPAddress follows it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from podwire.api import kinds
from podwire.api.times import NS, parse_time
from podwire.api.view import JSON
from podwire.api.views import IPAddress, Service, ServiceCIDR
from podwire.client.effects import Create, Delete, Effect, Patch, RequeueAfter
from podwire.controllers.common import condition_json

FAMILY = "ipaddress.kubernetes.io/ip-family"
MANAGED_BY = "ipaddress.kubernetes.io/managed-by"
ALLOCATOR = "ipallocator.k8s.io"
FINALIZER = "networking.k8s.io/service-cidr-finalizer"
DELETION_GRACE_S = 10.0
"""So long allocators may still take a ServiceCIDR for ready that is being deleted."""
_READY = "Kubernetes Service CIDR is ready"
_USED = (
    "There are still IPAddresses referencing the ServiceCIDR, "
    "please remove them or create a new ServiceCIDR"
)


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


def reconcile_cidr(
    item: ServiceCIDR, others: Sequence[ServiceCIDR], held: Sequence[str], now_ns: int
) -> list[Effect]:
    """Hold a ServiceCIDR until no address needs it, and say whether addresses are taken from it.

    ``others``: the ServiceCIDRs beside it; ``held``: the names of all IPAddresses.
    """
    meta = item.metadata
    if not meta.deletion_timestamp:
        kept = {"metadata": {"uid": meta.uid, "finalizers": [*meta.finalizers, FINALIZER]}}
        effects: list[Effect] = (
            [] if FINALIZER in meta.finalizers
            else [Patch(kinds.SERVICE_CIDR, meta.name, kept, missing_ok=True)]
        )  # fmt: skip
        return [*effects, *_condition(item, ("True", "", _READY), now_ns)]
    if FINALIZER not in meta.finalizers:
        return []
    if _needed(item, others, held):
        return _condition(item, ("False", "Terminating", _USED), now_ns)
    left_ns = parse_time(meta.deletion_timestamp) + round(DELETION_GRACE_S * NS) - now_ns
    if left_ns > 0:
        return [RequeueAfter(left_ns / NS)]
    rest = [name for name in meta.finalizers if name != FINALIZER]
    patch = {"metadata": {"uid": meta.uid, "finalizers": rest or None}}
    return [Patch(kinds.SERVICE_CIDR, meta.name, patch, missing_ok=True)]


def _networks(item: ServiceCIDR) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    return [ipaddress.ip_network(cidr) for cidr in item.spec.cidrs]


def _needed(item: ServiceCIDR, others: Sequence[ServiceCIDR], held: Sequence[str]) -> bool:
    """Whether an address lies in it and in no other that stays (canDeleteCIDR)."""
    mine = _networks(item)
    staying = [n for o in others if not o.metadata.deletion_timestamp for n in _networks(o)]
    for name in held:
        address = ipaddress.ip_address(name)
        if any(address in n for n in mine) and not any(address in n for n in staying):
            return True
    return False


def _condition(item: ServiceCIDR, words: tuple[str, str, str], now_ns: int) -> list[Effect]:
    have = [(c.status, c.reason, c.message) for c in item.status.conditions if c.type == "Ready"]
    if have == [words]:
        return []
    condition = condition_json("Ready", *words, now_ns)
    patch = {
        "metadata": {"uid": item.metadata.uid},
        "status": {"conditions": [{"reason": "", "message": "", **condition}]},
    }
    name = item.metadata.name
    return [Patch(kinds.SERVICE_CIDR, name, patch, subresource="status", missing_ok=True)]
