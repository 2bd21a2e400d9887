"""The table people read, held by golden files."""

import dataclasses
import os
from pathlib import Path

import msgspec
import pytest

from podwire.api.views import Ingress, IngressClass
from podwire.dataplane.cost import NOTHING, Cost, total
from podwire.dataplane.verdict import Fate, Flow, Hop, Step
from podwire.explain import ingress, table
from podwire.explain.cause import cause
from podwire.explain.ends import numbered
from podwire.explain.report import Asked, BranchReport, Cause, LookupReport, Nearest, Report
from tests.unit.explain import town

GOLDEN = Path(__file__).parent / "golden"
START = Flow(protocol="tcp", src="10.244.0.2", src_port=40000, dst="10.96.0.20", dst_port=80)
AFTER = Flow(protocol="tcp", src="10.244.0.2", src_port=40000, dst="10.244.1.2", dst_port=8080)
THERE = numbered([
    Hop(node="node-1", steps=[
        Step(stage="out", object="eth0", result="send", netns="cni-1",
             detail="from default/front"),
        Step(stage="mangle", object="PREROUTING", result="return"),
        Step(stage="nat", object="PREROUTING", result="jump", detail="KUBE-NOTHING"),
        Step(stage="nat", object="KUBE-NOTHING", result="return"),
        Step(stage="nat", object="PREROUTING", result="jump", detail="KUBE-SERVICES"),
        Step(stage="nat", object="KUBE-SERVICES", result="jump", detail="KUBE-SVC-X",
             cost=Cost(rules_traversed=1204, latency_ns=12_040)),
        Step(stage="nat", object="KUBE-SVC-X", result="jump", detail="KUBE-SEP-Y p 0.5"),
        Step(stage="nat", object="KUBE-SEP-Y", result="dnat", detail="ct #3 p 0.5",
             before=START, after=AFTER, rule='-m comment --comment "default/backend"'),
        Step(stage="route", object="main", result="forward", detail="10.244.1.0/24 via flannel.1"),
    ]),
    Hop(node="", steps=[Step(stage="wire", object="node-1 - node-2", result="carry")]),
    Hop(node="node-2", steps=[
        Step(stage="filter", object="cali-tw-x", result="drop", rule=town.isolated(),
             cost=Cost(rules_traversed=2, lookups=1, latency_ns=80)),
    ]),
])  # fmt: skip
PLACES = {"cni-1": "pod default/front"}
LOOKUP = LookupReport(
    name="backend", source="dns", addresses=["10.96.0.20"], canonical="", error="",
    asked=[
        Asked(name="backend.default.svc.cluster.local.", type="A", server="10.96.0.10",
              answered_by="kube-system/coredns-1", rcode="NOERROR", answers=["10.96.0.20"],
              fate=Fate.DELIVERED),
        Asked(name="backend.default.svc.cluster.local.", type="AAAA", server="10.96.0.10",
              answered_by="", rcode="", answers=[], fate=Fate.TIMED_OUT),
    ],
)  # fmt: skip


def branch(fate, *, drawn=False):
    """One line of the report's branches."""
    return BranchReport(
        fate=fate, probability=0.5, drawn=drawn, node="node-2", destination="default/back"
    )


