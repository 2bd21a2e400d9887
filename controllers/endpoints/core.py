"""The v1 Endpoints object of a Service (pure).

Source: kubernetes pkg/controller/endpoint and pkg/api/v1/endpoints/util.go (RepackSubsets).
Not modelled: truncation above 1000 addresses.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from podwire.api import kinds
from podwire.api.view import JSON, to_json
from podwire.api.views import Endpoints, Pod, Service
from podwire.client.effects import Create, Delete, Effect, Patch
from podwire.controllers.endpointslice.desired import (
    HEADLESS,
    Ports,
    address_of,
    families,
    hostname_of,
    in_endpoints,
    pod_ports,
)

MANAGED_BY = "endpoints.kubernetes.io/managed-by"
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"


def subsets(service: Service, pods: Sequence[Pod]) -> list[JSON]:
    """Addresses grouped by the ports they serve, ready and not ready apart."""
    published = service.spec.publish_not_ready_addresses
    by_ports: dict[Ports, JSON] = {}
    for pod in pods:
        if not in_endpoints(pod, terminating=published):
            continue
        if not address_of(pod, families(service)[0]):
            continue
        ports = pod_ports(service, pod)
        if not ports and not service.headless:
            continue
        group = by_ports.setdefault(ports, {"addresses": [], "notReadyAddresses": []})
        ready = pod.ready or published
        group["addresses" if ready else "notReadyAddresses"].append(_address(service, pod))
    made = []
    for ports in sorted(by_ports):
        lists = {k: sorted(v, key=_order) for k, v in by_ports[ports].items() if v}
        made.append({**lists, **({"ports": _ports(ports)} if ports else {})})
    return made


def _order(address: JSON) -> tuple[str, str]:
    return address["ip"], address["targetRef"]["name"]


def _address(service: Service, pod: Pod) -> JSON:
    meta = pod.metadata
    made: JSON = {"ip": address_of(pod, families(service)[0])}
    hostname = hostname_of(service, pod)
    if hostname:
        made["hostname"] = hostname
    if pod.spec.node_name:
        made["nodeName"] = pod.spec.node_name
    made["targetRef"] = {
        "kind": "Pod",
        "namespace": meta.namespace,
        "name": meta.name,
        "uid": meta.uid,
    }
    return made


def _ports(ports: Ports) -> list[JSON]:
    return [
        {
            **({"name": name} if name else {}),
            "port": number,
            "protocol": protocol,
            **({"appProtocol": app} if app else {}),
        }
        for name, protocol, number, app in ports
    ]


def _labels(service: Service) -> dict[str, str]:
    labels = {k: v for k, v in service.metadata.labels.items() if k != HEADLESS}
    if service.headless:
        labels[HEADLESS] = ""
    return {**labels, MANAGED_BY: "endpoint-controller"}


def reconcile(
    service: Service, pods: Sequence[Pod], current: Endpoints | None, trigger_time: str
) -> list[Effect]:
    """Create the object, or patch what differs."""
    if service.metadata.deletion_timestamp:
        return []
    meta = service.metadata
    wanted = subsets(service, pods)
    labels = _labels(service)
    notes = {TRIGGER_TIME: trigger_time} if trigger_time else {}
    if current is None:
        body = {
            "metadata": {
                "name": meta.name, "namespace": meta.namespace, "labels": labels,
                **({"annotations": notes} if notes else {}),
            },
            **({"subsets": wanted} if wanted else {}),
        }  # fmt: skip
        return [Create(kinds.ENDPOINTS, body, meta.namespace)]
    have = current.metadata
    patch: JSON = {}
    if _normal(wanted) != [to_json(subset) for subset in current.subsets]:
        patch["subsets"] = wanted or None
    changed: JSON = {k: v for k, v in labels.items() if have.labels.get(k) != v}
    changed |= dict.fromkeys(k for k in have.labels if k not in labels)
    if not patch and not changed:
        return []
    patch["metadata"] = {
        "resourceVersion": have.resource_version,
        **({"labels": changed} if changed else {}),
        **({"annotations": notes} if notes else {}),
    }
    return [Patch(kinds.ENDPOINTS, meta.name, patch, meta.namespace)]


def _normal(wanted: list[JSON]) -> list[JSON]:
    """Through the view and back, so that defaults compare equal."""
    view = msgspec.convert({"subsets": wanted}, Endpoints)
    return [to_json(subset) for subset in view.subsets]


def gone(current: Endpoints | None) -> list[Effect]:
    """The Service was deleted: so is its Endpoints object."""
    if current is None:
        return []
    meta = current.metadata
    return [Delete(kinds.ENDPOINTS, meta.name, meta.namespace, uid=meta.uid)]
