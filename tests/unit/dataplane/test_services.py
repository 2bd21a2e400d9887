"""Services by iptables: the verdicts that were measured on a real kernel (reference C3)."""

import pytest

from podwire.dataplane import commands as c
from podwire.dataplane.emit import Drop
from podwire.dataplane.packet import HOST_UNREACHABLE, PORT_UNREACHABLE, SYN, answer_to, replace
from tests.unit.dataplane.lab import Lab, delivered, drops, syn, udp
from tests.unit.dataplane.services import load, service

VIP = "10.96.0.10"


def conversation(lab, node, netns, packet):
    """Send; answer from whoever got it; (server netns, packet there, packet back here)."""
    kernel = lab.world.kernels[node]
    source = packet.src or kernel.source_address(netns, packet.dst)
    packet = replace(packet, src=source)
    ends = (packet.protocol, source, packet.src_port, packet.dst, packet.dst_port)
    kernel.connect_socket(netns, *ends)
    got = [d for d in delivered(lab.send(node, netns, packet)) if d[2].protocol != "icmp"]
    if not got:
        return None
    ((server_node, server, arrived),) = got
    back = delivered(lab.send(server_node, server, answer_to(arrived)))
    assert [(n, s) for n, s, _ in back] == [(node, netns)], "the answer comes home"
    ((_, _, answer),) = back
    assert (answer.src, answer.src_port) == (packet.dst, packet.dst_port)
    return server, arrived, answer


def lab_with(*services, **options):
    lab = Lab(**options)
    load(lab, *services)
    for i in range(1, lab.nodes + 1):
        for letter in "ab":
            lab.listen(f"node-{i}", f"{letter}{i}", 8080)
            lab.listen(f"node-{i}", f"{letter}{i}", 53, "udp")
    return lab


A1, B1, A2 = ("10.244.1.2", 8080), ("10.244.1.3", 8080), ("10.244.2.2", 8080)


def test_a_pod_reaches_a_remote_backend_by_cluster_ip_and_keeps_its_address():
    """DNAT at the client's node; the answer comes back as from the ClusterIP."""
    lab = lab_with(service("web", VIP, 80, [A2]))
    server, arrived, _ = conversation(lab, "node-1", "a1", syn(VIP, 80))
    assert (server, arrived.src, arrived.dst_port) == ("a2", "10.244.1.2", 8080)


def test_a_pod_reaches_a_backend_on_its_own_bridge():
    """The answer never leaves the bridge: un-DNAT happens to bridged frames."""
    lab = lab_with(service("web", VIP, 80, [B1]))
    server, arrived, _ = conversation(lab, "node-1", "a1", syn(VIP, 80))
    assert (server, arrived.src) == ("b1", "10.244.1.2")


def test_without_bridge_nf_call_iptables_the_same_node_answer_goes_astray():
    """The reply bypasses un-DNAT: the client gets it from an address it never spoke to."""
    lab = lab_with(service("web", VIP, 80, [B1]))
    lab.run("node-1", c.SysctlSet(key="net.bridge.bridge-nf-call-iptables", value="0"))
    lab.world.kernels["node-1"].connect_socket("a1", "tcp", "10.244.1.2", 40000, VIP, 80)
    ((_, server, arrived),) = delivered(lab.send("node-1", "a1", syn(VIP, 80)))
    assert server == "b1"
    answers = delivered(lab.send("node-1", "b1", answer_to(arrived)))
    assert [netns for _, netns, _ in answers if netns == "a1"] == []


@pytest.mark.parametrize("hairpin", [True, False])
def test_a_pod_reaches_itself_by_its_service_when_hairpin_is_on(hairpin):
    """Masqueraded, so the source is cni0's address; without hairpin mode nothing arrives."""
    lab = lab_with(service("web", VIP, 80, [A1]), hairpin=hairpin)
    if hairpin:
        server, arrived, _ = conversation(lab, "node-1", "a1", syn(VIP, 80))
        assert (server, arrived.src) == ("a1", "10.244.1.1")
    else:
        assert delivered(lab.send("node-1", "a1", syn(VIP, 80))) == []


@pytest.mark.parametrize(
    ("backend", "server", "seen"), [(A1, "a1", "10.244.1.1"), (A2, "a2", "10.244.1.0")]
)
def test_a_node_is_masqueraded_toward_cluster_ip_backends(backend, server, seen):
    """A same-node backend sees cni0's address, a remote one flannel.1's."""
    lab = lab_with(service("web", VIP, 80, [backend]))
    got, arrived, _ = conversation(lab, "node-1", "", syn(VIP, 80))
    assert (got, arrived.src) == (server, seen)


