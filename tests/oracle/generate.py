"""From a seed to a cluster and the questions it is asked."""

from __future__ import annotations

from typing import Any

from podwire.api.views import Service
from podwire.runtime.rng import SeededRng
from tests.oracle.cluster import (
    CLIENT,
    CLIENT_IP,
    CLIENT_IP6,
    CLOSED_PORT,
    HOST_PORT,
    TCP_PORTS,
    UDP_PORTS,
    Again,
    Ask,
    Change,
    Cluster,
    Pod,
    Probe,
    Proxy,
    Slices,
    Step,
    Survey,
    Wait,
    node_ip,
    node_ip6,
    node_name,
)
from tests.oracle.policies import LABELS, policies
from tests.oracle.services import (
    SHORT_AFFINITY_S,
    ServiceMaker,
    cluster_ip,
    cluster_ip6,
    key_of,
)

PROBES = 26
"""How many questions the first survey asks (some more follow)."""
DUAL = 0.4
"""The share of dual-stack clusters."""
FIRST_PORT = 20_000
STICKY, EVEN = 30, 220
"""How often a client with affinity asks; how often a client asks to see an even spread."""


def generate(seed: int, *, mode: str = "iptables") -> Cluster:
    """The cluster of a seed: the same one every time."""
    return _Maker(seed, mode).cluster()


