"""The base of typed, frozen, partial views of Kubernetes objects.

A view decodes the fields that podwire's rooms act on and skips the rest, so it is for reading
(and for building small bodies), never for a read-modify-write of a whole object: write with a
patch, or with a full ``dict`` body.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

# Tokens that Kubernetes writes in capitals when they are not the first (clusterIP, podCIDR ...).
_CAPITALS = {
    "ip": "IP",
    "ips": "IPs",
    "cidr": "CIDR",
    "cidrs": "CIDRs",
    "id": "ID",
    "uid": "UID",
    "uuid": "UUID",
    "pid": "PID",
    "ipc": "IPC",
    "fqdn": "FQDN",
    "url": "URL",
    "urls": "URLs",
    "os": "OS",
    "api": "API",
}

JSON = dict[str, Any]
"""A decoded JSON object."""


def camel(name: str) -> str:
    """Kubernetes' spelling of a snake_case field: ``cluster_ips`` -> ``clusterIPs``."""
    first, *rest = name.split("_")
    return first + "".join(_CAPITALS.get(token, token.capitalize()) for token in rest)


class View(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename=camel, gc=False):
    """Base class of all views: immutable, shared by every reader, unknown fields skipped."""


V = TypeVar("V", bound=View)


def to_json(view: View) -> JSON:
    """The view as a plain JSON object (defaults omitted), fit to be a request body."""
    built: JSON = msgspec.to_builtins(view)
    return built
