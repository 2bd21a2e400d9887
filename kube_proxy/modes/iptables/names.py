"""Chain names and probabilities of the iptables mode.

Source: kubernetes pkg/proxy/iptables (portProtoHash, servicePortEndpointChainName,
computeProbability): base32 of SHA-256, first 16 characters.
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache


def _hash(text: str) -> str:
    # 16 characters of base32 are ten bytes
    return base64.b32encode(hashlib.sha256(text.encode()).digest()[:10]).decode()


def port_hash(service_port: str, protocol: str) -> str:
    """The hash that KUBE-SVC-, -SVL-, -FW- and -EXT- share; ``protocol`` in lower case."""
    return _hash(service_port + protocol)


def endpoint_chain(service_port: str, protocol: str, endpoint: str) -> str:
    """``KUBE-SEP-...`` of one endpoint (``ip:port``) of a service port."""
    return "KUBE-SEP-" + _hash(service_port + protocol + endpoint)


@lru_cache(maxsize=4096)
def probability(n: int) -> str:
    """1/n as kube-proxy writes it."""
    return f"{1.0 / n:.10f}"
