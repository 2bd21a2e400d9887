"""A DaemonSet's rolling update (pure). Source: kubernetes pkg/controller/daemon/update.go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from podwire.api.views import DaemonSet, Pod
from podwire.controllers.common import pod_available
from podwire.controllers.daemonset.places import Place, limits, updated


@dataclass(slots=True)
class Step:
    """What one pass of an update does."""

    delete: list[Pod] = field(default_factory=list)
    create: list[str] = field(default_factory=list)
    """Nodes that get a second pod."""


def step(ds: DaemonSet, places: Sequence[Place], digest: str, now_ns: int) -> Step:
    """The next pods to replace, within maxUnavailable or maxSurge.

    Whoever is unavailable is replaced first and costs nothing. A node with too many pods
    counts against the limit and waits for ``core`` to thin them out.
    """
    surge, down = limits(ds, sum(place.wanted for place in places))

    def available(pod: Pod) -> bool:
        return pod_available(pod, ds.spec.min_ready_seconds, now_ns)

    taken = [place for place in places if place.name and place.pods]
    if surge:
        wanted = sum(place.wanted for place in places)
        return _surge(taken, digest, available, surge, wanted)
    return _replace(taken, digest, available, down)


def _split(place: Place, digest: str) -> tuple[list[Pod], list[Pod]]:
    """(new, old) pods that nobody deleted."""
    alive = place.alive
    return [p for p in alive if updated(p, digest)], [p for p in alive if not updated(p, digest)]


def _replace(
    places: Sequence[Place], digest: str, available: Callable[[Pod], bool], down: int
) -> Step:
    """Delete old pods; their nodes get new ones once they are gone."""
    unavailable = 0
    broken: list[Pod] = []
    healthy: list[Pod] = []
    for place in places:
        new, old = _split(place, digest)
        if len(new) + len(old) != 1:
            unavailable += 1
        elif new:
            unavailable += not available(new[0])
        elif available(old[0]):
            healthy.append(old[0])
        else:
            broken.append(old[0])
            unavailable += 1
    return Step(delete=[*broken, *healthy[: max(0, down - unavailable)]])


def _surge(
    places: Sequence[Place], digest: str, available: Callable[[Pod], bool], surge: int, wanted: int
) -> Step:
    """Create new pods beside old ones; an old one goes when its successor is available."""
    found = Step()
    candidates: list[str] = []
    unwanted: list[Pod] = []
    surging = serving = 0
    for place in places:
        new, old = _split(place, digest)
        if len(new) > 1 or len(old) > 1:
            surging += 1
            continue
        serving += any(available(pod) for pod in (old or new))
        if not old:
            continue
        if new:
            if available(new[0]):
                found.delete.append(old[0])
            else:
                surging += 1
        elif available(old[0]):
            if place.wanted:
                candidates.append(place.name)
            else:
                unwanted.append(old[0])
        elif place.wanted:
            found.create.append(place.name)
        else:
            found.delete.append(old[0])
    # Where a node is not wanted any more, its pod serves until others do.
    found.delete += unwanted[: max(0, serving - wanted)]
    found.create += candidates[: max(0, surge - surging)]
    return found
