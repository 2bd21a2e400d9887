"""Routing beyond one table: rules, marks, several next hops, what may arrive, ARP's manners."""

import pytest

from podwire.dataplane import commands as c
from podwire.dataplane.commands import CommandError
from podwire.dataplane.packet import Packet
from podwire.dataplane.verdict import Fate, WalkRequest
from podwire.runtime.rng import SeededRng
from tests.unit.dataplane.lab import Lab, delivered, drops, syn, udp


def walk(lab, node, netns, dst, port=80, **options):
    request = WalkRequest(node=node, netns=netns, dst=dst, dst_port=port, **options)
    return lab.world.walk(request, SeededRng(1), lab.now).drawn


def tool(lab, words, node="node-1"):
    out, err, code = lab.world.kernels[node].tool("", words.split(), "", lab.now)
    return out if code == 0 else err


def route(lab, dst, node="node-1", **fields):
    lab.run(node, c.RouteReplace(dst=dst, **fields))


# ---------------------------------------------------------------- rules and tables


def test_a_rule_sends_packets_of_a_source_to_their_own_table():
    """As the VPC CNI does: from the pod, by its interface's gateway."""
    lab = Lab()
    route(lab, "203.0.113.0/24", type="blackhole", table="2")
    lab.run("node-1", c.RuleAdd(priority=1536, src="10.244.1.2", table="2"))
    fates = [walk(lab, "node-1", ns, "203.0.113.9").fate for ns in ("a1", "b1")]
    assert fates == [Fate.NULL_ROUTED, Fate.EXITS_CLUSTER]


def test_rules_print_and_order_as_iproute2_does():
    """The reference's own lines; without a priority a rule goes before the first that has one."""
    lab = Lab()
    for words in (
        "rule add to 10.0.97.31 lookup main pref 512",
        "rule add fwmark 0x80/0x80 lookup main pref 1024",
        "rule add from 10.0.96.20 lookup 2",
        "rule add not from 10.0.0.0/24 lookup main suppress_prefixlength 0",
        "rule add oif eth0 goto 32766 pref 10",
        "rule add pref 11 goto 12",
        "rule add prohibit from 9.9.9.8 ipproto tcp sport 10 dport 20-30 pref 600",
        "rule add from 10.1.0.0/16 to 10.2.0.0/16 iif cni0 unreachable pref 601",
    ):
        assert tool(lab, f"ip {words}") == "", words
    assert tool(lab, "ip rule").splitlines() == [
        "0:\tfrom all lookup local",
        "10:\tfrom all oif eth0 goto 32766",
        "11:\tfrom all goto 12 [unresolved]",
        "510:\tnot from 10.0.0.0/24 lookup main suppress_prefixlength 0",
        "511:\tfrom 10.0.96.20 lookup 2",
        "512:\tfrom all to 10.0.97.31 lookup main",
        "600:\tfrom 9.9.9.8 ipproto tcp sport 10 dport 20-30 prohibit",
        "601:\tfrom 10.1.0.0/16 to 10.2.0.0/16 iif cni0 unreachable",
        "1024:\tfrom all fwmark 0x80/0x80 lookup main",
        "32766:\tfrom all lookup main",
        "32767:\tfrom all lookup default",
    ]
    assert tool(lab, "ip rule del pref 512") == ""
    assert tool(lab, "ip rule del pref 512") == "RTNETLINK answers: No such file or directory\n"
    assert tool(lab, "ip -6 rule").splitlines()[-1] == "32766:\tfrom all lookup main"


def test_a_throw_route_goes_on_with_the_next_rule_and_a_goto_skips_some():
    """throw leaves the table; goto 32766 leaves out the rules in between."""
    lab = Lab()
    route(lab, "default", type="blackhole", table="100")
    lab.run("node-1", c.RuleAdd(priority=100, table="100"))
    assert walk(lab, "node-1", "", "198.51.100.1").fate is Fate.NULL_ROUTED
    route(lab, "198.51.100.0/24", type="throw", table="100")
    assert walk(lab, "node-1", "", "198.51.100.1").fate is Fate.EXITS_CLUSTER
    assert walk(lab, "node-1", "", "198.51.101.1").fate is Fate.NULL_ROUTED
    lab.run("node-1", c.RuleAdd(priority=99, action="goto", target=32766))
    assert walk(lab, "node-1", "", "198.51.101.1").fate is Fate.EXITS_CLUSTER


def test_the_main_table_without_its_default_is_asked_first():
    """suppress_prefixlength 0, as wg-quick sets it: specific routes count, the default does not."""
    lab = Lab()
    route(lab, "default", type="prohibit", table="51820")
    lab.run("node-1", c.RuleAdd(priority=20, table="51820"))
    lab.run("node-1", c.RuleAdd(priority=10, table="main", suppress_prefixlength=0))
    assert walk(lab, "node-1", "", "198.51.100.1").fate is Fate.NULL_ROUTED
    lab.listen("node-2", "a2", 80)
    assert walk(lab, "node-1", "", "10.244.2.2").fate is Fate.DELIVERED


