"""Packets between pods without netfilter: bridge, routes, VXLAN, and what goes wrong there."""

from podwire.dataplane import commands as c
from podwire.dataplane.emit import Drop
from podwire.dataplane.packet import (
    FRAGMENTATION_NEEDED,
    HOST_UNREACHABLE,
    ICMP_ECHO,
    ICMP_ECHO_REPLY,
    ICMP_TIME_EXCEEDED,
    PORT_UNREACHABLE,
    RST,
    Packet,
    replace,
)
from tests.unit.dataplane.lab import Lab, delivered, drops, record, syn, udp


def test_two_pods_of_a_node_meet_on_the_bridge():
    """ARP is answered across cni0, the SYN arrives with its source and full ttl."""
    lab = Lab(nodes=1)
    lab.listen("node-1", "b1", 80)
    ((node, netns, packet),) = delivered(lab.send("node-1", "a1", syn("10.244.1.3", 80)))
    assert (node, netns) == ("node-1", "b1")
    assert (packet.src, packet.ttl) == ("10.244.1.2", 64)


def test_a_pod_reaches_a_pod_of_another_node_through_vxlan():
    """Two routers lie between: ttl 62; the steps show the wrap and the unwrap."""
    lab = Lab()
    lab.listen("node-2", "a2", 80)
    steps = record()
    seen = lab.send("node-1", "a1", syn("10.244.2.2", 80), steps)
    ((node, netns, packet),) = delivered(seen)
    assert (node, netns, packet.src, packet.ttl) == ("node-2", "a2", "10.244.1.2", 62)
    stages = [s.stage for s in steps.steps if s.stage in {"encap", "decap", "socket"}]
    assert stages == ["encap", "decap", "socket"]


def test_a_closed_tcp_port_answers_with_a_reset():
    """The client's own connection gets RST; nothing is delivered at the server."""
    lab = Lab()
    lab.world.kernels["node-1"].connect_socket("a1", "tcp", "10.244.1.2", 40000, "10.244.2.2", 81)
    seen = lab.send("node-1", "a1", syn("10.244.2.2", 81))
    ((node, netns, packet),) = delivered(seen)
    assert (node, netns) == ("node-1", "a1")
    assert packet.tcp_flags & RST
    assert drops(seen) == [("node-2", "REFUSED")]


def test_a_closed_udp_port_answers_with_port_unreachable():
    """The ICMP error names the datagram as its sender knows it."""
    lab = Lab()
    seen = lab.send("node-1", "a1", udp("10.244.2.3", 9))
    ((_, netns, error),) = delivered(seen)
    assert netns == "a1"
    assert error.icmp_code == PORT_UNREACHABLE
    assert error.original.flow.dst == "10.244.2.3"


def test_kernels_answer_ping_themselves():
    """No socket is needed at the far end."""
    lab = Lab()
    ping = Packet(src="", dst="10.244.2.2", protocol="icmp", icmp_type=ICMP_ECHO, icmp_id=7)
    ((_, netns, answer),) = delivered(lab.send("node-1", "a1", ping))
    assert (netns, answer.icmp_type, answer.icmp_id) == ("a1", ICMP_ECHO_REPLY, 7)


def test_without_a_route_the_packet_stays_home():
    """A pod whose default route is gone cannot even send."""
    lab = Lab()
    lab.run("node-1", c.RouteDel(netns="a1", dst="default"))
    assert drops(lab.send("node-1", "a1", syn("8.8.8.8", 80))) == [("node-1", "NO_ROUTE")]


def test_a_blackhole_route_swallows_silently_and_unreachable_says_so():
    """Both are NULL_ROUTED; only the second tells the sender."""
    lab = Lab()
    lab.run("node-1", c.RouteReplace(dst="10.99.0.0/16", type="blackhole"))
    lab.run("node-1", c.RouteReplace(dst="10.98.0.0/16", type="unreachable"))
    seen = lab.send("node-1", "a1", syn("10.99.0.1", 80))
    assert (drops(seen), delivered(seen)) == ([("node-1", "NULL_ROUTED")], [])
    ((_, netns, error),) = delivered(lab.send("node-1", "a1", syn("10.98.0.1", 80)))
    assert (netns, error.icmp_code) == ("a1", HOST_UNREACHABLE)


