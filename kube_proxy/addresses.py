"""The addresses that ``ip addr show`` lists."""

from __future__ import annotations


def own_addresses(listing: str) -> tuple[str, ...]:
    """All addresses, without prefix lengths, in the order of the devices."""
    found = []
    for line in listing.splitlines():
        words = line.split()
        if words and words[0] in {"inet", "inet6"}:
            found.append(words[1].partition("/")[0])
    return tuple(found)
