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
        if key not in found:
            found[key] = value
        else:
            found[key] += ("\n" if key.startswith(PREFIX) else ", ") + value
    return found
