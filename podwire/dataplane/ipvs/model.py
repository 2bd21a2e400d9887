"""What IPVS keeps: services with their real servers, connections, templates."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from podwire.dataplane.ipvs.stats import Stats

SECOND_NS = 1_000_000_000


class Address(NamedTuple):
    """An address and a port."""

    ip: str
    port: int

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"


class Key(NamedTuple):
    """What a virtual server listens for. ``protocol``: tcp | udp | sctp, or fwm for a firewall
    mark: then ``port`` is the mark and ``ip`` "0.0.0.0" or "::" tells the family.
    """

    protocol: str
    ip: str
    port: int

    def __str__(self) -> str:
        if self.protocol == "fwm":
            return f"FWM  {self.port}{' IPv6' if self.ip == '::' else ''}"
        return f"{self.protocol.upper():<4} {Address(self.ip, self.port)}"


class Dest(msgspec.Struct):
    """A real server. ``forward``: masq | gate | ipip. Thresholds 0: none."""

    at: Address
    weight: int = 1
    forward: str = "masq"
    upper: int = 0
    lower: int = 0
    active: int = 0
    inactive: int = 0
    persistent: int = 0
    overloaded: bool = False
    last_weight: int = 0
    """The last weight that was not 0: what Maglev's table is filled by."""
    stats: Stats = msgspec.field(default_factory=Stats)

    def copy(self) -> Dest:
        """An independent copy."""
        return msgspec.structs.replace(self, stats=self.stats.copy())

    @property
    def usable(self) -> bool:
        """Whether new connections may go here."""
        return self.weight > 0 and not self.overloaded

    def recount(self) -> None:
        """See whether the thresholds stop or allow new connections (ip_vs_bind/unbind_dest)."""
        total = self.active + self.inactive
        if self.upper and total >= self.upper:
            self.overloaded = True
        elif self.lower:
            self.overloaded = self.overloaded and total >= self.lower
        elif self.upper:
            self.overloaded = self.overloaded and total * 4 >= self.upper * 3
        else:
            self.overloaded = False


class Memory(msgspec.Struct):
    """What a service's scheduler remembers between connections.

    ``last`` is the real server chosen last (None: before the first); ``current`` wrr's current
    weight; ``table`` the buckets of sh, dh and mh (None: to be made); ``kept`` what lblc and lblcr
    keep per destination: (real servers, newest first; last change; last use, in ns).
    """

    last: Address | None = None
    current: int = 0
    table: tuple[Address | None, ...] | None = None
    kept: dict[str, tuple[tuple[Address, ...], int, int]] = {}

    def copy(self) -> Memory:
        """An independent copy."""
        return msgspec.structs.replace(self, kept=dict(self.kept))


class Service(msgspec.Struct):
    """A virtual server. ``dests`` are newest first, as the kernel's list is."""

    key: Key
    scheduler: str = "wlc"
    timeout_s: int = 0
    """Persistence; 0: none."""
    netmask: int = 0
    """Prefix length that persistence sees clients by; 0: all bits."""
    flags: tuple[str, ...] = ()
    """Scheduler flags: sh-fallback, sh-port, mh-fallback, mh-port."""
    one_packet: bool = False
    dests: list[Dest] = []
    memory: Memory = msgspec.field(default_factory=Memory)
    stats: Stats = msgspec.field(default_factory=Stats)

    def copy(self) -> Service:
        """An independent copy."""
        return msgspec.structs.replace(
            self,
            dests=[dest.copy() for dest in self.dests],
            memory=self.memory.copy(),
            stats=self.stats.copy(),
        )

    def dest(self, at: Address) -> Dest | None:
        """The real server at an address."""
        return next((dest for dest in self.dests if dest.at == at), None)

    @property
    def title(self) -> str:
        """``TCP 10.96.0.10:80 rr``, for traces."""
        return f"{' '.join(str(self.key).split())} {self.scheduler}"


ConnKey = tuple[str, str, int, str, int]
"""Protocol, client's address and port, virtual address and port."""


class Conn(msgspec.Struct, frozen=True):
    """A connection (or, with ``template``, which server a client sticks to). Replaced, never
    changed, so that forks share them.
    """

    key: ConnKey
    service: Key
    dest: Address
    """The real server: its entry in the service."""
    to: Address
    """Where packets go: a port 0 of the server means the one that was asked for."""
    forward: str
    state: str
    expires_ns: int
    inactive: bool = True
    tracked: bool = False
    """Whether it goes along with an entry of conntrack (vs.conntrack when it was made)."""
    template: bool = False
    control: ConnKey | None = None
    """The template it came from."""
    controls: int = 0
    """How many connections came from this template."""
    timeout_s: int = 0
    answered: bool = True
    """False while no answer was seen of a server that answers on another way (gate)."""

    @property
    def back(self) -> ConnKey:
        """How answers of the real server look."""
        protocol, client, port, _, _ = self.key
        return (protocol, self.to.ip, self.to.port, client, port)
