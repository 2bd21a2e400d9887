"""Which addresses and ports a Service needs, and the keys its write must take or give back.

Source: upstream pkg/registry/core/service/storage/{alloc,storage}.go.
"""

from __future__ import annotations

from typing import Any

import msgspec

from podwire.api import kinds
from podwire.api.status import Cause
from podwire.api.validation.field import invalid_error
from podwire.api.view import JSON
from podwire.apiserver.allocation import families
from podwire.apiserver.allocation.families import HEADLESS, given_ips
from podwire.apiserver.allocation.ranges import IPS, PORTS, Ranges, Refused
from podwire.apiserver.storage import Extra
from podwire.store import Compare, Delete, Put


def copied(spec: JSON) -> JSON:
    """A spec that can be filled without touching the original."""
    copy: JSON = msgspec.json.decode(msgspec.json.encode(spec))
    return copy


def needs_ip(spec: JSON) -> bool:
    """Whether a Service of this spec has a cluster IP of its own."""
    return spec.get("type", "ClusterIP") != "ExternalName" and spec.get("clusterIP") != HEADLESS


def needs_node_ports(spec: JSON) -> bool:
    """Whether its ports get node ports."""
    kind = spec.get("type")
    return kind == "NodePort" or (
        kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False
    )


def needs_health_port(spec: JSON) -> bool:
    """Whether a load balancer probes nodes for local endpoints."""
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def held(spec: JSON) -> dict[str, None]:
    """The keys that a stored Service holds."""
    keys: dict[str, None] = {}
    if not spec:
        return keys
    if needs_ip(spec):
        for ip in given_ips(spec):
            keys[IPS + ip] = None
    for port in spec.get("ports") or ():
        if port.get("nodePort"):
            keys[f"{PORTS}{port['nodePort']}"] = None
    if spec.get("healthCheckNodePort"):
        keys[f"{PORTS}{spec['healthCheckNodePort']}"] = None
    return keys


def release(extra: Extra, keys: dict[str, None]) -> None:
    """Give keys back."""
    extra.ops += [Delete(key) for key in keys]


def plan(ranges: Ranges, meta: JSON, spec: JSON, old_spec: JSON) -> Extra:
    """Fill ``spec`` and say which keys its write takes and gives back.

    Raises ApiError Invalid for a wanted address or port that cannot be had.
    """
    name = meta["name"]
    have = held(old_spec)
    taken: dict[str, None] = {}
    if spec.get("type", "ClusterIP") != "ExternalName":
        families.settle(ranges.families, name, spec, old_spec)
        if spec.get("clusterIP") == HEADLESS:
            spec.setdefault("clusterIPs", [HEADLESS])
        else:
            _plan_ips(ranges, name, spec, have, taken)
    _plan_ports(ranges, name, spec, have, taken)
    extra = Extra()
    owner = f"{meta['namespace']}/{name}".encode()
    for key in taken:
        if key not in have:
            extra.compares.append(Compare(key, 0))
            extra.ops.append(Put(key, owner))
    still = held(spec)
    release(extra, {key: None for key in have if key not in still})
    return extra


def _plan_ips(
    ranges: Ranges, name: str, spec: JSON, have: dict[str, None], taken: dict[str, None]
) -> None:
    """One address per family, in the families' order; what is given or held already stays."""
    given = given_ips(spec)
    chosen: list[str] = []
    for index, family in enumerate(spec["ipFamilies"]):
        wanted = given[index] if index < len(given) else ""
        if not wanted:
            wanted = ranges.free_ip(family)
            taken[IPS + wanted] = None
        elif IPS + wanted in have:
            taken[IPS + wanted] = None
        else:
            try:
                taken[ranges.ip_key(wanted, family)] = None
            except Refused as refused:
                why = f'Invalid value: ["{wanted}"]: {refused}'
                cause = Cause("FieldValueInvalid", why, "spec.clusterIPs")
                raise invalid_error(kinds.SERVICE, name, [cause]) from None
        chosen.append(wanted)
    spec["clusterIP"] = chosen[0]
    spec["clusterIPs"] = chosen


def _plan_ports(
    ranges: Ranges, name: str, spec: JSON, have: dict[str, None], taken: dict[str, None]
) -> None:
    ports: list[dict[str, Any]] = spec.get("ports") or []
    chosen: dict[int, None] = {}
    by_port: dict[tuple[int, str], int] = {}
    for i, port in enumerate(ports):
        wanted = port.get("nodePort")
        if wanted:
            _take_port(ranges, name, f"spec.ports[{i}].nodePort", wanted, have, taken, chosen)
            by_port[port["port"], port.get("protocol", "TCP")] = wanted
    if needs_node_ports(spec):
        for port in ports:
            if port.get("nodePort"):
                continue
            protocol = port.get("protocol", "TCP")
            # The same number serves TCP and UDP of one Service port, as upstream pairs them.
            twin = next(
                (
                    node_port
                    for (number, other), node_port in by_port.items()
                    if number == port["port"] and other != protocol
                ),
                None,
            )
            port["nodePort"] = twin if twin is not None else ranges.free_port(chosen)
            chosen[port["nodePort"]] = None
            taken[f"{PORTS}{port['nodePort']}"] = None
            by_port[port["port"], protocol] = port["nodePort"]
    if needs_health_port(spec):
        wanted = spec.get("healthCheckNodePort")
        if wanted:
            _take_port(ranges, name, "spec.healthCheckNodePort", wanted, have, taken, chosen)
        else:
            spec["healthCheckNodePort"] = ranges.free_port(chosen)
            taken[f"{PORTS}{spec['healthCheckNodePort']}"] = None


def _take_port(
    ranges: Ranges,
    name: str,
    field: str,
    wanted: int,
    have: dict[str, None],
    taken: dict[str, None],
    chosen: dict[int, None],
) -> None:
    key = f"{PORTS}{wanted}"
    chosen[wanted] = None
    if key in have or key in taken:
        taken[key] = None
        return
    try:
        taken[ranges.port_key(wanted)] = None
    except Refused as refused:
        cause = Cause("FieldValueInvalid", f"Invalid value: {wanted}: {refused}", field)
        raise invalid_error(kinds.SERVICE, name, [cause]) from None
