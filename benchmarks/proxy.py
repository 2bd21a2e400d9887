"""kube-proxy's modes: rules built, loaded into modelled kernels, and one endpoint changed.

Pure functions of one process: no API server, no watches, no modelled time.
"""

from __future__ import annotations

import gc
import resource
import statistics
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
from podwire.kube_proxy.table import Table
from podwire.runtime.rng import SeededRng

SERVICES, ENDPOINTS, NODES, CHANGES = 10_000, 5, 1_000, 5
LOCAL_EVERY = 10
"""One Service in this many has internalTrafficPolicy Local: its rules differ between nodes."""
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
        services: Table[Service],
        slices: Table[EndpointSlice],
        mode: str = "iptables",
    ) -> None:
        facts = NodeFacts(name, "", ("192.168.0.9",))
        chosen = MODES[mode]
        self.proxier = Proxier(chosen, chosen.settings(CONFIG, facts, "ipv4"), facts, shared)
        self.proxier.all_services(services)
        self.proxier.all_slices(slices)
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

    def change(self, old: EndpointSlice, new: EndpointSlice) -> None:
        """A Service's endpoints changed: plan and load."""
        self.proxier.slice(old, new)
        plan = self.proxier.plan(full=False)
        assert plan is not None
        self.load(plan)


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Milliseconds of processor time."""
    began = time.process_time()
    result = call()
    return (time.process_time() - began) * 1e3, result


def services_of(shared: Shared, *, local_every: int = 0) -> Table[Service]:
    """The Services, one in ``local_every`` with a Local policy."""
    numbers = range(SERVICES)
    return shared.adopt(
        "services",
        (service(i, local=bool(local_every) and i % local_every == 0) for i in numbers),
    )


def slices_of(shared: Shared) -> Table[EndpointSlice]:
    """Their EndpointSlices."""
    return shared.adopt("endpointslices", (endpoint_slice(i) for i in range(SERVICES)))


def proxy() -> dict[str, str]:
    """All figures of this file; processor time."""
    shared = Shared()
    services, slices = services_of(shared), slices_of(shared)
    gc.collect()
    gc.freeze()
    found = _builds(shared, services, slices)
    for mode in MODES:
        found |= _fleet(mode, shared, services, slices)
    resident_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {**found, "resident memory at its highest": f"{resident_mb:.0f} MiB"}


def _builds(
    shared: Shared, services: Table[Service], slices: Table[EndpointSlice]
) -> dict[str, str]:
    """The iptables mode's full builds, by what is known of the input."""
    found = {}
    first = Node("n0", shared, services, slices)
    took, plan = _timed(first.build)
    found["full rule build, 10,000 Services x 5 endpoints, first of the process"] = f"{took:.0f} ms"
    loading, _ = _timed(lambda: first.load(plan))
    found["its text loaded into a modelled kernel, first of the process"] = f"{loading:.0f} ms"
    second = Node("n1", shared, services, slices)
    took, same = _timed(second.build)
    found["full rule build of a node with the same input"] = f"{took:.1f} ms"
    loading, _ = _timed(lambda: second.load(same))
    found["the same text loaded into another kernel"] = f"{loading:.3f} ms"
    mixed = services_of(shared, local_every=LOCAL_EVERY)
    Node("n0", shared, mixed, slices).build()
    own = [_timed(Node(f"n{i}", shared, mixed, slices).build)[0] for i in range(1, 16)]
    label = "full rule build of a node with input of its own (1 Service in 10): median of 15 nodes"
    found[label] = f"{statistics.median(own):.0f} ms (longest {max(own):.0f} ms)"
    return found


def _fleet(
    mode: str, shared: Shared, services: Table[Service], slices: Table[EndpointSlice]
) -> dict[str, str]:
    nodes = [Node(f"n{i}", shared, services, slices, mode) for i in range(NODES)]

    def begin() -> None:
        for node in nodes:
            node.load(node.build())

    took, _ = _timed(begin)
    each, together = [], []
    for number in range(CHANGES):
        old = slices[f"default/s{number}-x"]
        new = endpoint_slice(number, number + 2, ENDPOINTS - 1)
        spent = [_timed(partial(node.change, old, new))[0] for node in nodes]
        each += spent
        together.append(sum(spent))
    each.sort()
    p50, p99 = each[len(each) // 2], each[len(each) * 99 // 100]
    return {
        f"{mode}: 1,000 nodes built and loaded": f"{took / 1e3:.1f} s",
        f"{mode}: one endpoint change, per node of 1,000: median / p99 / max": (
            f"{p50:.3f} / {p99:.3f} / {each[-1]:.1f} ms"
        ),
        f"{mode}: the same, all 1,000 nodes together": f"{statistics.median(together):.0f} ms",
    }
