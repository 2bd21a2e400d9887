"""IPAddresses follow the cluster IPs of Services."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from podwire.api.times import NS, parse_time
from podwire.api.views import IPAddress, Service, ServiceCIDR
from podwire.client.effects import Create, Delete, Effect, Patch, RequeueAfter
from podwire.controllers.servicecidrs import core


def service(*ips: str) -> Service:
    body = {"metadata": {"name": "web", "namespace": "shop"}, "spec": {"clusterIPs": ips}}
    return msgspec.convert(body, Service)


def address(name: str, managed_by: str = core.ALLOCATOR) -> IPAddress:
    labels = {core.MANAGED_BY: managed_by}
    return msgspec.convert({"metadata": {"name": name, "labels": labels}}, IPAddress)


def test_each_cluster_ip_has_an_address_that_names_the_service():
    """In canonical form; a headless Service has none."""
    four, six = core.reconcile(service("10.96.0.5", "fd00:0::5"), [])
    assert isinstance(four, Create)
    assert isinstance(six, Create)
    assert four.body == {
        "metadata": {
            "name": "10.96.0.5",
            "labels": {core.FAMILY: "IPv4", core.MANAGED_BY: "ipallocator.k8s.io"},
        },
        "spec": {"parentRef": {"resource": "services", "namespace": "shop", "name": "web"}},
    }
    assert six.body["metadata"]["name"] == "fd00::5"
    assert core.reconcile(service("None"), []) == []


def test_what_a_service_no_longer_holds_goes():
    """But not what somebody else looks after."""
    mine, other = address("10.96.0.5"), address("10.96.0.6", "me")
    assert core.reconcile(service("10.96.0.5"), [mine]) == []
    (gone,) = core.reconcile(None, [mine, other])
    assert isinstance(gone, Delete)
    assert gone.name == "10.96.0.5"


def cidr(name: str, *networks: str, **meta: Any) -> ServiceCIDR:
    body = {"metadata": {"name": name, **meta}, "spec": {"cidrs": networks}}
    return msgspec.convert(body, ServiceCIDR)


def ready(effects: Sequence[Effect]) -> tuple[str, str]:
    (patch,) = (e for e in effects if isinstance(e, Patch) and e.subresource == "status")
    (condition,) = patch.patch["status"]["conditions"]
    return condition["status"], condition["reason"]


def test_a_service_cidr_is_ready_and_held_by_a_finalizer():
    """Whichever it is."""
    hold, *rest = core.reconcile_cidr(cidr("more", "10.112.0.0/28"), [], [], 0)
    assert isinstance(hold, Patch)
    assert hold.patch["metadata"]["finalizers"] == [core.FINALIZER]
    assert ready(rest) == ("True", "")


def test_a_service_cidr_stays_while_an_address_needs_it():
    """Another that covers the address frees it; then it goes after ten seconds."""
    gone = {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [core.FINALIZER]}
    item, now_ns = cidr("more", "10.112.0.0/28", **gone), parse_time("2026-01-01T00:00:04Z")
    assert ready(core.reconcile_cidr(item, [], ["10.112.0.3"], now_ns)) == ("False", "Terminating")
    wider = cidr("wider", "10.112.0.0/24")
    for others, held in (([], ["10.96.0.1"]), ([wider], ["10.112.0.3"])):
        assert core.reconcile_cidr(item, others, held, now_ns) == [RequeueAfter(6.0)]
        (freed,) = core.reconcile_cidr(item, others, held, now_ns + 6 * NS)
        assert isinstance(freed, Patch)
        assert freed.patch["metadata"]["finalizers"] is None
