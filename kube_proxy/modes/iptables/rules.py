"""The iptables rules of one service port, as text.

Source: kubernetes pkg/proxy/iptables/proxier.go (chains, order, matches, comments). Argument
order inside a rule is upstream's own, so that goldens can be compared line by line.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network

from podwire.kube_proxy.iptables import MARK_MASQ, PROXY_FIREWALL, SERVICES
from podwire.kube_proxy.model import Choice, Endpoint, NodeFacts, ServicePort, categorize
from podwire.kube_proxy.modes.iptables.names import endpoint_chains, port_hash, probability
from podwire.kube_proxy.modes.iptables.settings import Settings
from podwire.kube_proxy.pieces import admits_node

EXTERNAL = "KUBE-EXTERNAL-SERVICES"
NODE_PORTS = "KUBE-NODEPORTS"
KUBELET_FIREWALL = "KUBE-FIREWALL"


@dataclass(frozen=True, slots=True)
class Piece:
    """The part that one service port contributes to the node's rules."""

    port: ServicePort
    filter: str
    """Lines of the filter table."""
    top: str
    """Lines of nat KUBE-SERVICES and KUBE-NODEPORTS: written on every sync."""
    chains: tuple[str, ...]
    """The port's own nat chains."""
    declared: str
    """The lines that make them."""
    rules: str
    """Rules of those chains: written when the port changed."""
    n_filter: int
    n_top: int
    n_rules: int
    endpoints: tuple[Endpoint, ...]
    """All of the port's, whether this node uses them or not."""
    no_local: tuple[bool, bool] = (False, False)
    """Whether internal and external traffic meet no local endpoint though there are others."""


def render(
    port: ServicePort,
    endpoints: tuple[Endpoint, ...],
    node: NodeFacts,
    settings: Settings,
    *,
    endpoint_comments: bool = True,
) -> Piece:
    """All rules of a service port on a node."""
    return _Writer(port, endpoints, node, settings, endpoint_comments).piece()


