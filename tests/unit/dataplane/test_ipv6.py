"""IPv6 in the laboratory: neighbour discovery, tunnels, errors, rules, and both families."""

import pytest

from podwire.dataplane import commands as c
from podwire.dataplane.addr import (
    canonical,
    ip_int,
    ip_text,
    link_local,
    multicast_mac,
    parse_prefix,
    solicited_node,
)
from podwire.dataplane.commands import CommandError
from podwire.dataplane.verdict import Fate, WalkRequest
from podwire.runtime.rng import SeededRng
from tests.unit.dataplane.lab import Lab, delivered, drops, syn, udp

A1, B1, A2 = "fd00:244:1::2", "fd00:244:1::3", "fd00:244:2::2"


def lab(**options):
    made = Lab(dual=True, **options)
    made.listen("node-1", "b1", 80)
    made.listen("node-2", "a2", 80)
    return made


def rules6(made, text, node="node-1"):
    made.run(node, c.RulesRestore(text=text, family="ipv6"))


def walk(made, node, netns, dst, port=80, protocol="tcp"):
    request = WalkRequest(node=node, netns=netns, dst=dst, dst_port=port, protocol=protocol)
    return made.world.walk(request, SeededRng(1), made.now).drawn


# ---------------------------------------------------------------- addresses


def test_addresses_are_kept_in_the_text_the_kernel_prints():
    """RFC 5952, and dotted quads for addresses that embed one."""
    assert canonical("2001:DB8:0:0::01") == "2001:db8::1"
    assert canonical("::ffff:10.0.0.1") == "::ffff:10.0.0.1"
    assert ip_text(ip_int("fe80::1"), 128) == "fe80::1"
    assert str(parse_prefix("fd00:1:2:3:4::5/64")) == "fd00:1:2:3::/64"
    for wrong in ("fe80::1%eth0", "1::2::3", "10.0.0", "::1/129"):
        with pytest.raises(ValueError, match="not "):
            parse_prefix(wrong)


def test_a_device_makes_itself_an_address_and_listens_in_its_group():
    """RFC 4291's own example values for EUI-64 and the solicited-node group."""
    assert link_local("34:56:78:9a:bc:de") == "fe80::3656:78ff:fe9a:bcde"
    assert solicited_node("4037::1:800:200e:8c6c") == "ff02::1:ff0e:8c6c"
    assert multicast_mac("ff02::1:ff0e:8c6c") == "33:33:ff:0e:8c:6c"


def test_addresses_of_a_device_go_with_it_and_only_the_link_local_one_returns():
    """keep_addr_on_down=0: unlike IPv4's, which stay."""
    made = lab()
    ns = made.world.kernels["node-1"].netns("")
    made.run("node-1", c.LinkSet(name="eth0", up=False))
    assert (ns.links["eth0"].addresses6, len(ns.links["eth0"].addresses)) == ((), 1)
    assert not [r for r in ns.fib6.routes() if r.dev == "eth0"]
    made.run("node-1", c.LinkSet(name="eth0", up=True))
    assert [a.scope for a in ns.links["eth0"].addresses6] == ["link"]


def test_disable_ipv6_takes_all_addresses_and_refuses_new_ones():
    """Permission denied, in the kernel's words."""
    made = lab()
    made.run("node-1", c.SysctlSet(netns="a1", key="net.ipv6.conf.all.disable_ipv6", value="1"))
    links = made.world.kernels["node-1"].netns("a1").links
    assert all(not link.addresses6 for link in links.values())
    with pytest.raises(CommandError, match="Permission denied"):
        made.run("node-1", c.AddrAdd(netns="a1", dev="eth0", cidr="fd00::9/64"))
    made.run("node-1", c.SysctlSet(netns="a1", key="net.ipv6.conf.all.disable_ipv6", value="0"))
    assert [a.scope for a in links["eth0"].addresses6] == ["link"]


def test_an_address_is_assigned_once():
    """In the words of IPv6, which differ from IPv4's."""
    made = lab()
    with pytest.raises(CommandError, match=r"^Error: ipv6: address already assigned\.$"):
        made.run("node-1", c.AddrAdd(netns="a1", dev="eth0", cidr=f"{A1}/64"))
    with pytest.raises(CommandError, match=r"^Error: ipv6: address not found\.$"):
        made.run("node-1", c.AddrDel(netns="a1", dev="eth0", cidr="fd00::77/64"))


# ---------------------------------------------------------------- ways


@pytest.mark.parametrize(("dst", "home"), [(B1, ("node-1", "b1")), (A2, ("node-2", "a2"))])
def test_pods_reach_each_other_by_discovery_and_tunnel(dst, home):
    """Same node by the bridge, other node by flannel-v6.1."""
    ((node, netns, packet),) = delivered(lab().send("node-1", "a1", syn(dst, 80)))
    assert ((node, netns), packet.src) == (home, A1)


