"""What a proxier knows: tables (Services, EndpointSlices, its node) and what changed in them.

One per address family. The mode (``modes``) makes commands of it. Nodes of one process that know
the same hold the same tables, and what is made of equal tables is made once (``Shared``).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from podwire.api.views import EndpointSlice, Object, Service
from podwire.kube_proxy.mode import Answers, Mode, Sync
from podwire.kube_proxy.model import ADDRESS_TYPES, Check, NodeFacts, endpoints_of, service_ports
from podwire.kube_proxy.table import NOTHING, Table

if TYPE_CHECKING:
    from podwire.kube_proxy.pieces import Prepared

O = TypeVar("O", bound=Object)  # noqa: E741  reads as "object" beside Table[O]
T = TypeVar("T")
_KEEP_TEXTS = 32
_KEEP_MOVES = 1024
_KEEP_TURNS = 128
_FEW = 16
"""A whole state that differs from the latest in less than one entry of so many is made of it."""
_KEEP_PREPARED = 2
"""Of each Service, how many versions of what all nodes share: nodes lag behind each other."""

Slices = Mapping[str, EndpointSlice]
"""The slices of one Service by name. Never changed once it is in a table."""


class Shared:
    """What was made already, for all nodes of this process; oldest out first. Keyed by identity:
    what a key names is held as long as the key.
    """

    def __init__(self, together: Any = None) -> None:
        self.together = together
        """What nodes do together (``group.Together``); None: nothing."""
        self._texts: dict[Hashable, tuple[tuple[Any, ...], Any]] = {}
        self._moves: dict[Hashable, tuple[Any, ...]] = {}
        self._turns: dict[Hashable, tuple[Any, tuple[Any, ...]]] = {}
        self._latest: dict[str, Table[Any]] = {}
        self._by_service: dict[tuple[str, int], tuple[Table[Any], Table[Slices]]] = {}
        self._prepared: dict[tuple[str, str], list[Prepared]] = {}
        if together is not None:
            together.begin(self)

    # ------------------------------------------------------------ tables

    def adopt(self, what: str, items: Iterable[O]) -> Table[O]:
        """The table of a whole state. What the latest one of its kind holds too is taken from it,
        so that nodes which start one after the other hold one table, and each object once.
        """
        latest: Table[O] = self._latest.get(what, NOTHING)
        whole: dict[str, O] = {}
        changed: dict[str, O] = {}
        for item in items:
            key = item.key
            known = latest.get(key)
            if known is None or _version(known) != _version(item):
                known = changed[key] = item
            whole[key] = known
        gone = [key for key in latest if key not in whole] if len(whole) < len(latest) else []
        if (len(changed) + len(gone)) * _FEW < len(latest):
            for key, item in changed.items():
                latest = latest.having(key, item)
            for key in gone:
                latest = latest.without(key)
        else:
            latest = Table.of(whole)
        self._latest[what] = latest
        return latest

    def moved(self, what: str, table: Table[O], key: str, value: O | None) -> Table[O]:
        """A table after an entry changed (None: went): one for all nodes that hold the table."""
        step = (id(table), key, _version(value))
        found = self._moves.get(step)
        if found is None:
            if len(self._moves) >= _KEEP_MOVES:
                self._moves.pop(next(iter(self._moves)))
            after = table.without(key) if value is None else table.having(key, value)
            found = self._moves[step] = (after, table, value)
            if self._latest.get(what) is table:
                self._latest[what] = after
        made: Table[O] = found[0]
        return made

    def turn(self, key: Hashable, held: tuple[Any, ...], build: Callable[[], T]) -> T:
        """What follows from a change: once for all nodes in whose tables it is the same one. The
        key is made of the identities of what is ``held``.
        """
        found = self._turns.get(key)
        if found is None:
            if len(self._turns) >= _KEEP_TURNS:
                self._turns.pop(next(iter(self._turns)))
            found = self._turns[key] = (build(), held)
        made: T = found[0]
        return made

    def prepared(
        self,
        family: str,
        service: Service,
        slices: tuple[EndpointSlice, ...],
        build: Callable[[], Prepared],
    ) -> Prepared:
        """What all nodes share of a Service with these slices."""
        known = self._prepared.setdefault((family, service.key), [])
        for each in known:
            if each.service is service and each.is_of(slices):
                return each
        made = build()
        del known[: -_KEEP_PREPARED + 1]
        known.append(made)
        return made

    def by_service(
        self, family: str, flat: Table[EndpointSlice], build: Callable[[], Table[Slices]]
    ) -> Table[Slices]:
        """The slices of a family in ``flat`` by Service: one table for all nodes."""
        key = (family, id(flat))
        found = self._by_service.get(key)
        if found is None:
            if len(self._by_service) >= _KEEP_TEXTS:
                self._by_service.pop(next(iter(self._by_service)))
            found = self._by_service[key] = (flat, build())
        return found[1]

    def forget(self, family: str, key: str) -> None:
        """A Service went."""
        self._prepared.pop((family, key), None)

    # ------------------------------------------------------------ renderings

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


def _version(item: Object | None) -> Hashable:
    """What tells an object's state from others: its revision, where it has one."""
    if item is None:
        return None
    meta = item.metadata
    return (meta.uid, meta.resource_version) if meta.uid and meta.resource_version else id(item)


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
    services: Table[Service] = NOTHING
    flat_slices: Table[EndpointSlice] = NOTHING
    """All slices, by ``ns/name``."""
    slices: Table[Slices] = NOTHING
    """By Service (``ns/name``), then by name; only slices of this family."""
    dirty: dict[str, None] = field(default_factory=dict)
    """Services (``ns/name``) that changed, or whose slices did, since the last plan."""
    checked: dict[str, None] = field(default_factory=dict)
    """Services with a healthCheckNodePort."""
    programmed: Any = None
    """The mode's own account of what the kernel holds; None before the first sync."""

    # ------------------------------------------------------------ what is told

    def all_services(self, table: Table[Service]) -> None:
        """Begin with these Services. A full sync has to follow."""
        self.services = table
        found = self.shared.text(("checked", id(table)), (table,), lambda: _checked(table))
        self.checked = dict.fromkeys(found)

    def all_slices(self, table: Table[EndpointSlice]) -> None:
        """Begin with these EndpointSlices. A full sync has to follow."""
        self.flat_slices = table
        self.slices = self.shared.by_service(
            self.family, table, lambda: _by_service(table, self.family)
        )

    def service(self, old: Service | None, new: Service | None) -> bool:
        """Take over a Service; whether a sync is due."""
        about = new if new is not None else old
        assert about is not None
        key = about.key
        self.services = self.shared.moved("services", self.services, key, new)
        if old is not None and new is not None and self._same(old, new):
            return False
        if new is None:
            self.shared.forget(self.family, key)
        self.dirty[key] = None
        self.checked.pop(key, None)
        if new is not None and new.spec.health_check_node_port:
            self.checked[key] = None
        return True

    def _same(self, old: Service, new: Service) -> bool:
        """Whether nothing changed that shapes rules."""
        before, after = old.metadata.annotations, new.metadata.annotations
        noted = all(before.get(key) == after.get(key) for key in self.mode.annotations)
        return noted and same_service(old, new, self.family)

    def slice(self, old: EndpointSlice | None, new: EndpointSlice | None) -> bool:
        """Take over an EndpointSlice; whether a sync is due. Slices of others' families pass."""
        about = new if new is not None else old
        assert about is not None
        key = ("slice", self.family, id(self.flat_slices), id(self.slices), id(old), id(new))
        held = (self.flat_slices, self.slices, old, new)
        self.flat_slices, self.slices, touched = self.shared.turn(
            key, held, lambda: self._slice_turn(about, old, new)
        )
        self.dirty.update(touched)
        return bool(touched)

    def _slice_turn(
        self, about: EndpointSlice, old: EndpointSlice | None, new: EndpointSlice | None
    ) -> tuple[Table[EndpointSlice], Table[Slices], dict[str, None]]:
        """The tables after an EndpointSlice changed, and the Services whose rules may differ."""
        flat = self.shared.moved("slices", self.flat_slices, about.key, new)
        before, after = self._service_of(old), self._service_of(new)
        name, slices = about.metadata.name, self.slices

        def moved() -> Table[Slices]:
            table = _move(slices, before, name, None) if before and before != after else slices
            return _move(table, after, name, new) if after else table

        own = self.shared.by_service(self.family, flat, moved)
        if before == after and old is not None and new is not None and same_slice(old, new):
            return flat, own, {}
        return flat, own, {key: None for key in (before, after) if key}

    def _service_of(self, entry: EndpointSlice | None) -> str:
        """The Service of a slice that concerns this family, "" of others."""
        if entry is None or not entry.service_name:
            return ""
        if entry.address_type != ADDRESS_TYPES[self.family]:
            return ""
        return f"{entry.metadata.namespace}/{entry.service_name}"

    def slices_of(self, key: str) -> tuple[EndpointSlice, ...]:
        """The slices of a Service, by name."""
        own = self.slices.get(key)
        if own is None:
            return ()
        return tuple(own.values()) if len(own) == 1 else tuple(own[name] for name in sorted(own))

    # ------------------------------------------------------------ what follows

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


def _checked(table: Table[Service]) -> tuple[str, ...]:
    return tuple(key for key in table if table[key].spec.health_check_node_port)


def _by_service(table: Table[EndpointSlice], family: str) -> Table[Slices]:
    found: dict[str, dict[str, EndpointSlice]] = {}
    for item in table.values():
        if item.service_name and item.address_type == ADDRESS_TYPES[family]:
            key = f"{item.metadata.namespace}/{item.service_name}"
            found.setdefault(key, {})[item.metadata.name] = item
    return Table.of(found)


def _move(table: Table[Slices], key: str, name: str, new: EndpointSlice | None) -> Table[Slices]:
    own = {n: item for n, item in table.get(key, {}).items() if n != name}
    if new is not None:
        own[name] = new
    return table.having(key, own) if own else table.without(key)
