"""Traces through dumps (tests/data/nodes): verdict, deciding rule, and where a packet leaves."""

from pathlib import Path

import msgspec
import pytest

from podwire.dataplane.dump.load import load
from podwire.dataplane.dump.text import Dump, Section, read
from podwire.dataplane.verdict import Fate
from podwire.explain import dumps
from podwire.explain.report import TraceSpec
from podwire.explain.table import render
from podwire.runtime.rng import SeededRng

FOLDER = Path(__file__).resolve().parents[2] / "data" / "nodes"
POD, FAR_POD = "10.244.1.4", "10.244.2.8"


def nodes(*names):
    found = [read((FOLDER / f"{name}.dump").read_text(), name) for name in names]
    return [load(dump, SeededRng(0)) for (dump,) in found]


def trace(source, destination, *, of=("odd",), entry="", loaded=None, **more):
    spec = TraceSpec(source=source, destination=destination, **more)
    return dumps.trace(loaded or nodes(*of), spec, SeededRng(0), entry)


def steps(report, result):
    return [s.detail for hop in report.hops for s in hop.steps if s.result == result]


def test_a_pods_packet_to_a_service_is_translated_and_leaves():
    """It comes in by the port that the forwarding table tells, its answer goes home."""
    report = trace(POD, "10.96.0.1:443")
    assert (report.fate, report.exit_code) == (Fate.EXITS_CLUSTER, 0)
    assert report.hops[0].steps[0].object == "veth1"
    assert "to:10.0.0.7:6443" in steps(report, "dnat")[0]
    (leaves,) = steps(report, "leave")
    assert leaves.startswith("leaves by eth0 (its peer if2 in netns ")
    assert leaves.endswith("is not in the dump)")
    assert "answer that comes back by there leaves by veth1" in report.cause.summary
    assert "lladdr (not in the dump)" in render(report, verbose=True)


def test_what_the_node_sends_itself_and_what_comes_for_it():
    """Sockets are known by ss: nobody listens on 22; echo requests are answered."""
    own = trace("node/odd", "10.96.0.1:443")
    assert own.fate is Fate.EXITS_CLUSTER
    assert "comes back by there arrives at odd" in own.cause.summary
    refused = trace("192.0.3.1", "node/odd:22")
    assert (refused.fate, refused.exit_code) == (Fate.REFUSED, 1)
    assert trace("192.0.3.1", "10.0.0.5", protocol="icmp").fate is Fate.DELIVERED
    assert trace("192.0.3.1", "10.244.1.4", protocol="icmp").fate is Fate.EXITS_CLUSTER


def test_without_ss_whatever_arrives_is_delivered_and_the_report_says_so():
    """An assumption is told where it decided."""
    (odd,) = read((FOLDER / "odd.dump").read_text(), "odd")
    sections = {name: s for name, s in odd.sections.items() if name not in {"ss", "sysctl"}}
    loaded = [load(Dump("odd", sections), SeededRng(0))]
    report = trace("192.0.3.1", "node/odd:22", loaded=loaded)
    assert report.fate is Fate.DELIVERED
    assert "no ss in the dump" in report.cause.summary
    forwarded = trace(POD, FAR_POD + ":80", loaded=loaded)
    assert "no sysctl in the dump" in forwarded.cause.summary
    assert "no sysctl" not in report.cause.summary


@pytest.mark.parametrize(
    ("source", "port", "fate", "rule"),
    [
        ("192.0.2.9", 80, Fate.DROPPED_BY_RULE, "--match-set blocked src -j DROP"),
        (POD, 8083, Fate.REFUSED, "--reject-with tcp-reset"),
        (POD, 22, Fate.REFUSED, "tcp dport 22 counter"),
        (POD, 8081, Fate.UNKNOWN, "-m time --timestart 01:00:00"),
        (POD, 8085, Fate.UNKNOWN, "tcp option maxseg"),
    ],
)
def test_the_deciding_rule_is_named(source, port, fate, rule):
    """iptables, ipset and nft; what is not modelled is UNKNOWN only when a packet meets it."""
    report = trace(source, f"{FAR_POD}:{port}", entry="eth0" if source != POD else "")
    assert report.fate is fate
    assert rule in report.cause.rule
    assert report.exit_code == (4 if fate is Fate.UNKNOWN else 1)


@pytest.mark.parametrize(
    ("source", "destination", "words"),
    [
        (POD, "10.97.1.9", "10.97.1.0/24 tos 0x10"),
        ("10.244.9.9", "10.98.0.1", "from 10.244.9.0/24 uidrange 1000-2000 lookup 2"),
    ],
)
def test_routes_and_rules_that_are_not_modelled_are_unknown(source, destination, words):
    """The whole line is named."""
    report = trace(source, destination, protocol="icmp", entry="cni0")
    assert report.fate is Fate.UNKNOWN
    assert words in report.cause.summary


def test_routes_that_lead_nowhere_and_neighbours_that_do_not_answer():
    """What the dump knows to fail fails."""
    assert trace(POD, "10.99.0.1:80").fate is Fate.NULL_ROUTED
    assert trace(POD, "10.0.0.66:80").fate is Fate.NEIGHBOR_UNREACHABLE
    assert trace("node/odd", "10.8.0.2:80").fate is Fate.LINK_DOWN
    assert trace(POD, "10.0.0.67:80").fate is Fate.EXITS_CLUSTER


