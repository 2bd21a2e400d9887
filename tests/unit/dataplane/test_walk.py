"""Walks: every branch, one drawn, there and back, each with one fate; the world stays as it was."""

import pytest

from podwire.dataplane import commands as c
from podwire.dataplane.verdict import Edit, Fate, WalkRequest, WireEdit
from podwire.runtime.rng import SeededRng
from tests.unit.dataplane.lab import Lab
from tests.unit.dataplane.services import load, service

VIP = "10.96.0.10"
A1, B1, A2 = ("10.244.1.2", 8080), ("10.244.1.3", 8080), ("10.244.2.2", 8080)


@pytest.fixture
def lab():
    made = Lab(nodes=3)
    load(
        made,
        service("web", VIP, 80, [A2, B1, ("10.244.3.2", 8080)], node_port=30080),
        service("empty", "10.96.0.11", 80, []),
    )
    for i in (1, 2, 3):
        for letter in "ab":
            made.listen(f"node-{i}", f"{letter}{i}", 8080)
    return made


def walk(lab, dst, port, node="node-1", netns="a1", **options):
    request = WalkRequest(node=node, netns=netns, dst=dst, dst_port=port, **options)
    before = lab.world.state_hash()
    answer = lab.world.walk(request, SeededRng(7), lab.now)
    assert lab.world.state_hash() == before, "a walk leaves nothing behind"
    return answer


def steps(branch):
    return [step for hop in branch.hops for step in hop.steps]


def test_all_branches_of_a_service_are_walked_and_one_is_drawn(lab):
    """Three backends, a third each; the draw decides as the rules' probabilities do."""
    answer = walk(lab, VIP, 80, draw=0.5)
    assert [b.fate for b in answer.branches] == [Fate.DELIVERED] * 3
    assert sum(b.probability for b in answer.branches) == pytest.approx(1)
    assert [(b.draws[0].n, b.draws[0].taken) for b in answer.branches] == [(3, 0), (3, 1), (3, 2)]
    assert (answer.drawn.node, answer.drawn.netns) == ("node-1", "b1")
    ends = [walk(lab, VIP, 80, draw=d).drawn.flow.dst for d in (0.0, 0.33, 0.34, 0.66, 0.67, 0.99)]
    assert ends == ["10.244.2.2"] * 2 + ["10.244.1.3"] * 2 + ["10.244.3.2"] * 2


def test_the_same_port_and_draw_replay_the_same_walk(lab):
    """What an answer reports is enough to get it again."""
    first = walk(lab, VIP, 80)
    again = walk(lab, VIP, 80, src_port=first.src_port, draw=first.draw)
    assert again == first


def test_a_cross_node_walk_names_every_stage_in_order(lab):
    """From DNAT at the client's node over the wire into the far pod."""
    branch = walk(lab, VIP, 80, draw=0.0).drawn
    assert [hop.node for hop in branch.hops] == ["node-1", "", "node-2"]
    story = [(s.stage, s.result) for s in steps(branch)]
    wanted = [
        ("out", "send"),
        ("link", "vetha1"),
        ("nat", "dnat"),
        ("route", "forward"),
        ("encap", "wrap"),
        ("wire", "carry"),
        ("decap", "unwrap"),
        ("route", "forward"),
        ("socket", "deliver"),
    ]
    at = -1
    for item in wanted:
        at = story.index(item, at + 1)
    (dnat,) = [s for s in steps(branch) if s.result == "dnat" and s.before]
    assert (dnat.before.dst, dnat.after.dst) == (VIP, "10.244.2.2")
    assert branch.reply_hops[-1].steps[-1].result == "deliver"
    assert branch.latency_ns > 0


def test_the_way_back_counts(lab):
    """The server's node has lost its route to the client's pods: not DELIVERED."""
    edit = Edit(node="node-2", command=c.RouteReplace(dst="10.244.1.0/24", type="blackhole"))
    answer = walk(lab, "10.244.2.2", 8080, edits=[edit])
    assert answer.drawn.fate is Fate.NULL_ROUTED
    assert walk(lab, "10.244.2.2", 8080, edits=[edit], reply=False).drawn.fate is Fate.DELIVERED


@pytest.mark.parametrize(
    ("dst", "port", "fate", "node"),
    [
        ("10.244.2.2", 8080, Fate.DELIVERED, "node-2"),
        ("10.244.2.2", 81, Fate.REFUSED, "node-2"),
        ("10.96.0.11", 80, Fate.NO_ENDPOINTS, "node-1"),
        ("8.8.8.8", 53, Fate.EXITS_CLUSTER, "gateway"),
        (VIP, 81, Fate.NULL_ROUTED, "gateway"),
        ("10.244.1.99", 80, Fate.NEIGHBOR_UNREACHABLE, "node-1"),
        ("192.168.0.77", 80, Fate.NEIGHBOR_UNREACHABLE, "node-1"),
        ("192.168.0.12", 30080, Fate.DELIVERED, ""),
    ],
)
def test_every_walk_ends_in_one_fate(lab, dst, port, fate, node):
    """And names where."""
    branch = walk(lab, dst, port, draw=0.2).drawn
    assert branch.fate is fate
    assert node in {"", branch.node}