def test_a_mark_set_in_output_has_the_packet_routed_again():
    """ip_route_me_harder after mangle OUTPUT: the mark's table decides, the source stays."""
    lab = Lab()
    lab.listen("node-2", "", 53, "udp")
    lab.run(
        "node-1", c.RulesRestore(text="*mangle\n-A OUTPUT -p udp -j MARK --set-mark 7\nCOMMIT\n")
    )
    lab.run("node-1", c.RuleAdd(priority=50, mark=7, table="7"))
    route(lab, "192.168.0.0/16", via="192.168.0.1", dev="eth0", table="7")
    branch = walk(lab, "node-1", "", "192.168.0.12", 53, protocol="udp")
    routes = [s.detail for hop in branch.hops for s in hop.steps if s.stage == "route"]
    assert routes[0] == "192.168.0.0/16 via 192.168.0.1 dev eth0"
    assert (branch.fate, branch.flow.src) == (Fate.DELIVERED, "192.168.0.11")


def test_a_connection_keeps_its_way_by_its_mark():
    """Restored in PREROUTING before the routing decision, as the VPC CNI's AWS-CONNMARK does."""
    lab = Lab()
    lab.listen("node-1", "a1", 80)
    lab.run(
        "node-1",
        c.RulesRestore(
            text="*mangle\n-A PREROUTING -i eth0 -j CONNMARK --set-mark 0x80\n"
            "-A PREROUTING -i cni0 -j CONNMARK --restore-mark\nCOMMIT\n"
            "*nat\n-A PREROUTING -p tcp --dport 8080 -j DNAT --to-destination 10.244.1.2:80\n"
            "COMMIT\n"
        ),
    )
    lab.run("node-1", c.RuleAdd(priority=10, iif="cni0", table="9"))
    route(lab, "default", type="blackhole", table="9")
    assert walk(lab, "client", "", "192.168.0.11", 8080).fate is not Fate.DELIVERED
    lab.run("node-1", c.RuleAdd(priority=5, mark=0x80, mask=0x80, table="main"))
    assert walk(lab, "client", "", "192.168.0.11", 8080).fate is Fate.DELIVERED


@pytest.mark.parametrize(("kind", "of_route", "of_rule"), [
    ("unreachable", 1, 0), ("prohibit", 13, 13), ("blackhole", None, None),
])  # fmt: skip
def test_rules_and_routes_that_lead_nowhere_answer_with_their_own_code(kind, of_route, of_rule):
    """Host unreachable (of a rule: network unreachable), filtered, or silence."""
    for how, answer in (("route", of_route), ("rule", of_rule)):
        lab = Lab()
        if how == "route":
            route(lab, "203.0.113.0/24", type=kind)
        else:
            lab.run("node-1", c.RuleAdd(priority=9, dst="203.0.113.0/24", action=kind))
        seen = lab.send("node-1", "a1", syn("203.0.113.5", 80))
        assert drops(seen) == [("node-1", "NULL_ROUTED")]
        codes = [packet.icmp_code for _, _, packet in delivered(seen)]
        assert codes == ([] if answer is None else [answer]), how


# ---------------------------------------------------------------- several next hops


def spread(lab, flows):
    fib = lab.world.kernels["node-1"].netns("").fib
    seen = {}
    for src, sport in flows:
        packet = Packet(src=src, dst="10.50.0.9", protocol="udp", src_port=sport, dst_port=53)
        via = fib.route(packet).via
        seen[via] = seen.get(via, 0) + 1
    return seen


def multipath(lab, weights=(1, 1)):
    vias = ("192.168.0.12", "192.168.0.13")
    hops = [
        c.Hop(via=via, dev="eth0", weight=weight) for via, weight in zip(vias, weights, strict=True)
    ]
    lab.run("node-1", c.RouteReplace(dst="10.50.0.0/16", nexthops=hops))


def test_flows_spread_over_next_hops_by_their_weights():
    """Three to one over two thousand addresses, within five percent; a flow keeps its way."""
    lab = Lab()
    multipath(lab, (3, 1))
    flows = [(f"10.{i // 250}.{i % 250}.7", 5000) for i in range(2000)]
    seen = spread(lab, flows)
    assert seen["192.168.0.12"] / 2000 == pytest.approx(0.75, abs=0.05)
    assert spread(lab, flows[:1] * 50) in ({"192.168.0.12": 50}, {"192.168.0.13": 50})
    assert tool(lab, "ip route show 10.50.0.0/16") == (
        "10.50.0.0/16 \n\tnexthop via 192.168.0.12 dev eth0 weight 3 \n"
        "\tnexthop via 192.168.0.13 dev eth0 weight 1 \n"
    )


