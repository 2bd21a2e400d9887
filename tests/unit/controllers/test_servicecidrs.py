"""IPAddresses follow the cluster IPs of Services."""

from __future__ import annotations

import msgspec

from podwire.api.views import IPAddress, Service, ServiceCIDR
from podwire.client.effects import Create, Delete, Patch
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


def test_only_the_default_range_is_used():
    """Another ServiceCIDR says that it is not modelled."""
    for name, status in (("kubernetes", "True"), ("more", "False")):
        (patch,) = core.reconcile_cidr(
            msgspec.convert({"metadata": {"name": name}}, ServiceCIDR), 0
        )
        assert isinstance(patch, Patch)
        (condition,) = patch.patch["status"]["conditions"]
        assert (condition["type"], condition["status"]) == ("Ready", status)
