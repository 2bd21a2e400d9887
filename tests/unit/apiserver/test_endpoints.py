"""What ``GET /apis/podwire.dev/v1alpha1/endpoints`` makes of the fabric's publications."""

from podwire.apiserver.own import endpoints
from podwire.client.counters import Publication


def test_publications_are_sorted_into_what_they_are():
    """DNS is one address for both protocols; NodePorts carry Service and number; Ingress ports."""
    body = endpoints(
        "127.0.0.1:6443",
        [
            Publication("dns", "tcp", "127.0.0.1:1053", "10.96.0.10:53"),
            Publication("dns", "udp", "127.0.0.1:1053", "10.96.0.10:53"),
            Publication("nodePort a/b:web", "tcp", "127.0.0.1:30080", "192.168.0.11:30080"),
            Publication("ingress http", "tcp", "127.0.0.1:31000", "192.168.0.11:31000"),
        ],
    )
    assert body["api"] == "127.0.0.1:6443"
    assert (body["dns"], body["dnsModelled"]) == ("127.0.0.1:1053", "10.96.0.10:53")
    (port,) = body["nodePorts"]
    assert (port["service"], port["nodePort"]) == ("a/b:web", 30080)
    assert port["address"] == "127.0.0.1:30080"
    assert body["ingress"] == [
        {
            "port": "http",
            "protocol": "tcp",
            "address": "127.0.0.1:31000",
            "modelled": "192.168.0.11:31000",
        }
    ]


def test_what_could_not_be_published_says_why():
    """The address is empty, the message is there; in virtual time there is nothing at all."""
    refused = Publication("nodePort a/b", "tcp", "", "192.168.0.11:30001", "no port is free")
    (port,) = endpoints("", [refused])["nodePorts"]
    assert (port["address"], port["message"]) == ("", "no port is free")
    nothing = {"api": "", "dns": "", "dnsModelled": "", "nodePorts": [], "ingress": []}
    assert endpoints("", []) == nothing
