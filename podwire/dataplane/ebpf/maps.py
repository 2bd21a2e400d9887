"""The maps of Cilium's load balancer, typed; and what its programs remember of flows.

Limits as upstream: 65,536 entries per load-balancer map, 524,288 flows of TCP, 262,144 of others.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address, ip_network
from types import MappingProxyType
from typing import Any, NamedTuple

LB_ENTRIES = 65_536
FLOWS = {"tcp": 524_288}
OTHER_FLOWS = 262_144
SECOND_FAMILY = 32_768
"""The first id of IPv6's Services and backends; IPv4's are below."""
SECOND_NS = 1_000_000_000
LIFETIMES_S = {"tcp": 8000}
OTHER_LIFETIME_S = 60


class Frontend(NamedTuple):
    """A key of ``lb4_services_v2``/``lb6_services_v2`` without its slot."""

    ip: str
    port: int
    protocol: str
    internal: bool = False
    """The scope: what the cluster's own clients see of a Service whose policies differ."""

    def __str__(self) -> str:
        host = f"[{self.ip}]" if ":" in self.ip else self.ip
        scope = "/i" if self.internal else ""
        return f"{host}:{self.port}/{self.protocol.upper()}{scope}"


class Service(NamedTuple):
    """The value in slot 0: the Service itself."""

    id: int
    """Its reverse NAT index."""
    active: int
    """Backends in use (COUNT)."""
    inactive: int
    """Backends behind those: terminating ones (QCOUNT)."""
    affinity_s: int
    algorithm: str
    """undef (the configured one), random or maglev."""
    flags: tuple[str, ...]
    name: str = ""
    """``ns/name:port``, of the agent's memory; no map holds it."""

    def has(self, flag: str) -> bool:
        """Whether a flag is set."""
        return flag in self.flags

    @property
    def type(self) -> str:
        """ClusterIP, NodePort, LoadBalancer or ExternalIPs."""
        return self.flags[0]


class Backend(NamedTuple):
    """A value of ``lb4_backends_v3``/``lb6_backends_v3``."""

    ip: str
    port: int
    protocol: str
    state: str = "active"


class Flow(NamedTuple):
    """A connection that a tc program translates: both ends as client and backend see them."""

    protocol: str
    client: str
    client_port: int
    frontend: str
    frontend_port: int
    backend: str
    backend_port: int
    source: str
    source_port: int
    """What the backend sees of the client: its own address, or this node's (SNAT)."""

    @property
    def asked(self) -> tuple[Any, ...]:
        """The five-tuple of the client's packets as they arrive."""
        return self[:5]

    @property
    def answered(self) -> tuple[Any, ...]:
        """The five-tuple of the backend's packets."""
        return (self.protocol, self.backend, self.backend_port, self.source, self.source_port)


Key = tuple[Any, ...]


NOTHING: Any = MappingProxyType({})
"""What tables hold that nobody loaded: they are replaced, never changed, and most namespaces never
have any.
"""


class Ebpf:
    """All of it, for one node. Maps that only commands change are replaced by a command that
    changes them (``text.apply``) and else never change: forks, and nodes of equal entries, share
    them.
    """

    __slots__ = (
        "affinity", "affinity_match", "attached", "backends", "config", "endpoints",
        "flows", "maglev", "reverse", "reverse_sk", "revnat", "services", "slots", "source_ranges",
    )  # fmt: skip

    def __init__(self) -> None:
        self.attached: dict[str, tuple[str, ...]] = NOTHING
        """Programs by name, and the devices (or ``cgroup``) each hangs on."""
        self.config: dict[str, str] = NOTHING
        """What is compiled into the programs: mode, algorithm, hostNamespaceOnly."""
        self.services: dict[Frontend, Service] = NOTHING
        self.slots: dict[tuple[Frontend, int], int] = NOTHING
        self.backends: dict[int, Backend] = NOTHING
        self.revnat: dict[int, tuple[str, int]] = NOTHING
        self.affinity_match: dict[tuple[int, int], None] = NOTHING
        self.source_ranges: dict[tuple[int, str], None] = NOTHING
        self.maglev: dict[int, tuple[int, ...]] = NOTHING
        self.endpoints: dict[str, None] = NOTHING
        """``cilium_lxc``: addresses of this node's pods that are backends."""
        self.affinity: dict[Key, tuple[int, int]] = {}
        self.reverse_sk: dict[Key, tuple[str, int]] = {}
        self.flows: dict[Key, tuple[Flow, int]] = {}
        self.reverse: dict[Key, Key] = {}

    TABLES = (
        "attached", "config", "services", "slots", "backends", "revnat", "affinity_match",
        "source_ranges", "maglev", "endpoints",
    )  # fmt: skip
    _STATE = ("affinity", "reverse_sk", "flows", "reverse")

    def clone(self) -> Ebpf:
        """Another one; what packets change is its own."""
        copy = Ebpf.__new__(Ebpf)
        for name in self.TABLES:
            setattr(copy, name, getattr(self, name))
        for name in self._STATE:
            setattr(copy, name, dict(getattr(self, name)))
        return copy

    def facts(self) -> list[object]:
        """All state as plain ordered values, for hashing."""
        return [
            sorted((repr(key), repr(value)) for key, value in getattr(self, name).items())
            for name in (*self.TABLES, *self._STATE)
        ]

    @property
    def at_sockets(self) -> bool:
        """Whether connect() is asked."""
        return "cil_sock4_connect" in self.attached or "cil_sock6_connect" in self.attached

    # ------------------------------------------------------------ flows

    def flow_of(self, key: Key, now_ns: int) -> Flow | None:
        """The flow of a client's five-tuple, seen now."""
        found = self.flows.get(key)
        if found is None:
            return None
        flow, seen_ns = found
        if now_ns - seen_ns > lifetime_ns(flow.protocol):
            self.forget(key)
            return None
        self.flows[key] = (flow, now_ns)
        return flow

    def answer_of(self, key: Key, now_ns: int) -> Flow | None:
        """The flow of a backend's five-tuple, seen now."""
        asked = self.reverse.get(key)
        return self.flow_of(asked, now_ns) if asked is not None else None

    def remember(self, flow: Flow, now_ns: int) -> None:
        """A new flow; the oldest goes when the map is full (LRU)."""
        limit = FLOWS.get(flow.protocol, OTHER_FLOWS)
        if len(self.flows) >= limit:
            self.forget(next(iter(self.flows)))
        self.flows[flow.asked] = (flow, now_ns)
        self.reverse[flow.answered] = flow.asked

    def forget(self, key: Key) -> None:
        """Drop a flow."""
        flow, _ = self.flows.pop(key)
        if self.reverse.get(flow.answered) == key:
            del self.reverse[flow.answered]

    def in_ranges(self, service: Service, source: str) -> bool:
        """Whether a client's address is in a Service's source ranges."""
        ranges = [cidr for (number, cidr) in self.source_ranges if number == service.id]
        held = any(ip_address(source) in _network(cidr) for cidr in ranges)
        return held != service.has("deny")


@lru_cache(maxsize=4096)
def _network(cidr: str) -> Any:
    return ip_network(cidr, strict=False)


def lifetime_ns(protocol: str) -> int:
    """How long a silent flow is remembered."""
    return LIFETIMES_S.get(protocol, OTHER_LIFETIME_S) * SECOND_NS
