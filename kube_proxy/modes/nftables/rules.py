"""The nftables rules of one service port, as text.

Source: kubernetes pkg/proxy/nftables/proxier.go (syncProxyRules, writeServiceToEndpointRules);
words and their order inside a rule are upstream's, so that expectations compare line by line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from podwire.kube_proxy.model import Choice, Endpoint, NodeFacts, ServicePort, categorize
from podwire.kube_proxy.modes.nftables.names import endpoint_base, port_base
from podwire.kube_proxy.modes.nftables.settings import Settings
from podwire.kube_proxy.pieces import admits_node

TABLE = "kube-proxy"
CLUSTER_IPS = "cluster-ips"
SERVICE_IPS = "service-ips"
NODE_PORTS = "service-nodeports"
NODE_PORT_IPS = "nodeport-ips"
NO_SERVICES = "no-endpoint-services"
NO_NODE_PORTS = "no-endpoint-nodeports"
FIREWALL_IPS = "firewall-ips"
REJECT = "reject-chain"
MARK_MASQ = "mark-for-masquerade"
CONTAINERS = (CLUSTER_IPS, SERVICE_IPS, FIREWALL_IPS, NO_SERVICES, NO_NODE_PORTS, NODE_PORTS)


class Entry(NamedTuple):
    """An element of one of the sets and maps that all Services share."""

    container: str
    key: str
    value: str = ""
    comment: str = ""

    def text(self, verb: str, table: str) -> str:
        """The line that adds or deletes it."""
        words = self.key
        if verb == "add":
            words += f' comment "{self.comment}"' if self.comment else ""
            words += f" : {self.value}" if self.value else ""
        return f"{verb} element {table} {self.container} {{ {words} }}\n"


@dataclass(frozen=True, slots=True)
class Piece:
    """The part that one service port contributes to the node's rules."""

    port: ServicePort
    chains: tuple[str, ...]
    sets: tuple[str, ...]
    """Affinity sets."""
    entries: tuple[Entry, ...]
    rules: str
    """Lines that make its chains and sets and fill them."""
    n_rules: int
    endpoints: tuple[Endpoint, ...]
    by_node: bool
    """Whether other nodes' rules of this port may differ."""
    no_local: tuple[bool, bool] = (False, False)
    """Whether internal and external traffic meet no local endpoint though there are others."""


def render(
    port: ServicePort,
    endpoints: tuple[Endpoint, ...],
    node: NodeFacts,
    settings: Settings,
    *,
    by_node: bool,
) -> Piece:
    """All rules of a service port on a node."""
    return _Writer(port, endpoints, node, settings).piece(by_node=by_node)