def test_a_tunnels_packet_says_where_it_goes():
    """VXLAN by the FDB; the answer comes back inside, too."""
    report = trace(POD, f"{FAR_POD}:80")
    assert steps(report, "leave")[0].endswith("in a tunnel to 10.0.0.6")
    assert report.branches[0].destination == f"{FAR_POD}:80"
    assert any(step.stage == "decap" for hop in report.reply_hops for step in hop.steps)


def test_without_forwarding_tables_nobody_can_say_where_a_tunnel_leads():
    """UNKNOWN rather than "the tunnel knows no peer"."""
    (odd,) = read((FOLDER / "odd.dump").read_text(), "odd")
    sections = {name: s for name, s in odd.sections.items() if name != "bridge-fdb"}
    loaded = [load(Dump("odd", sections), SeededRng(0))]
    report = trace(POD, f"{FAR_POD}:80", loaded=loaded)
    assert report.fate is Fate.UNKNOWN
    assert "bridge fdb show" in report.cause.summary
    near = trace("10.0.0.9", f"{POD}:80", loaded=loaded)
    assert near.fate is Fate.EXITS_CLUSTER
    assert "leaves by a port of cni0" in near.cause.summary


def test_an_established_connection_of_the_dump_goes_on():
    """Its NAT is the connection's own, whatever the rules say by now."""
    (odd,) = read((FOLDER / "odd.dump").read_text(), "odd")
    flow = (
        "tcp 6 9 SYN_SENT src=10.244.1.4 dst=10.96.0.1 sport=40000 dport=443 [UNREPLIED] "
        "src=10.0.0.99 dst=10.244.1.4 sport=6443 dport=40000 mark=0 use=1\n"
    )
    told = Dump("odd", {**odd.sections, "conntrack": Section(flow)})
    loaded = [load(told, SeededRng(0))]
    old = trace(POD, "10.96.0.1:443", loaded=loaded, source_port=40000)
    assert old.branches[0].destination == "10.0.0.99:6443"
    assert trace(POD, "10.96.0.1:443", loaded=loaded).branches[0].destination == "10.0.0.7:6443"


def test_two_dumped_nodes_are_one_network():
    """Out of one by VXLAN, into the other, and out to its pod; replay says all again."""
    loaded = nodes("iptables-node-1", "iptables-node-2")
    report = trace("10.244.1.2", "10.244.2.2:8080", loaded=loaded)
    assert report.fate is Fate.EXITS_CLUSTER
    assert [hop.node for hop in report.hops if hop.node] == ["node-1", "node-2"]
    assert steps(report, "leave")[0].startswith("leaves by veth")
    back = [hop.node for hop in report.reply_hops if hop.node]
    assert back == ["node-2", "node-1"]


@pytest.mark.parametrize(
    ("source", "destination", "entry", "why"),
    [
        (POD, "web:80", "", "no address"),
        (POD, "10.96.0.1", "", "a port is needed"),
        ("node/x", "10.96.0.1:80", "", "no dump of node x"),
        ("node/odd", "10.96.0.1:80", "eth0", "comes in by no device"),
        (POD, "10.96.0.1:80", "eth7", "there is no device eth7; there are lo, eth0"),
        (POD, "[fd00::7]:80", "", "different families"),
    ],
)
def test_questions_that_dumps_cannot_be_asked(source, destination, entry, why):
    """In words that say what to do."""
    with pytest.raises(dumps.PlaceError, match=why):
        trace(source, destination, entry=entry)


def test_which_node_is_asked_for_when_several_may_be():
    """An address that is nobody's neighbour comes in by either."""
    loaded = nodes("iptables-node-1", "iptables-node-2")
    with pytest.raises(dumps.PlaceError, match="say --in node-1/eth0, --in node-2/eth0"):
        trace("8.8.8.8", "10.96.0.10:80", loaded=loaded)
    report = trace("8.8.8.8", "10.96.0.10:80", loaded=loaded, entry="node-2/eth0")
    assert report.hops[0].node == "node-2"
    assert report.replay.endswith("--in node-2/eth0")


def test_a_trace_changes_nothing_of_what_was_loaded():
    """The same question has the same answer."""
    loaded = nodes("odd")
    before = loaded[0].kernel.state_hash()
    first = trace(POD, "10.96.0.1:443", loaded=loaded)
    assert loaded[0].kernel.state_hash() == before
    assert msgspec.to_builtins(first) == msgspec.to_builtins(
        trace(POD, "10.96.0.1:443", loaded=loaded)
    )


def test_an_answer_that_nobody_takes_is_no_success():
    """A bridge without ports: the packet of an address behind it leaves, its answer cannot."""
    addr = (
        "2: eth0: <BROADCAST,UP,LOWER_UP> mtu 1500\n    link/ether 02:00:00:00:00:01\n"
        "    inet 10.0.0.2/24 scope global eth0\n"
        "3: docker0: <NO-CARRIER,BROADCAST,UP> mtu 1500\n    link/ether 02:00:00:00:00:02\n"
        "    bridge\n    inet 172.17.0.1/16 scope global docker0\n"
    )
    routes = "default via 10.0.0.1 dev eth0\n10.0.0.0/24 dev eth0 scope link\n"
    routes += "172.17.0.0/16 dev docker0 scope link linkdown\n"
    told = {"ip-addr": Section(addr), "ip-route": Section(routes)}
    loaded = [load(Dump("here", told), SeededRng(0))]
    report = trace("172.17.0.5", "8.8.8.8:53", loaded=loaded)
    assert report.fate is Fate.NEIGHBOR_UNREACHABLE
    assert report.cause.summary.startswith("the packet arrived, its answer did not: ")
