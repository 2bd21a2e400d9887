"""The handler table: which function answers which path. Other modules add to it in order.

Paths first (exact, then patterns in the order they were added), then resources by
(kind, subresource, verb), a kind's own handler before the one for all kinds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from podwire.api.kinds import Kind
from podwire.apiserver.calls import Call
from podwire.client.counters import Request, Response

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

PathHandler = Callable[["Apiserver", Request], Awaitable[Response]]
"""Answers a path that is no resource (/version, /openapi/v3/..., discovery)."""

ResourceHandler = Callable[["Apiserver", Call], Awaitable[Response]]
"""Answers a verb of a resource or subresource."""


@dataclass(frozen=True, slots=True)
class Route:
    """``path`` is exact, or a prefix when it ends in ``/*``."""

    path: str
    handler: PathHandler
    methods: tuple[str, ...] = ("GET",)
    open: bool = False
    """Whether anonymous may ask (health and version only) where no roles say so."""


class Routes:
    """The table. Later additions never override earlier ones."""

    def __init__(self) -> None:
        self._exact: dict[str, Route] = {}
        self._passing: dict[str, Route] = {}
        """Exact paths that come and go."""
        self._prefixes: list[tuple[str, Route]] = []
        self._starts: tuple[str, ...] = ()
        self._resources: dict[tuple[Kind[Any] | None, str, str], ResourceHandler] = {}

    def add(self, route: Route) -> None:
        """Serve a path. Raises ValueError when it is taken."""
        if route.path.endswith("/*"):
            self._prefixes.append((route.path[:-1], route))
            self._starts = (*self._starts, route.path[:-1])
        elif route.path in self._exact:
            raise ValueError(f"{route.path} is served already")
        else:
            self._exact[route.path] = route

    def add_verb(
        self, verb: str, handler: ResourceHandler, subresource: str = "",
        kind: Kind[Any] | None = None,
    ) -> None:  # fmt: skip
        """Serve a verb of a subresource ("" the resource itself), for one kind or for all."""
        key = (kind, subresource, verb)
        if key in self._resources:
            raise ValueError(f"{key} is served already")
        self._resources[key] = handler

    def replace(self, passing: Iterable[Route]) -> None:
        """Serve these beside what was added, instead of those given before."""
        self._passing = {r.path: r for r in passing if r.path not in self._exact}

    def path(self, path: str) -> Route | None:
        """The route of a path; a trailing slash is forgiven."""
        found = self._exact.get(path)
        if found is None and self._passing:
            found = self._passing.get(path.rstrip("/"))
        if found is None and (not path or path[-1] == "/"):
            found = self._exact.get(path.rstrip("/") or "/")
        if found is None and path.startswith(self._starts):
            for prefix, route in self._prefixes:
                if path.startswith(prefix):
                    return route
        return found

    def paths(self) -> list[str]:
        """Every path served beside resources, sorted (the answer to ``GET /``)."""
        return sorted([*self._exact, *self._passing, *(route.path for _, route in self._prefixes)])

    def serves(self, kind: Kind[Any], subresource: str) -> bool:
        """Whether a kind (or its subresource) has a handler at all."""
        owners = (kind, None) if "get" in kind.verbs else (kind,)
        return any(owner in owners and name == subresource for owner, name, _ in self._resources)

    def verb(self, call: Call) -> ResourceHandler | None:
        """The handler of a resource call."""
        resources = self._resources
        own = resources.get((call.kind, call.subresource, call.verb))
        if own is not None or "get" not in call.kind.verbs:
            return own  # what cannot be read back is not stored: only its own handler serves it
        return resources.get((None, call.subresource, call.verb))
