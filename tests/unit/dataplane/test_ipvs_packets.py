"""Packets through IPVS: where they go, what they look like, how they come back."""

import pytest

from podwire.dataplane import commands as c
from podwire.dataplane.emit import Recorder
from podwire.dataplane.packet import ACK, FIN, SYN, Packet
from podwire.dataplane.verdict import Fate, WalkRequest
from podwire.runtime.rng import SeededRng
from tests.unit.dataplane.ipvs_lab import A1, A2, B1, VIP, IpvsLab, tcp
from tests.unit.dataplane.lab import SECOND, delivered, drops, syn, udp


def arrive(lab, node, netns, packet):
    """Where a packet was delivered (pod's namespace, seen source), or None."""
    found = delivered(lab.send(node, netns, packet))
    return (found[0][1], found[0][2].src) if found else None


def walk(lab, node, netns, dst, port, protocol="tcp", **extra):
    request = WalkRequest(
        node=node, netns=netns, protocol=protocol, dst=dst, dst_port=port, **extra
    )
    return lab.world.walk(request, SeededRng(1, "walk"), lab.now)


def test_connections_of_a_pod_go_round_and_keep_their_source():
    """Three connections, three servers, newest in the list first; the fourth starts anew."""
    lab = IpvsLab()
    got = [arrive(lab, "node-1", "b1", syn(VIP, 80, "10.244.1.3", 40000 + i)) for i in range(4)]
    assert got == [("a2", B1), ("b1", "10.244.1.1"), ("a1", B1), ("a2", B1)]


def test_packets_of_one_connection_stay_with_its_server():
    """Only a SYN without a connection asks the scheduler."""
    lab = IpvsLab()
    first = arrive(lab, "node-1", "b1", tcp(B1, VIP, SYN))
    lab.send("node-2", "a2", tcp(A2, B1, SYN | ACK, 8080, 40000))
    again = [arrive(lab, "node-1", "b1", tcp(B1, VIP, ACK)) for _ in range(3)]
    assert [first, *again] == [("a2", B1)] * 4


@pytest.mark.parametrize(
    ("node", "netns", "answers"),
    [
        ("node-1", "b1", {("a1", B1), ("b1", "10.244.1.1"), ("a2", B1)}),
        ("node-1", "", {("a1", "10.244.1.1"), ("b1", "10.244.1.1"), ("a2", "10.244.1.0")}),
        ("node-2", "b2", {("a1", "10.244.2.3"), ("b1", "10.244.2.3"), ("a2", "10.244.2.3")}),
    ],
)
def test_pods_and_nodes_reach_every_server_there_and_back(node, netns, answers):
    """From a pod the source stays (but to itself); a node's own VIP source is masqueraded."""
    lab = IpvsLab()
    branches = walk(lab, node, netns, VIP, 80).branches
    assert {(b.netns, b.flow.src) for b in branches} == answers
    assert {b.fate for b in branches} == {Fate.DELIVERED}
    assert [round(b.probability, 3) for b in branches] == [0.333] * 3
    assert sum(b.drawn for b in branches) == 1


def test_the_drawn_branch_is_the_one_that_state_gives_whatever_the_draw():
    """Round robin is no chance: any draw takes the next server."""
    for draw in (0.0, 0.5, 0.99):
        lab = IpvsLab()
        lab.send("node-1", "b1", syn(VIP, 80, "10.244.1.3"))
        assert walk(lab, "node-1", "b1", VIP, 80, draw=draw).drawn.netns == "b1"
    before = lab.ipvsadm("node-1", "-Lnc")
    walk(lab, "node-1", "b1", VIP, 80)
    assert lab.ipvsadm("node-1", "-Lnc") == before