class _Writer:
    """Collects the lines of one service port."""

    def __init__(
        self,
        port: ServicePort,
        endpoints: tuple[Endpoint, ...],
        node: NodeFacts,
        settings: Settings,
    ) -> None:
        self.port, self.node, self.settings, self.endpoints = port, node, settings, endpoints
        self.ip = settings.ip
        self.table = f"{self.ip} {TABLE}"
        self.choice: Choice = categorize(port, endpoints, node)
        base = port_base(port.name, port.protocol)
        self.cluster, self.local = f"service-{base}", f"local-{base}"
        self.external, self.firewall = f"external-{base}", f"firewall-{base}"
        self.chains: list[str] = []
        self.sets: list[str] = []
        self.entries: list[Entry] = []
        self.lines: list[str] = []
        self.n_rules = 0
        self.has_internal = self.choice.serves(only_local=port.internal_local)
        self.has_external = self.choice.serves(only_local=port.external_local)
        self.internal_chain = self.local if port.internal_local else self.cluster
        self.external_policy = self.local if port.external_local else self.cluster
        self.uses_external = self.choice.any and port.externally_accessible
        self.uses_firewall = bool(port.lb_ips and port.source_ranges)

    def piece(self, *, by_node: bool) -> Piece:
        """Run through the traffic kinds in upstream's order."""
        self._own_chains()
        self._captures()
        self._internal()
        self._external()
        self._firewall()
        self._affinity_sets()
        if self._uses(self.cluster):
            self._balance(self.cluster, self.choice.cluster)
        if self._uses(self.local):
            self._balance(self.local, self.choice.local)
        for endpoint in self.choice.reachable:
            self._endpoint(endpoint)
        some = self.choice.any
        return Piece(
            port=self.port,
            chains=tuple(self.chains),
            sets=tuple(self.sets),
            entries=tuple(self.entries),
            rules="".join(f"{line}\n" for line in self.lines),
            n_rules=self.n_rules,
            endpoints=self.endpoints,
            by_node=by_node,
            no_local=(some and not self.has_internal, some and not self.has_external),
        )

    def _uses(self, chain: str) -> bool:
        return chain in self.chains

    def _chain(self, name: str) -> None:
        self.chains.append(name)
        self.lines += [f"add chain {self.table} {name}", f"flush chain {self.table} {name}"]

    def _rule(self, chain: str, *words: str, comment: str = "") -> None:
        said = " ".join(word for word in words if word)
        said += f' comment "{comment}"' if comment else ""
        self.lines.append(f"add rule {self.table} {chain} {said}")
        self.n_rules += 1

    def _names(self, endpoint: Endpoint) -> tuple[str, str]:
        """The chain and the affinity set of an endpoint."""
        base = endpoint_base(self.port.name, self.port.protocol, endpoint.ip, endpoint.port)
        return f"endpoint-{base}", f"affinity-{base}"

    def _own_chains(self) -> None:
        for endpoint in self.choice.reachable:
            self._chain(self._names(endpoint)[0])
        if self.choice.cluster and self.port.uses_cluster:
            self._chain(self.cluster)
        if self.choice.local and self.port.uses_local:
            self._chain(self.local)
        if self.uses_external:
            self._chain(self.external)

    # ------------------------------------------------------------ elements

    def _captures(self) -> None:
        port, name = self.port, self.port.name
        internal = external = ""
        if not self.choice.any:
            internal = external = f"goto {REJECT}"
        else:
            internal = "" if self.has_internal else "drop"
            external = "" if self.has_external else "drop"
        at = f"{port.protocol} . {port.port}"
        self.entries.append(Entry(CLUSTER_IPS, port.cluster_ip))
        key = f"{port.cluster_ip} . {at}"
        if internal:
            self.entries.append(Entry(NO_SERVICES, key, internal, name))
        else:
            self.entries.append(Entry(SERVICE_IPS, key, f"goto {self.internal_chain}"))
        if self.uses_firewall:
            self._chain(self.firewall)
        for ip in (*port.external_ips, *port.lb_ips):
            key = f"{ip} . {at}"
            if self.choice.any:
                self.entries.append(Entry(SERVICE_IPS, key, f"goto {self.external}"))
            if external:
                self.entries.append(Entry(NO_SERVICES, key, external, name))
        if self.uses_firewall:
            for ip in port.lb_ips:
                self.entries.append(Entry(FIREWALL_IPS, f"{ip} . {at}", f"goto {self.firewall}"))
        if port.node_port:
            key = f"{port.protocol} . {port.node_port}"
            if self.choice.any:
                self.entries.append(Entry(NODE_PORTS, key, f"goto {self.external}"))
            if external:
                self.entries.append(Entry(NO_NODE_PORTS, key, external, name))

    # ------------------------------------------------------------ rules

    def _internal(self) -> None:
        if not self.has_internal:
            return
        port, settings = self.port, self.settings
        if not settings.masquerade_all and not settings.local:
            return
        self._rule(
            self.internal_chain,
            f"{self.ip} daddr {port.cluster_ip}",
            "" if settings.masquerade_all else settings.not_local,
            f"jump {MARK_MASQ}",
        )

    def _external(self) -> None:
        if not self.uses_external:
            return
        chain = self.external
        if not self.port.external_local:
            self._rule(chain, f"jump {MARK_MASQ}")
        else:
            if self.settings.local:
                self._rule(
                    chain, self.settings.local, f"goto {self.cluster}",
                    comment="short-circuit pod traffic",
                )  # fmt: skip
            self._rule(
                chain, f"fib saddr type local jump {MARK_MASQ}", comment="masquerade local traffic"
            )
            self._rule(
                chain, f"fib saddr type local goto {self.cluster}",
                comment="short-circuit local traffic",
            )  # fmt: skip
        if self.has_external:
            self._rule(chain, f"goto {self.external_policy}")

    def _firewall(self) -> None:
        if not self.uses_firewall:
            return
        ranges = list(self.port.source_ranges)
        if admits_node(self.port, self.node):
            # a node's own packets to the load balancer carry its address as their source
            ranges += self.port.lb_ips
        self._rule(self.firewall, f"{self.ip} saddr != {{ {' , '.join(ranges)} }} drop")

    def _affinity_sets(self) -> None:
        if not self.port.affinity_s:
            return
        kind = "ipv6_addr" if self.settings.family == "ipv6" else "ipv4_addr"
        for endpoint in self.choice.reachable:
            name = self._names(endpoint)[1]
            self.sets.append(name)
            self.lines.append(
                f"add set {self.table} {name} {{ type {kind} ; flags dynamic,timeout ; "
                f"timeout {self.port.affinity_s}s ; }}"
            )

    def _balance(self, chain: str, endpoints: tuple[Endpoint, ...]) -> None:
        if self.port.affinity_s:
            for endpoint in endpoints:
                own, clients = self._names(endpoint)
                self._rule(chain, f"{self.ip} saddr @{clients} goto {own}")
        picks = " , ".join(
            f"{index} : goto {self._names(endpoint)[0]}" for index, endpoint in enumerate(endpoints)
        )
        self._rule(chain, f"numgen random mod {len(endpoints)} vmap {{ {picks} }}")

    def _endpoint(self, endpoint: Endpoint) -> None:
        chain, clients = self._names(endpoint)
        self._rule(chain, f"{self.ip} saddr {endpoint.ip} jump {MARK_MASQ}")
        if self.port.affinity_s:
            self._rule(chain, f"update @{clients} {{ {self.ip} saddr }}")
        self._rule(chain, f"meta l4proto {self.port.protocol} dnat to {endpoint.text}")


def all_entries(pieces: tuple[Piece, ...]) -> dict[tuple[str, str], Entry]:
    """The elements of a Service's ports, each once."""
    return {(e.container, e.key): e for e in _entries(pieces)}


def _entries(pieces: tuple[Piece, ...]) -> Iterator[Entry]:
    for piece in pieces:
        yield from piece.entries
