"""Maglev lookup tables as Cilium computes them. Source: cilium pkg/maglev/maglev.go."""

from __future__ import annotations

import base64
from functools import lru_cache

from podwire.dataplane.ebpf.murmur3 import hash128
from podwire.dataplane.nft.jhash import jhash

DEFAULT_SEED = "JLfvgnHc2kaSUFaI"
SIZES = (251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131071)
DEFAULT_SIZE = 16381

Backend = tuple[str, int, int]
"""What is hashed, the backend's id, its weight."""


def seeds(seed: str = DEFAULT_SEED) -> tuple[int, int, int]:
    """The seeds of murmur3 and of both words of jhash. Raises ValueError."""
    raw = base64.b64decode(seed, validate=True)
    if len(raw) != 12:
        raise ValueError(f"decoded hash seed is {len(raw)} bytes (not 12 bytes)")
    a, b, c = (int.from_bytes(raw[i : i + 4], "big") for i in (0, 4, 8))
    return a, b, c


def hash_text(ip: str, port: int, protocol: str) -> str:
    """What a backend is hashed by (BackendInfo.setHashString)."""
    host = f"[{ip}]" if ":" in ip else ip
    return f"[{host}:{port}/{protocol.upper()},State:active]"


@lru_cache(maxsize=4096)
def table(backends: tuple[Backend, ...], size: int, seed: str = DEFAULT_SEED) -> tuple[int, ...]:
    """The ids by slot: backends take turns, each along its own permutation, those of small weight
    less often.
    """
    if not backends:
        return ()
    murmur, _, _ = seeds(seed)
    ordered = sorted(backends)
    count = len(ordered)
    hashes = [hash128(text.encode(), murmur) for text, _, _ in ordered]
    at = [h1 % size for h1, _ in hashes]
    skip = [h2 % (size - 1) + 1 for _, h2 in hashes]
    total = sum(weight for _, _, weight in ordered)
    weighted = total // count > 1
    owed = [weight / count for _, _, weight in ordered]
    entry = [-1] * size
    for n in range(size):
        i = n % count
        while weighted and (n + 1) * ordered[i][2] < int(owed[i]):
            i = (i + 1) % count
        owed[i] += total
        while entry[at[i]] >= 0:
            at[i] = (at[i] + skip[i]) % size
        entry[at[i]] = ordered[i][1]
        at[i] = (at[i] + skip[i]) % size
    return tuple(entry)


def slot(flow: tuple[str, int, str, int, str], size: int) -> int:
    """Which slot a flow (source, port, destination, port, protocol) falls into. The words are
    hashed by jhash in the order of the tuple: not bit for bit what the program's macros do.
    """
    src, sport, dst, dport, protocol = flow
    _, first, second = seeds()
    text = f"{src} {sport} {dst} {dport} {protocol}".encode()
    return jhash(text, first ^ second) % size