def test_ports_count_only_when_the_hash_policy_says_so():
    """fib_multipath_hash_policy 0 looks at addresses, 1 at ports too."""
    lab = Lab()
    multipath(lab)
    flows = [("10.9.9.9", port) for port in range(1000, 1200)]
    assert len(spread(lab, flows)) == 1
    lab.run("node-1", c.SysctlSet(key="net.ipv4.fib_multipath_hash_policy", value="1"))
    assert min(spread(lab, flows).values()) > 60


def test_the_next_hop_of_a_device_that_is_down_is_left_out():
    """The other one takes all; a route all of whose devices are down is gone."""
    lab = Lab()
    lab.run("node-1", c.LinkAdd(name="d0", kind="dummy"), c.LinkSet(name="d0", up=True))
    lab.run("node-1", c.AddrAdd(dev="d0", cidr="172.16.0.1/24"))
    hops = [c.Hop(via="192.168.0.12", dev="eth0"), c.Hop(via="172.16.0.2", dev="d0")]
    lab.run("node-1", c.RouteReplace(dst="10.50.0.0/16", nexthops=hops))
    flows = [(f"10.0.{i}.7", 5000) for i in range(100)]
    assert len(spread(lab, flows)) == 2
    lab.run("node-1", c.LinkSet(name="d0", up=False))
    assert spread(lab, flows) == {"192.168.0.12": 100}


# ---------------------------------------------------------------- words of commands


def test_routes_are_added_changed_and_appended_in_iproute2_s_words():
    """add refuses what is there, change what is not, metrics make different routes."""
    lab = Lab()
    assert (
        tool(lab, "ip route add 10.60.0.0/16 via 192.168.0.12 metric 5 mtu lock 1400 advmss 1300")
        == ""
    )
    assert tool(lab, "ip route add 10.60.0.0/16 via 192.168.0.13 metric 5") == (
        "RTNETLINK answers: File exists\n"
    )
    assert tool(lab, "ip route add 10.60.0.0/16 via 192.168.0.13 metric 3") == ""
    assert tool(lab, "ip route change 10.61.0.0/16 via 192.168.0.13") == (
        "RTNETLINK answers: No such file or directory\n"
    )
    assert tool(lab, "ip route show 10.60.0.0/16") == (
        "10.60.0.0/16 via 192.168.0.13 dev eth0 metric 3 \n"
        "10.60.0.0/16 via 192.168.0.12 dev eth0 metric 5 mtu lock 1400 advmss 1300 \n"
    )
    assert tool(lab, "ip route show table 999") == (
        "Error: ipv4: FIB table does not exist.\nDump terminated\n"
    )


def test_a_rule_that_is_there_already_is_refused():
    """File exists, and a goto backwards makes no sense."""
    lab = Lab()
    lab.run("node-1", c.RuleAdd(priority=9, src="10.0.0.1", table="9"))
    with pytest.raises(CommandError, match="File exists"):
        lab.run("node-1", c.RuleAdd(priority=9, src="10.0.0.1", table="9"))
    with pytest.raises(CommandError, match="Invalid argument"):
        lab.run("node-1", c.RuleAdd(priority=9, action="goto", target=8))


# ---------------------------------------------------------------- what may arrive


def test_forwarding_is_a_matter_of_the_device_a_packet_comes_in_by():
    """ip_forward sets all; conf.cni0.forwarding=0 takes one out again."""
    lab = Lab()
    lab.listen("node-2", "a2", 80)
    lab.run("node-1", c.SysctlSet(key="net.ipv4.conf.cni0.forwarding", value="0"))
    assert drops(lab.send("node-1", "a1", syn("10.244.2.2", 80))) == [("node-1", "NO_ROUTE")]
    lab.run("node-1", c.SysctlSet(key="net.ipv4.ip_forward", value="1"))
    assert len(delivered(lab.send("node-1", "a1", syn("10.244.2.2", 80, sport=5)))) == 1


def test_strict_reverse_path_asks_marks_only_when_told_to():
    """src_valid_mark: the mark's table leads back through the tunnel, the main one does not."""
    lab = Lab()
    text = "*mangle\n-A PREROUTING -i eth0 -j MARK --set-mark 5\nCOMMIT\n"
    lab.run("node-1", c.RulesRestore(text=text))
    lab.run("node-1", c.RuleAdd(priority=5, mark=5, table="5"))
    route(lab, "10.0.0.0/8", dev="eth0", table="5")
    lab.run("node-1", c.SysctlSet(key="net.ipv4.conf.all.rp_filter", value="1"))
    probe = lambda: drops(lab.send("client", "", udp("192.168.0.11", 9, src="10.244.2.9")))  # noqa: E731
    assert probe()[0] == ("node-1", "MARTIAN")
    lab.run("node-1", c.SysctlSet(key="net.ipv4.conf.all.src_valid_mark", value="1"))
    assert probe()[0] == ("node-1", "REFUSED")


