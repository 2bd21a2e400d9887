"""Services as upstream's own tests see them become service ports; UDP flows that go stale."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from podwire.kube_proxy.conntrack import Wanted, stale
from podwire.kube_proxy.model import ServicePort, endpoints_of, service_ports
from tests.unit.kube_proxy.conftest import proxier
from tests.unit.kube_proxy.flows import endpoint_slice, service

DATA = Path(__file__).parents[2] / "data" / "proxydumps" / "service_maps.yaml"
TABLES = yaml.safe_load(DATA.read_text())


def made(key: str, case: dict[str, Any]):
    ports = []
    for text in case["ports"]:
        name, number, protocol, *node_port = text.split()
        port = {"name": name, "port": int(number), "protocol": protocol}
        ports.append({**port, "nodePort": int(node_port[0])} if node_port else port)
    return service(key, {**case["service"], "ports": ports})


def told(port: ServicePort) -> dict[str, Any]:
    found = {
        "ip": port.cluster_ip, "port": port.port, "protocol": port.protocol,
        "check": port.health_check_node_port, "external": list(port.external_ips),
        "lb": list(port.lb_ips), "ranges": list(port.source_ranges),
    }  # fmt: skip
    return {name: value for name, value in found.items() if value}


@pytest.mark.parametrize("case", TABLES["maps"], ids=[case["name"] for case in TABLES["maps"]])
def test_a_service_becomes_the_ports_that_upstream_serves(case):
    """TestServiceToServiceMap: headless, foreign families, ipMode, source ranges, checks."""
    ports = ()
    if "service" in case:
        ports = service_ports(made("ns/svc", case), case.get("family", "ipv4"))
    assert {port.port_name: told(port) for port in ports} == case["wanted"]


@pytest.mark.parametrize("case", TABLES["series"], ids=[case["name"] for case in TABLES["series"]])
def test_services_come_change_and_go_as_upstream_tells(case):
    """TestBuildServiceMap...: what is served after each step, what has to be programmed anew."""
    proxy = proxier()
    for step in case["steps"]:
        proxy.dirty.clear()
        for key, body in step["put"].items():
            proxy.service(proxy.services.get(key), body and made(key, body))
        ports = [port for key in proxy.services for port in service_ports(proxy.services[key])]
        assert len(ports) == step["ports"]
        assert sorted(proxy.dirty) == step.get("changed", sorted(proxy.dirty))
        assert {key: check.port for key, check in proxy.checks().items()} == step["checks"]


CLUSTER_IP, EXTERNAL, BALANCER = "172.30.1.1", "192.168.99.100", "1.2.3.4"
SERVING, NOT_SERVING, DELETED = "10.240.0.4", "10.240.1.5", "10.240.2.6"
SERVICE_PORT, OTHER_PORT, NODE_PORT, ENDPOINT_PORT, OLD_PORT = 8000, 3000, 32000, 9090, 8080


def flow(dst: str, port: int, reply: str, reply_port: int, protocol: str = "udp") -> str:
    back = f"src={reply} dst=10.9.9.9 sport={reply_port} dport=4444"
    return f"{protocol} 17 29 src=10.9.9.9 dst={dst} sport=4444 dport={port} {back} mark=0 use=1"


def test_udp_flows_that_lead_nowhere_are_forgotten_as_upstream_does():
    """TestCleanStaleEntries: flows of UDP to the service's addresses and NodePort whose endpoint is
    gone, does not serve, had another port, or never was (rejected ones); nothing else.
    """
    protocols = ("TCP", "UDP", "SCTP")
    ports = [{"name": f"p-{p.lower()}", "port": SERVICE_PORT, "protocol": p} for p in protocols]
    ports[1]["nodePort"] = ports[2]["nodePort"] = NODE_PORT
    spec = {"clusterIP": CLUSTER_IP, "externalIPs": [EXTERNAL], "ports": ports, "lb": [BALANCER]}
    body = {
        "ports": [f"{p['name']} {ENDPOINT_PORT} {p['protocol']}" for p in ports],
        "at": [SERVING, f"{NOT_SERVING} unserving"],
    }
    wanted = Wanted()
    for port in service_ports(service("test/cleanup-test", spec)):
        wanted.add(port, endpoints_of(port, [endpoint_slice("test/cleanup-test", 0, body)]))
    addresses = (CLUSTER_IP, BALANCER, EXTERNAL)
    kept, gone = [], [flow(ip, SERVICE_PORT, SERVING, OLD_PORT) for ip in addresses]
    for end, protocol in product((SERVING, NOT_SERVING, DELETED), ("tcp", "udp", "sctp")):
        led_astray = protocol == "udp" and end != SERVING
        for ip, port in product(addresses, (SERVICE_PORT, OTHER_PORT)):
            lost = led_astray and port == SERVICE_PORT
            (gone if lost else kept).append(flow(ip, port, end, ENDPOINT_PORT, protocol))
        (gone if led_astray else kept).append(
            flow("10.1.1.1", NODE_PORT, end, ENDPOINT_PORT, protocol)
        )
    for ip, port in product(addresses, (SERVICE_PORT, OTHER_PORT)):
        (gone if port == SERVICE_PORT else kept).append(flow(ip, port, ip, port))
    listing = "\n".join(line for line in (*kept, *gone) if line.startswith("udp"))
    found = {
        flow(c.orig_dst, c.orig_dport, c.reply_src, c.reply_sport) for c in stale(listing, wanted)
    }
    assert found == set(gone)
    assert len(gone) == 3 + 2 * 3 + 2 + 3


def test_a_service_without_serving_endpoints_keeps_its_flows():
    """TestServiceWithoutEndpoints: they end in a rejection anyway."""
    ports = [{"name": "p-udp", "port": SERVICE_PORT, "protocol": "UDP"}]
    wanted = Wanted()
    for port in service_ports(service("test/x", {"clusterIP": CLUSTER_IP, "ports": ports})):
        wanted.add(port, ())
    assert stale(flow(CLUSTER_IP, SERVICE_PORT, DELETED, ENDPOINT_PORT), wanted) == ()