def test_both_families_use_one_listener_unless_it_asked_for_ipv4():
    """``::`` is bound for both (bindv6only=0); 0.0.0.0 is not."""
    made = lab()
    made.listen("node-2", "a2", 81, address="0.0.0.0")
    made.listen("node-2", "a2", 82, address=A2)
    assert len(delivered(made.send("node-1", "a1", syn("10.244.2.2", 80)))) == 1
    fates = [walk(made, "node-1", "a1", dst, port).fate.value for dst, port in (
        ("10.244.2.2", 81), (A2, 81), ("10.244.2.2", 82), (A2, 82),
    )]  # fmt: skip
    assert fates == ["DELIVERED", "REFUSED", "REFUSED", "DELIVERED"]


def test_an_unanswered_solicitation_ends_as_no_arp_answer_does():
    """Three questions a second apart, then "address unreachable"."""
    made = lab()
    assert drops(made.send("node-1", "a1", syn("fd00:244:1::77", 80))) == []
    seen = made.tick(3)
    assert drops(seen) == [("node-1", "NEIGHBOR_UNREACHABLE")]
    ((_, netns, error),) = delivered(seen)
    assert (netns, error.protocol, error.icmp_type, error.icmp_code) == ("a1", "icmpv6", 1, 3)


def test_discovery_is_answered_for_the_device_that_was_asked_only():
    """ARP answers for any local address (arp_ignore=0); neighbour discovery does not."""
    made = lab()
    for dst in ("10.244.1.1", "fd00:244:1::1"):
        bits = 128 if ":" in dst else 32
        made.run("client", c.RouteReplace(dst=f"{dst}/{bits}", dev="eth0"))
    made.listen("node-1", "", 22)
    assert walk(made, "client", "", "10.244.1.1", 22).fate is Fate.DELIVERED
    assert walk(made, "client", "", "fd00:244:1::1", 22).fate is Fate.NEIGHBOR_UNREACHABLE


def test_discovery_passes_netfilter_and_its_loss_is_told_by_the_rule():
    """A firewall without an exception for ICMPv6 cuts the host off, as on real nodes."""
    made = lab()
    rules6(made, "*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp -j ACCEPT\nCOMMIT\n")
    branch = walk(made, "client", "", "fd00:a8::11", 22)
    assert branch.fate is Fate.DROPPED_BY_RULE
    rules6(made, "*filter\n-A INPUT -p ipv6-icmp -j ACCEPT\nCOMMIT\n")
    assert walk(made, "client", "", "fd00:a8::11", 22).fate is Fate.REFUSED


def test_a_small_tunnel_tells_its_mtu():
    """1,500 bytes do not fit flannel-v6.1's 1430; the sender learns."""
    made = lab(pod_mtu=1500)
    kernel = made.world.kernels["node-1"]
    seen = made.send("node-1", "a1", udp(A2, 80, size=1500))
    assert drops(seen) == [("node-1", "MTU_EXCEEDED")]
    ((_, _, error),) = delivered(seen)
    assert (error.icmp_type, error.icmp_mtu_bytes) == (2, 1430)
    assert kernel.path_mtu("a1", A2) == 1430


def test_a_host_that_is_no_router_drops_in_silence():
    """net.ipv6.conf.all.forwarding=0."""
    made = lab()
    made.run("node-1", c.SysctlSet(key="net.ipv6.conf.all.forwarding", value="0"))
    assert drops(made.send("node-1", "a1", syn(A2, 80))) == [("node-1", "NO_ROUTE")]


@pytest.mark.parametrize(("kind", "answer"), [
    ("unreachable", (1, 0)), ("prohibit", (1, 1)), ("blackhole", None),
])  # fmt: skip
def test_routes_that_lead_nowhere_answer_with_their_own_code(kind, answer):
    """ip6_pkt_discard says "no route" for unreachable ones."""
    made = lab()
    made.run("node-1", c.RouteReplace(dst="fd00:99::/64", type=kind))
    seen = made.send("node-1", "a1", syn("fd00:99::1", 80))
    assert drops(seen) == [("node-1", "NULL_ROUTED")]
    errors = [(p.icmp_type, p.icmp_code) for _, _, p in delivered(seen)]
    assert errors == ([answer] if answer else [])


def test_a_ping_is_answered_by_the_kernel():
    """Echo request and reply, also to a node's own address and to loopback."""
    made = lab()
    ways = (("node-1", "a1", A2), ("client", "", "fd00:a8::12"), ("node-1", "", "::1"))
    for node, netns, dst in ways:
        assert walk(made, node, netns, dst, 0, "icmp").fate is Fate.DELIVERED, dst


# ---------------------------------------------------------------- rules and connections

SERVICE = (
    "*nat\n:KUBE-SEP - [0:0]\n"
    "-A PREROUTING -d fd00:96::10/128 -p tcp -m tcp --dport 80 -j KUBE-SEP\n"
    "-A OUTPUT -d fd00:96::10/128 -p tcp -m tcp --dport 80 -j KUBE-SEP\n"
    f"-A KUBE-SEP -p tcp -m tcp -j DNAT --to-destination [{A2}]:80\n"
    "-A POSTROUTING ! -s fd00:244::/32 -d fd00:244::/32 -j MASQUERADE\nCOMMIT\n"
)


