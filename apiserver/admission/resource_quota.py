"""ResourceQuota: a namespace uses no more than its quotas allow. Last, so that nothing is counted
that another plugin refuses or changes.

What is used is counted from the cache; requests under way at the same moment do not see each other.
Source: apiserver pkg/admission/plugin/resourcequota.
"""

from __future__ import annotations

from functools import lru_cache

from podwire.api import kinds, quantity, quotas
from podwire.api.view import JSON
from podwire.apiserver import calls
from podwire.apiserver.admission.chain import Plugin
from podwire.apiserver.admission.review import Review
from podwire.apiserver.cache.entry import Entry

_QUOTA = kinds.named("v1", "ResourceQuota")
_REMEMBERED = 8192
_COMPUTE = ("cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory")


def validate(review: Review) -> None:
    """Refuse what would exceed a quota. Raises ApiError Forbidden."""
    if not review.namespace:
        return
    found = review.server.caches.of(_QUOTA).entries(review.namespace)
    if not found or (review.operation == "UPDATE" and review.kind.group):
        return
    wanted = quotas.usage(review.kind, review.obj)
    before = quotas.usage(review.kind, review.old) if review.old is not None else {}
    asked = {n: nano - before.get(n, 0) for n, nano in wanted.items() if nano > before.get(n, 0)}
    if not asked:
        return
    bodies = [(entry.name, _body(entry)) for entry in found]
    matching = [(n, body) for n, body in bodies if quotas.counts(body, review.kind, review.obj)]
    if review.kind is kinds.POD and review.operation == "CREATE":
        for name, quota in matching:
            _demand(review, name, _hard(quota))
    for name, quota in matching:
        _check(review, name, quota, asked)


def _hard(quota: JSON) -> JSON:
    return (quota.get("spec") or {}).get("hard") or {}


def _check(review: Review, name: str, quota: JSON, asked: dict[str, int]) -> None:
    hard = _hard(quota)
    bound = sorted(resource for resource in hard if resource in asked)
    if not bound:
        return
    used = _used(review, quota, bound)
    over = [
        resource
        for resource in bound
        if used[resource] + asked[resource] > quantity.parse(hard[resource]).nano
    ]
    if over:
        requested = _listed({resource: asked[resource] for resource in over})
        limited = ",".join(f"{resource}={hard[resource]}" for resource in over)
        why = (
            f"exceeded quota: {name}, requested: {requested}, "
            f"used: {_listed({resource: used[resource] for resource in over})}, limited: {limited}"
        )
        raise calls.forbidden(review.kind, review.name, why)


def _demand(review: Review, name: str, hard: JSON) -> None:
    """Every container must name what a quota bounds. Raises ApiError Forbidden."""
    missing: dict[str, dict[str, None]] = {}
    spec = review.obj.get("spec") or {}
    for resource in sorted(set(hard) & set(_COMPUTE)):
        group, _, bare = resource.rpartition(".")
        for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
            amounts = (container.get("resources") or {}).get(group or "requests") or {}
            if bare not in amounts:
                missing.setdefault(resource, {})[container.get("name", "")] = None
    if missing:
        listed = "; ".join(f"{r} for: {','.join(sorted(who))}" for r, who in missing.items())
        why = f"failed quota: {name}: must specify {listed}"
        raise calls.forbidden(review.kind, review.name, why)


def _listed(amounts: dict[str, int]) -> str:
    return ",".join(f"{name}={quotas.show(name, nano)}" for name, nano in sorted(amounts.items()))


def _used(review: Review, quota: JSON, resources: list[str]) -> dict[str, int]:
    """What the objects of the request's kind use already."""
    total = dict.fromkeys(resources, 0)
    now_ns = review.server.world.clock.now_ns()
    for entry in review.server.caches.of(review.kind).entries(review.namespace):
        dying = bool(entry.view.metadata.deletion_timestamp)
        uses = quotas.usage(entry.kind, _body(entry), now_ns) if dying else _usage(entry)
        if not uses.keys().isdisjoint(resources) and quotas.counts(quota, entry.kind, _body(entry)):
            for name in resources:
                total[name] += uses.get(name, 0)
    return total


@lru_cache(maxsize=_REMEMBERED)
def _usage(entry: Entry) -> quotas.Usage:
    return quotas.usage(entry.kind, entry.json())


@lru_cache(maxsize=_REMEMBERED)
def _body(entry: Entry) -> JSON:
    """The object, only read."""
    return entry.json()


def _unlimited(review: Review) -> bool:
    return not review.server.caches.of(_QUOTA).entries(review.namespace)


PLUGIN = Plugin(
    "ResourceQuota",
    validate=validate,
    subresources=("", "resize"),
    moot_without=_QUOTA,
    repeats=_unlimited,
)
