"""kube-proxy's iptables mode: rules built, loaded into modelled kernels, and one endpoint changed.

Pure functions of one process: no API server, no informers, no modelled time.
"""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from podwire.api.views import EndpointSlice, Service
from podwire.dataplane.kernel import Kernel
from podwire.kube_proxy.config import Config
from podwire.kube_proxy.core import Proxier, Shared
from podwire.kube_proxy.mode import Sync
from podwire.kube_proxy.model import NodeFacts
from podwire.kube_proxy.modes import MODES
from podwire.runtime.rng import SeededRng

SERVICES, ENDPOINTS, NODES, CHANGES = 10_000, 5, 1_000, 5
LOCAL_EVERY = 10
"""One Service in this many has internalTrafficPolicy Local: its rules differ between nodes."""
MODE = MODES["iptables"]
CONFIG = Config(cluster_cidr="10.128.0.0/9")


def cluster_ip(number: int) -> str:
    """The cluster IP of a Service."""
    high, low = divmod(number, 250)
    return f"10.96.{high}.{low + 1}"


def service(number: int, *, local: bool) -> Service:
    """``s<number>``, ``local`` with internalTrafficPolicy Local."""
    spec: dict[str, Any] = {
        "clusterIP": cluster_ip(number),
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
    }
    if local:
        spec["internalTrafficPolicy"] = "Local"
    meta = {"name": f"s{number}", "namespace": "default", "uid": f"u{number}-{local}"}
    return msgspec.convert({"metadata": {**meta, "resourceVersion": "1"}, "spec": spec}, Service)


def endpoint_slice(number: int, version: int = 1, endpoints: int = ENDPOINTS) -> EndpointSlice:
    """The endpoints of ``s<number>``, on nodes of their own each."""
    high, low = divmod(number, 250)
    meta = {
        "name": f"s{number}-x", "namespace": "default", "uid": f"e{number}",
        "resourceVersion": str(version), "labels": {"kubernetes.io/service-name": f"s{number}"},
    }  # fmt: skip
    ends = [
        {"addresses": [f"10.{200 + k}.{high}.{low}"], "nodeName": f"n{(number + k) % NODES}"}
        for k in range(endpoints)
    ]
    ports = [{"name": "http", "port": 8080, "protocol": "TCP"}]
    body = {"metadata": meta, "addressType": "IPv4", "endpoints": ends, "ports": ports}
    return msgspec.convert(body, EndpointSlice)


class Node:
    """A proxier and its kernel. The tables of objects are one for all nodes."""

    def __init__(
        self,
        name: str,
        shared: Shared,
        services: dict[str, Service],
        slices: dict[str, dict[str, EndpointSlice]],
    ) -> None:
        facts = NodeFacts(name, "", ("192.168.0.9",))
        settings = MODE.settings(CONFIG, facts, "ipv4")
        self.proxier = Proxier(MODE, settings, facts, shared)
        self.proxier.services, self.proxier.slices = services, slices
        self.kernel = Kernel(name, SeededRng(1))

    def build(self) -> Sync:
        """The full rule build."""
        plan = self.proxier.plan(full=True, existing={("iptables-save",): ""})
        assert plan is not None
        return plan

    def load(self, plan: Sync) -> None:
        """What the kernel does with it."""
        for command in plan.commands:
            self.kernel.execute(command, 0)
        self.proxier.committed(plan)

    def change(self, key: str) -> None:
        """A Service's endpoints changed: plan and load."""
        self.proxier.dirty[key] = None
        plan = self.proxier.plan(full=False)
        assert plan is not None
        self.load(plan)


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = call()
    return (time.perf_counter() - began) * 1e3, result


def proxy() -> dict[str, str]:
    """All figures of this file."""
    services = {f"default/s{i}": service(i, local=False) for i in range(SERVICES)}
    slices = {f"default/s{i}": {f"s{i}-x": endpoint_slice(i)} for i in range(SERVICES)}
    mixed = {f"default/s{i}": service(i, local=i % LOCAL_EVERY == 0) for i in range(SERVICES)}
    gc.collect()
    gc.freeze()
    shared, found = Shared(), {}
    first = Node("n0", shared, services, slices)
    took, plan = _timed(first.build)
    found["full rule build, 10,000 Services x 5 endpoints, first of the process"] = f"{took:.0f} ms"
    loading, _ = _timed(lambda: first.load(plan))
    found["its text loaded into a modelled kernel, first of the process"] = f"{loading:.0f} ms"
    second = Node("n1", shared, services, slices)
    took, plan = _timed(second.build)
    found["full rule build of a node with the same input"] = f"{took:.0f} ms"
    loading, _ = _timed(lambda: second.load(plan))
    found["the same text loaded into another kernel"] = f"{loading:.3f} ms"
    Node("n0", shared, mixed, slices).build()
    took, _ = _timed(Node("n1", shared, mixed, slices).build)
    found["full rule build of a node with input of its own (1 Service in 10)"] = f"{took:.0f} ms"
    return {**found, **_fleet(shared, services, slices)}


def _fleet(
    shared: Shared, services: dict[str, Service], slices: dict[str, dict[str, EndpointSlice]]
) -> dict[str, str]:
    nodes = [Node(f"n{i}", shared, services, slices) for i in range(NODES)]
    for node in nodes:
        node.load(node.build())
    each, together = [], []
    for number in range(CHANGES):
        slices[f"default/s{number}"][f"s{number}-x"] = endpoint_slice(
            number, number + 2, ENDPOINTS - 1
        )
        took = [_timed(partial(node.change, f"default/s{number}"))[0] for node in nodes]
        each += took
        together.append(sum(took))
    each.sort()
    p50, p99 = each[len(each) // 2], each[len(each) * 99 // 100]
    resident_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "one endpoint change, per node of 1,000: median / p99 / max": (
            f"{p50:.3f} / {p99:.3f} / {each[-1]:.1f} ms"
        ),
        "the same, all 1,000 nodes together": f"{sorted(together)[len(together) // 2]:.0f} ms",
        "resident memory with 1,000 proxiers and kernels": f"{resident_mb:.0f} MiB",
    }
