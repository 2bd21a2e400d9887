"""Random Services with their EndpointSlices, as an API server would have them."""

from __future__ import annotations

from typing import Any

import msgspec

from podwire.api.views import Service
from podwire.runtime.rng import SeededRng
from tests.oracle.cluster import (
    CLIENT_IP,
    CLIENT_IP6,
    CLOSED_PORT,
    HOST_PORT,
    POD_NETWORK,
    POD_NETWORK6,
    TCP_PORTS,
    UDP_PORTS,
    Pod,
    Slices,
    node_ip,
    node_ip6,
    node_name,
)

RANGES = (f"{CLIENT_IP}/32", "192.168.50.0/24", POD_NETWORK, "192.0.2.0/24", "0.0.0.0/0")
RANGES6 = (f"{CLIENT_IP6}/128", "fd00:50::/64", POD_NETWORK6, "2001:db8:9::/48")
FAMILIES = (["IPv4"], ["IPv6"], ["IPv4", "IPv6"], ["IPv6", "IPv4"])
SHORT_AFFINITY_S = 2
Pair = tuple[Service, Slices]


def key_of(index: int) -> str:
    """``default/s<index>``."""
    return f"default/s{index}"


def cluster_ip(index: int) -> str:
    """The address that service number ``index`` would be allocated."""
    return f"10.96.0.{10 + index}"


def cluster_ip6(index: int) -> str:
    """The IPv6 address that service number ``index`` would be allocated."""
    return f"fd00:10:96::{10 + index}"


