"""How large each ReplicaSet should be (pure).

Source: kubernetes pkg/controller/deployment/{rolling,recreate,sync}.go and util.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from podwire.api.views import Deployment, ReplicaSet
from podwire.controllers.common import scaled
from podwire.controllers.deployment.revisions import DESIRED, MAXIMUM, by_age

Sizes = dict[str, int]
"""Wanted spec.replicas by ReplicaSet name, for those that should change."""


def is_rolling(deployment: Deployment) -> bool:
    """Whether the strategy is RollingUpdate."""
    return deployment.spec.strategy.type == "RollingUpdate"


def fenceposts(deployment: Deployment) -> tuple[int, int]:
    """Pods above (maxSurge, rounded up) and below (maxUnavailable, down; 1 if both are 0)."""
    rolling = deployment.spec.strategy.rolling_update or {}
    total = deployment.spec.replicas
    surge = scaled(rolling.get("maxSurge", "25%"), total, round_up=True)
    unavailable = scaled(rolling.get("maxUnavailable", "25%"), total, round_up=False)
    if not surge and not unavailable:
        unavailable = 1
    return surge, unavailable


def max_surge(deployment: Deployment) -> int:
    """Pods above the wanted number; 0 unless rolling."""
    return fenceposts(deployment)[0] if is_rolling(deployment) else 0


def max_unavailable(deployment: Deployment) -> int:
    """Pods below the wanted number; 0 unless rolling."""
    if not is_rolling(deployment) or not deployment.spec.replicas:
        return 0
    return min(fenceposts(deployment)[1], deployment.spec.replicas)


def total(sets: Sequence[ReplicaSet]) -> int:
    """The sum of the wanted replicas."""
    return sum(item.spec.replicas for item in sets)


def active(sets: Sequence[ReplicaSet]) -> list[ReplicaSet]:
    """Those with wanted replicas."""
    return [item for item in sets if item.spec.replicas > 0]


def new_size(deployment: Deployment, sets: Sequence[ReplicaSet], current: int) -> int:
    """How many replicas the new ReplicaSet (now ``current``) may have."""
    wanted = deployment.spec.replicas
    if not is_rolling(deployment):
        return wanted
    room = wanted + max_surge(deployment) - total(sets)
    return current + min(room, wanted - current) if room > 0 else current


def roll_new(deployment: Deployment, sets: Sequence[ReplicaSet], new: ReplicaSet) -> Sizes:
    """Grow the new ReplicaSet within maxSurge; shrink it when the Deployment shrank."""
    wanted = deployment.spec.replicas
    if new.spec.replicas > wanted:
        return {new.metadata.name: wanted}
    size = new_size(deployment, sets, new.spec.replicas)
    return {new.metadata.name: size} if size != new.spec.replicas else {}


def roll_old(deployment: Deployment, old: Sequence[ReplicaSet], new: ReplicaSet) -> Sizes:
    """Shrink old ReplicaSets: first what is unhealthy, then what maxUnavailable allows."""
    if not total(old):
        return {}
    minimum = deployment.spec.replicas - max_unavailable(deployment)
    new_unavailable = new.spec.replicas - new.status.available_replicas
    most = total(old) + new.spec.replicas - minimum - new_unavailable
    if most <= 0:
        return {}
    sizes = {item.metadata.name: item.spec.replicas for item in by_age(old)}
    cleaned = 0
    for item in by_age(old):
        unhealthy = item.spec.replicas - item.status.available_replicas
        count = max(0, min(most - cleaned, unhealthy))
        sizes[item.metadata.name] -= count
        cleaned += count
    # A ReplicaSet just shrunk may still report the pods it is about to delete: count them out,
    # or the next pass would delete as many again.
    available = sum(min(item.status.available_replicas, item.spec.replicas) for item in (*old, new))
    surplus = available - minimum
    for name, size in sizes.items():
        count = max(0, min(size, surplus))
        sizes[name] -= count
        surplus -= count
    return {i.metadata.name: sizes[i.metadata.name] for i in old if _differs(i, sizes)}


def is_scaling(deployment: Deployment, sets: Sequence[ReplicaSet]) -> bool:
    """Whether spec.replicas changed since the ReplicaSets were last sized."""
    wanted = str(deployment.spec.replicas)
    return any(
        DESIRED in item.metadata.annotations and item.metadata.annotations[DESIRED] != wanted
        for item in active(sets)
    )


def is_saturated(deployment: Deployment, new: ReplicaSet | None) -> bool:
    """Whether the new ReplicaSet alone serves the whole Deployment."""
    if new is None:
        return False
    wanted = deployment.spec.replicas
    return (
        new.spec.replicas == wanted
        and new.metadata.annotations.get(DESIRED) == str(wanted)
        and new.status.available_replicas == wanted
    )


def active_or_latest(new: ReplicaSet | None, old: Sequence[ReplicaSet]) -> ReplicaSet | None:
    """The only active ReplicaSet, or the latest when none is; None when several are."""
    running = active([*old, *([new] if new else [])])
    if len(running) == 1:
        return running[0]
    if running:
        return None
    if new is not None:
        return new
    return by_age(old)[-1] if old else None


def scale(deployment: Deployment, new: ReplicaSet | None, old: Sequence[ReplicaSet]) -> Sizes:
    """Sizes after spec.replicas changed, or while paused: proportional across a rollout."""
    only = active_or_latest(new, old)
    wanted = deployment.spec.replicas
    if only is not None:
        return {only.metadata.name: wanted} if only.spec.replicas != wanted else {}
    if is_saturated(deployment, new):
        return {item.metadata.name: 0 for item in active(old)}
    if not is_rolling(deployment):
        return {}
    return _proportional(deployment, active([*old, *([new] if new else [])]))


def _proportional(deployment: Deployment, sets: list[ReplicaSet]) -> Sizes:
    wanted = deployment.spec.replicas
    allowed = wanted + max_surge(deployment) if wanted else 0
    to_add = allowed - total(sets)
    newest_first = by_age(sets)[::-1] if to_add > 0 else by_age(sets)
    ordered = sorted(newest_first, key=lambda item: -item.spec.replicas)
    sizes: Sizes = {}
    added = 0
    for item in ordered:
        part = share(deployment, item, to_add, added) if to_add else 0
        sizes[item.metadata.name] = item.spec.replicas + part
        added += part
    if to_add and ordered:
        first = ordered[0].metadata.name
        sizes[first] = max(0, sizes[first] + to_add - added)
    return {i.metadata.name: sizes[i.metadata.name] for i in ordered if _differs(i, sizes)}


def share(deployment: Deployment, item: ReplicaSet, to_add: int, added: int) -> int:
    """A ReplicaSet's part of a change of size of which ``added`` is given away already."""
    if not item.spec.replicas or to_add == added:
        return 0
    wanted = deployment.spec.replicas
    if not wanted:
        fraction = -item.spec.replicas
    else:
        text = item.metadata.annotations.get(MAXIMUM, "")
        before = int(text) if text.isdigit() and int(text) else deployment.status.replicas
        if not before:
            return 0  # nobody knows how large it was: the annotation is gone, and so are its pods
        size = item.spec.replicas * (wanted + max_surge(deployment)) / before
        fraction = math.floor(size + 0.5) - item.spec.replicas
    left = to_add - added
    return min(fraction, left) if to_add > 0 else max(fraction, left)


def _differs(item: ReplicaSet, sizes: Sizes) -> bool:
    return sizes[item.metadata.name] != item.spec.replicas
