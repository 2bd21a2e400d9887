"""The slices that mirror an Endpoints object (pure).

Source: kubernetes pkg/controller/endpointslicemirroring.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

from podwire.api import kinds
from podwire.api.view import JSON, to_json
from podwire.api.views import EndpointAddress, Endpoints, EndpointSlice, EndpointSubset, Service
from podwire.client.effects import Create, Delete, Effect, Emit, Patch
from podwire.controllers.common import LAST_APPLIED, owner_json

CONTROLLER = "endpointslicemirroring-controller.k8s.io"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
SERVICE_NAME = "kubernetes.io/service-name"
SKIP = "endpointslice.kubernetes.io/skip-mirror"
LEADER = "control-plane.alpha.kubernetes.io/leader"
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"
MAX_ENDPOINTS = 1000
"""Addresses mirrored per subset (--mirroring-max-endpoints-per-subset)."""
_MAX_NAME = 63

_Key = tuple[str, tuple[tuple[str, str, int, str], ...]]
"""Address type, and ports as (name, protocol, number, appProtocol)."""


def mirrored(endpoints: Endpoints | None, service: Service | None) -> bool:
    """Whether the object is a person's: its Service selects nothing, and nobody forbids it."""
    if endpoints is None or service is None or service.spec.selector:
        return False
    meta = endpoints.metadata
    return meta.labels.get(SKIP) != "true" and LEADER not in meta.annotations


def reconcile(
    endpoints: Endpoints | None, service: Service | None, slices: Sequence[EndpointSlice]
) -> list[Effect]:
    """One pass. ``slices``: those that carry the Service's name and this controller's."""
    mine = [s for s in slices if not s.metadata.deletion_timestamp]
    if endpoints is None or not mirrored(endpoints, service):
        return [_delete(item) for item in mine]
    wanted, effects = _desired(endpoints)
    by_key: dict[_Key, list[EndpointSlice]] = {}
    for item in mine:
        by_key.setdefault(_key(item), []).append(item)
    spare = [
        item for key, items in by_key.items() for item in (items[1:] if key in wanted else items)
    ]
    for key, members in wanted.items():
        stored = by_key.get(key, [])[:1]
        if not stored and spare:
            # Rather rewrite a slice that is not wanted any more than create and delete.
            stored = [s for s in spare if s.address_type == key[0]][:1]
            spare = [s for s in spare if s not in stored]
        effects += _write(endpoints, key, members, stored[0] if stored else None)
    return [*effects, *(_delete(item) for item in spare)]


def _key(item: EndpointSlice) -> _Key:
    ports = [(p.name, p.protocol, p.port or 0, p.app_protocol) for p in item.ports]
    return item.address_type, tuple(sorted(ports))


def _desired(endpoints: Endpoints) -> tuple[dict[_Key, list[JSON]], list[Effect]]:
    """Endpoints by address type and ports, and what to complain of."""
    wanted: dict[_Key, list[JSON]] = {}
    invalid = skipped = 0
    for ports, addresses in _repacked(endpoints):
        taken = 0
        for address, ready in addresses:
            if taken >= MAX_ENDPOINTS:
                skipped += 1
                continue
            try:
                family = f"IPv{ipaddress.ip_address(address.ip).version}"
            except ValueError:
                invalid += 1
                continue
            taken += 1
            wanted.setdefault((family, ports), []).append(_endpoint(address, ready=ready))
    told: list[Effect] = []
    if invalid:
        what = f"Skipped {invalid} invalid IP addresses when mirroring to EndpointSlices"
        told.append(Emit(endpoints, "Warning", "InvalidIPAddress", what))
    if skipped:
        what = f"A max of {MAX_ENDPOINTS} addresses can be mirrored to EndpointSlices per Endpoints"
        what = f"{what} subset. {skipped + invalid} addresses were skipped"
        told.append(Emit(endpoints, "Warning", "TooManyAddressesToMirror", what))
    return wanted, told


_Ports = tuple[tuple[str, str, int, str], ...]


