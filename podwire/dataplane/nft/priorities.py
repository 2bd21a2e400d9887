"""Names of hooks and priorities. Source: nftables src/rule.c (std_prios, hook2str)."""

from __future__ import annotations

HOOKS = {
    "prerouting": "PREROUTING",
    "input": "INPUT",
    "forward": "FORWARD",
    "output": "OUTPUT",
    "postrouting": "POSTROUTING",
}
"""nft's names of the hooks of the IP stacks, and the names this package uses elsewhere."""
TYPES = {
    "filter": tuple(HOOKS),
    "nat": ("prerouting", "input", "output", "postrouting"),
    "route": ("output",),
}
"""Where chains of a type may be hooked."""
NAMES = {"raw": -300, "mangle": -150, "dstnat": -100, "filter": 0, "security": 50, "srcnat": 100}
_ONLY_AT = {"dstnat": "prerouting", "srcnat": "postrouting"}


def number(name: str, hook: str) -> int | None:
    """The number of a priority's name, None where the hook has none of that name."""
    if name not in NAMES or _ONLY_AT.get(name, hook) != hook:
        return None
    return NAMES[name]


def text(priority: int, hook: str, *, numeric: bool = False) -> str:
    """A priority as nft prints it: by the nearest name within ten."""
    if numeric:
        return str(priority)
    for name, value in NAMES.items():
        if _ONLY_AT.get(name, hook) != hook or abs(priority - value) > 10:
            continue
        if priority == value:
            return name
        sign = "+" if priority > value else "-"
        return f"{name} {sign} {abs(priority - value)}"
    return str(priority)
