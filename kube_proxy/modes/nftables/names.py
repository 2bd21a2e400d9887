"""Names of chains and sets: readable, unique by a hash, at most 240 characters after the prefix.

Source: kubernetes pkg/proxy/nftables/proxier.go (hashAndTruncate, servicePortChainNameBase).
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache

LONGEST = 240


def _hashed(name: str) -> str:
    digest = base64.b32encode(hashlib.sha256(name.encode()).digest()).decode()
    name = f"{digest[:8]}-{name}"
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 3]}..."


@lru_cache(maxsize=65536)
def port_base(name: str, protocol: str) -> str:
    """``ULMVA6XW-ns1/svc1/tcp/p80`` of ``ns1/svc1:p80``."""
    service, _, port = name.partition(":")
    return _hashed(f"{service}/{protocol}/{port}")


@lru_cache(maxsize=1 << 18)
def endpoint_base(name: str, protocol: str, ip: str, port: int) -> str:
    """``5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80``."""
    service, _, port_name = name.partition(":")
    address = ip.replace(":", ".")
    return _hashed(f"{service}/{protocol}/{port_name}__{address}/{port}")


def of_service(chain: str) -> bool:
    """Whether a chain belongs to a Service (only their names have slashes)."""
    return "/" in chain


def affinity(name: str) -> bool:
    """Whether a set holds clients of an endpoint."""
    return name.startswith("affinity-")
