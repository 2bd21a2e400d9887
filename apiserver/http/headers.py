"""Header fields as a mapping: lower-case names, repeated fields joined."""

from __future__ import annotations

from collections.abc import Iterable

from podwire.apiserver.impersonation import PREFIX


def combined(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """One value per name. Repeated fields are joined by ``, `` (RFC 9110, 5.3); those of
    impersonation by line breaks, because a group's name may hold a comma.
    """
    found: dict[str, str] = {}
    for name, value in fields:
        key = name.lower()
        found[key] = joined(key, found[key], value) if key in found else value
    return found


def joined(key: str, earlier: str, value: str) -> str:
    """The value of a field that came once more."""
    return f"{earlier}{chr(10) if key.startswith(PREFIX) else ', '}{value}"