# ---------------------------------------------------------------- ARP


def asked(lab, target, **keys):
    """Whether the client's question for an address of node-1 is answered."""
    for key, value in keys.items():
        lab.run("node-1", c.SysctlSet(key=f"net.ipv4.conf.all.{key}", value=str(value)))
    lab.run("client", c.RouteReplace(dst=f"{target}/32", dev="eth0"))
    lab.listen("node-1", "", 22)
    return walk(lab, "client", "", target, 22).fate is Fate.DELIVERED


@pytest.mark.parametrize(("mode", "own", "other"), [
    (0, True, True), (1, True, False), (2, True, False), (8, False, False),
])  # fmt: skip
def test_arp_ignore_decides_which_addresses_are_answered_for(mode, own, other):
    """192.168.0.11 is eth0's, 10.244.1.1 is cni0's; the client asks on eth0."""
    assert asked(Lab(), "192.168.0.11", arp_ignore=mode) is own
    assert asked(Lab(), "10.244.1.1", arp_ignore=mode) is other


@pytest.mark.parametrize(
    ("mode", "said"), [(0, "10.244.1.1"), (1, "192.168.0.11"), (2, "192.168.0.11")]
)
def test_arp_announce_decides_which_address_a_question_comes_from(mode, said):
    """A packet from cni0's address leaves by eth0: what does its ARP request say?"""
    lab = Lab()
    lab.run("node-1", c.SysctlSet(key="net.ipv4.conf.all.arp_announce", value=str(mode)))
    seen = lab.send("node-1", "", syn("192.168.0.100", 80, src="10.244.1.1"))
    question = next(e.frame.arp for _, e in seen if getattr(e, "frame", None) and e.frame.arp)
    assert question.sender_ip == said


def test_proxy_arp_answers_for_what_is_routed_elsewhere_by_a_router_only():
    """The pod's address is behind cni0; a host that does not forward keeps silent."""
    assert asked(Lab(), "10.244.1.1", arp_ignore=1, proxy_arp=1) is False
    lab = Lab()
    lab.listen("node-1", "a1", 22)
    lab.run("client", c.RouteReplace(dst="10.244.1.2/32", dev="eth0"))
    assert walk(lab, "client", "", "10.244.1.2", 22).fate is Fate.NEIGHBOR_UNREACHABLE
    lab.run("node-1", c.SysctlSet(key="net.ipv4.conf.eth0.proxy_arp", value="1"))
    assert walk(lab, "client", "", "10.244.1.2", 22).fate is Fate.DELIVERED
    lab.run("node-1", c.SysctlSet(key="net.ipv4.conf.eth0.forwarding", value="0"))
    assert walk(lab, "client", "", "10.244.1.2", 22).fate is Fate.NEIGHBOR_UNREACHABLE


def test_a_full_neighbour_table_loses_packets_until_entries_grow_old():
    """gc_thresh3 over all namespaces of the node; after five seconds old ones make room."""
    lab = Lab(nodes=1, pods=4)
    for number, value in (("2", "2"), ("3", "4")):
        key = f"net.ipv4.neigh.default.gc_thresh{number}"
        lab.run("node-1", c.SysctlSet(key=key, value=value))
    for pod in ("b1", "c1"):
        lab.listen("node-1", pod, 80)
    lab.send("node-1", "a1", syn("10.244.1.3", 80))
    lab.send("node-1", "d1", syn("10.244.1.3", 80))
    branch = walk(lab, "node-1", "c1", "10.244.1.3")
    assert branch.fate is Fate.NEIGHBOR_UNREACHABLE
    assert "neighbor table overflow" in branch.hops[-1].steps[-1].detail
    lab.now += 6 * 10**9
    lab.listen("node-1", "b1", 81)
    assert len(delivered(lab.send("node-1", "c1", syn("10.244.1.3", 81)))) == 1


def test_a_learned_mac_is_forgotten_when_the_bridge_says_so():
    """ageing_time: afterwards frames are flooded again."""
    lab = Lab(nodes=1)
    lab.send("node-1", "a1", udp("10.244.1.3", 9))
    shown = tool(lab, "bridge fdb show br cni0")
    assert len([line for line in shown.splitlines() if "permanent" not in line]) == 2
    lab.run("node-1", c.FdbAgeing(bridge="cni0", seconds=10))
    lab.now += 11 * 10**9
    shown = tool(lab, "bridge fdb show br cni0")
    assert [line for line in shown.splitlines() if "permanent" not in line] == []
