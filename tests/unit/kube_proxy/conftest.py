"""Builders of Services and EndpointSlices, and the six Services that the golden shows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from podwire.api.views import EndpointSlice, Service
from podwire.dataplane.commands import RulesRestore
from podwire.kube_proxy.core import Proxier, Shared
from podwire.kube_proxy.mode import Answers, Sync
from podwire.kube_proxy.model import NodeFacts
from podwire.kube_proxy.modes import MODES
from podwire.kube_proxy.modes.iptables.settings import Settings

NODE, NODE_IP, CLIENT = "node-1", "192.168.0.11", "203.0.113.2"
POD = "10.244.1.2"
SETTINGS = Settings(local="-s 10.244.0.0/16")


def service(name: str, ip: str, ports: Any = 80, **spec: Any) -> Service:
    """``ns/name`` with one port (number, or (name, port, nodePort, protocol) tuples)."""
    if isinstance(ports, int):
        ports = [("", ports, 0, "TCP")]
    namespace, _, name = name.rpartition("/")
    status = {"loadBalancer": {"ingress": [{"ip": i} for i in spec.pop("lb", ())]}}
    body = {
        "metadata": {"name": name, "namespace": namespace or "default", "uid": f"uid-{name}"},
        "spec": {
            "clusterIP": ip,
            "ports": [
                {"name": n, "port": p, "nodePort": np, "protocol": proto}
                for n, p, np, proto in ports
            ],
            **spec,
        },
        "status": status,
    }
    return msgspec.convert(body, Service)


def endpoints(name: str, *ends: str | dict[str, Any], ports: Any = 8080) -> EndpointSlice:
    """A slice; an end is ``ip[@node]`` or an endpoint body."""
    if isinstance(ports, int):
        ports = [("", ports, "TCP")]
    namespace, _, name = name.rpartition("/")
    bodies = []
    for end in ends:
        if isinstance(end, str):
            ip, _, node = end.partition("@")
            end = {"addresses": [ip], "nodeName": node or "node-9"}  # noqa: PLW2901
        bodies.append(end)
    body = {
        "metadata": {
            "name": f"{name}-x",
            "namespace": namespace or "default",
            "labels": {"kubernetes.io/service-name": name},
            "uid": f"uid-{name}-x",
        },
        "endpoints": bodies,
        "ports": [{"name": n, "port": p, "protocol": proto} for n, p, proto in ports],
    }
    return msgspec.convert(body, EndpointSlice)


def proxier(*objects: Service | EndpointSlice, **changes: Any) -> Proxier:
    node = changes.pop("node", NodeFacts(NODE, "zone-a", (NODE_IP,)))
    made = Proxier(MODES["iptables"], replace(SETTINGS, **changes), node, Shared())
    for item in objects:
        feed(made, item)
    return made


def restore_text(plan: Sync) -> str:
    """The restore input of a plan that has no other command."""
    (command,) = plan.commands
    assert isinstance(command, RulesRestore)
    return command.text


def feed(made: Proxier, new: Service | EndpointSlice, old: Any = None) -> bool:
    if isinstance(new, Service):
        return made.service(old, new)
    return made.slice(old, new)


def text(*objects: Service | EndpointSlice, **changes: Any) -> str:
    own = "".join(f"    inet {ip}/24 scope global eth0\n" for ip in changes.pop("own", ()))
    existing: Answers = {("ip", "addr", "show"): own}
    plan = proxier(*objects, **changes).plan(full=True, existing=existing)
    assert plan is not None
    return restore_text(plan)


def six() -> list[Service | EndpointSlice]:
    """ClusterIP, eTP Local with external and LB IP, NodePort, two endpoints, affinity, nothing."""
    port = [("http", 80, 30001, "TCP")]
    return [
        service("shop/web", "10.96.0.41", [("http", 80, 0, "TCP")]),
        endpoints("shop/web", "10.244.2.4", ports=[("http", 8080, "TCP")]),
        service(
            "shop/edge", "10.96.0.42", port, type="LoadBalancer", externalTrafficPolicy="Local",
            externalIPs=["192.168.99.22"], lb=["1.2.3.4"], healthCheckNodePort=30999,
        ),
        endpoints("shop/edge", "10.244.2.5", f"10.244.1.5@{NODE}", ports=[("http", 8080, "TCP")]),
        service("shop/door", "10.96.0.43", [("", 443, 30003, "TCP")], type="NodePort"),
        endpoints("shop/door", "10.244.2.6", ports=8443),
        service("kube-system/kube-dns", "10.96.0.10",
                [("dns", 53, 0, "UDP"), ("dns-tcp", 53, 0, "TCP")]),
        endpoints("kube-system/kube-dns", "10.244.1.9", "10.244.2.9",
                  ports=[("dns", 53, "UDP"), ("dns-tcp", 53, "TCP")]),
        service(
            "shop/cart", "10.96.0.45", [("http", 80, 30005, "TCP")], type="LoadBalancer",
            sessionAffinity="ClientIP", lb=["5.6.7.8"],
            loadBalancerSourceRanges=[" 203.0.113.0/25"],
        ),
        endpoints("shop/cart", "10.244.2.7", "10.244.2.8", ports=[("http", 8080, "TCP")]),
        service("shop/empty", "10.96.0.46"),
    ]  # fmt: skip