class _Writer:
    """Collects the lines of one service port."""

    def __init__(
        self,
        port: ServicePort,
        endpoints: tuple[Endpoint, ...],
        node: NodeFacts,
        settings: Settings,
        comments: bool,
    ) -> None:
        self.port, self.node, self.settings, self.comments = port, node, settings, comments
        self.choice: Choice = categorize(port, endpoints, node)
        self.filter: list[str] = []
        self.top: list[str] = []
        self.chains: list[str] = []
        self.rules: list[str] = []
        self.chain_of: dict[str, str] = {}
        """The KUBE-SEP- chain of each reachable endpoint."""
        digest = port_hash(port.name, port.protocol)
        self.svc, self.svl = f"KUBE-SVC-{digest}", f"KUBE-SVL-{digest}"
        self.ext, self.fw = f"KUBE-EXT-{digest}", f"KUBE-FW-{digest}"
        self.proto = f"-m {port.protocol} -p {port.protocol}"
        self.internal = self.svl if port.internal_local else self.svc
        self.external = self.svl if port.external_local else self.svc
        self.endpoints = endpoints
        self.has_internal = self.choice.serves(only_local=port.internal_local)
        self.has_external = self.choice.serves(only_local=port.external_local)

    def piece(self) -> Piece:
        """Run through the traffic kinds in upstream's order."""
        self._cluster_ip()
        self._external_ips()
        self._load_balancer_ips()
        self._node_port()
        self._own_chains()
        port = self.port
        return Piece(
            port=port,
            filter=_text(self.filter),
            top=_text(self.top),
            chains=tuple(self.chains),
            declared=_declared(self.chains),
            rules=_text(self.rules),
            n_filter=len(self.filter),
            n_top=len(self.top),
            n_rules=len(self.rules),
            endpoints=self.endpoints,
            no_local=(
                self.choice.any and not self.has_internal,
                self.choice.any and not self.has_external,
            ),
        )

    def _refusal(self, *, external: bool) -> tuple[str, str] | None:
        """Comment and target for traffic that cannot be served, None when it can."""
        if self.has_external if external else self.has_internal:
            return None
        if not self.choice.any:
            return f'"{self.port.name} has no endpoints"', "REJECT"
        return f'"{self.port.name} has no local endpoints"', "DROP"

    def _at(self, ip: str) -> str:
        return f"{self.proto} -d {ip} --dport {self.port.port}"

    def _cluster_ip(self) -> None:
        port, refusal = self.port, self._refusal(external=False)
        if refusal is None:
            comment = f'-m comment --comment "{port.name} cluster IP"'
            at = self._at(port.cluster_ip)
            self.top.append(f"-A {SERVICES} {comment} {at} -j {self.internal}")
        else:
            comment, target = refusal
            self.filter.append(
                f"-A {SERVICES} -m comment --comment {comment} {self._at(port.cluster_ip)} "
                f"-j {target}"
            )

    def _refuse_external(self, match: str) -> None:
        refusal = self._refusal(external=True)
        if refusal is not None:
            comment, target = refusal
            self.filter.append(f"-A {EXTERNAL} -m comment --comment {comment} {match} -j {target}")

    def _external_ips(self) -> None:
        for ip in self.port.external_ips:
            if self.choice.any:
                comment = f'-m comment --comment "{self.port.name} external IP"'
                self.top.append(f"-A {SERVICES} {comment} {self._at(ip)} -j {self.ext}")
            self._refuse_external(self._at(ip))

    @property
    def _guarded(self) -> bool:
        return bool(self.choice.any and self.port.lb_ips and self.port.source_ranges)

    def _load_balancer_ips(self) -> None:
        target = self.fw if self._guarded else self.ext
        for ip in self.port.lb_ips:
            if self.choice.any:
                comment = f'-m comment --comment "{self.port.name} loadbalancer IP"'
                self.top.append(f"-A {SERVICES} {comment} {self._at(ip)} -j {target}")
            if self._guarded:
                comment = f'"{self.port.name} traffic not accepted by {self.fw}"'
                self.filter.append(
                    f"-A {PROXY_FIREWALL} -m comment --comment {comment} {self._at(ip)} -j DROP"
                )
        for ip in self.port.lb_ips:
            self._refuse_external(self._at(ip))

    def _node_port(self) -> None:
        port = self.port
        if port.node_port:
            at = f"{self.proto} --dport {port.node_port}"
            if self.choice.any:
                head = f"-A {NODE_PORTS} -m comment --comment {port.name}"
                if self.settings.counts_localhost:
                    self.top.append(
                        f"{head} {self.proto} -d 127.0.0.0/8 --dport {port.node_port} "
                        f"-m nfacct --nfacct-name localhost_nps_accepted_pkts -j {self.ext}"
                    )
                self.top.append(f"{head} {at} -j {self.ext}")
            self._refuse_external(f"-m addrtype --dst-type LOCAL {at}")
        if port.health_check_node_port:
            self.filter.append(
                f'-A {NODE_PORTS} -m comment --comment "{port.name} health check node port" '
                f"-m tcp -p tcp --dport {port.health_check_node_port} -j ACCEPT"
            )

    def _own_chains(self) -> None:
        if not self.choice.any:
            return
        port = self.port
        self.chain_of = endpoint_chains(
            port.name, port.protocol, [e.text for e in self.choice.reachable]
        )
        if self.choice.cluster and port.uses_cluster:
            self.chains.append(self.svc)
        if self.choice.local and port.uses_local:
            self.chains.append(self.svl)
        self._internal_masquerade()
        if port.externally_accessible:
            self.chains.append(self.ext)
            self._external_chain()
        if self._guarded:
            self.chains.append(self.fw)
            self._firewall_chain()
        if self.choice.cluster:
            self._balance(self.svc, self.choice.cluster)
        if self.choice.local:
            self._balance(self.svl, self.choice.local)
        self._endpoint_chains()

    def _internal_masquerade(self) -> None:
        if not self.has_internal:
            return
        port, settings = self.port, self.settings
        head = (
            f'-A {self.internal} -m comment --comment "{port.name} cluster IP" '
            f"{self._at(port.cluster_ip)}"
        )
        if settings.masquerade_all:
            self.rules.append(f"{head} -j {MARK_MASQ}")
        elif settings.local:
            self.rules.append(f"{head} {settings.not_local} -j {MARK_MASQ}")

    def _external_chain(self) -> None:
        name, settings = self.port.name, self.settings
        head = f"-A {self.ext} -m comment --comment"
        if not self.port.external_local:
            self.rules.append(
                f'{head} "masquerade traffic for {name} external destinations" -j {MARK_MASQ}'
            )
        else:
            if settings.local:
                self.rules.append(
                    f'{head} "pod traffic for {name} external destinations" '
                    f"{settings.local} -j {self.svc}"
                )
            src = "-m addrtype --src-type LOCAL"
            for verb, target in (("masquerade", MARK_MASQ), ("route", self.svc)):
                self.rules.append(
                    f'{head} "{verb} LOCAL traffic for {name} external destinations" '
                    f"{src} -j {target}"
                )
        if self.has_external:
            self.rules.append(f"-A {self.ext} -j {self.external}")

    def _firewall_chain(self) -> None:
        port = self.port
        comment = f'-m comment --comment "{port.name} loadbalancer IP"'
        for source in port.source_ranges:
            network = ip_network(source, strict=False)
            self.rules.append(f"-A {self.fw} {comment} -s {network} -j {self.ext}")
        if admits_node(port, self.node):
            # A node's own packets to the load balancer carry its address as their source.
            self.rules.extend(f"-A {self.fw} {comment} -s {ip} -j {self.ext}" for ip in port.lb_ips)
        self.rules.append(
            f'-A {self.fw} -m comment --comment "other traffic to {port.name} will be dropped by '
            f'{PROXY_FIREWALL}"'
        )

    def _balance(self, chain: str, endpoints: tuple[Endpoint, ...]) -> None:
        head, chain_of, rules, rest = f"-A {chain} ", self.chain_of, self.rules, len(endpoints)
        says = f'-m comment --comment "{self.port.name} -> ' if self.comments else ""
        if self.port.affinity_s:
            for e in endpoints:
                own, said = chain_of[e.text], f'{says}{e.text}" ' if says else ""
                rules.append(
                    f"{head}{said}-m recent --name {own} --rcheck "
                    f"--seconds {self.port.affinity_s} --reap -j {own}"
                )
        for e in endpoints:
            said = f'{says}{e.text}" ' if says else ""
            chance = f"-m statistic --mode random --probability {probability(rest)} "
            rules.append(f"{head}{said}{chance if rest > 1 else ''}-j {chain_of[e.text]}")
            rest -= 1

    def _endpoint_chains(self) -> None:
        comment = f"-m comment --comment {self.port.name} " if self.comments else ""
        affinity, proto, rules = self.port.affinity_s, self.proto, self.rules
        for e in self.choice.reachable:
            chain = self.chain_of[e.text]
            self.chains.append(chain)
            recent = f"-m recent --name {chain} --set " if affinity else ""
            rules.append(f"-A {chain} {comment}-s {e.ip} -j {MARK_MASQ}")
            rules.append(f"-A {chain} {comment}{recent}{proto} -j DNAT --to-destination {e.text}")


def _text(lines: list[str]) -> str:
    return "\n".join(lines) + "\n" if lines else ""


def _declared(chains: list[str]) -> str:
    return ":" + " - [0:0]\n:".join(chains) + " - [0:0]\n" if chains else ""
