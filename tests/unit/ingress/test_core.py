"""Flags, and what status says of the controller's addresses."""

from __future__ import annotations

import pytest

from podwire.api.views import Ingress, Node, Pod, Service
from podwire.ingress.core import addresses, flags, last_one, outdated
from tests.unit.l7.objects import view


def pod(name, node, *, ready=True, phase="Running", **labels):
    body = {
        "metadata": {"name": name, "namespace": "ingress-nginx", "labels": labels},
        "spec": {"nodeName": node},
        "status": {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }
    return view(Pod, body)


def node(name, **addresses_):
    found = [{"type": kind, "address": address} for kind, address in addresses_.items()]
    return view(Node, {"metadata": {"name": name}, "status": {"addresses": found}})


NODES = [
    node("n1", InternalIP="192.168.0.11"),
    node("n2", InternalIP="192.168.0.12"),
    node("n3", InternalIP="192.168.0.13", ExternalIP="203.0.113.3"),
]
OWN = pod("a", "n1", app="x")


@pytest.mark.parametrize(
    ("pods", "words", "wanted"),
    [
        ([OWN], [], ["192.168.0.11"]),
        ([OWN, pod("b", "n2", app="x")], [], ["192.168.0.11", "192.168.0.12"]),
        ([pod("b", "n2", app="x"), OWN], [], ["192.168.0.11", "192.168.0.12"]),
        ([OWN, pod("b", "n1", app="x")], [], ["192.168.0.11"]),
        ([OWN, pod("b", "n2", app="y")], [], ["192.168.0.11"]),
        ([OWN, pod("b", "n2", app="x", ready=False)], [], ["192.168.0.11"]),
        ([OWN, pod("b", "n2", app="x", phase="Pending")], [], ["192.168.0.11"]),
        ([OWN, pod("b", "n3", app="x")], [], ["192.168.0.11", "203.0.113.3"]),
        ([pod("b", "n3", app="x")], ["--report-node-internal-ip-address"], ["192.168.0.13"]),
        ([], ["--publish-status-address=b.example, 1.2.3.4"], ["1.2.3.4", "b.example"]),
    ],
)
def test_ready_controllers_nodes_are_the_addresses(pods, words, wanted):
    """External addresses first, unless told otherwise; sorted, without doubles."""
    found = addresses(flags(words), OWN, pods, NODES, None)
    assert [entry.get("ip") or entry["hostname"] for entry in found] == wanted


@pytest.mark.parametrize(
    ("spec", "status", "wanted"),
    [
        ({"type": "NodePort", "clusterIP": "10.96.0.5"}, {}, ["10.96.0.5"]),
        ({"type": "NodePort", "clusterIP": "10.96.0.5", "externalIPs": ["1.1.1.1"]}, {},
         ["1.1.1.1"]),
        ({"type": "LoadBalancer", "clusterIP": "10.96.0.5"},
         {"loadBalancer": {"ingress": [{"ip": "9.9.9.9"}, {"hostname": "lb.example"}]}},
         ["9.9.9.9", "lb.example"]),
        ({"type": "ExternalName", "externalName": "e.example"}, {}, ["e.example"]),
    ],
)  # fmt: skip
def test_publish_service_takes_the_services_addresses(spec, status, wanted):
    """As upstream's statusAddressFromService."""
    service = view(Service, {"metadata": {"name": "s"}, "spec": spec, "status": status})
    found = addresses(flags(["--publish-service=ns/s"]), OWN, [OWN], NODES, service)
    assert [entry.get("ip") or entry["hostname"] for entry in found] == wanted
    assert addresses(flags(["--publish-service=ns/s"]), OWN, [OWN], NODES, None) == []


def test_only_what_differs_is_written():
    """Order does not matter."""
    entries = [{"ip": "2.2.2.2"}, {"ip": "1.1.1.1"}]
    body = {"metadata": {"name": "a"}, "status": {"loadBalancer": {"ingress": entries}}}
    same = view(Ingress, body)
    other = view(Ingress, {"metadata": {"name": "b"}})
    assert outdated([same, other], [{"ip": "1.1.1.1"}, {"ip": "2.2.2.2"}]) == [other]


def test_the_last_controller_knows_that_it_is():
    """A pod of another revision is one more controller, a stranger is none."""
    own = pod("a", "n1", app="x", **{"pod-template-hash": "1"})
    newer = pod("b", "n1", app="x", **{"pod-template-hash": "2"})
    assert last_one(own, [own, pod("c", "n1", app="y")])
    assert not last_one(own, [own, newer])
    assert not last_one(None, [])


def test_flags_are_parsed_as_upstream_names_them():
    """Unknown ones are kept to be told; values that are none are errors."""
    found = flags(
        ["/nginx-ingress-controller", "--http-port=8080", "--sync-rate-limit=2", "--v=2",
         "--enable-ssl-passthrough", "--configmap=x/y"]
    )  # fmt: skip
    assert (found.http_port, found.sync_rate_per_s) == (8080, 2.0)
    assert found.unknown == ("enable-ssl-passthrough",)
    with pytest.raises(ValueError, match="invalid argument"):
        flags(["--http-port=x"])
    with pytest.raises(ValueError, match="exclude each other"):
        flags(["--publish-service=a/b", "--publish-status-address=x"])