def test_a_request_passes_input_then_output_and_its_answer_forward():
    """INPUT sees the virtual address, OUTPUT and POSTROUTING the server; FORWARD the answer."""
    lab = IpvsLab(servers=[A2])
    rules = "*filter\n" + "".join(
        f"-A {chain} -p tcp -d {ip}\n"
        for chain, ip in (("INPUT", VIP), ("OUTPUT", A2), ("FORWARD", A2), ("FORWARD", A1))
    )
    lab.run("node-1", c.RulesRestore(text=rules + "COMMIT\n"))
    assert walk(lab, "node-1", "a1", VIP, 80).drawn.fate is Fate.DELIVERED
    lab.world.kernels["node-1"].connect_socket("a1", "tcp", A1, 40000, VIP, 80)
    lab.send("node-1", "a1", tcp(A1, VIP, SYN))
    lab.send("node-2", "a2", tcp(A2, A1, SYN | ACK, 8080, 40000))
    listed = lab.world.kernels["node-1"].tool("", ["iptables", "-nvL"], "", lab.now)[0]
    counted = [
        int(line.split()[0])
        for line in listed.splitlines()
        if line.split()[-1:] in ([VIP], [A2], [A1])
    ]
    assert counted == [1, 0, 1, 1]  # INPUT, FORWARD there, FORWARD back, OUTPUT


def test_steps_name_the_virtual_server_the_scheduler_and_the_server():
    """What a trace shows."""
    lab = IpvsLab(servers=[A1, A2])
    recorder = Recorder()
    lab.send("node-1", "b1", tcp(B1, VIP, SYN), recorder)
    shown = [(s.object, s.result, s.detail) for s in recorder.steps if s.stage == "ipvs"]
    assert shown == [
        ("TCP 10.96.0.10:80 rr", "schedule", "-> 10.244.2.2:8080 Masq weight 1, one of 2"),
        (
            "TCP 10.96.0.10:80 rr",
            "dnat",
            f"{B1}:40000 > {VIP}:80 -> {B1}:40000 > {A2}:8080",
        ),
    ]


def test_no_real_server_is_told_by_port_unreachable():
    """TCP too gets ICMP, no RST; the client is refused."""
    lab = IpvsLab(servers=[])
    answer = walk(lab, "node-1", "a1", VIP, 80)
    assert [b.fate for b in answer.branches] == [Fate.NO_ENDPOINTS]
    seen = lab.send("node-1", "a1", tcp(A1, VIP, SYN))
    told = [packet for _, netns, packet in delivered(seen) if netns == "a1"]
    assert [(p.protocol, p.icmp_type, p.icmp_code, p.src) for p in told] == [("icmp", 3, 3, VIP)]


def test_an_unknown_port_of_a_virtual_address_is_the_hosts_own():
    """The address is local: without a filter nobody listens there; ICMP echo is answered."""
    lab = IpvsLab()
    assert walk(lab, "node-1", "a1", VIP, 81).drawn.fate is Fate.REFUSED
    assert walk(lab, "node-1", "a1", VIP, 0, protocol="icmp").drawn.fate is Fate.DELIVERED


def test_a_segment_without_connection_that_is_no_syn_is_not_scheduled():
    """It reaches the host itself, which answers with RST."""
    lab = IpvsLab()
    assert ("node-1", "REFUSED") in drops(lab.send("node-1", "a1", tcp(A1, VIP, ACK)))


def test_udp_is_scheduled_by_any_packet_and_sticks_for_its_timeout():
    """300 s after the last packet of a port pair, the next one is scheduled anew."""
    lab = IpvsLab(proto="udp")
    first = [arrive(lab, "node-1", "b1", udp(VIP, 80, B1)) for _ in range(2)]
    lab.now += 299 * SECOND
    kept = arrive(lab, "node-1", "b1", udp(VIP, 80, B1))
    lab.now += 300 * SECOND
    anew = arrive(lab, "node-1", "b1", udp(VIP, 80, B1))
    assert [*first, kept, anew] == [("a2", B1)] * 3 + [("b1", "10.244.1.1")]


def test_an_icmp_error_about_a_request_comes_from_the_virtual_address():
    """The pod has no socket on its port: port unreachable, quoting the virtual server."""
    lab = IpvsLab(proto="udp", servers=[A2])
    lab.world.kernels["node-2"].close_socket("a2", "udp", "", 8080)
    lab.world.kernels["node-1"].connect_socket("a1", "udp", A1, 40000, VIP, 80)
    seen = lab.send("node-1", "a1", udp(VIP, 80, A1))
    told = [packet for _, netns, packet in delivered(seen) if netns == "a1"]
    assert [(p.src, p.original.dst, p.original.dst_port) for p in told] == [(VIP, VIP, 80)]