def test_ttl_runs_out_at_a_router():
    """The router that ends it tells the sender."""
    lab = Lab()
    seen = lab.send("node-1", "a1", replace(udp("10.244.2.2", 80), ttl=2))
    assert drops(seen) == [("node-2", "TTL_EXCEEDED")]
    ((_, netns, error),) = delivered(seen)
    assert (netns, error.icmp_type) == ("a1", ICMP_TIME_EXCEEDED)


def test_a_pod_with_the_tunnels_mtu_sends_1450_bytes_and_not_one_more():
    """DF payload 1422 passes, 1423 is refused at the socket (EMSGSIZE), as measured."""
    lab = Lab()
    lab.listen("node-2", "a2", 80, "udp")
    assert len(delivered(lab.send("node-1", "a1", udp("10.244.2.2", 80, size=1450)))) == 1
    seen = lab.send("node-1", "a1", udp("10.244.2.2", 80, size=1451))
    assert (drops(seen), delivered(seen)) == ([("node-1", "MTU_EXCEEDED")], [])


def test_a_datagram_that_is_too_long_never_meets_a_rule():
    """Its socket measures it before the output hook: EMSGSIZE, where a shorter one is refused."""
    lab = Lab()
    rules = "*filter\n-A OUTPUT -p udp -j REJECT\nCOMMIT\n"
    lab.run("node-1", c.RulesRestore(text=rules, netns="a1"))
    assert drops(lab.send("node-1", "a1", udp("10.244.2.2", 80, size=1450))) == [
        ("node-1", "REFUSED")
    ]
    assert drops(lab.send("node-1", "a1", udp("10.244.2.2", 80, size=1451))) == [
        ("node-1", "MTU_EXCEEDED")
    ]


def test_a_1500_byte_pod_learns_the_path_mtu():
    """The first large packet comes back as "fragmentation needed"; the next is sized right."""
    lab = Lab(pod_mtu=1500)
    kernel = lab.world.kernels["node-1"]
    assert kernel.path_mtu("a1", "10.244.2.2") == 1500
    seen = lab.send("node-1", "a1", udp("10.244.2.2", 80, size=1500))
    assert drops(seen) == [("node-1", "MTU_EXCEEDED")]
    ((_, _, error),) = delivered(seen)
    assert (error.icmp_code, error.icmp_mtu_bytes) == (FRAGMENTATION_NEEDED, 1450)
    assert kernel.path_mtu("a1", "10.244.2.2") == 1450


def test_nobody_at_an_address_is_known_after_three_unanswered_requests():
    """The packet waits for ARP, then ends NEIGHBOR_UNREACHABLE and its sender is told."""
    lab = Lab()
    seen = lab.send("node-1", "a1", syn("10.244.1.77", 80))
    assert (drops(seen), delivered(seen)) == ([], [])
    assert lab.world.kernels["node-1"].deadline_ns() == lab.now + 10**9
    seen = lab.tick(3)
    assert drops(seen) == [("node-1", "NEIGHBOR_UNREACHABLE")]
    ((_, netns, error),) = delivered(seen)
    assert (netns, error.icmp_code) == ("a1", HOST_UNREACHABLE)
    assert lab.world.kernels["node-1"].deadline_ns() is None


def test_a_neighbour_that_moved_is_found_again_once_the_old_one_stays_silent():
    """Used while it is asked directly; three unanswered seconds later it must be resolved anew."""
    lab = Lab(nodes=1)
    lab.listen("node-1", "b1", 80)
    assert len(delivered(lab.send("node-1", "a1", syn("10.244.1.3", 80)))) == 1
    lab.run("node-1", c.LinkSet(netns="b1", name="eth0", mac="02:00:00:00:99:99"))
    lab.now += 60 * 10**9
    assert delivered(lab.send("node-1", "a1", syn("10.244.1.3", 80))) == []
    lab.tick(3)
    assert len(delivered(lab.send("node-1", "a1", syn("10.244.1.3", 80)))) == 1


def test_a_device_that_is_down_ends_the_walk_there():
    """The far end of the pod's veth is down."""
    lab = Lab(nodes=1)
    lab.run("node-1", c.LinkSet(name="vetha1", up=False))
    assert drops(lab.send("node-1", "a1", syn("10.244.1.3", 80))) == [("node-1", "LINK_DOWN")]


