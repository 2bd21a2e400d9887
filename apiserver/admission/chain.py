"""The two phases of admission: plugins that mutate, then, on the finished object, plugins that
validate.

Upstream runs them around a strategy's validation: mutate, prepare and validate the object, validate
by plugins, write. A write that lost a race goes through both again.
Source: apiserver pkg/admission (chain.go, reinvocation.go).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from podwire.api.kinds import Kind
from podwire.apiserver.admission.review import Review

Step = Callable[[Review], Awaitable[None] | None]
"""Changes ``review.obj`` (when it mutates) or raises ApiError; may be something to wait for."""

_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Plugin:
    """One admission plugin under upstream's name, and what it has to see."""

    name: str
    admit: Step | None = None
    """Its part in the mutating phase."""
    validate: Step | None = None
    """Its part in the validating phase."""
    kinds: Container[Kind[Any]] | None = None
    """The resources it looks at; None for all."""
    operations: tuple[str, ...] = ("CREATE", "UPDATE")
    subresources: tuple[str, ...] | None = ("",)
    """The subresources it looks at, "" for none; None for all."""
    on: bool = True
    """Whether it runs unless it is disabled; else it runs if it is enabled."""

    def handles(self, kind: Kind[Any], operation: str, subresource: str) -> bool:
        """Whether it has to see such a write."""
        return (
            operation in self.operations
            and (self.subresources is None or subresource in self.subresources)
            and (self.kinds is None or kind in self.kinds)
        )


class _Steps(NamedTuple):
    mutating: tuple[Step, ...]
    validating: tuple[Step, ...]


class Chain:
    """A server's plugins in their order. What need not run for a write is never called for it."""

    def __init__(
        self, plugins: Sequence[Plugin], enabled: Sequence[str] = (), disabled: Sequence[str] = ()
    ) -> None:
        """``enabled`` and ``disabled`` are names. Raises ValueError for one that is unknown."""
        known = [plugin.name for plugin in plugins]
        for flag, names in (("enable", enabled), ("disable", disabled)):
            for name in names:
                if name not in known:
                    raise ValueError(f'{flag}-admission-plugins plugin "{name}" is unknown')
        for name in enabled:
            if name in disabled:
                why = "in both enable-admission-plugins and disable-admission-plugins"
                raise ValueError(f"{name} {why}")
        self.plugins = tuple(
            plugin
            for plugin in plugins
            if plugin.name in enabled or (plugin.on and plugin.name not in disabled)
        )
        self._steps: dict[tuple[Kind[Any], str, str], _Steps] = {}

    def handles(self, kind: Kind[Any], operation: str, subresource: str = "") -> bool:
        """Whether any plugin has to see such a write."""
        mutating, validating = self._of(kind, operation, subresource)
        return bool(mutating or validating)

    async def mutate(self, review: Review) -> None:
        """The first phase, which may change ``review.obj``. Raises ApiError."""
        steps = self._of(review.kind, review.operation, review.subresource).mutating
        await _run(steps, review)
        if review.reinvoke:
            review.reinvoking = True
            await _run(steps, review)

    async def validate(self, review: Review) -> None:
        """The second phase, which sees the object as it would be stored. Raises ApiError."""
        steps = self._of(review.kind, review.operation, review.subresource).validating
        await _run(steps, review)

    async def admit(self, review: Review) -> None:
        """Both, for what has no validation between them. Raises ApiError."""
        await self.mutate(review)
        await self.validate(review)

    def _of(self, kind: Kind[Any], operation: str, subresource: str) -> _Steps:
        found = self._steps.get((kind, operation, subresource))
        if found is None:
            found = self._chosen(kind, operation, subresource)
            if len(self._steps) >= _REMEMBERED:
                self._steps.clear()
            self._steps[kind, operation, subresource] = found
        return found

    def _chosen(self, kind: Kind[Any], operation: str, subresource: str) -> _Steps:
        seeing = [p for p in self.plugins if p.handles(kind, operation, subresource)]
        return _Steps(
            tuple(p.admit for p in seeing if p.admit is not None),
            tuple(p.validate for p in seeing if p.validate is not None),
        )


async def _run(steps: tuple[Step, ...], review: Review) -> None:
    for step in steps:
        waiting = step(review)
        if waiting is not None:
            await waiting
