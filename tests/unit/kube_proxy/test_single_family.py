"""A Service of one family is nothing to the other family's proxier."""

from __future__ import annotations

import msgspec

from podwire.api.views import Service
from podwire.kube_proxy.model import service_ports


def test_an_ipv6_service_has_no_ports_in_ipv4():
    """Not even with the empty address that it has there."""
    spec = {"clusterIP": "fd00::1", "clusterIPs": ["fd00::1"], "ports": [{"port": 80}]}
    service = msgspec.convert({"metadata": {"name": "s"}, "spec": spec}, Service)
    assert service_ports(service, "ipv4") == ()
    assert [port.cluster_ip for port in service_ports(service, "ipv6")] == ["fd00::1"]