@pytest.mark.parametrize(
    ("backend", "server", "seen"), [(A1, "a1", "10.244.1.1"), (A2, "a2", "10.244.1.0")]
)
def test_an_external_client_is_masqueraded_through_a_node_port(backend, server, seen):
    """externalTrafficPolicy Cluster, by way of node-1."""
    lab = lab_with(service("web", VIP, 80, [backend], node_port=30080))
    got, arrived, _ = conversation(lab, "client", "", syn("192.168.0.11", 30080))
    assert (got, arrived.src) == (server, seen)


def test_traffic_policy_local_keeps_the_external_source():
    """A local backend sees 192.168.0.100."""
    lab = lab_with(service("web", VIP, 80, [A1, A2], node_port=30080, local=[A1]))
    for sport in range(40000, 40008):
        got, arrived, _ = conversation(lab, "client", "", syn("192.168.0.11", 30080, sport=sport))
        assert (got, arrived.src) == ("a1", "192.168.0.100")


def test_traffic_policy_local_without_local_backend_drops_silently():
    """The client waits in vain; from a pod or the node itself it short-circuits."""
    lab = lab_with(service("web", VIP, 80, [A2], node_port=30080, local=[]))
    seen = lab.send("client", "", syn("192.168.0.11", 30080))
    assert (drops(seen), delivered(seen)) == ([("node-1", "NO_ENDPOINTS")], [])


def test_no_endpoints_is_refused_with_port_unreachable():
    """REJECT for the ClusterIP and for the NodePort."""
    lab = lab_with(service("empty", VIP, 80, [], node_port=30081))
    for node, netns, packet in (
        ("node-1", "a1", syn(VIP, 80)),
        ("node-1", "", syn(VIP, 80)),
        ("client", "", syn("192.168.0.12", 30081)),
    ):
        seen = lab.send(node, netns, packet)
        assert [fate for _, fate in drops(seen)] == ["NO_ENDPOINTS"]
        ((home, where, error),) = delivered(seen)
        assert (home, where, error.icmp_code) == (node, netns, PORT_UNREACHABLE)
        assert (error.original.dst, error.original.dst_port) == (packet.dst, packet.dst_port)
        (drop,) = [e for _, e in seen if isinstance(e, Drop)]
        assert "default/empty has no endpoints" in drop.rule


def test_an_unknown_port_of_a_cluster_ip_leaves_the_node():
    """iptables mode does not catch it: the gateway says unreachable (EHOSTUNREACH)."""
    lab = lab_with(service("web", VIP, 80, [A1]))
    flannel = "-A POSTROUTING -s 10.244.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully"
    lab.run("node-1", c.RulesRestore(text=f"*nat\n{flannel}\nCOMMIT\n"))
    seen = lab.send("node-1", "a1", syn(VIP, 81))
    assert drops(seen) == [("gateway", "NULL_ROUTED")]
    ((_, netns, error),) = delivered(seen)
    assert (netns, error.icmp_code, error.original.src) == ("a1", HOST_UNREACHABLE, "10.244.1.2")


def test_two_backends_share_the_load():
    """About half each: 300 draws stay within 5 sigma."""
    lab = lab_with(service("web", VIP, 80, [A2, B1]))
    hits = {"a2": 0, "b1": 0}
    for i in range(300):
        ((_, server, _),) = delivered(lab.send("node-1", "a1", syn(VIP, 80, sport=41000 + i)))
        hits[server] += 1
    assert abs(hits["a2"] - 150) < 44


def test_affinity_keeps_a_client_at_its_backend_until_it_expires():
    """The list is refreshed by each new connection; after the timeout the choice is free."""
    lab = lab_with(service("web", VIP, 80, [A2, B1], affinity=100))

    def servers(n, first):
        found = []
        for i in range(n):
            got = delivered(lab.send("node-1", "a1", syn(VIP, 80, sport=first + i)))
            found += [server for _, server, _ in got]
        return found

    first = servers(12, 42000)
    assert len(dict.fromkeys(first)) == 1
    seen = {first[0]}
    for round_ in range(12):
        lab.now += 101 * 10**9
        seen |= set(servers(1, 43000 + round_))
    assert seen == {"a2", "b1"}


