"""kube-proxy's decisions: tables (Services, EndpointSlices, node) in, restore input out.

A sync is planned from what changed since the last programmed state. Pieces of rules and whole
texts are shared between the nodes of one process: equal inputs are rendered once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from podwire.api.views import EndpointSlice, Service
from podwire.dataplane.commands import ConntrackDelete
from podwire.kube_proxy.config import Config
from podwire.kube_proxy.model import (
    NodeFacts,
    ServicePort,
    endpoints_of,
    has_hints,
    service_ports,
)
from podwire.kube_proxy.rules import Piece, Settings, render
from podwire.kube_proxy.text import FIXED_RULES, OWN_PREFIXES, restore_text

LARGE_CLUSTER_ENDPOINTS = 1000
_KEEP_PIECES = 40_000
_KEEP_TEXTS = 32


class Shared:
    """What was rendered already, for all nodes of this process; oldest out first."""

    def __init__(self) -> None:
        self._pieces: dict[Hashable, Piece] = {}
        self._texts: dict[Hashable, tuple[tuple[Piece, ...], str]] = {}

    def piece(self, key: Hashable, build: Callable[[], Piece]) -> Piece:
        """The piece of a key; None keys are never kept."""
        if key is None:
            return build()
        found = self._pieces.get(key)
        if found is None:
            if len(self._pieces) >= _KEEP_PIECES:
                self._pieces.pop(next(iter(self._pieces)))
            found = self._pieces[key] = build()
        return found

    def text(self, key: Hashable, pieces: tuple[Piece, ...], build: Callable[[], str]) -> str:
        """The text of a key made of the identities of ``pieces``, which stay alive with it."""
        found = self._texts.get(key)
        if found is None:
            if len(self._texts) >= _KEEP_TEXTS:
                self._texts.pop(next(iter(self._texts)))
            found = self._texts[key] = (pieces, build())
        return found[1]


@dataclass(frozen=True, slots=True)
class Sync:
    """One planned transaction and what follows it."""

    text: str
    rules: int
    """How many rules the input carries (what its duration depends on)."""
    full: bool
    pieces: dict[str, tuple[Piece, ...]]
    """What is programmed once the transaction committed."""
    conntrack: tuple[ConntrackDelete, ...]
    services: int = 0
    endpoints: int = 0


@dataclass(slots=True)
class Proxier:
    """One node's view of the tables, and what its kernel holds of it."""

    settings: Settings
    node: NodeFacts
    shared: Shared
    services: dict[str, Service] = field(default_factory=dict)
    slices: dict[str, dict[str, EndpointSlice]] = field(default_factory=dict)
    dirty: dict[str, None] = field(default_factory=dict)
    programmed: dict[str, tuple[Piece, ...]] = field(default_factory=dict)

    def service(self, old: Service | None, new: Service | None) -> bool:
        """Take over a Service; whether a sync is due."""
        if old is not None and new is not None and same_service(old, new):
            self.services[new.key] = new
            return False
        about = new if new is not None else old
        assert about is not None
        if new is None:
            self.services.pop(about.key, None)
        else:
            self.services[about.key] = new
        self.dirty[about.key] = None
        return True

    def slice(self, old: EndpointSlice | None, new: EndpointSlice | None) -> bool:
        """Take over an EndpointSlice; whether a sync is due."""
        relevant = False
        for entry, keep in ((old, False), (new, True)):
            if entry is None or not entry.service_name:
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

    def plan(self, *, full: bool, existing: Iterable[str] = ()) -> Sync | None:
        """The next transaction; None when nothing changed. ``existing`` are the chains that the
        kernel holds, asked for on a full sync.
        """
        wanted = dict(self.programmed)
        comments = self._endpoints() <= LARGE_CLUSTER_ENDPOINTS
        keys = self.services if full else self.dirty
        if full:
            wanted = {}
        for key in keys:
            pieces = self._pieces(key, comments)
            if pieces:
                wanted[key] = pieces
            else:
                wanted.pop(key, None)
        self.dirty.clear()
        before = {} if full else self.programmed
        changed = [
            piece
            for key in sorted(wanted)
            for piece in wanted[key]
            if piece not in before.get(key, ())
        ]
        gone = [key for key in before if before[key] != wanted.get(key)]
        if not full and not changed and not gone:
            return None
        stale = self._stale(wanted, gone, existing if full else None)
        pieces = tuple(piece for key in sorted(wanted) for piece in wanted[key])
        inputs = (self.settings, tuple(map(id, pieces)), tuple(map(id, changed)), tuple(stale))
        text = self.shared.text(
            inputs, pieces, lambda: restore_text(pieces, changed, stale, self.settings)
        )
        rules = FIXED_RULES + sum(p.n_filter + p.n_top for p in pieces)
        rules += sum(p.n_rules for p in changed)
        return Sync(
            text, rules, full, wanted, tuple(conntrack_deletes(self.programmed, wanted)),
            len(pieces), self._endpoints(),
        )  # fmt: skip

    def committed(self, sync: Sync) -> None:
        """The transaction went through."""
        self.programmed = sync.pieces

    def _endpoints(self) -> int:
        return sum(
            len(s.endpoints) * len(s.ports) for own in self.slices.values() for s in own.values()
        )

    def _pieces(self, key: str, comments: bool) -> tuple[Piece, ...]:
        service = self.services.get(key)
        if service is None:
            return ()
        slices = [s for _, s in sorted(self.slices.get(key, {}).items())]
        versions = _versions(service, slices)
        return tuple(
            self._piece(port, index, slices, versions, comments)
            for index, port in enumerate(service_ports(service))
        )

    def _piece(
        self,
        port: ServicePort,
        index: int,
        slices: list[EndpointSlice],
        versions: tuple[str, ...],
        comments: bool,
    ) -> Piece:
        key: Hashable = None
        endpoints = None
        if versions:
            here: NodeFacts | None = self.node
            if not port.uses_local and not port.source_ranges:
                endpoints = endpoints_of(port, slices) if _any_hints(slices) else ()
                here = self.node if has_hints(endpoints) else None
            key = (versions, index, self.settings, here, comments)

        def build() -> Piece:
            chosen = endpoints_of(port, slices)
            return render(port, chosen, self.node, self.settings, endpoint_comments=comments)

        return self.shared.piece(key, build)

    def _stale(
        self, wanted: dict[str, tuple[Piece, ...]], gone: list[str], existing: Iterable[str] | None
    ) -> list[str]:
        if existing is not None:
            active = {c: None for pieces in wanted.values() for p in pieces for c in p.chains}
            return [c for c in existing if c.startswith(OWN_PREFIXES) and c not in active]
        stale: list[str] = []
        for key in gone:
            active = {c: None for p in wanted.get(key, ()) for c in p.chains}
            stale.extend(c for p in self.programmed[key] for c in p.chains if c not in active)
        return stale


