"""What the cluster's zones answer: rows as the DNS specification and CoreDNS's tests have them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwire.api.views import (
    Endpoint,
    EndpointConditions,
    EndpointPort,
    EndpointSlice,
    Namespace,
    ObjectMeta,
    Service,
    ServicePort,
    ServiceSpec,
)
from podwire.client import dnstext, dnswire
from podwire.coredns import core
from podwire.coredns.core import Zone
from podwire.coredns.records import Records, dashed, undashed
from podwire.coredns.tables import zone_file

ZONE = Zone("cluster.local.", 30, "insecure", ("10.244.1.2",))


def service(name: str, *ips: str, namespace: str = "default", **spec: Any) -> Service:
    ports = spec.pop("ports", [ServicePort(name="http", port=80)])
    return Service(
        metadata=ObjectMeta(name=name, namespace=namespace),
        spec=ServiceSpec(
            cluster_ip=ips[0] if ips else "None", cluster_ips=list(ips), ports=ports, **spec
        ),
    )


def endpoints(
    name: str, *addresses: tuple[str, str, bool | None], namespace: str = "default", **kw: Any
) -> EndpointSlice:
    return EndpointSlice(
        metadata=ObjectMeta(
            name=f"{name}-abc",
            namespace=namespace,
            labels={"kubernetes.io/service-name": name},
        ),
        endpoints=[
            Endpoint(addresses=[ip], hostname=host, conditions=EndpointConditions(ready=ready))
            for ip, host, ready in addresses
        ],
        **{"ports": [EndpointPort(name="http", port=8080)], **kw},
    )


@pytest.fixture
def records() -> Records:
    found = Records()
    for name in ("default", "kube-system"):
        found.namespace(None, Namespace(metadata=ObjectMeta(name=name)), 1)
    for one in (
        service(
            "web",
            "10.96.3.4",
            ports=[
                ServicePort(name="http", port=80),
                ServicePort(name="dns", port=53, protocol="UDP"),
            ],
        ),
        service("dual", "10.96.3.5", "fd00::5"),
        service("db"),
        service("none"),
        service("bare", ports=[]),
        service("ext", type="ExternalName", external_name="mydb.example.com", ports=[]),
        service("inner", type="ExternalName", external_name="web.default.svc.cluster.local"),
        service("lost", type="ExternalName", external_name="no.default.svc.cluster.local"),
        service("literal", type="ExternalName", external_name="1.2.3.4"),
        service("round", type="ExternalName", external_name="round.default.svc.cluster.local"),
        service("kube-dns", "10.96.0.10", namespace="kube-system"),
    ):
        found.service(None, one, 7)
    ready = [("10.244.1.5", "db-0", True), ("10.244.2.6", "", None), ("10.244.2.7", "x", False)]
    found.endpoint_slice(None, endpoints("db", *ready), 7)
    found.endpoint_slice(None, endpoints("web", ("10.244.1.9", "", True)), 7)
    found.endpoint_slice(None, endpoints("bare", ("10.244.1.8", "b", True), ports=[]), 7)
    dns = endpoints("kube-dns", ("10.244.1.2", "", True), namespace="kube-system")
    found.endpoint_slice(None, dns, 9)
    return found


def ask(records: Records, name: str, qtype: str, zone: Zone = ZONE) -> str:
    """rcode and answers, as text."""
    if name.endswith(".arpa."):
        ip = core.reversed_address(name)
        found = core.reverse(records, zone, ip, name, dnswire.TYPES[qtype])
    else:
        found = core.answer(records, zone, name, dnswire.TYPES[qtype])
    lines = [f"{dnstext.type_name(rr.type)} {dnstext.data_text(rr)}" for rr in found.answer]
    text = ", ".join(lines) or "-"
    return text if found.exists else "NXDOMAIN"


@pytest.mark.parametrize(
    ("name", "qtype", "expected"),
    [
        ("web.default.svc.cluster.local.", "A", "A 10.96.3.4"),
        ("web.default.svc.cluster.local.", "AAAA", "-"),
        ("web.default.svc.cluster.local.", "MX", "-"),
        ("web.default.svc.cluster.local.", "TXT", "-"),
        ("WeB.DeFault.svc.ClUster.local.", "A", "A 10.96.3.4"),
        ("dual.default.svc.cluster.local.", "AAAA", "AAAA fd00::5"),
        ("nosuch.default.svc.cluster.local.", "A", "NXDOMAIN"),
        ("web.nosuch.svc.cluster.local.", "A", "NXDOMAIN"),
        ("web.default.cluster.local.", "A", "NXDOMAIN"),
        ("a.b.c.web.default.svc.cluster.local.", "A", "NXDOMAIN"),
        ("db.default.svc.cluster.local.", "A", "A 10.244.1.5, A 10.244.2.6"),
        ("db-0.db.default.svc.cluster.local.", "A", "A 10.244.1.5"),
        ("10-244-2-6.db.default.svc.cluster.local.", "A", "A 10.244.2.6"),
        ("x.db.default.svc.cluster.local.", "A", "NXDOMAIN"),
        ("10-244-1-9.web.default.svc.cluster.local.", "A", "A 10.244.1.9"),
        ("none.default.svc.cluster.local.", "A", "NXDOMAIN"),
        ("bare.default.svc.cluster.local.", "A", "A 10.244.1.8"),
        ("bare.default.svc.cluster.local.", "SRV", "-"),
        ("ext.default.svc.cluster.local.", "A", "CNAME mydb.example.com."),
        ("ext.default.svc.cluster.local.", "CNAME", "CNAME mydb.example.com."),
        ("ext.default.svc.cluster.local.", "SRV", "-"),
        ("any.ext.default.svc.cluster.local.", "A", "NXDOMAIN"),
        ("literal.default.svc.cluster.local.", "A", "NXDOMAIN"),
        (
            "inner.default.svc.cluster.local.", "A",
            "CNAME web.default.svc.cluster.local., A 10.96.3.4",
        ),
        ("lost.default.svc.cluster.local.", "A", "-"),
        ("web.default.svc.cluster.local.", "SRV",
         "SRV 0 50 80 web.default.svc.cluster.local., SRV 0 50 53 web.default.svc.cluster.local."),
        ("_http._tcp.web.default.svc.cluster.local.", "SRV",
         "SRV 0 100 80 web.default.svc.cluster.local."),
        ("http.tcp.web.default.svc.cluster.local.", "SRV",
         "SRV 0 100 80 web.default.svc.cluster.local."),
        ("_http._udp.web.default.svc.cluster.local.", "SRV", "NXDOMAIN"),
        ("_http._tcp.db.default.svc.cluster.local.", "SRV",
         ("SRV 0 50 8080 db-0.db.default.svc.cluster.local., "
          "SRV 0 50 8080 10-244-2-6.db.default.svc.cluster.local.")),
        ("_http._tcp.dual.default.svc.cluster.local.", "SRV",
         "SRV 0 50 80 dual.default.svc.cluster.local."),
        ("cluster.local.", "A", "-"),
        ("svc.cluster.local.", "A", "-"),
        ("default.svc.cluster.local.", "A", "-"),
        ("nosuch.svc.cluster.local.", "A", "NXDOMAIN"),
        ("cluster.local.", "SOA",
         "SOA ns.dns.cluster.local. hostmaster.cluster.local. 9 7200 1800 86400 30"),
        ("cluster.local.", "NS", "NS kube-dns.kube-system.svc.cluster.local."),
        ("ns.dns.cluster.local.", "A", "A 10.96.0.10"),
        ("dns-version.cluster.local.", "TXT", 'TXT "1.1.0"'),
        ("10-244-1-5.default.pod.cluster.local.", "A", "A 10.244.1.5"),
        ("not-an-ip.default.pod.cluster.local.", "A", "NXDOMAIN"),
        ("10-244-1-5.nosuch.pod.cluster.local.", "A", "NXDOMAIN"),
        ("4.3.96.10.in-addr.arpa.", "PTR", "PTR web.default.svc.cluster.local."),
        ("5.1.244.10.in-addr.arpa.", "PTR", "PTR db-0.db.default.svc.cluster.local."),
        ("7.2.244.10.in-addr.arpa.", "PTR", "NXDOMAIN"),
        (dnswire.reverse_name("fd00::5"), "PTR", "PTR dual.default.svc.cluster.local."),
    ],
)  # fmt: skip
def test_record_forms(records: Records, name: str, qtype: str, expected: str) -> None:
    """Services, headless ones, endpoints, ExternalName, SRV, PTR, pods, the zone itself."""
    assert ask(records, name, qtype) == expected


def test_answers_keep_the_letter_case_of_the_question(records: Records) -> None:
    """Owner and zone as asked, the Service's own labels lower case (handler_case_test)."""
    found = core.answer(records, ZONE, "_HTTP._tcp.Web.default.SVC.Cluster.Local.", dnswire.SRV)
    assert found.answer[0].name == "_HTTP._tcp.Web.default.SVC.Cluster.Local."
    assert dnstext.data_text(found.answer[0]) == "0 100 80 web.default.svc.Cluster.Local."
    assert found.additional[0].name == "web.default.svc.Cluster.Local."