def _repacked(
    endpoints: Endpoints,
) -> list[tuple[_Ports, list[tuple[EndpointAddress, bool]]]]:
    """Ports that the same addresses offer, with these: ready ones, then the others.

    However a person wrote it down (pkg/api/v1/endpoints, RepackSubsets). An address that is
    ready in one place and not in another is not.
    """
    known: dict[tuple[str, str], EndpointAddress] = {}
    offered: dict[_Ports, dict[tuple[str, str], bool]] = {}
    for subset in endpoints.subsets:
        for port in _ports(subset):
            states = offered.setdefault(port, {})
            for address, ready in _addresses(subset):
                uid = address.target_ref.uid if address.target_ref is not None else ""
                known.setdefault((address.ip, uid), address)
                states[address.ip, uid] = states.get((address.ip, uid), True) and ready
    groups: dict[tuple[tuple[tuple[str, str], bool], ...], list[_Ports]] = {}
    for port, states in offered.items():
        groups.setdefault(tuple(sorted(states.items())), []).append(port)
    return [
        (
            tuple(sorted(item for port in ports for item in port)),
            [(known[key], ready) for key, ready in sorted(states, key=lambda s: (not s[1], s[0]))],
        )
        for states, ports in groups.items()
    ]


def _ports(subset: EndpointSubset) -> list[_Ports]:
    """The ports one by one; the empty one where there is none."""
    found = [(p.name, p.protocol, p.port, p.app_protocol) for p in subset.ports]
    return [(port,) for port in found] or [()]


def _addresses(subset: EndpointSubset) -> list[tuple[EndpointAddress, bool]]:
    ready = [(address, True) for address in subset.addresses]
    return [*ready, *((address, False) for address in subset.not_ready_addresses)]


def _endpoint(address: EndpointAddress, *, ready: bool) -> JSON:
    made: JSON = {"addresses": [address.ip], "conditions": {"ready": ready}}
    if address.target_ref is not None:
        made["targetRef"] = to_json(address.target_ref)
    if address.node_name:
        made["nodeName"] = address.node_name
    if address.hostname:
        made["hostname"] = address.hostname
    return made


def _write(
    endpoints: Endpoints, key: _Key, members: list[JSON], stored: EndpointSlice | None
) -> list[Effect]:
    meta = endpoints.metadata
    family, ports = key
    labels = {**meta.labels, SERVICE_NAME: meta.name, MANAGED_BY: CONTROLLER}
    kept = {k: v for k, v in meta.annotations.items() if k not in {TRIGGER_TIME, LAST_APPLIED}}
    owner = owner_json(endpoints, kinds.ENDPOINTS)
    body: JSON = {"endpoints": members, "ports": [_port(*port) for port in ports]}
    if stored is None:
        if meta.deletion_timestamp:
            return []
        prefix = f"{meta.name}-"
        made = {
            "generateName": prefix if len(prefix) <= _MAX_NAME else meta.name,
            "namespace": meta.namespace,
            "labels": labels,
            "ownerReferences": [owner],
            **({"annotations": kept} if kept else {}),
        }
        full = {"metadata": made, "addressType": family, **body}
        return [Create(kinds.ENDPOINT_SLICE, full, meta.namespace)]
    have = stored.metadata
    stale = any(  # another object of the same name before it (needRebuildExistingSlices)
        reference.kind == kinds.ENDPOINTS.kind
        and reference.name == meta.name
        and reference.uid != meta.uid
        for reference in have.owner_references
    )
    same = (
        _plain(stored) == sorted(members, key=str)
        and _key(stored) == key
        and have.labels == labels
        and have.annotations == kept
        and not stale
    )
    if same:
        return []
    changed = {
        "resourceVersion": have.resource_version,
        "labels": _merge(have.labels, labels),
        "annotations": _merge(have.annotations, kept),
        "ownerReferences": [owner],
    }
    patch = {"metadata": changed, **body}
    return [Patch(kinds.ENDPOINT_SLICE, have.name, patch, have.namespace)]


def _plain(stored: EndpointSlice) -> list[JSON]:
    return sorted((to_json(endpoint) for endpoint in stored.endpoints), key=str)


def _port(name: str, protocol: str, number: int, app: str) -> JSON:
    made: JSON = {"name": name, "protocol": protocol, "port": number}
    return {**made, "appProtocol": app} if app else made


def _merge(have: dict[str, str], wanted: dict[str, str]) -> dict[str, Any]:
    return {**dict.fromkeys(key for key in have if key not in wanted), **wanted}


def _delete(item: EndpointSlice) -> Delete:
    meta = item.metadata
    return Delete(kinds.ENDPOINT_SLICE, meta.name, meta.namespace, uid=meta.uid)