def test_a_packet_too_large_for_the_way_to_the_server_is_told_so():
    """Fragmentation needed, about the packet as the client sent it."""
    lab = IpvsLab(proto="udp", servers=[A2], pod_mtu=1500)
    lab.run("node-1", c.LinkSet(name="cni0", mtu_bytes=1500))
    seen = lab.send("node-1", "a1", udp(VIP, 80, A1, size=1480))
    assert ("node-1", "MTU_EXCEEDED") in drops(seen)
    told = [p for _, netns, p in delivered(seen) if netns == "a1"]
    assert [(p.icmp_code, p.icmp_mtu_bytes, p.original.dst) for p in told] == [(4, 1450, VIP)]


def test_a_real_server_on_the_host_itself_is_delivered_locally():
    """hostNetwork endpoints: the packet goes on in INPUT; the answer gets the virtual source."""
    lab = IpvsLab(servers=["192.168.0.11"])
    lab.listen("node-1", "", 8080)
    branch = walk(lab, "node-1", "a1", VIP, 80).drawn
    assert (branch.fate, branch.netns, str(branch.flow)) == (
        Fate.DELIVERED,
        "",
        f"{A1}:{branch.flow.src_port} > 192.168.0.11:8080",
    )


def test_without_vs_conntrack_packets_are_not_tracked_and_not_masqueraded():
    """nf_nat does not see what IPVS sent on: the node's answers get lost on the way back."""
    lab = IpvsLab(servers=[A2])
    lab.run("node-1", c.SysctlSet(key="net.ipv4.vs.conntrack", value="0"))
    assert walk(lab, "node-1", "a1", VIP, 80).drawn.fate is Fate.DELIVERED
    lab.send("node-1", "", syn(VIP, 80))
    shown = lab.world.kernels["node-1"].tool("", ["conntrack", "-L"], "", lab.now)[0]
    assert A2 not in shown


def test_direct_routing_leaves_the_packet_as_it_is():
    """gate: the server has the virtual address itself and answers past the director."""
    lab = IpvsLab(servers=[])
    lab.host("web", "192.168.0.50")
    lab.run("web", c.AddrAdd(dev="lo", cidr=f"{VIP}/32"))
    lab.listen("web", "", 80)
    lab.apply("node-1", f"-a -t {VIP}:80 -r 192.168.0.50:80 -g")
    lab.world.kernels["node-1"].tool("", ["iptables", "-t", "nat", "-F", "KUBE-SERVICES"], "", 0)
    lab.run("client", c.RouteReplace(dst=f"{VIP}/32", via="192.168.0.11", dev="eth0"))
    got = delivered(lab.send("client", "", syn(VIP, 80)))
    assert [(node, packet.dst, packet.src) for node, _, packet in got] == [
        ("web", VIP, "192.168.0.100")
    ]
    assert "Route   1      0          1" in lab.ipvsadm("node-1", "-Ln")
    shown = lab.ipvsadm("node-1", "-Lnc").splitlines()[2]
    assert "SYN_RECV" in shown


def test_marks_choose_virtual_servers_before_addresses():
    """-f MARK takes what mangle marked, whatever its port."""
    lab = IpvsLab(servers=[A1])
    lab.run(
        "node-1",
        c.RulesRestore(
            text=f"*mangle\n-A PREROUTING -d {VIP} -p tcp -j MARK --set-mark 7\nCOMMIT\n"
        ),
    )
    lab.apply("node-1", "-A -f 7 -s rr", f"-a -f 7 -r {A2}:8080 -m")
    got = [arrive(lab, "node-1", "b1", syn(VIP, port, B1)) for port in (80, 81)]
    assert got == [("a2", B1), ("a2", B1)]


def test_the_ipvs_match_knows_the_virtual_server_of_a_packet():
    """What kube-proxy's KUBE-IPVS-OUT-FILTER does: keep nodes from a guarded address."""
    lab = IpvsLab(servers=[A2])
    rule = f"-A OUTPUT -s {VIP}/32 -m ipvs --vproto tcp --vaddr {VIP} --vport 80 -j DROP"
    text = f"*filter\n{rule}\nCOMMIT\n"
    lab.run("node-1", c.RulesRestore(text=text))
    saved = lab.world.kernels["node-1"].tool("", ["iptables", "-S", "OUTPUT"], "", lab.now)[0]
    assert "-m ipvs --vproto 6 --vaddr 10.96.0.10 --vport 80 -j DROP" in saved
    assert walk(lab, "node-1", "", VIP, 80).drawn.fate is Fate.DROPPED_BY_RULE
    assert walk(lab, "node-1", "a1", VIP, 80).drawn.fate is Fate.DELIVERED