def test_a_service_address_is_translated_there_and_back():
    """A pod's and a node's connection; the node's is masqueraded by the tunnel's address."""
    made = lab()
    rules6(made, SERVICE)
    for netns, source in (("a1", A1), ("", "fd00:244:1::")):
        branch = walk(made, "node-1", netns, "fd00:96::10")
        assert (branch.fate, branch.flow.dst, branch.flow.src) == (Fate.DELIVERED, A2, source)


def test_an_error_about_a_translated_packet_names_what_its_sender_knows():
    """The far pod refuses by ICMPv6; the quoted destination is the service's address."""
    made = lab()
    rules6(made, SERVICE.replace("tcp", "udp"))
    ((_, netns, error),) = delivered(made.send("node-1", "a1", udp("fd00:96::10", 80)))
    assert (netns, error.icmp_code, error.original.dst) == ("a1", 4, "fd00:96::10")


def test_ip6tables_rules_print_as_they_were_written():
    """ip6tables-save's spelling: brackets, masks, protocol names, REJECT's own words."""
    made = lab()
    kernel = made.world.kernels["node-1"]
    mask = ":".join(["ffff"] * 8)
    text = (
        "-A FORWARD -s fd00:1::/64 -p ipv6-icmp -m icmp6 --icmpv6-type 128 -j ACCEPT",
        "-A FORWARD -d fd00:1::5/128 -p tcp -m tcp --dport 80 -j REJECT --reject-with tcp-reset",
        "-A FORWARD -m conntrack --ctstate INVALID -j REJECT --reject-with icmp6-no-route",
        f"-A FORWARD -m recent --rcheck --seconds 10 --name X --mask {mask} --rsource -j DROP",
    )
    rules6(made, "*filter\n" + "\n".join(text) + "\nCOMMIT\n")
    rules6(made, SERVICE)
    saved, _, code = kernel.tool("", ["ip6tables-save"], "", made.now)
    assert code == 0
    assert set(text) <= set(saved.splitlines())
    assert f"-A KUBE-SEP -p tcp -m tcp -j DNAT --to-destination [{A2}]:80" in saved
    assert kernel.tool("", ["iptables-save"], "", made.now)[0] == "", "IPv4 has rules of its own"
    listed, _, _ = kernel.tool("", ["ip6tables", "-n", "-L", "FORWARD"], "", made.now)
    assert "fd00:1::/64          ::/0                 ipv6-icmptype 128" in listed


def test_wrong_rules_are_refused_whole_in_the_tool_s_name():
    """An IPv4 address in IPv6's table."""
    made = lab()
    text = "*filter\n-A INPUT -s fd00::1 -j DROP\n-A INPUT -s 10.0.0.1 -j DROP\nCOMMIT\n"
    with pytest.raises(CommandError, match=r"^ip6tables-restore: line 3 failed: host/network"):
        rules6(made, text)
    assert made.world.kernels["node-1"].netns("").netfilter6.tables == {}


def test_one_conntrack_table_holds_both_families_and_prints_them_apart():
    """``conntrack -L`` shows IPv4 unless asked for the other; discovery is not tracked."""
    made = lab()
    rules6(made, SERVICE)
    made.run("node-1", c.RulesRestore(text="*nat\nCOMMIT\n"))
    made.send("node-1", "a1", syn("fd00:96::10", 80))
    made.send("node-1", "a1", syn("10.244.2.2", 80))
    kernel = made.world.kernels["node-1"]
    four, _, _ = kernel.tool("", ["conntrack", "-L", "-p", "tcp"], "", made.now)
    six, _, _ = kernel.tool("", ["conntrack", "-L", "-f", "ipv6", "-p", "tcp"], "", made.now)
    assert "dst=10.244.2.2" in four
    assert "fd00" not in four
    assert f"src={A1} dst=fd00:96::10 sport=40000 dport=80 [UNREPLIED] src={A2}" in six
    everything, _, _ = kernel.tool("", ["conntrack", "-L", "-f", "ipv6"], "", made.now)
    assert "icmpv6" not in everything


def test_bridged_packets_skip_the_rules_when_br_netfilter_is_off():
    """bridge-nf-call-ip6tables=0: two pods of a node talk past the FORWARD chain."""
    made = lab()
    rules6(made, f"*filter\n-A FORWARD -d {B1} -p tcp -j DROP\nCOMMIT\n")
    assert walk(made, "node-1", "a1", B1).fate is Fate.DROPPED_BY_RULE
    made.run("node-1", c.SysctlSet(key="net.bridge.bridge-nf-call-ip6tables", value="0"))
    assert walk(made, "node-1", "a1", B1).fate is Fate.DELIVERED


def test_forks_and_hashes_know_of_ipv6():
    """A neighbour learned on a fork changes its hash and not the parent's."""
    made = lab()
    before = made.world.state_hash()
    fork = made.world.fork()
    original, made.world = made.world, fork
    made.send("node-1", "a1", syn(B1, 80))
    assert (original.state_hash(), fork.state_hash() != before) == (before, True)
