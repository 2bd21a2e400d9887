"""One step of a transaction, as the parser hands it to whoever applies it."""

from __future__ import annotations

from typing import Any, NamedTuple


class Op(NamedTuple):
    """``verb`` is add, create, insert, replace, delete, destroy, flush, reset, list or rename.

    ``what``: table, chain, rule, set, map, element, counter, quota, limit, ruleset. ``spot`` is
    where an error points (usually the name), ``whole`` where the command stands.
    """

    verb: str
    what: str
    family: str
    table: str
    name: str
    body: Any
    spot: tuple[int, int]
    whole: tuple[int, int]


class ChainBody(NamedTuple):
    """What ``{ type nat hook output priority -100; policy accept; }`` says; None: not said."""

    type: str = ""
    hook: str = ""
    priority: int = 0
    policy: str | None = None
    comment: str = ""


class RuleBody(NamedTuple):
    """A rule and where it goes. ``at``: (handle or index, number) or None for the end."""

    rule: Any
    at: tuple[str, int] | None = None


class ElementsBody(NamedTuple):
    """``{ ... }`` as it is spelled: its type is known only when it is applied."""

    text: str
    start: int
