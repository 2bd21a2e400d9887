"""The IPVS state of a namespace. Forks share services and connections until one side writes."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator

import msgspec

from podwire.dataplane.ipvs import schedulers
from podwire.dataplane.ipvs.model import (
    SECOND_NS,
    Address,
    Conn,
    ConnKey,
    Dest,
    Key,
    Service,
)
from podwire.dataplane.ipvs.states import Timeouts

WAIT_FOR_CHILDREN_NS = 60 * SECOND_NS
"""A template whose time is over looks again for its connections' end after this time."""

Forget = Callable[[ConnKey], None]
"""Drops the conntrack entry of a connection that ended."""


class Ipvs:
    """Services, connections, templates; ``gone`` are real servers that were removed, which the
    connections to them still refer to.
    """

    __slots__ = (
        "_due", "_owned", "back", "conns", "gone", "marks", "services", "templates", "timeouts",
        "zeros",
    )  # fmt: skip

    def __init__(self) -> None:
        self.services: dict[Key, Service] = {}
        self.conns: dict[ConnKey, Conn] = {}
        self.back: dict[ConnKey, ConnKey] = {}
        """How answers look, and which connection they belong to."""
        self.templates: dict[ConnKey, Conn] = {}
        self.gone: dict[tuple[Key, Address], Dest] = {}
        self.timeouts = Timeouts()
        self.marks = 0
        """How many services go by a firewall mark."""
        self.zeros = 0
        """How many listen on port 0: on all ports."""
        self._due: list[tuple[int, bool, ConnKey]] = []
        self._owned: dict[Key, None] = {}

    def clone(self) -> Ipvs:
        """An independent copy; services are shared until either side writes to one."""
        twin = Ipvs()
        for name in ("services", "conns", "back", "templates"):
            setattr(twin, name, dict(getattr(self, name)))
        twin.gone = {key: dest.copy() for key, dest in self.gone.items()}
        twin.timeouts, twin.marks, twin.zeros = self.timeouts, self.marks, self.zeros
        twin._due = list(self._due)
        self._owned = {}
        return twin

    def take(self, draft: Ipvs) -> None:
        """Become what a draft (a clone that was changed) is."""
        for name in Ipvs.__slots__:
            setattr(self, name, getattr(draft, name))

    def __bool__(self) -> bool:
        """Whether packets have to be looked at."""
        return bool(self.services or self.conns)

    # ------------------------------------------------------------ services

    def own(self, key: Key) -> Service:
        """A service to write to. Raises KeyError."""
        found = self.services[key]
        if key not in self._owned:
            found = self.services[key] = found.copy()
            self._owned[key] = None
        return found

    def find(self, protocol: str, ip: str, port: int, mark: int) -> Service | None:
        """The service a packet is for (ip_vs_service_find): by mark, by port, by port 0."""
        services = self.services
        if mark and self.marks:
            any_address = "::" if ":" in ip else "0.0.0.0"
            found = services.get(Key("fwm", any_address, mark))
            if found is not None:
                return found
        found = services.get(Key(protocol, ip, port))
        if found is None and self.zeros:
            found = services.get(Key(protocol, ip, 0))
        return found

    def add_service(self, made: Service) -> None:
        """Put a new service in."""
        self.services[made.key] = made
        self._owned[made.key] = None
        self._tally(made.key, 1)

    def remove_service(self, key: Key) -> None:
        """Take a service out; its connections stay and find their server gone."""
        made = self.own(key)
        for dest in made.dests:
            self.gone[key, dest.at] = dest
        del self.services[key]
        self._owned.pop(key, None)
        self._tally(key, -1)
        self._sweep()

    def _tally(self, key: Key, by: int) -> None:
        if key.protocol == "fwm":
            self.marks += by
        elif not key.port:
            self.zeros += by

    def add_dest(self, key: Key, dest: Dest) -> None:
        """Put a real server at the head of a service's list. One that was removed while it had
        connections comes back with them (ip_vs_trash_get_dest).
        """
        made = self.own(key)
        old = self.gone.pop((key, dest.at), None)
        if old is not None:
            dest.active, dest.inactive, dest.persistent = old.active, old.inactive, old.persistent
            dest.stats = old.stats
        dest.last_weight = dest.weight or dest.last_weight
        dest.recount()
        made.dests.insert(0, dest)
        schedulers.changed(made)

    def change_dest(self, key: Key, at: Address) -> Dest:
        """A real server to change; call ``changed`` afterwards."""
        dest = self.own(key).dest(at)
        assert dest is not None
        return dest

    def changed(self, key: Key) -> None:
        """A real server of a service changed."""
        made = self.own(key)
        for dest in made.dests:
            dest.last_weight = dest.weight or dest.last_weight
            dest.recount()
        schedulers.changed(made)

    def remove_dest(self, key: Key, at: Address) -> None:
        """Take a real server out of its service."""
        made = self.own(key)
        index = next(i for i, dest in enumerate(made.dests) if dest.at == at)
        dest = made.dests.pop(index)
        self.gone[key, at] = dest
        before = made.dests[index - 1].at if index else None
        schedulers.changed(made, dest, before=before)
        self._sweep()

    def dest_of(self, conn: Conn) -> tuple[Dest | None, bool]:
        """A connection's real server, to read, and whether it is still in service."""
        made = self.services.get(conn.service)
        dest = made.dest(conn.dest) if made is not None else None
        if dest is not None:
            return dest, True
        return self.gone.get((conn.service, conn.dest)), False

    def _own_dest(self, conn: Conn) -> Dest | None:
        if conn.service in self.services:
            dest = self.own(conn.service).dest(conn.dest)
            if dest is not None:
                return dest
        return self.gone.get((conn.service, conn.dest))

    def _sweep(self) -> None:
        """Forget removed real servers that no connection refers to."""
        for key in [k for k, d in self.gone.items() if not d.active + d.inactive + d.persistent]:
            del self.gone[key]

    # ------------------------------------------------------------ connections

    def add(self, conn: Conn, now_ns: int) -> None:
        """A new connection or template."""
        if conn.template:
            self.templates[conn.key] = conn
        else:
            self.conns[conn.key] = conn
            self.back[conn.back] = conn.key
        dest = self._own_dest(conn)
        if dest is not None:
            if conn.template:
                dest.persistent += 1
            else:
                dest.inactive += 1
                dest.stats.settle(now_ns)
                dest.stats.conns += 1
            dest.recount()
        if conn.control is not None:
            parent = self.templates.get(conn.control)
            if parent is not None:
                self.templates[parent.key] = msgspec.structs.replace(
                    parent, controls=parent.controls + 1
                )
        heapq.heappush(self._due, (conn.expires_ns, conn.template, conn.key))

    def seen(self, conn: Conn, now_ns: int, size_bytes: int, *, state: str, out: bool) -> Conn:
        """A packet of a connection went by: its state, its time, everybody's counters."""
        inactive = conn.inactive
        if conn.key[0] == "tcp" or conn.key[0] == "sctp":
            inactive = state != "ESTABLISHED"
        seconds = self.timeouts.of(conn.key[0], state)
        new = msgspec.structs.replace(
            conn,
            state=state,
            inactive=inactive,
            expires_ns=now_ns + seconds * SECOND_NS,
            answered=conn.answered or out,
        )
        self.conns[conn.key] = new
        dest = self._own_dest(conn)
        if dest is not None:
            if inactive != conn.inactive:
                step = 1 if inactive else -1
                dest.inactive += step
                dest.active -= step
            dest.stats.count(now_ns, size_bytes, out=out)
        if conn.service in self.services:
            self.own(conn.service).stats.count(now_ns, size_bytes, out=out)
        return new

    def refresh_template(self, key: ConnKey, now_ns: int) -> None:
        """A client's stickiness starts anew."""
        old = self.templates[key]
        self.templates[key] = msgspec.structs.replace(
            old, expires_ns=now_ns + old.timeout_s * SECOND_NS
        )

    def remove(self, conn: Conn, forget: Forget | None) -> None:
        """A connection ends: with it its conntrack entry."""
        table = self.templates if conn.template else self.conns
        kept = table.get(conn.key)
        if kept is None:
            return
        del table[conn.key]
        if not conn.template and self.back.get(kept.back) == conn.key:
            del self.back[kept.back]
        dest = self._own_dest(kept)
        if dest is not None:
            if kept.template:
                dest.persistent -= 1
            elif kept.inactive:
                dest.inactive -= 1
            else:
                dest.active -= 1
            dest.recount()
        if kept.control is not None and kept.control in self.templates:
            parent = self.templates[kept.control]
            self.templates[kept.control] = msgspec.structs.replace(
                parent, controls=max(parent.controls - 1, 0)
            )
        if kept.tracked and forget is not None:
            forget(kept.key)
        where = (kept.service, kept.dest)
        idle = dest is not None and not dest.active + dest.inactive + dest.persistent
        if idle and where in self.gone:
            del self.gone[where]

    def expire(self, now_ns: int, forget: Forget | None) -> None:
        """End what was silent for too long. Cheap while nothing is due."""
        due = self._due
        while due and due[0][0] <= now_ns:
            when, template, key = heapq.heappop(due)
            table = self.templates if template else self.conns
            conn = table.get(key)
            if conn is None:
                continue
            if conn.expires_ns > now_ns:
                heapq.heappush(due, (conn.expires_ns, template, key))
            elif template and conn.controls:
                again = when + WAIT_FOR_CHILDREN_NS
                table[key] = msgspec.structs.replace(conn, expires_ns=again)
                heapq.heappush(due, (again, template, key))
            else:
                self.remove(conn, forget)

    def expire_without_server(self, forget: Forget | None) -> None:
        """End all connections to real servers that are gone (vs.expire_nodest_conn, whenever one
        is removed).
        """
        for table in (self.conns, self.templates):
            for conn in list(table.values()):
                if (conn.service, conn.dest) in self.gone:
                    self.remove(conn, forget)

    def all_conns(self) -> Iterator[Conn]:
        """Connections and templates, oldest first."""
        yield from self.conns.values()
        yield from self.templates.values()

    def facts(self) -> list[object]:
        """State as plain ordered values, for hashing."""
        return [
            [str(msgspec.structs.astuple(made)) for _, made in sorted(self.services.items())],
            [str(msgspec.structs.astuple(conn)) for conn in self.all_conns()],
            [str(key) for key in sorted(self.gone)],
            str(self.timeouts),
        ]
