"""Header fields as a mapping: lower-case names, repeated fields joined."""

from __future__ import annotations

from collections.abc import Iterable

from podwire.apiserver import frontproxy, impersonation

COOKIE = "set-cookie"
_BY_LINES = (impersonation.PREFIX, frontproxy.PREFIX)


def combined(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """One value per name. Repeated fields are joined by ``, `` (RFC 9110, 5.3); those that
    name users, and cookies, by line breaks, because their values may hold a comma.
    """
    found: dict[str, str] = {}
    for name, value in fields:
        key = name.lower()
        found[key] = joined(key, found[key], value) if key in found else value
    return found


def joined(key: str, earlier: str, value: str) -> str:
    """The value of a field that came once more."""
    return f"{earlier}{chr(10) if key == COOKIE or key.startswith(_BY_LINES) else ', '}{value}"