def test_udp_is_refused_by_port_unreachable_and_ping_is_answered(lab):
    """Other protocols walk too."""
    assert walk(lab, "10.244.2.2", 53, protocol="udp").drawn.fate is Fate.REFUSED
    assert walk(lab, "10.244.2.2", 0, protocol="icmp").drawn.fate is Fate.DELIVERED


def test_a_cut_wire_is_link_down_and_mending_it_on_the_fork_delivers(lab):
    """The nearest change can be tried without touching the world."""
    lab.world.set_link("node-1", "node-2", up=False)
    branch = walk(lab, "10.244.2.2", 8080).drawn
    assert branch.fate is Fate.LINK_DOWN
    assert branch.hops[-1].steps[-1].result == "down"
    assert branch.reply_hops[-1].steps[-1].result == "deliver", "the sender is told"
    mended = walk(lab, "10.244.2.2", 8080, wire_edits=[WireEdit(a="node-2", b="node-1")])
    assert mended.drawn.fate is Fate.DELIVERED


@pytest.mark.parametrize(
    ("command", "node", "fate"),
    [
        (c.LinkSet(name="vetha1", up=False), "node-1", Fate.LINK_DOWN),
        (c.RouteDel(netns="a1", dst="default"), "node-1", None),
        (c.SysctlSet(key="net.ipv4.ip_forward", value="0"), "node-1", Fate.NO_ROUTE),
        (c.FdbDel(dev="flannel.1", mac="02:00:00:00:01:02"), "node-1", Fate.NEIGHBOR_UNREACHABLE),
        (c.LinkSet(name="flannel.1", mtu_bytes=50), "node-1", Fate.MTU_EXCEEDED),
        (c.LinkDel(name="flannel.1"), "node-2", None),
        (c.SysctlSet(key="net.ipv4.conf.all.rp_filter", value="1"), "node-2", Fate.DELIVERED),
        (
            c.RulesRestore(
                text="*filter\n:cali-fw-x - [0:0]\n-I FORWARD -j cali-fw-x\n"
                '-A cali-fw-x -m comment --comment "podwire:isolated d/a by d/p" -j DROP\nCOMMIT\n'
            ),
            "node-1",
            Fate.DENIED_OUT,
        ),
        (
            c.RulesRestore(
                text="*filter\n:cali-tw-x - [0:0]\n-I FORWARD -j cali-tw-x\n"
                '-A cali-tw-x -m comment --comment "podwire:isolated d/a by d/p" -j DROP\nCOMMIT\n'
            ),
            "node-2",
            Fate.DENIED_IN,
        ),
        (
            c.RulesRestore(text="*raw\n-A PREROUTING -j DROP\nCOMMIT\n"),
            "node-2",
            Fate.DROPPED_BY_RULE,
        ),
        (c.SysctlSet(key="net.netfilter.nf_conntrack_max", value="0"), "node-1", Fate.CT_FULL),
    ],
)
def test_what_breaks_the_path_shows_in_the_fate(lab, command, node, fate):
    """Each fault on a fork of a working cluster."""
    branch = walk(lab, "10.244.2.2", 8080, edits=[Edit(node=node, command=command)]).drawn
    if fate is None:
        assert branch.fate is not Fate.EXITS_CLUSTER
    else:
        assert branch.fate is fate
    if fate in {Fate.DENIED_IN, Fate.DENIED_OUT}:
        drop = [s for s in steps(branch) if s.result == "drop"][-1]
        assert "podwire:isolated d/a by d/p" in drop.rule
        assert branch.node == node


def test_an_answer_that_comes_from_a_stranger_times_out(lab):
    """Without bridge-nf-call-iptables the same-node answer is not translated back."""
    edit = Edit(
        node="node-1",
        command=c.SysctlSet(key="net.bridge.bridge-nf-call-iptables", value="0"),
    )
    answer = walk(lab, VIP, 80, draw=0.5, edits=[edit])
    assert answer.drawn.fate is Fate.TIMED_OUT
    assert [b.fate for b in answer.branches] == [Fate.DELIVERED, Fate.TIMED_OUT, Fate.DELIVERED]


def test_an_edit_that_fails_says_why(lab):
    """The tool's own words."""
    edit = Edit(node="node-1", command=c.LinkDel(name="nope"))
    with pytest.raises(c.CommandError, match="Cannot find device"):
        walk(lab, VIP, 80, edits=[edit])
    with pytest.raises(LookupError, match="no node"):
        walk(lab, VIP, 80, node="node-9")
    with pytest.raises(LookupError, match="no network namespace"):
        walk(lab, VIP, 80, netns="gone")


def test_a_large_packet_without_fragmentation_exceeds_the_tunnel(lab):
    """1451 bytes from a 1450-byte pod."""
    assert walk(lab, "10.244.2.2", 8080, size_bytes=1450).drawn.fate is Fate.DELIVERED
    assert walk(lab, "10.244.2.2", 8080, size_bytes=1451).drawn.fate is Fate.MTU_EXCEEDED
    whole = walk(lab, "10.244.2.2", 8080, size_bytes=1451, dont_fragment=False)
    assert whole.drawn.fate is Fate.DELIVERED