def test_pods_have_names_only_when_the_corefile_says_so(records: Records) -> None:
    """Disabled: none; verified: only addresses of pods that exist."""
    name = "10-244-1-5.default.pod.cluster.local."
    assert ask(records, name, "A", Zone("cluster.local.", 30, "disabled")) == "NXDOMAIN"
    verified = Zone("cluster.local.", 30, "verified")
    assert ask(records, name, "A", verified) == "NXDOMAIN"
    records.pods["default", "10.244.1.5"] = None
    assert ask(records, name, "A", verified) == "A 10.244.1.5"


def test_a_cname_to_itself_ends(records: Records) -> None:
    """No loop, no error."""
    assert ask(records, "round.default.svc.cluster.local.", "A") == "-"


def test_what_goes_away_leaves_no_record_behind(records: Records) -> None:
    """Deleting everything empties every index."""
    for name, one in list(records.services.items()):
        gone = service(one.name, *one.addresses, namespace=name[0])
        records.service(gone, None, 20)
    for key, slices in list(records.slices.items()):
        for _ in list(slices):
            records.endpoint_slice(endpoints(key[1], namespace=key[0]), None, 20)
    assert (records.services, records.by_cluster_ip) == ({}, {})
    assert (records.slices, records.by_endpoint_ip) == ({}, {})
    assert records.serial == 20


