"""What a proxier knows: tables (Services, EndpointSlices, its node) and what changed in them.

One per address family. The mode (``modes``) makes commands of it; equal inputs of the nodes of one
process are rendered once (``Shared``).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from podwire.api.views import EndpointSlice, Service
from podwire.kube_proxy.mode import Answers, Mode, Sync
from podwire.kube_proxy.model import ADDRESS_TYPES, Check, NodeFacts, endpoints_of, service_ports

T = TypeVar("T")
_KEEP_PIECES = 200_000
_KEEP_TEXTS = 32


class Shared:
    """What was rendered already, for all nodes of this process; oldest out first."""

    def __init__(self) -> None:
        self._pieces: dict[Hashable, Any] = {}
        self._texts: dict[Hashable, tuple[tuple[Any, ...], Any]] = {}

    def piece(self, key: Hashable, build: Callable[[], T]) -> T:
        """The piece of a key; None keys are never kept. A key starts with its mode's name."""
        if key is None:
            return build()
        found = self._pieces.get(key)
        if found is None:
            if len(self._pieces) >= _KEEP_PIECES:
                self._pieces.pop(next(iter(self._pieces)))
            found = self._pieces[key] = build()
        made: T = found
        return made

    def text(self, key: Hashable, pieces: tuple[Any, ...], build: Callable[[], T]) -> T:
        """The text of a key made of the identities of ``pieces``, which stay alive with it."""
        found = self._texts.get(key)
        if found is None:
            if len(self._texts) >= _KEEP_TEXTS:
                self._texts.pop(next(iter(self._texts)))
            found = self._texts[key] = (pieces, build())
        made: T = found[1]
        return made

    def step(
        self,
        key: tuple[Hashable, ...],
        start: object,
        groups: Iterable[tuple[Any, ...]],
        build: Callable[[], T],
    ) -> T:
        """A step away from an account: worked out once for all nodes that hold this very account
        and make the same of it, told by the identities of the pieces in ``groups``.
        """
        held = tuple(groups)
        whole = (*key, id(start), tuple(tuple(map(id, group)) for group in held))
        return self.text(whole, (start, held), build)


@dataclass(slots=True)
class Proxier:
    """One node's view of the tables in one family, and what its kernel holds of it."""

    mode: Mode
    settings: Any
    node: NodeFacts
    shared: Shared
    family: str = "ipv4"
    sync_period_s: float = 30.0
    service_cidrs: tuple[str, ...] = ()
    """The networks that cluster IPs are taken from, of both families (ServiceCIDR objects)."""
    services: dict[str, Service] = field(default_factory=dict)
    slices: dict[str, dict[str, EndpointSlice]] = field(default_factory=dict)
    """By Service (``ns/name``), then by name; only slices of this family."""
    dirty: dict[str, None] = field(default_factory=dict)
    """Services (``ns/name``) that changed, or whose slices did, since the last plan."""
    checked: dict[str, None] = field(default_factory=dict)
    """Services with a healthCheckNodePort."""
    programmed: Any = None
    """The mode's own account of what the kernel holds; None before the first sync."""

    def service(self, old: Service | None, new: Service | None) -> bool:
        """Take over a Service; whether a sync is due."""
        if old is not None and new is not None and self._same(old, new):
            self.services[new.key] = new
            return False
        about = new if new is not None else old
        assert about is not None
        if new is None:
            self.services.pop(about.key, None)
        else:
            self.services[about.key] = new
        self.dirty[about.key] = None
        self.checked.pop(about.key, None)
        if new is not None and new.spec.health_check_node_port:
            self.checked[about.key] = None
        return True

    def _same(self, old: Service, new: Service) -> bool:
        """Whether nothing changed that shapes rules."""
        before, after = old.metadata.annotations, new.metadata.annotations
        noted = all(before.get(key) == after.get(key) for key in self.mode.annotations)
        return noted and same_service(old, new, self.family)

    def slice(self, old: EndpointSlice | None, new: EndpointSlice | None) -> bool:
        """Take over an EndpointSlice; whether a sync is due. Slices of others' families pass."""
        relevant = False
        for entry, keep in ((old, False), (new, True)):
            if entry is None or not entry.service_name:
                continue
            if entry.address_type != ADDRESS_TYPES[self.family]:
                continue
            key = f"{entry.metadata.namespace}/{entry.service_name}"
            own = self.slices.setdefault(key, {})
            if keep:
                own[entry.metadata.name] = entry
            else:
                own.pop(entry.metadata.name, None)
                if not own:
                    self.slices.pop(key, None)
            if old is None or new is None or not same_slice(old, new):
                self.dirty[key] = None
                relevant = True
        return relevant

    def slices_of(self, key: str) -> list[EndpointSlice]:
        """The slices of a Service, by name."""
        own = self.slices.get(key)
        if own is None:
            return []
        return list(own.values()) if len(own) == 1 else [own[name] for name in sorted(own)]

    def checks(self) -> dict[str, Check]:
        """The healthCheckNodePorts to be served, and this node's ready endpoints behind each."""
        found = {}
        for key in self.checked:
            ports = service_ports(self.services[key], self.family)
            number = next((p.health_check_node_port for p in ports), 0)
            if number:
                slices = self.slices_of(key)
                ready = {
                    e.ip: None
                    for port in ports
                    for e in endpoints_of(port, slices, self.node.name)
                    if e.ready and e.node == self.node.name
                }
                found[key] = Check(number, len(ready))
        return found

    def plan(self, *, full: bool, existing: Answers | None = None, now_ns: int = 0) -> Sync | None:
        """The mode's next transaction; None when nothing changed."""
        return self.mode.plan(self, full=full, existing=existing or {}, now_ns=now_ns)

    def committed(self, sync: Sync) -> None:
        """The transaction went through."""
        self.programmed = sync.programmed


def same_service(old: Service, new: Service, family: str) -> bool:
    """Whether rules cannot differ (annotations, labels and conditions change all the time)."""
    return (
        old.spec == new.spec
        and old.status == new.status
        and old.metadata.uid == new.metadata.uid
        and service_ports(old, family) == service_ports(new, family)
    )


def same_slice(old: EndpointSlice, new: EndpointSlice) -> bool:
    """Whether rules cannot differ."""
    return (
        old.endpoints == new.endpoints
        and old.ports == new.ports
        and old.service_name == new.service_name
    )


def versions(service: Service, slices: list[EndpointSlice]) -> tuple[str, ...]:
    """What identifies a rendering's input; () when objects carry no revision (then uncached)."""
    meta = service.metadata
    if not meta.resource_version or not meta.uid:
        return ()
    parts = [meta.uid, meta.resource_version]
    for item in slices:
        meta = item.metadata
        if not meta.resource_version or not meta.uid:
            return ()
        parts += (meta.uid, meta.resource_version)
    return tuple(parts)