def test_a_removed_udp_backend_black_holes_a_fixed_port_until_its_entry_is_deleted():
    """Conntrack keeps sending to the old endpoint; ``conntrack -D`` frees the flow."""
    lab = lab_with(service("dns", VIP, 53, [("10.244.2.2", 53)], proto="udp"))
    conversation(lab, "node-1", "a1", udp(VIP, 53))
    load(lab, service("dns", VIP, 53, [("10.244.1.3", 53)], proto="udp"))
    lab.run("node-2", c.NetnsDel(name="a2"))
    assert delivered(lab.send("node-1", "a1", udp(VIP, 53))) == []
    lab.run("node-1", c.ConntrackDelete(proto="udp", orig_dst=VIP, reply_src="10.244.2.2"))
    ((_, server, _),) = delivered(lab.send("node-1", "a1", udp(VIP, 53)))
    assert server == "b1"


def test_loopback_node_ports_need_route_localnet():
    """127.0.0.1:30080 works with the sysctl that kube-proxy sets, not without."""
    lab = lab_with(service("web", VIP, 80, [A1], node_port=30080))
    server, arrived, _ = conversation(lab, "node-1", "", syn("127.0.0.1", 30080))
    assert (server, arrived.src) == ("a1", "10.244.1.1")
    lab.run("node-1", c.SysctlSet(key="net.ipv4.conf.all.route_localnet", value="0"))
    seen = lab.send("node-1", "", syn("127.0.0.1", 30080, src="127.0.0.1", sport=40001))
    assert drops(seen) == [("node-1", "MARTIAN")]


def test_an_icmp_error_about_a_translated_packet_names_what_its_sender_sent():
    """The far pod's port is closed for UDP: the quoted datagram goes to the ClusterIP again."""
    lab = lab_with(service("dns", VIP, 53, [("10.244.2.2", 5353)], proto="udp"))
    ((_, netns, error),) = delivered(lab.send("node-1", "a1", udp(VIP, 53)))
    assert netns == "a1"
    assert (error.src, error.original.dst, error.original.dst_port) == (VIP, VIP, 53)


def test_a_syn_ack_out_of_nowhere_is_invalid_and_dropped():
    """KUBE-FORWARD's first rule, told apart from an ordinary drop."""
    lab = lab_with(service("web", VIP, 80, [A2]))
    stray = replace(syn("10.244.2.2", 8080), tcp_flags=SYN | 16)
    assert ("node-1", "CT_INVALID") in drops(lab.send("node-1", "a1", stray))


def test_a_policy_rule_denies_by_direction():
    """The chain's name says whose rule it was."""
    lab = lab_with(service("web", VIP, 80, [A2]))
    text = (
        "*filter\n:cali-tw-a2 - [0:0]\n-I FORWARD -d 10.244.2.2 -j cali-tw-a2\n"
        '-A cali-tw-a2 -m comment --comment "podwire:networkpolicy default/deny" -j DROP\nCOMMIT\n'
    )
    lab.run("node-2", c.RulesRestore(text=text))
    seen = lab.send("node-1", "a1", syn(VIP, 80))
    assert drops(seen) == [("node-2", "DENIED_IN")]


def test_a_node_reaches_its_own_pod_past_the_forward_hook():
    """NetworkPolicy rules in FORWARD never see the node's own traffic."""
    lab = lab_with(service("web", VIP, 80, [A2]))
    text = "*filter\n-I FORWARD -d 10.244.1.2 -j DROP\nCOMMIT\n"
    lab.run("node-1", c.RulesRestore(text=text))
    assert len(delivered(lab.send("node-1", "", syn("10.244.1.2", 8080)))) == 1
    assert drops(lab.send("node-1", "b1", syn("10.244.1.2", 8080))) == [
        ("node-1", "DROPPED_BY_RULE")
    ]


def test_an_unmodelled_match_is_unknown_and_named():
    """The rules load; only a packet that meets the match ends UNKNOWN."""
    lab = lab_with(service("web", VIP, 80, [A2]))
    text = "*filter\n-I FORWARD -p udp -m bpf --bytecode x -j ACCEPT\nCOMMIT\n"
    lab.run("node-1", c.RulesRestore(text=text))
    assert len(delivered(lab.send("node-1", "a1", syn("10.244.2.2", 8080)))) == 1
    seen = lab.send("node-1", "a1", udp("10.244.2.2", 53))
    ((_, drop),) = [(n, e) for n, e in seen if isinstance(e, Drop)]
    assert (drop.fate.value, "match bpf" in drop.reason) == ("UNKNOWN", True)