def test_a_service_that_changes_its_address_answers_the_new_one_only(records: Records) -> None:
    """Forward and reverse follow, and the serial tells the time of the change."""
    old, new = service("web", "10.96.3.4"), service("web", "10.96.9.9")
    records.service(old, new, 33)
    assert ask(records, "web.default.svc.cluster.local.", "A") == "A 10.96.9.9"
    assert ask(records, "4.3.96.10.in-addr.arpa.", "PTR") == "NXDOMAIN"
    assert records.serial == 33
    records.service(new, new, 44)
    assert records.serial == 33, "no visible change, no new serial"


def _pure(ip: IPv4Address | IPv6Address) -> bool:
    """Whether the address has one kind of separator: ::ffff:1.2.3.4 cannot survive a label."""
    return "." not in str(ip) or ":" not in str(ip)


@given(st.ip_addresses().filter(_pure).map(str))
def test_an_address_survives_its_label(ip: str) -> None:
    """10.244.1.5 <-> 10-244-1-5, and the IPv6 forms CoreDNS accepts."""
    label = dashed(ip)
    assert undashed(label) in {ip, ""} or label.endswith("0")


@given(st.text(max_size=40), st.sampled_from(sorted(dnswire.TYPES)))
def test_any_name_is_answered(name: str, qtype: str) -> None:
    """Whatever stands before the zone, the tables only say yes or no."""
    found = core.answer(Records(), ZONE, f"{name}.cluster.local.", dnswire.TYPES[qtype])
    assert found.exists in {True, False}
    core.reversed_address(f"{name}.in-addr.arpa.")
    core.reversed_address(f"{name}.ip6.arpa.")


def test_the_records_print_as_a_zone_file(records: Records) -> None:
    """One line per record; what does not exist does not show."""
    text = zone_file(records, ZONE)
    assert "web.default.svc.cluster.local.\t30\tIN\tA\t10.96.3.4\n" in text
    assert "db-0.db.default.svc.cluster.local.\t30\tIN\tA\t10.244.1.5\n" in text
    assert "ext.default.svc.cluster.local.\t30\tIN\tCNAME\tmydb.example.com.\n" in text
    assert "none.default" not in text