def test_hairpin_decides_whether_a_port_sends_back_what_it_received():
    """A frame for a MAC behind its own port is dropped unless hairpin mode is on."""
    for hairpin, fates in ((True, []), (False, ["LOST"])):
        lab = Lab(nodes=1, hairpin=hairpin)
        lab.send("node-1", "a1", udp("10.244.1.3", 9))
        kernel = lab.world.kernels["node-1"]
        host = kernel.netns("")
        mac = kernel.netns("a1").links["eth0"].mac
        assert host.fdb["cni0"][mac].port == "vetha1"
        lab.run("node-1", c.NeighReplace(netns="a1", dev="eth0", dst="10.244.1.9", mac=mac))
        seen = lab.send("node-1", "a1", udp("10.244.1.9", 9))
        assert [f for _, f in drops(seen) if f == "LOST"] == fates


def test_a_routing_loop_ends_by_ttl():
    """Two nodes that send a prefix to each other."""
    lab = Lab()
    lab.run("node-1", c.RouteReplace(dst="10.50.0.0/16", via="192.168.0.12", dev="eth0"))
    lab.run("node-2", c.RouteReplace(dst="10.50.0.0/16", via="192.168.0.11", dev="eth0"))
    (fate,) = {fate for _, fate in drops(lab.send("node-1", "a1", syn("10.50.0.1", 80)))}
    assert fate == "TTL_EXCEEDED"


def test_a_tunnel_routed_into_itself_is_a_loop():
    """The far VTEP's address lies behind the tunnel."""
    lab = Lab()
    lab.run("node-1", c.RouteReplace(dst="192.168.0.12", dev="flannel.1"))
    assert drops(lab.send("node-1", "a1", syn("10.244.2.2", 80))) == [("node-1", "LOOP")]


def test_impossible_addresses_are_martians():
    """127.0.0.1 never arrives from a wire, nor does the host's own address."""
    lab = Lab()
    lab.run("client", c.SysctlSet(key="net.ipv4.conf.all.route_localnet", value="1"))
    for source in ("127.0.0.1", "192.168.0.11"):
        seen = lab.send("client", "", syn("192.168.0.11", 80, src=source))
        assert drops(seen) == [("node-1", "MARTIAN")], source


def test_strict_reverse_path_filtering_drops_what_came_the_wrong_way():
    """rp_filter=1: a pod's address may not arrive by eth0; 2 accepts any route back."""
    for mode, fates in (("1", ["MARTIAN"]), ("2", ["REFUSED"])):
        lab = Lab()
        lab.run("node-1", c.SysctlSet(key="net.ipv4.conf.all.rp_filter", value=mode))
        seen = lab.send("client", "", syn("192.168.0.11", 80, src="10.244.2.9"))
        assert [e.fate for n, e in seen if isinstance(e, Drop) and n == "node-1"] == fates


def test_forks_share_nothing_that_changes():
    """Packets and commands on a fork leave the parent's hash alone, and the other way round."""
    lab = Lab()
    before = lab.world.state_hash()
    fork = lab.world.fork()
    assert fork.state_hash() == before
    original, lab.world = lab.world, fork
    lab.send("node-1", "a1", syn("10.244.2.2", 80))
    lab.run("node-2", c.LinkDel(name="vetha2"))
    assert fork.state_hash() != before
    assert original.state_hash() == before
    changed = fork.state_hash()
    original.kernels["node-1"].execute(c.LinkDel(name="cni0"), 0)
    assert fork.state_hash() == changed


def test_wires_cut_between_two_hosts_carry_nothing():
    """Only that pair is cut; mending restores it."""
    lab = Lab(nodes=3)
    lab.listen("node-2", "a2", 80)
    lab.listen("node-3", "a3", 80)
    lab.world.set_link("node-2", "node-1", up=False)
    assert delivered(lab.send("node-1", "a1", syn("10.244.2.2", 80))) == []
    assert len(delivered(lab.send("node-1", "a1", syn("10.244.3.2", 80)))) == 1
    lab.world.set_link("node-1", "node-2", up=True)
    assert len(delivered(lab.tick(1))) == 1, "what waited for ARP leaves with the next request"
