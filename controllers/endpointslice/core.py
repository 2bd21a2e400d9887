"""Changes few slices, and only where they differ (pure).

Source: kubernetes staging endpointslice/reconciler.go (Reconcile, reconcileByPortMapping).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from podwire.api import kinds
from podwire.api.view import JSON, to_json
from podwire.api.views import EndpointSlice, Node, Pod, Service
from podwire.client.effects import Create, Delete, Effect, Emit, Patch
from podwire.controllers.common import owner_json
from podwire.controllers.endpointslice import topology as hinting
from podwire.controllers.endpointslice.desired import (
    CONTROLLER,
    MANAGED_BY,
    PortGroup,
    Ports,
    families,
    groups,
    port_json,
    slice_labels,
)
from podwire.controllers.endpointslice.topology import Topology

MAX_ENDPOINTS = 100
"""Endpoints per slice (--max-endpoints-per-slice)."""
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"


@dataclass(slots=True)
class _Draft:
    """A slice being worked on: the stored one (or None) and the endpoints it will hold."""

    stored: EndpointSlice | None
    ports: Ports
    endpoints: dict[str, JSON]
    changed: bool = False


def reconcile(
    service: Service,
    pods: Sequence[Pod],
    slices: Sequence[EndpointSlice],
    nodes: Mapping[str, Node],
    trigger_time: str,
    topology: Topology | None = None,
) -> list[Effect]:
    """One pass. ``slices``: those labelled with the Service's name; ``pods``: those it selects.

    ``trigger_time``: when the change that caused this pass happened ("" unknown). ``topology``
    remembers which Services have hints by share of CPUs; None: none has.
    """
    if service.metadata.deletion_timestamp:
        return []
    mine = [s for s in slices if s.metadata.labels.get(MANAGED_BY) == CONTROLLER]
    wanted_families = families(service)
    effects: list[Effect] = []
    hints = _Hints(service, nodes, Topology() if topology is None else topology)
    for family in wanted_families:
        own = [s for s in mine if s.address_type == family]
        wanted = groups(service, pods, nodes, family)
        effects += _family(service, wanted, own, family, trigger_time, hints)
    foreign = [s for s in mine if s.address_type not in wanted_families]
    return effects + [_delete(s) for s in foreign if not s.metadata.deletion_timestamp]


class _Hints:
    """Hints by share of CPUs, for one Service."""

    def __init__(self, service: Service, nodes: Mapping[str, Node], topology: Topology) -> None:
        self.wanted = hinting.enabled(service)
        self._service = service
        self._shares = hinting.shares(nodes.values()) if self.wanted else {}
        self._topology = topology

    def write(self, family: str, drafts: Sequence[_Draft]) -> list[Effect]:
        """Put them into the slices of a family; what there is to tell."""
        key, event = self._service.key, None
        if self.wanted:
            event = self._topology.hint(key, family, drafts, self._shares)
        elif self._topology.forget(key, family):
            told = f"Topology Aware Hints has been disabled, addressType: {family}"
            event = "Warning", "TopologyAwareHintsDisabled", told
        return [Emit(self._service, *event)] if event is not None else []


def _family(
    service: Service,
    wanted: Mapping[Ports, PortGroup],
    mine: Sequence[EndpointSlice],
    family: str,
    trigger_time: str,
    hints: _Hints,
) -> list[Effect]:
    """One pass over the slices of one address type."""
    usable: dict[Ports, list[EndpointSlice]] = {}
    doomed: list[EndpointSlice] = []
    for item in mine:
        ports = _ports(item)
        if item.metadata.deletion_timestamp:
            continue
        if ports in wanted:
            usable.setdefault(ports, []).append(item)
        else:
            doomed.append(item)
    drafts: list[_Draft] = []
    for ports, group in wanted.items():
        drafts += _distribute(group, usable.get(ports, []), hinted=hints.wanted)
    keep = [draft for draft in drafts if draft.endpoints]
    doomed += [d.stored for d in drafts if not d.endpoints and d.stored is not None]
    for draft in keep:
        if draft.stored is None and doomed:
            # Rather rewrite a slice that is not wanted any more than create and delete.
            draft.stored, draft.changed = doomed.pop(), True
    if not keep:
        # Never none: a placeholder says "this Service has no endpoints".
        placeholder = next((s for s in doomed if not s.ports and not s.endpoints), None)
        if placeholder is None and doomed:
            placeholder = doomed[0]
        keep = [_Draft(placeholder, (), {}, changed=placeholder is not None)]
        doomed = [s for s in doomed if s is not placeholder]
    events = hints.write(family, keep)
    return [
        *events,
        *(effect for draft in keep for effect in _write(service, draft, family, trigger_time)),
        *(_delete(item) for item in doomed),
    ]


def _ports(item: EndpointSlice) -> Ports:
    return tuple((p.name, p.protocol, p.port or 0, p.app_protocol) for p in item.ports)


def _distribute(group: PortGroup, stored: Sequence[EndpointSlice], *, hinted: bool) -> list[_Draft]:
    """Keep endpoints where they are; put new ones first into slices that change anyway.

    ``hinted``: hints are given afterwards, slice by slice; those that are there stay till then.
    """
    left = dict(group.endpoints)
    drafts: list[_Draft] = []
    for item in stored:
        draft = _Draft(item, group.ports, {})
        for found in item.endpoints:
            uid = found.target_ref.uid if found.target_ref else ""
            wanted = left.pop(uid, None)
            if wanted is None:
                draft.changed = True
                continue
            have = to_json(found)
            if hinted and "hints" in have:
                wanted = {**wanted, "hints": have["hints"]}
            draft.endpoints[uid] = wanted
            draft.changed = draft.changed or wanted != have
        drafts.append(draft)
    # Fill slices that are written anyway, fullest first; then one with room; then new ones.
    for draft in sorted((d for d in drafts if d.changed), key=lambda d: -len(d.endpoints)):
        _fill(draft, left)
    if left and len(left) < MAX_ENDPOINTS:
        room = [d for d in drafts if len(d.endpoints) + len(left) <= MAX_ENDPOINTS]
        if room:
            best = max(room, key=lambda d: len(d.endpoints))
            best.changed = True
            _fill(best, left)
    while left:
        draft = _Draft(None, group.ports, {})
        _fill(draft, left)
        drafts.append(draft)
    return drafts


def _fill(draft: _Draft, left: dict[str, JSON]) -> None:
    for uid in list(left)[: MAX_ENDPOINTS - len(draft.endpoints)]:
        draft.endpoints[uid] = left.pop(uid)


def _write(service: Service, draft: _Draft, family: str, trigger_time: str) -> list[Effect]:
    labels = slice_labels(service)
    endpoints = list(draft.endpoints.values())
    ports = port_json(draft.ports)
    namespace = service.metadata.namespace
    if draft.stored is None:
        meta: JSON = {
            "generateName": f"{service.metadata.name}-",
            "namespace": namespace,
            "labels": labels,
            "ownerReferences": [owner_json(service, kinds.SERVICE)],
        }
        if trigger_time:
            meta["annotations"] = {TRIGGER_TIME: trigger_time}
        body = {
            "metadata": meta, "addressType": family, "endpoints": endpoints, "ports": ports
        }  # fmt: skip
        return [Create(kinds.ENDPOINT_SLICE, body, namespace)]
    stored = draft.stored.metadata
    patch: JSON = {}
    if draft.changed:
        if endpoints != [to_json(e) for e in draft.stored.endpoints]:
            patch["endpoints"] = endpoints
        if draft.ports != _ports(draft.stored):
            patch["ports"] = ports
    changed: JSON = {k: v for k, v in labels.items() if stored.labels.get(k) != v}
    changed |= dict.fromkeys(k for k in stored.labels if k not in labels)
    if not patch and not changed:
        return []
    notes = {TRIGGER_TIME: trigger_time or None}
    patch["metadata"] = {
        "uid": stored.uid,
        "resourceVersion": stored.resource_version,
        **({"labels": changed} if changed else {}),
        **({"annotations": notes} if trigger_time or TRIGGER_TIME in stored.annotations else {}),
    }
    return [Patch(kinds.ENDPOINT_SLICE, stored.name, patch, namespace)]


def _delete(item: EndpointSlice) -> Delete:
    meta = item.metadata
    return Delete(kinds.ENDPOINT_SLICE, meta.name, meta.namespace, uid=meta.uid)