class ServiceMaker:
    """Makes services over the pods of a cluster."""

    def __init__(
        self, rng: SeededRng, pods: list[Pod], nodes: int, zones: list[str], *, dual: bool
    ) -> None:
        self.rng, self.pods, self.nodes, self.zones = rng, pods, nodes, zones
        self.dual = dual
        self.six = {pod.ip: pod.ip6 for pod in pods}
        self.six |= {node_ip(i): node_ip6(i) for i in range(1, nodes + 1)}
        self.entries: dict[str, int] = {}
        self.version = 0

    def chance(self, share: float) -> bool:
        """True that often."""
        return self.rng.random() < share

    def service(self, index: int, **forced: Any) -> Pair:
        """A service of any kind; ``forced`` spec fields win."""
        protocols = self._protocols(forced.pop("protocols", None))
        ends = forced.pop("endpoints", None)
        kind = forced.pop("type", None) or self.rng.choice(
            ["ClusterIP", "ClusterIP", "NodePort", "NodePort", "LoadBalancer", "LoadBalancer"]
        )
        families = self.rng.choice(FAMILIES) if self.dual else FAMILIES[0]
        ips = [cluster_ip(index) if f == "IPv4" else cluster_ip6(index) for f in families]
        spec: dict[str, Any] = {
            "type": kind,
            "clusterIP": ips[0],
            "clusterIPs": ips,
            "ipFamilies": families,
            "internalTrafficPolicy": "Local" if self.chance(0.15) else "Cluster",
            "ports": [],
        }
        slice_ports = []
        for k, protocol in enumerate(protocols):
            target = self._target(protocol)
            name = f"p{k}" if len(protocols) > 1 else ""
            port = 80 if self.chance(0.6) or len(protocols) > 1 else 8080 + k
            spec["ports"].append({
                "name": name, "protocol": protocol, "port": port + (k if protocol == "TCP" else 0),
                "nodePort": 30000 + 10 * index + k if kind != "ClusterIP" else 0,
            })  # fmt: skip
            slice_ports.append({"name": name, "protocol": protocol, "port": target})
        self._affinity(spec)
        status = self._outside(spec, index)
        spec.update(forced)
        ends = self._endpoints() if ends is None else ends
        if self.chance(0.1) and ends and all(p["protocol"] == "TCP" for p in slice_ports):
            node = 1 + self.rng.below(self.nodes)
            ends = [*ends, self._end(node_ip(node), node)]
            slice_ports = [{**p, "port": HOST_PORT} for p in slice_ports]
        self._hints(ends)
        return self.pair(index, spec, status, ends, slice_ports)

    def pair(self, index: int, spec: Any, status: Any, ends: list[Any], ports: list[Any]) -> Pair:
        """The views of these bodies, at a new version."""
        self.version += 1
        meta = {"namespace": "default", "resourceVersion": str(self.version)}
        service = {
            "metadata": {**meta, "name": f"s{index}", "uid": f"s{index}"},
            "spec": spec,
            "status": status,
        }
        slices = [
            {
                "metadata": {
                    **meta,
                    "name": f"s{index}-{family.lower()}",
                    "uid": f"s{index}-{family.lower()}",
                    "labels": {"kubernetes.io/service-name": f"s{index}"},
                },
                "addressType": family,
                "endpoints": self._of_family(ends, family),
                "ports": ports,
            }
            for family in spec["ipFamilies"]
        ]
        return msgspec.convert(service, Service), msgspec.convert(slices, Slices)

    def _of_family(self, ends: list[Any], family: str) -> list[Any]:
        """The endpoints (bodies with IPv4 addresses) as a slice of a family has them."""
        if family == "IPv4":
            return ends
        return [{**end, "addresses": [self.six[end["addresses"][0]]]} for end in ends]

    def with_endpoints(self, old: Slices, ends: list[Any]) -> Slices:
        """The slices with other endpoints (bodies with IPv4 addresses), at a new version."""
        self.version += 1
        bodies = msgspec.to_builtins(old)
        for body in bodies:
            body["metadata"]["resourceVersion"] = str(self.version)
            body["endpoints"] = self._of_family(ends, body.get("addressType", "IPv4"))
        return msgspec.convert(bodies, Slices)

    # ------------------------------------------------------------ parts

    def _protocols(self, forced: list[str] | None) -> list[str]:
        if forced is not None:
            return forced
        return self.rng.choice([["TCP"]] * 5 + [["UDP"]] * 2 + [["TCP", "UDP"], ["TCP", "TCP"]])

    def _target(self, protocol: str) -> int:
        if self.chance(0.07):
            return CLOSED_PORT
        return self.rng.choice(TCP_PORTS if protocol == "TCP" else UDP_PORTS)

    def _affinity(self, spec: dict[str, Any]) -> None:
        if not self.chance(0.2):
            return
        seconds = SHORT_AFFINITY_S if self.chance(0.3) else 10800
        spec["sessionAffinity"] = "ClientIP"
        spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": seconds}}

    def _outside(self, spec: dict[str, Any], index: int) -> dict[str, Any]:
        """What lets the outside in; the status."""
        ingress: list[dict[str, str]] = []
        entry = 1 + self.rng.below(self.nodes)
        if spec["type"] == "LoadBalancer":
            mode = {"ipMode": "Proxy"} if self.chance(0.1) else {"ipMode": "VIP"}
            for family in spec["ipFamilies"]:
                net = "203.0.113." if family == "IPv4" else "2001:db8:113::"
                self.entries[f"{net}{10 + index}"] = entry
                ingress.append({"ip": f"{net}{10 + index}", **mode})
            if self.chance(0.6):
                ranges = [r for r in (*RANGES, *RANGES6) if self.chance(0.3)]
                spec["loadBalancerSourceRanges"] = ranges or [f"{CLIENT_IP}/32"]
        if self.chance(0.15):
            nets = ("198.51.100.", "2001:db8:100::") if self.dual else ("198.51.100.",)
            spec["externalIPs"] = [f"{net}{10 + index}" for net in nets]
            self.entries.update(dict.fromkeys(spec["externalIPs"], entry))
        if spec["type"] != "ClusterIP" or spec.get("externalIPs"):
            local = self.chance(0.4)
            spec["externalTrafficPolicy"] = "Local" if local else "Cluster"
            if local and spec["type"] == "LoadBalancer":
                spec["healthCheckNodePort"] = 31000 + index
        return {"loadBalancer": {"ingress": ingress}}

    def _endpoints(self) -> list[dict[str, Any]]:
        count = self.rng.choice([0, 0, 1, 1, 2, 2, 2, 3, 3, 4])
        chosen = list(self.pods)
        self.rng.shuffle(chosen)
        return [self._pod_end(pod) for pod in chosen[:count]]

    def _pod_end(self, pod: Pod) -> dict[str, Any]:
        end = self._end(pod.ip, pod.node)
        draw = self.rng.random()
        if draw < 0.12:
            end["conditions"] = {"ready": False, "serving": True, "terminating": True}
        elif draw < 0.2:
            end["conditions"] = {"ready": False, "serving": False, "terminating": self.chance(0.5)}
        return end

    def ready_end(self, pod: Pod) -> dict[str, Any]:
        """A ready endpoint."""
        return self._end(pod.ip, pod.node)

    def _end(self, ip: str, node: int) -> dict[str, Any]:
        return {
            "addresses": [ip],
            "nodeName": node_name(node),
            "zone": self.zones[node - 1],
            "conditions": {"ready": True, "serving": True, "terminating": False},
        }

    def _hints(self, ends: list[dict[str, Any]]) -> None:
        """Zone or node hints; sometimes one endpoint lacks its own, which switches them off."""
        if not self.chance(0.15):
            return
        by_node = self.chance(0.4)
        for end in ends:
            end["hints"] = {"forZones": [{"name": end["zone"]}]}
            if by_node:
                end["hints"]["forNodes"] = [{"name": end["nodeName"]}]
        if ends and self.chance(0.2):
            del ends[0]["hints"]
