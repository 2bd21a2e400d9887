"""Chain names and probabilities of the iptables mode.

Source: kubernetes pkg/proxy/iptables (portProtoHash, servicePortEndpointChainName,
computeProbability): base32 of SHA-256, first 16 characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_PAIRS = tuple(a + b for a in _LETTERS for b in _LETTERS)
"""Two letters of base32 by ten bits."""


def _hash(text: str) -> str:
    # 16 letters of base32 are ten bytes; base64.b32encode takes three times as long
    digest, p = sha256(text.encode()).digest(), _PAIRS
    a, b = int.from_bytes(digest[:5], "big"), int.from_bytes(digest[5:10], "big")
    return (
        f"{p[a >> 30]}{p[a >> 20 & 1023]}{p[a >> 10 & 1023]}{p[a & 1023]}"
        f"{p[b >> 30]}{p[b >> 20 & 1023]}{p[b >> 10 & 1023]}{p[b & 1023]}"
    )


def port_hash(service_port: str, protocol: str) -> str:
    """The hash that KUBE-SVC-, -SVL-, -FW- and -EXT- share; ``protocol`` in lower case."""
    return _hash(service_port + protocol)


def endpoint_chains(service_port: str, protocol: str, endpoints: Sequence[str]) -> dict[str, str]:
    """``KUBE-SEP-...`` of each endpoint (``ip:port``) of a service port."""
    prefix = service_port + protocol
    return {text: "KUBE-SEP-" + _hash(prefix + text) for text in endpoints}


@lru_cache(maxsize=4096)
def probability(n: int) -> str:
    """1/n as kube-proxy writes it."""
    return f"{1.0 / n:.10f}"