def report(fate=Fate.DENIED_IN, **changes):
    """A trace from front to backend that was denied at the other node."""
    ended = msgspec.structs.replace(town.DENIED, fate=fate, hops=THERE)
    made = Report(
        source="default/front", destination="svc/backend", protocol="tcp", flow=START,
        resource_version="512", time_s=1.5, fate=fate, lookup=LOOKUP,
        branches=[branch(fate, drawn=True), branch(Fate.DELIVERED)], hops=THERE,
        cause=cause(ended, town.TOWN), places=PLACES,
        nearest=Nearest(change="add podSelector {app: front}", fate=Fate.DELIVERED, tried=2),
        replay="podwire trace default/front svc/backend:80 --sport 40000 --draw 0.25", draw=0.25,
        cost=total(step.cost for hop in THERE for step in hop.steps),
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


FAILED_LOOKUP = msgspec.structs.replace(LOOKUP, addresses=[], error="backend: no such host")
FROM_HOSTS = msgspec.structs.replace(LOOKUP, source="hosts", asked=[])
ARRIVED = msgspec.structs.replace(
    town.ended(Fate.LINK_DOWN, stage="socket", about="local", result="deliver"),
    reply_hops=town.ended(Fate.LINK_DOWN, stage="link", about="cni0").hops,
)
BACK = numbered(ARRIVED.reply_hops, 2)
ARRIVED = msgspec.structs.replace(ARRIVED, hops=numbered(ARRIVED.hops))
INGRESS = msgspec.convert(
    {
        "metadata": {"name": "door", "namespace": "default"},
        "spec": {
            "ingressClassName": "nginx",
            "tls": [{"hosts": ["a.example"], "secretName": "tls"}],
            "rules": [{"host": "a.example", "http": {"paths": [{
                "path": "/api", "pathType": "Prefix",
                "backend": {"service": {"name": "backend", "port": {"number": 80}}},
            }]}}],
        },
    },
    Ingress,
)  # fmt: skip
CLASS = msgspec.convert(
    {"metadata": {"name": "nginx"}, "spec": {"controller": "k8s.io/ingress-nginx"}}, IngressClass
)


def ingress_report(url, fate):
    """A trace from outside through the controller's pod, as it decides."""
    objects = dataclasses.replace(
        town.TOWN, ingresses=(INGRESS,), classes=(CLASS,),
        certificates={"default/tls": ("a.example",)},
    )  # fmt: skip
    asked = ingress.parse_url(url)
    made = ingress.decision(objects, asked)
    start = Flow(
        protocol="tcp", src="198.51.100.10", src_port=40000, dst="192.168.0.11", dst_port=30443
    )
    there = [
        Hop(node="node-1", steps=[
            Step(stage="socket", object="local", result="deliver", netns="cni-1"),
            *ingress.steps(made, asked, "cni-1"),
        ]),
    ]  # fmt: skip
    why = Cause(summary="default/back listens on TCP/8080")
    if ingress.fate(made) is not None:
        why = ingress.because(made, INGRESS, objects, 3 if asked.scheme == "https" else 2)
    assert (ingress.fate(made) or Fate.DELIVERED) is fate
    return report(
        fate, source="outside", destination="ingress/door", flow=start, url=url, lookup=None,
        hops=numbered(there), branches=[branch(fate, drawn=True)], cause=why, nearest=None,
        places={"cni-1": "pod ingress-nginx/controller"}, cost=NOTHING,
        replay=f"podwire trace external ingress/door --url {url}",
    )  # fmt: skip


ICMP = Flow(protocol="icmp", src="10.244.0.2", dst="10.244.1.2")
CASES = {
    "denied": (report(), {}),
    "denied-verbose": (report(), {"verbose": True}),
    "denied-ascii": (report(), {"ascii_only": True}),
    "delivered": (
        report(Fate.DELIVERED, lookup=FROM_HOSTS, branches=[branch(Fate.DELIVERED)], nearest=None),
        {},
    ),
    "unresolved": (
        report(
            Fate.NAME_UNRESOLVED,
            lookup=FAILED_LOOKUP,
            hops=[],
            branches=[],
            nearest=Nearest(),
            cost=NOTHING,
            flow=msgspec.structs.replace(START, dst=""),
            cause=Cause(summary="no such host"),
        ),
        {},
    ),
    "answer-lost": (
        report(
            Fate.LINK_DOWN,
            hops=ARRIVED.hops,
            reply_hops=BACK,
            cause=cause(ARRIVED, town.TOWN),
            reply_cost=Cost(rules_traversed=1, lookups=18, encap_bytes=50, latency_ns=3_100),
        ),
        {},
    ),
    "ingress": (ingress_report("https://a.example/api/x", Fate.DELIVERED), {}),
    "ingress-redirect": (ingress_report("http://a.example/api", Fate.L7_DENIED), {}),
    "ingress-refused": (ingress_report("https://b.example/api", Fate.L7_DENIED), {}),
    "unknown-icmp": (report(Fate.UNKNOWN, protocol="icmp", flow=ICMP, lookup=None), {}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_table_is_as_its_golden_file(name):
    """Rewrite them with PODWIRE_REWRITE_GOLDENS=1 and read the diff."""
    made, options = CASES[name]
    text = table.render(made, **options) + "\n"
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("PODWIRE_REWRITE_GOLDENS"):
        path.write_text(text)
    assert text == path.read_text()


def test_ascii_tables_are_ascii():
    """For terminals and logs that know nothing else."""
    assert table.render(report(), ascii_only=True).isascii()


def test_chains_without_effect_show_only_when_asked():
    """The step that ended it keeps the number under which it is printed."""
    brief, whole = table.render(report()), table.render(report(), verbose=True)
    assert "KUBE-NOTHING" in whole
    assert "KUBE-NOTHING" not in brief
    for text in (brief, whole):
        fate = next(line for line in text.splitlines() if line.startswith("✗"))
        number = fate.rpartition(" ")[2]
        step = next(line for line in text.splitlines() if line.strip().startswith(f"{number} "))
        assert "drop" in step


def test_no_line_of_the_golden_files_is_wider_than_a_terminal():
    """Steps fit; sentences are wrapped."""
    for path in GOLDEN.glob("*.txt"):
        for line in path.read_text().splitlines():
            assert len(line) <= 110


@pytest.mark.parametrize("ascii_only", [False, True])
def test_columns_stay_aligned_whatever_the_names_lengths(ascii_only):
    """nftables' chains have up to 240 characters: cut in the middle, whole in a wide table."""
    long = "endpoint-5OJB2KTY-production/backend/tcp/http__10.244.1.2/8080"
    steps = [
        Step(stage="nft", object=long, result="dnat", detail="to 10.244.1.2"),
        Step(stage="nft", object="services", result="goto", detail="to 10.244.1.2"),
    ]
    many = [*[Step(stage="out", object="eth0", result="send")] * 1000, *steps]
    found = report(hops=numbered([Hop(node="node-1", steps=many)]))
    for wide in (False, True):
        text = table.render(found, ascii_only=ascii_only, wide=wide)
        [first, second] = [line for line in text.splitlines() if line.endswith("to 10.244.1.2")]
        assert len(first) == len(second)
        assert (long in first) == wide
    cut = table.render(found, ascii_only=ascii_only)
    name = "endpoint-5OJB...44.1.2/8080" if ascii_only else "endpoint-5OJB2…244.1.2/8080"
    assert name[:13] in cut
    assert "1.2/8080 dnat" in cut