def same_service(old: Service, new: Service) -> bool:
    """Whether rules cannot differ (annotations, labels and conditions change all the time)."""
    return (
        old.spec == new.spec
        and old.status == new.status
        and old.metadata.uid == new.metadata.uid
        and service_ports(old) == service_ports(new)
    )


def same_slice(old: EndpointSlice, new: EndpointSlice) -> bool:
    """Whether rules cannot differ."""
    return (
        old.endpoints == new.endpoints
        and old.ports == new.ports
        and old.service_name == new.service_name
    )


def conntrack_deletes(
    before: dict[str, tuple[Piece, ...]], after: dict[str, tuple[Piece, ...]]
) -> Iterable[ConntrackDelete]:
    """UDP flows that must be forgotten: to endpoints that went, and to addresses that had none.

    Source: pkg/proxy/conntrack/cleanup.go; services that have no endpoint left are skipped.
    """
    old = {(p.port.name, p.port.protocol): p for pieces in before.values() for p in pieces}
    for key in sorted(after):
        for piece in after[key]:
            port = piece.port
            if port.protocol != "udp" or not piece.endpoints:
                continue
            known = old.get((port.name, port.protocol))
            if known is piece:
                continue
            had = known.endpoints if known is not None else ()
            gone = [ip for ip in had if ip not in piece.endpoints]
            for reply in gone if had else [""]:
                for ip in (port.cluster_ip, *port.external_ips, *port.lb_ips):
                    yield ConntrackDelete(
                        proto="udp", orig_dst=ip, orig_dport=port.port, reply_src=reply
                    )
                if port.node_port:
                    yield ConntrackDelete(proto="udp", orig_dport=port.node_port, reply_src=reply)


def settings_of(config: Config, node_ips: tuple[str, ...], pod_cidr: str) -> Settings:
    """The rule settings that a configuration means on a node. Raises ValueError."""
    return Settings(
        mark=config.mark,
        masquerade_all=config.masquerade_all,
        local=_local_match(config, pod_cidr),
        localhost_node_ports=config.localhost_node_ports,
        node_port_ips=_node_port_ips(config, node_ips),
    )


def _local_match(config: Config, pod_cidr: str) -> str:
    mode = config.detect_local_mode
    if mode == "ClusterCIDR":
        return f"-s {config.cluster_cidr}" if config.cluster_cidr else ""
    if mode == "NodeCIDR":
        return f"-s {pod_cidr}" if pod_cidr else ""
    if mode == "BridgeInterface":
        return f"-i {config.bridge_interface}"
    if mode == "InterfaceNamePrefix":
        return f"-i {config.interface_prefix}+"
    raise ValueError(f'unknown detect-local-mode: "{mode}"')


def _node_port_ips(config: Config, node_ips: tuple[str, ...]) -> tuple[str, ...] | None:
    words = config.node_port_addresses
    if not words or "all" in words or "0.0.0.0/0" in words:
        return None
    chosen: dict[str, None] = {}
    for word in words:
        if word == "primary":
            chosen.update(dict.fromkeys(node_ips[:1]))
        elif word == "localhost":
            chosen["127.0.0.1"] = None
        elif ":" not in word:
            network = IPv4Network(word)
            candidates = (*node_ips, "127.0.0.1")
            chosen.update({ip: None for ip in candidates if IPv4Address(ip) in network})
    if not config.localhost_node_ports:
        chosen.pop("127.0.0.1", None)
    return tuple(sorted(chosen))


def _versions(service: Service, slices: list[EndpointSlice]) -> tuple[str, ...]:
    """What identifies a rendering's input; () when objects carry no revision (then uncached)."""
    parts = []
    for item in (service, *slices):
        meta = item.metadata
        if not meta.resource_version or not meta.uid:
            return ()
        parts.append(f"{meta.uid}@{meta.resource_version}")
    return tuple(parts)


def _any_hints(slices: list[EndpointSlice]) -> bool:
    return any(e.hints for s in slices for e in s.endpoints)
