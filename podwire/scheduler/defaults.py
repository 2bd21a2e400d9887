"""The soft spreading of pods without constraints: over hosts and zones, by who selects them.

Source: kube-scheduler's systemDefaultConstraints and helper.DefaultSelector: the selectors of all
Services that select the pod, and of the ReplicaSet, StatefulSet or ReplicationController that owns
it.
"""

from __future__ import annotations

from podwire.api import kinds
from podwire.api.selectors import IN, Requirement, Selector
from podwire.api.views import Pod, ReplicaSet, Service, StatefulSet
from podwire.client.informer import Informers
from podwire.scheduler.terms import Constraint, compiled, default_constraints

_MOST_KEPT = 4096


class Defaults:
    """Default constraints, remembered until a selector changes."""

    def __init__(self, informers: Informers) -> None:
        self._services = informers.informer(kinds.SERVICE)
        self._replica_sets = informers.informer(kinds.REPLICA_SET)
        self._stateful_sets = informers.informer(kinds.STATEFUL_SET)
        self._kept: dict[tuple[object, ...], tuple[Constraint, ...]] = {}
        self._services.on_change(self._service_changed)
        self._replica_sets.on_change(self._owner_changed)
        self._stateful_sets.on_change(self._owner_changed)

    def _service_changed(self, old: Service | None, new: Service | None) -> None:
        if old is None or new is None or old.spec.selector != new.spec.selector:
            self._kept.clear()

    def _owner_changed(
        self, old: ReplicaSet | StatefulSet | None, new: ReplicaSet | StatefulSet | None
    ) -> None:
        if old is None or new is None or old.spec.selector != new.spec.selector:
            self._kept.clear()

    def constraints(self, pod: Pod) -> tuple[Constraint, ...]:
        """The pod's default constraints; none without a selector."""
        meta = pod.metadata
        owner = meta.controller()
        whose = (owner.kind, owner.name) if owner is not None else None
        key = (meta.namespace, tuple(sorted(meta.labels.items())), whose)
        found = self._kept.get(key)
        if found is None:
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            found = self._kept[key] = default_constraints(pod, self._selector(pod))
        return found

    def _selector(self, pod: Pod) -> Selector:
        meta = pod.metadata
        wanted: dict[str, str] = {}
        for service in self._services.list(meta.namespace):
            selector = service.spec.selector
            if selector and selector.items() <= meta.labels.items():
                wanted.update(selector)
        requirements = [Requirement(k, IN, (v,), "=") for k, v in sorted(wanted.items())]
        owner = self._owner(pod)
        if owner is not None:
            requirements += compiled(owner.spec.selector).requirements
        return Selector(tuple(requirements))

    def _owner(self, pod: Pod) -> ReplicaSet | StatefulSet | None:
        reference = pod.metadata.controller()
        if reference is None or reference.api_version != "apps/v1":
            return None
        namespace, name = pod.metadata.namespace, reference.name
        if reference.kind == "ReplicaSet":
            return self._replica_sets.get(namespace, name)
        if reference.kind == "StatefulSet":
            return self._stateful_sets.get(namespace, name)
        return None