class _Maker:
    """Draws a cluster part by part; each part has a stream of its own."""

    def __init__(self, seed: int, mode: str) -> None:
        self.seed = seed
        root = SeededRng(seed, f"{seed}/oracle")
        rng = self.rng = root.child("shape")
        self.nodes = rng.choice([2, 2, 2, 3, 3, 4])
        self.zones = [rng.choice("ab") for _ in range(self.nodes)]
        self.pods = [
            Pod(f"{'abc'[k]}{i}", i, f"10.244.{i}.{k + 2}", f"fd00:10:244:{i}::{k + 2}",
                dict(rng.choice(LABELS)))
            for i in range(1, self.nodes + 1)
            for k in range(1 + rng.below(3))
        ]  # fmt: skip
        self.dual = rng.random() < DUAL
        self.proxy = _proxy(root.child("proxy"), mode)
        self.policies = policies(root.child("policies"))
        services = root.child("services")
        self.maker = ServiceMaker(services, self.pods, self.nodes, self.zones, dual=self.dual)
        self.services: dict[str, Service] = {}
        self.slices: dict[str, Slices] = {}
        self.ask = root.child("asks")
        self.next_port = FIRST_PORT
        self.steps: list[Step] = []

    def cluster(self) -> Cluster:
        """Everything."""
        rng = self.rng
        count = 4 + rng.below(4)
        for index in range(count):
            self._add(index)
        key, ends = self._two_udp_endpoints(count)
        first = (dict(self.services), dict(self.slices))
        self._first_survey()
        self._affinity()
        self._udp_endpoint_leaves(key, ends)
        self._tcp_outlives_its_endpoint(count + 1)
        self._service_comes_late(count + 2)
        self._changes(count)
        return Cluster(
            seed=self.seed,
            nodes=self.nodes,
            zones=tuple(self.zones),
            pods=tuple(self.pods),
            backend=rng.choice(["vxlan", "vxlan", "vxlan", "vxlan+direct", "host-gw"]),
            dual=self.dual,
            hairpin=rng.random() < 0.85,
            bridge_nf=rng.random() < 0.9,
            proxy=self.proxy,
            tools=rng.choice(["legacy", "nft"]),
            entries=dict(self.maker.entries),
            services=first[0],
            slices=first[1],
            policies=self.policies,
            steps=tuple(self.steps),
        )

    def _add(self, index: int, **forced: object) -> str:
        key = key_of(index)
        self.services[key], self.slices[key] = self.maker.service(index, **forced)
        return key

    # ------------------------------------------------------------ questions

    def _origin(self, *, outside: bool = True) -> tuple[str, str]:
        """A pod, a node, or the client."""
        draw = self.ask.random()
        if outside and draw < 0.25:
            return CLIENT, ""
        if draw < 0.45:
            return node_name(1 + self.ask.below(self.nodes)), ""
        pod = self.ask.choice(self.pods)
        return node_name(pod.node), pod.name

    def _doors(self, service: Service) -> list[tuple[str, str, int]]:
        """(protocol, address, port) of every way into a service."""
        spec, found = service.spec, []
        for port in spec.ports:
            protocol = port.protocol.lower()
            found += [(protocol, ip, port.port) for ip in spec.cluster_ips]
            outside = [*spec.external_ips, *(i.ip for i in service.status.load_balancer.ingress)]
            found += [(protocol, ip, port.port) for ip in outside]
            if port.node_port:
                ips = [node_ip(1), node_ip(2), "127.0.0.1"]
                ips += [node_ip6(1), node_ip6(2), "::1"] if self.dual else []
                found += [(protocol, ip, port.node_port) for ip in ips]
        return found

    def _knock(self, service: Service) -> Probe:
        """A question to one door, from somewhere that may use it."""
        protocol, ip, port = self.ask.choice(self._doors(service))
        if ip in {"127.0.0.1", "::1"}:
            return Probe(node_name(1 + self.ask.below(self.nodes)), "", protocol, ip, port)
        outside = ip not in service.spec.cluster_ips or self.ask.random() < 0.1
        return Probe(*self._origin(outside=outside), protocol, ip, port)

    def _other(self) -> Probe:
        """A question that no service answers (or not directly)."""
        pod = self.ask.choice(self.pods)
        node = 1 + self.ask.below(self.nodes)
        udp = self.ask.random() < 0.4
        protocol, served = ("udp", UDP_PORTS) if udp else ("tcp", TCP_PORTS)
        service = self.ask.choice(list(self.services.values()))
        health = service.spec.health_check_node_port or CLOSED_PORT
        six = self.dual and self.ask.random() < 0.5
        pod_ip, host_ip = (pod.ip6, node_ip6(node)) if six else (pod.ip, node_ip(node))
        pods = f"fd00:10:244:{node}::" if six else f"10.244.{node}."
        target = self.ask.choice([
            (protocol, pod_ip, served[0]),
            (protocol, pod_ip, served[1]),
            (protocol, pod_ip, CLOSED_PORT),
            (protocol, service.spec.cluster_ip, 1234),
            (protocol, cluster_ip6(200) if six else cluster_ip(200), 80),
            (protocol, host_ip, HOST_PORT),
            (protocol, host_ip, 30999),
            ("tcp", host_ip, health),
            (protocol, CLIENT_IP6 if six else CLIENT_IP, HOST_PORT),
            (protocol, f"{pods}1", CLOSED_PORT),
            (protocol, f"{pods}99", 80),
            (protocol, "2001:db8:9::7" if six else "192.0.2.7", 80),
            (protocol, "fd00:10:244:9::2" if six else "10.244.9.2", 80),
        ])  # fmt: skip
        size = 0
        if target[0] == "udp" and self.ask.random() < 0.4:
            size = self.ask.choice([1300, 1401, 1402, 1403, 1422, 1423, 1452, 1453, 1472, 1473])
        origin, netns = self._origin()
        protocol, ip, port = target
        return Probe(origin, netns, protocol, ip, port, size)

    def _first_survey(self) -> None:
        plain = [s for s in self.services.values() if s.spec.session_affinity != "ClientIP"]
        probes = [self._knock(service) for service in plain for _ in range(2)]
        while len(probes) < PROBES:
            outside = not plain or self.ask.random() < 0.35
            probes.append(self._other() if outside else self._knock(self.ask.choice(plain)))
        self.steps.append(Survey("at first", tuple(dict.fromkeys(probes))))

    # ------------------------------------------------------------ stories

    def _port(self) -> int:
        self.next_port += 1
        return self.next_port

    def _affinity(self) -> None:
        """Clients with affinity stay with their endpoint, as long as it lasts."""
        patient = self.ask.random() < 0.3
        for service in list(self.services.values()):
            conf = service.spec.session_affinity_config
            if conf is None or conf.client_ip is None:
                continue
            for _ in range(2):
                probe = self._knock(service)
                self.steps += [Ask(probe, self._port()) for _ in range(2)]
                self.steps.append(Survey("affinity", (probe,), STICKY))
            if patient and conf.client_ip.timeout_seconds == SHORT_AFFINITY_S:
                patient = False
                self.steps.append(Wait(SHORT_AFFINITY_S + 1.2))
                self.steps += [Ask(probe, self._port()) for _ in range(2)]

    def _two_udp_endpoints(self, index: int) -> tuple[str, list[dict[str, Any]]]:
        pods = list(self.pods)
        self.ask.shuffle(pods)
        ends = [self.maker.ready_end(pod) for pod in pods[:2]]
        return self._add(index, protocols=["UDP"], endpoints=ends, **_PLAIN), ends

    def _udp_endpoint_leaves(self, key: str, ends: list[dict[str, Any]]) -> None:
        """A UDP client with a fixed port must not stay with an endpoint that left."""
        service = self.services[key]
        probes = [self._knock(service) for _ in range(2)]
        asks = [Ask(probe, self._port()) for probe in probes for _ in range(3)]
        to = (service.spec.cluster_ip, service.spec.ports[0].port)
        inside = Probe(*self._origin(outside=False), "udp", *to)
        self.steps += [Survey("even spread", (inside,), EVEN), *asks]
        left = self.maker.with_endpoints(self.slices[key], ends[:1])
        self._change(f"an endpoint leaves {key}", key, service, left)
        self.steps += asks
        if self.ask.random() < 0.5:
            gone = self.maker.with_endpoints(left, [])
            self._change(f"the last endpoint leaves {key}", key, service, gone)
            self.steps += asks[:2]

    def _tcp_outlives_its_endpoint(self, index: int) -> None:
        """An open connection goes on when its endpoint is taken out of the service."""
        pods = list(self.pods)
        self.ask.shuffle(pods)
        ends = [self.maker.ready_end(pod) for pod in pods[:2]]
        key = self._add(index, protocols=["TCP"], endpoints=ends, **_PLAIN)
        self._change(f"{key} appears", key, self.services[key], self.slices[key])
        names = [f"tcp-{k}" for k in range(3)]
        probe = self._knock(self.services[key])
        self.steps += [Ask(probe, self._port(), name) for name in names]
        left = self.maker.with_endpoints(self.slices[key], ends[1:])
        self._change(f"an endpoint leaves {key}", key, self.services[key], left)
        self.steps += [Again(name) for name in names]
        self.steps.append(Survey(f"{key} after that", (probe,)))

    def _service_comes_late(self, index: int) -> None:
        """A UDP flow to a service that does not exist yet finds it once it does."""
        key = key_of(index)
        empty = self.ask.random() < 0.5
        ends = [self.maker.ready_end(self.ask.choice(self.pods))]
        service, slice_ = self.maker.service(index, protocols=["UDP"], endpoints=ends, **_PLAIN)
        if empty:
            none = self.maker.with_endpoints(slice_, [])
            self._change(f"{key} appears without endpoints", key, service, none)
        self.services[key] = service
        probe = self._knock(service)
        asks = [Ask(probe, self._port()) for _ in range(2)]
        self.steps += asks
        later = self.maker.with_endpoints(slice_, ends)
        self._change(f"{key} has an endpoint", key, service, later)
        self.steps += asks

    def _changes(self, count: int) -> None:
        """Services change, come and go; those that changed are asked again."""
        for turn in range(1 + self.ask.below(2)):
            index = self.ask.below(count)
            key = key_of(index)
            draw = self.ask.random()
            if key in self.services and draw < 0.25:
                old = self.services.pop(key)
                self.steps.append(Change(f"{key} is deleted", {key: None}, {key: ()}))
            else:
                old, entry = self.maker.service(index)
                self._change(f"{key} becomes another service", key, old, entry)
            if old.spec.session_affinity != "ClientIP":
                probes = dict.fromkeys(self._knock(old) for _ in range(5))
                self.steps.append(Survey(f"{key} after change {turn + 1}", tuple(probes)))

    def _change(self, title: str, key: str, service: Service, entry: Slices) -> None:
        self.services[key], self.slices[key] = service, entry
        self.steps.append(Change(title, {key: service}, {key: entry}))


_PLAIN = {"sessionAffinity": "None", "sessionAffinityConfig": None}


def _proxy(rng: SeededRng, mode: str) -> Proxy:
    local = rng.choice(["ClusterCIDR"] * 6 + ["NodeCIDR", "BridgeInterface", "none"])
    addresses: tuple[str, ...] = ()
    if rng.random() < 0.3:
        addresses = rng.choice([("primary",), ("192.168.50.0/24",), ("127.0.0.0/8",)])
    return Proxy(
        mode=mode,
        detect_local=local,
        masquerade_all=rng.random() < 0.15,
        localhost_node_ports=rng.random() < 0.8,
        node_port_addresses=addresses,
    )