def converse(lab, *packets):
    """A conversation of b1 with the virtual server, whose real server a2 answers."""
    lab.world.kernels["node-1"].connect_socket("b1", "tcp", B1, 40000, VIP, 80)
    lab.world.kernels["node-2"].connect_socket("a2", "tcp", A2, 8080, B1, 40000)
    for netns, flags in packets:
        if netns == "b1":
            lab.send("node-1", "b1", tcp(B1, VIP, flags))
        else:
            lab.send("node-2", "a2", Packet(A2, B1, "tcp", 8080, 40000, tcp_flags=flags))


OPEN = (("b1", SYN), ("a2", SYN | ACK), ("b1", ACK))
CLOSE = (("b1", FIN | ACK), ("a2", FIN | ACK))


def test_ended_tcp_connections_are_scheduled_anew_on_the_same_ports():
    """conn_reuse_mode: conntrack starts the flow anew as well, so the SYN goes on at once."""
    lab = IpvsLab()
    converse(lab, *OPEN, *CLOSE, ("b1", ACK))
    assert "TIME_WAIT" in lab.ipvsadm("node-1", "-Lnc")
    assert arrive(lab, "node-1", "b1", tcp(B1, VIP, SYN)) == ("b1", "10.244.1.1")


def test_a_syn_is_lost_once_while_conntrack_holds_the_old_connection():
    """The retransmission a second later gets through: the delay of reused ports."""
    lab = IpvsLab()
    converse(lab, *OPEN, *CLOSE)
    assert ("node-1", "LOST") in drops(lab.send("node-1", "b1", tcp(B1, VIP, SYN)))
    assert arrive(lab, "node-1", "b1", tcp(B1, VIP, SYN)) == ("b1", "10.244.1.1")


def test_states_and_times_of_a_connection_are_listed():
    """60 s half open, 900 s established (and then active), 120 s closing."""
    lab = IpvsLab(servers=[A2])
    converse(lab, OPEN[0])
    rows = [lab.ipvsadm("node-1", "-Lnc").splitlines()[2]]
    converse(lab, *OPEN[1:])
    rows.append(lab.ipvsadm("node-1", "-Lnc").splitlines()[2])
    active = lab.ipvsadm("node-1", "-Ln").splitlines()[-1]
    converse(lab, CLOSE[0])
    rows.append(lab.ipvsadm("node-1", "-Lnc").splitlines()[2])
    ends = "10.244.1.3:40000   10.96.0.10:80      10.244.2.2:8080"
    assert rows == [
        f"TCP 01:00  SYN_RECV    {ends}",
        f"TCP 15:00  ESTABLISHED {ends}",
        f"TCP 01:00  CLOSE_WAIT  {ends}",
    ]
    assert active == "  -> 10.244.2.2:8080              Masq    1      1          0         "


def test_a_silent_connection_is_forgotten_after_900_s_and_then_reset():
    """IPVS takes conntrack's entry along: the next segment belongs to nobody."""
    lab = IpvsLab(servers=[A2])
    converse(lab, *OPEN)
    lab.now += 899 * SECOND
    assert arrive(lab, "node-1", "b1", tcp(B1, VIP, ACK)) == ("a2", B1)
    lab.now += 900 * SECOND
    assert ("node-1", "REFUSED") in drops(lab.send("node-1", "b1", tcp(B1, VIP, ACK)))
    assert lab.ipvsadm("node-1", "-Lnc").count("\n") == 2


def test_a_server_at_weight_zero_keeps_its_connections_and_gets_no_new_ones():
    """Graceful removal."""
    lab = IpvsLab()
    converse(lab, *OPEN)
    lab.apply("node-1", f"-e -t {VIP}:80 -r {A2}:8080 -m -w 0")
    assert arrive(lab, "node-1", "b1", tcp(B1, VIP, ACK)) == ("a2", B1)
    got = [arrive(lab, "node-1", "b1", syn(VIP, 80, B1, 41000 + i))[0] for i in range(4)]
    assert set(got) == {"a1", "b1"}


