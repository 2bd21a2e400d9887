"""The two phases of admission: plugins that mutate, then, on the finished object, plugins that
validate.

Upstream runs them around a strategy's validation: mutate, prepare and validate the object, validate
by plugins, write. A write that lost a race goes through both again.
Source: apiserver pkg/admission (chain.go, reinvocation.go).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from podwire.api.kinds import Kind
from podwire.api.view import JSON
from podwire.apiserver.admission.review import Review
from podwire.runtime.ports import Clock

if TYPE_CHECKING:
    from podwire.apiserver.cache.hub import Caches

Step = Callable[[Review], Awaitable[None] | None]
"""Changes ``review.obj`` (when it mutates) or raises ApiError; may be something to wait for."""

Steps = tuple[Step | None, Step | None]
"""What a plugin with a configuration does in either phase."""

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
    fixed: bool = False
    """Whether it is part of the registry, so that it cannot be disabled."""
    moot_without: Kind[Any] | None = None
    """It has nothing to say while there is no object of this kind (one of
    ``storage.ADMISSION_READS``), so it is not called then.
    """
    repeats: Callable[[Review], bool] = lambda _review: False
    """Whether, of an object that differs from the reviewed one in nothing but free strings
    (``moulds.free``), it would say and change the same, as long as no object of a kind in
    ``storage.ADMISSION_READS`` changes, and users are nodes or are none, as the reviewed one.
    """
    configure: Callable[[JSON, Clock], Steps] | None = None
    """Makes its steps of its configuration ({} for none) for one server. Raises ValueError."""

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


def always(_review: Review) -> bool:
    """``Plugin.repeats`` of a plugin that looks at nothing else."""
    return True


def choose(
    plugins: Sequence[Plugin], enabled: Sequence[str], disabled: Sequence[str]
) -> list[Plugin]:
    """The plugins that run. Raises ValueError for a name that is unknown, or in both lists."""
    known = {plugin.name: plugin for plugin in plugins}
    for flag, names in (("enable", enabled), ("disable", disabled)):
        for name in names:
            if name not in known:
                why = f'{flag}-admission-plugins plugin "{name}" is unknown'
                raise ValueError(f"{why}; there are {', '.join(sorted(known))}")
    for name in disabled:
        if known[name].fixed:
            raise ValueError(f'disable-admission-plugins plugin "{name}": not modelled without it')
    for name in enabled:
        if name in disabled:
            why = "in both enable-admission-plugins and disable-admission-plugins"
            raise ValueError(f"{name} {why}")
    return [p for p in plugins if p.name in enabled or (p.on and p.name not in disabled)]


def told(plugins: Sequence[Plugin], given: Mapping[str, JSON], clock: Clock) -> list[Plugin]:
    """Plugins with the steps that their configuration makes. Raises ValueError."""
    made: list[Plugin] = []
    for plugin in plugins:
        if plugin.configure is not None:
            admit, validate = plugin.configure(given.get(plugin.name) or {}, clock)
            plugin = replace(plugin, admit=admit, validate=validate)  # noqa: PLW2901  as told
        made.append(plugin)
    return made


class Chain:
    """A server's plugins in their order. What need not run for a write is never called for it."""

    def __init__(
        self, plugins: Sequence[Plugin], enabled: Sequence[str] = (), disabled: Sequence[str] = (),
        configuration: Mapping[str, JSON] | None = None, clock: Clock | None = None,
    ) -> None:  # fmt: skip
        """``enabled`` and ``disabled`` are names, ``configuration`` is by name; ``clock`` is for
        plugins that are configured.

        Raises ValueError for a name that is unknown and a configuration that is wrong.
        """
        chosen = choose(plugins, enabled, disabled)
        self.plugins = tuple(chosen if clock is None else told(chosen, configuration or {}, clock))
        self._steps: dict[tuple[Kind[Any], str, str], _Steps] = {}
        self._seen = -1
        """``Caches.deciders`` when the steps were chosen."""

    def handles(self, kind: Kind[Any], operation: str, subresource: str = "") -> bool:
        """Whether any plugin has to see such a write."""
        seeing = (p for p in self.plugins if p.handles(kind, operation, subresource))
        return any(plugin.admit or plugin.validate for plugin in seeing)

    async def mutate(self, review: Review) -> None:
        """The first phase, which may change ``review.obj``. Raises ApiError."""
        steps = self._of(review).mutating
        await _run(steps, review)
        if review.reinvoke:
            review.reinvoking = True
            await _run(steps, review)

    async def validate(self, review: Review) -> None:
        """The second phase, which sees the object as it would be stored. Raises ApiError."""
        await _run(self._of(review).validating, review)

    async def admit(self, review: Review) -> None:
        """Both, for what has no validation between them. Raises ApiError."""
        await self.mutate(review)
        await self.validate(review)

    def repeats(self, review: Review) -> bool:
        """Whether every plugin that sees such a write repeats itself: see ``Plugin.repeats``."""
        asked = (review.kind, review.operation, review.subresource)
        return all(plugin.repeats(review) for plugin in self._seeing(review.server.caches, *asked))

    def _of(self, review: Review) -> _Steps:
        caches = review.server.caches
        if caches.deciders != self._seen or len(self._steps) >= _REMEMBERED:
            self._steps.clear()
            self._seen = caches.deciders
        key = (review.kind, review.operation, review.subresource)
        found = self._steps.get(key)
        if found is None:
            found = self._steps[key] = self._chosen(caches, *key)
        return found

    def _seeing(
        self, caches: Caches, kind: Kind[Any], operation: str, subresource: str
    ) -> list[Plugin]:
        return [
            p
            for p in self.plugins
            if p.handles(kind, operation, subresource)
            and (p.moot_without is None or len(caches.of(p.moot_without)))
        ]

    def _chosen(self, caches: Caches, kind: Kind[Any], operation: str, subresource: str) -> _Steps:
        seeing = self._seeing(caches, kind, operation, subresource)
        return _Steps(
            tuple(p.admit for p in seeing if p.admit is not None),
            tuple(p.validate for p in seeing if p.validate is not None),
        )


async def _run(steps: tuple[Step, ...], review: Review) -> None:
    for step in steps:
        waiting = step(review)
        if waiting is not None:
            await waiting