def test_connections_to_a_removed_server_end_at_once_and_take_conntrack_along():
    """expire_nodest_conn: the next UDP packet of the same ports goes to another server."""
    lab = IpvsLab(proto="udp", servers=[A2, A1])
    first = arrive(lab, "node-1", "b1", udp(VIP, 80, B1))
    lab.send("node-1", "b1", udp(VIP, 80, B1))
    gone = A1 if first[0] == "a1" else A2
    lab.apply("node-1", f"-d -u {VIP}:80 -r {gone}:8080")
    assert lab.ipvsadm("node-1", "-Lnc").count("\n") == 2
    again = arrive(lab, "node-1", "b1", udp(VIP, 80, B1))
    assert {first[0], again[0]} == {"a1", "a2"}


def test_without_expire_nodest_conn_packets_to_a_removed_server_are_dropped():
    """They wait for it: added again, it has its connections back."""
    lab = IpvsLab()
    lab.run("node-1", c.SysctlSet(key="net.ipv4.vs.expire_nodest_conn", value="0"))
    converse(lab, *OPEN)
    lab.apply("node-1", f"-d -t {VIP}:80 -r {A2}:8080")
    assert ("node-1", "LOST") in drops(lab.send("node-1", "b1", tcp(B1, VIP, ACK)))
    lab.apply("node-1", f"-a -t {VIP}:80 -r {A2}:8080 -m")
    assert arrive(lab, "node-1", "b1", tcp(B1, VIP, ACK)) == ("a2", B1)
    assert "Masq    1      1          0" in lab.ipvsadm("node-1", "-Ln")


def test_a_client_sticks_to_its_server_and_the_template_is_listed():
    """persistent 60: whatever the port, until 60 s after the last new connection."""
    lab = IpvsLab(flags="-p 60")
    got = [arrive(lab, "node-1", "b1", syn(VIP, 80, B1, 40000 + i))[0] for i in range(4)]
    other = arrive(lab, "node-1", "a1", syn(VIP, 80, A1))[0]
    assert (got, other) == (["a2"] * 4, "b1")
    listed = lab.ipvsadm("node-1", "-Lnc")
    assert "TCP 01:00  NONE        10.244.1.3:0       10.96.0.10:80      10.244.2.2:8080" in listed
    assert "10.244.2.2:8080              1         1           0          4" in lab.ipvsadm(
        "node-1", "-Ln", "--persistent-conn"
    )


def test_a_template_outlives_its_time_while_connections_hold_it():
    """Looked at again each minute; gone once they are."""
    lab = IpvsLab(flags="-p 10", proto="udp")
    first = arrive(lab, "node-1", "b1", udp(VIP, 80, B1))[0]
    lab.now += 200 * SECOND
    assert arrive(lab, "node-1", "b1", udp(VIP, 80, B1, 40001))[0] == first
    lab.now += 1000 * SECOND
    assert arrive(lab, "node-1", "b1", udp(VIP, 80, B1, 40002))[0] != first


def test_a_template_leads_nowhere_once_its_server_is_quiesced():
    """expire_quiescent_template: the client gets another server for new connections."""
    lab = IpvsLab(flags="-p 60")
    first = arrive(lab, "node-1", "b1", syn(VIP, 80, B1))[0]
    lab.apply("node-1", f"-e -t {VIP}:80 -r {A2}:8080 -m -w 0")
    second = arrive(lab, "node-1", "b1", syn(VIP, 80, B1, 41000))[0]
    assert (first, second) == ("a2", "b1")


def test_a_mask_lets_neighbours_share_a_template():
    """persistent with mask 255.255.255.0: one server for a whole /24."""
    lab = IpvsLab(flags="-p 60 -M 255.255.255.0")
    got = [arrive(lab, "node-1", n, syn(VIP, 80, ip))[0] for n, ip in (("a1", A1), ("b1", B1))]
    assert got == ["a2", "a2"]
    assert "persistent 60 mask 255.255.255.0" in lab.ipvsadm("node-1", "-Ln")
