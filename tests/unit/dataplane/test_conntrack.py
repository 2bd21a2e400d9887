"""Connection tracking: states, timeouts, limits, and the translations that hang on entries."""

import pytest

from podwire.dataplane import commands as c
from podwire.dataplane.conntrack import Conntrack
from podwire.dataplane.packet import ACK, FIN, RST, SYN, Packet, answer_to, replace
from podwire.dataplane.sysctl import Sysctls
from podwire.dataplane.verdict import WalkRequest
from podwire.runtime.rng import SeededRng
from tests.unit.dataplane.lab import SECOND, Lab, delivered, drops, syn, udp

A, B = "10.0.0.1", "10.0.0.2"


class Tracker:
    """Two hosts' packets through one table, time in seconds."""

    def __init__(self, **written):
        self.table, self.sysctls, self.now = Conntrack(), Sysctls(), 0.0
        for key, value in written.items():
            self.sysctls.set(f"net.netfilter.nf_conntrack_{key}", str(value))

    def see(self, packet, *, confirm=True):
        now_ns = int(self.now * SECOND)
        found = self.table.track(packet, self.sysctls, now_ns)
        if found.entry is not None and confirm:
            self.table.confirm(found.entry, now_ns)
        return found

    def there(self, flags, sport=1000, **options):
        return self.see(Packet(A, B, "tcp", sport, 80, tcp_flags=flags), **options)

    def back(self, flags, sport=1000):
        return self.see(Packet(B, A, "tcp", 80, sport, tcp_flags=flags))

    def left_s(self, entry):
        return entry.expires_ns / SECOND - self.now


def test_a_tcp_connection_grows_up_and_dies():
    """SYN_SENT, SYN_RECV, ESTABLISHED and ASSURED, FIN_WAIT ... TIME_WAIT, each with its time."""
    t = Tracker()
    entry = t.there(SYN).entry
    story = []
    for side, flags in (
        (t.back, SYN | ACK),
        (t.there, ACK),
        (t.there, FIN | ACK),
        (t.back, ACK),
        (t.back, FIN | ACK),
        (t.there, ACK),
    ):
        found = side(flags)
        story.append((entry.tcp_state, found.state, int(t.left_s(entry))))
    assert story == [
        ("SYN_RECV", "ESTABLISHED", 60),
        ("ESTABLISHED", "ESTABLISHED", 432000),
        ("FIN_WAIT", "ESTABLISHED", 120),
        ("CLOSE_WAIT", "ESTABLISHED", 60),
        ("LAST_ACK", "ESTABLISHED", 30),
        ("TIME_WAIT", "ESTABLISHED", 120),
    ]
    assert entry.assured


def test_a_new_syn_reopens_a_connection_in_time_wait():
    """The old entry gives way to a NEW one."""
    t = Tracker()
    first = t.there(SYN).entry
    for side, flags in ((t.back, SYN | ACK), (t.there, ACK), (t.there, FIN | ACK)):
        side(flags)
    t.back(FIN | ACK)
    t.there(ACK)
    assert first.tcp_state == "TIME_WAIT"
    found = t.there(SYN)
    assert (found.state, found.entry is first, len(t.table)) == ("NEW", False, 1)


@pytest.mark.parametrize("flags", [SYN | ACK, RST, FIN, 0])
def test_segments_that_cannot_open_a_connection_are_invalid(flags):
    """Only SYN, or a bare ACK of a connection picked up midway."""
    assert Tracker().there(flags).state == "INVALID"


def test_a_connection_is_picked_up_midway_unless_that_is_forbidden():
    """nf_conntrack_tcp_loose."""
    assert Tracker().there(ACK).entry.tcp_state == "ESTABLISHED"
    assert Tracker(tcp_loose=0).there(ACK).state == "INVALID"


def test_a_refused_connection_leaves_no_entry():
    """RST as the only answer."""
    t = Tracker()
    t.there(SYN)
    assert t.back(RST | ACK).state == "ESTABLISHED"
    assert len(t.table) == 0


def test_udp_lives_30_seconds_and_120_once_it_is_a_stream():
    """Two-way traffic of over two seconds; then the entry is ASSURED."""
    t = Tracker()
    there, back = Packet(A, B, "udp", 1000, 53), Packet(B, A, "udp", 53, 1000)
    entry = t.see(there).entry
    t.see(back)
    assert (t.left_s(entry), entry.assured) == (30, False)
    t.now = 3
    t.see(there)
    assert (t.left_s(entry), entry.assured) == (120, True)
    t.now = 122.9
    assert t.see(there).entry is entry
    t.now += 120
    assert t.see(there).state == "NEW"
    assert len(t.table) == 1


def test_packets_stay_new_until_an_answer_was_seen():
    """Repeated SYNs are NEW; the answer makes it ESTABLISHED both ways."""
    t = Tracker()
    assert [t.there(SYN).state for _ in range(3)] == ["NEW"] * 3
    assert t.back(SYN | ACK).state == "ESTABLISHED"
    assert t.there(ACK).state == "ESTABLISHED"


def test_an_icmp_error_is_related_to_what_it_quotes():
    """Both ways; about nothing known it is INVALID."""
    t = Tracker()
    sent = Packet(A, B, "udp", 1000, 53)
    entry = t.see(sent).entry
    found = t.see(Packet("10.0.0.9", A, "icmp", icmp_type=3, icmp_code=3, original=sent))
    assert (found.state, found.entry, found.reply) == ("RELATED", entry, True)
    other = replace(sent, src_port=7)
    assert t.see(Packet(B, A, "icmp", icmp_type=3, original=other)).state == "INVALID"


def test_a_full_table_evicts_what_is_not_assured_and_then_drops():
    """early_drop first; a table of established connections refuses new ones."""
    t = Tracker(max=2)
    for sport in (1, 2):
        t.there(SYN, sport)
    assert not t.there(SYN, 3).full
    assert (len(t.table), t.table.early_dropped) == (2, 1)
    for sport in (2, 3):
        t.back(SYN | ACK, sport)
        t.there(ACK, sport)
    assert t.there(SYN, 4).full
    t.now = 432001
    assert not t.there(SYN, 4).full


def test_the_second_of_two_unconfirmed_twins_cannot_be_inserted():
    """Two packets of one connection in flight before the first was confirmed."""
    t = Tracker()
    first = t.there(SYN, confirm=False).entry
    second = t.there(SYN, confirm=False).entry
    assert first is not second
    assert t.table.confirm(first, 0) is first
    assert t.table.confirm(second, 0) is None
    assert t.table.insert_failed == 1


def test_with_a_confirm_delay_the_second_query_of_a_socket_is_lost():
    """Within the window it cannot see the first one's entry; afterwards it can."""
    dnat = "-A PREROUTING -d 10.96.0.9 -p udp -j DNAT --to-destination 10.244.2.2:53"
    lab = lab_with(f"*nat\n{dnat}\nCOMMIT\n")
    table = lab.world.kernels["node-1"].netns("").conntrack
    table.confirm_delay_ns, table.resolves_clashes = 1000, False
    assert len(delivered(lab.send("node-1", "a1", udp("10.96.0.9", 53)))) == 1
    lab.now += 500
    assert drops(lab.send("node-1", "a1", udp("10.96.0.9", 53))) == [("node-1", "LOST")]
    lab.now += 500
    assert len(delivered(lab.send("node-1", "a1", udp("10.96.0.9", 53)))) == 1


def lab_with(text):
    lab = Lab()
    lab.run("node-1", c.RulesRestore(text=text))
    for letter in "ab":
        lab.listen("node-2", f"{letter}2", 80)
        lab.listen("node-2", f"{letter}2", 53, "udp")
    return lab


def test_masquerade_keeps_the_port_unless_it_is_taken_or_random_was_asked_for():
    """Two pods with the same source port: the second gets another one."""
    rule = "*nat\n-A POSTROUTING -s 10.244.1.0/24 -o flannel.1 -j MASQUERADE{}\nCOMMIT\n"
    lab = lab_with(rule.format(""))
    ports = [
        packet.src_port
        for pod in ("a1", "b1")
        for _, _, packet in delivered(lab.send("node-1", pod, syn("10.244.2.2", 80)))
    ]
    assert ports[0] == 40000
    assert ports[1] != 40000
    assert 1024 <= ports[1] <= 65535
    lab = lab_with(rule.format(" --random-fully"))
    ((_, _, packet),) = delivered(lab.send("node-1", "a1", syn("10.244.2.2", 80)))
    assert (packet.src, packet.src_port != 40000) == ("10.244.1.0", True)
    ((_, _, home),) = delivered(lab.send("node-2", "a2", answer_to(packet))) or [(0, 0, None)]
    assert home is None or home.tcp_flags & RST, "nobody opened the client's socket here"


def test_established_flows_keep_their_translation_when_the_rules_go():
    """NAT rules are looked at once per connection."""
    lab = lab_with(
        "*nat\n-A PREROUTING -d 10.96.0.9 -p udp -j DNAT --to-destination 10.244.2.2:53\nCOMMIT\n"
    )
    assert len(delivered(lab.send("node-1", "a1", udp("10.96.0.9", 53)))) == 1
    lab.run("node-1", c.RulesRestore(text="*nat\nCOMMIT\n", noflush=False))
    assert len(delivered(lab.send("node-1", "a1", udp("10.96.0.9", 53)))) == 1
    lab.now += 31 * SECOND
    assert delivered(lab.send("node-1", "a1", udp("10.96.0.9", 53, sport=40001))) == []


def test_a_full_table_is_a_fate_of_its_own():
    """nf_conntrack: table full, dropping packet."""
    lab = lab_with("*nat\nCOMMIT\n")
    lab.run("node-1", c.SysctlSet(key="net.netfilter.nf_conntrack_max", value="0"))
    assert drops(lab.send("node-1", "a1", syn("10.244.2.2", 80))) == [("node-1", "CT_FULL")]


def test_marks_travel_between_packets_of_a_connection():
    """CONNMARK saves and restores; -m connmark sees it."""
    lab = lab_with(
        "*mangle\n-A PREROUTING -p udp -m conntrack --ctstate NEW -j MARK --set-mark 7\n"
        "-A PREROUTING -m mark --mark 7 -j CONNMARK --save-mark\n"
        "-A FORWARD -m connmark --mark 7 -j CONNMARK --restore-mark\n"
        "-A POSTROUTING -m mark --mark 7\nCOMMIT\n"
    )
    lab.send("node-1", "a1", udp("10.244.2.2", 53))
    nf = lab.world.kernels["node-1"].netns("").netfilter
    assert nf.counts("mangle", "POSTROUTING", 0)[0] >= 1
    (entry,) = [
        e
        for e in lab.world.kernels["node-1"].netns("").conntrack.entries(lab.now)
        if e.orig[3] == "10.244.2.2"
    ]
    assert entry.mark == 7


# ---------------------------------------------------------------- races, zones, other protocols


def test_two_udp_packets_at_once_join_one_entry_on_a_kernel_that_resolves_clashes():
    """nf_ct_resolve_clash: with the same translation the second packet belongs to the first."""
    t = Tracker()
    first = t.see(Packet(A, B, "udp", 1000, 53), confirm=False).entry
    second = t.see(Packet(A, B, "udp", 1000, 53), confirm=False).entry
    assert t.table.confirm(first, 0) is first
    assert t.table.confirm(second, 0) is first
    assert (t.table.clash_resolved, t.table.insert_failed, len(t.table)) == (1, 0, 1)


def test_a_clash_with_another_backend_lives_a_second_for_its_answers():
    """Two queries of one socket, translated to two DNS pods: both answers find home."""
    t = Tracker()
    first = t.see(Packet(A, "10.96.0.10", "udp", 1000, 53), confirm=False).entry
    second = t.see(Packet(A, "10.96.0.10", "udp", 1000, 53), confirm=False).entry
    for entry, pod in ((first, "10.244.0.2"), (second, "10.244.0.3")):
        entry.reply, entry.dnat = ("udp", pod, 53, A, 1000), True
    assert t.table.confirm(first, 0) is first
    assert t.table.confirm(second, 0) is second
    back = t.see(Packet("10.244.0.3", A, "udp", 53, 1000))
    assert (back.entry, back.reply) == (second, True)
    t.now = 31
    assert t.see(Packet("10.244.0.3", A, "udp", 53, 1000)).entry is not second


def test_zones_keep_equal_tuples_apart():
    """Two tenants with the same addresses: CT --zone in raw, per incoming device."""
    rules = (
        "*raw\n-A PREROUTING -s 10.244.1.2 -j CT --zone 7\nCOMMIT\n"
        "*nat\n-A POSTROUTING -s 10.9.9.9 -j MASQUERADE\nCOMMIT\n"
    )
    lab = lab_with(rules)
    for pod in ("a1", "b1"):
        lab.send("node-1", pod, udp("10.244.2.2", 53))
    kernel = lab.world.kernels["node-1"]
    table = kernel.netns("").conntrack
    zoned = [e for e in table.entries(lab.now) if e.zone]
    assert [(e.zone, e.orig[1]) for e in zoned] == [(7, "10.244.1.2")]
    shown, _, _ = kernel.tool("", ["conntrack", "-L", "-w", "7"], "", lab.now)
    assert shown.endswith(" mark=0 zone=7 use=1\n")
    assert kernel.tool("", ["conntrack", "-C"], "", lab.now)[0] == f"{len(table)}\n"
    saved, _, _ = kernel.tool("", ["iptables-save", "-t", "raw"], "", lab.now)
    assert "-A PREROUTING -s 10.244.1.2/32 -j CT --zone 7" in saved


def test_untracked_packets_have_no_entry_and_say_so():
    """CT --notrack: --ctstate UNTRACKED matches, NAT does not see them."""
    lab = lab_with(
        "*raw\n-A PREROUTING -p udp -j CT --notrack\nCOMMIT\n"
        "*nat\n-A PREROUTING -p udp -j DNAT --to-destination 10.244.2.3\nCOMMIT\n"
        "*filter\n-A FORWARD -p udp -m conntrack --ctstate UNTRACKED -j ACCEPT\nCOMMIT\n"
    )
    ((_, netns, _),) = delivered(lab.send("node-1", "a1", udp("10.244.2.2", 53)))
    kernel = lab.world.kernels["node-1"]
    assert netns == "a2"
    assert not [e for e in kernel.netns("").conntrack.entries(lab.now) if e.orig[3] == "10.244.2.2"]
    assert kernel.netns("").netfilter.counts("filter", "FORWARD", 0)[0] == 1


def test_an_sctp_association_grows_up_and_dies():
    """CLOSED while INIT is unanswered, then COOKIE_WAIT ... ESTABLISHED and ASSURED, and back."""
    t = Tracker()

    def chunk(name, *, back=False):
        ends = (B, A) if back else (A, B)
        ports = (80, 1000) if back else (1000, 80)
        return t.see(Packet(*ends, "sctp", *ports, sctp_chunk=name))

    entry = chunk("init").entry
    story = [(entry.tcp_state, int(t.left_s(entry)))]
    for name, back in (
        ("init_ack", True),
        ("cookie_echo", False),
        ("cookie_ack", True),
        ("data", False),
        ("shutdown", True),
        ("shutdown_ack", False),
        ("shutdown_complete", True),
    ):
        chunk(name, back=back)
        story.append((entry.tcp_state, int(t.left_s(entry))))
    assert story == [
        ("CLOSED", 10),
        ("COOKIE_WAIT", 3),
        ("COOKIE_ECHOED", 3),
        ("ESTABLISHED", 210),
        ("ESTABLISHED", 210),
        ("SHUTDOWN_RECD", 3),
        ("SHUTDOWN_ACK_SENT", 3),
        ("CLOSED", 10),
    ]
    assert entry.assured


@pytest.mark.parametrize("chunk", ["abort", "shutdown_complete", "cookie_ack", "data"])
def test_sctp_chunks_out_of_the_blue_are_invalid(chunk):
    """RFC 9260 8.4; data opens nothing either."""
    found = Tracker().see(Packet(A, B, "sctp", 1000, 80, sctp_chunk=chunk))
    assert found.state == "INVALID"


def test_an_sctp_service_is_translated_like_any_other():
    """DNAT there, undone on the way back."""
    lab = lab_with(
        "*nat\n-A PREROUTING -d 10.96.0.9 -p sctp -m sctp --dport 80 -j DNAT "
        "--to-destination 10.244.2.2:80\nCOMMIT\n"
    )
    lab.listen("node-2", "a2", 80, "sctp")
    request = WalkRequest(node="node-1", netns="a1", dst="10.96.0.9", dst_port=80, protocol="sctp")
    branch = lab.world.walk(request, SeededRng(1), lab.now).drawn
    assert (branch.fate.value, branch.flow.dst) == ("DELIVERED", "10.244.2.2")


def test_redirect_sends_connections_to_this_host_s_own_port():
    """PREROUTING: the incoming device's address; OUTPUT: loopback."""
    lab = lab_with(
        "*nat\n-A PREROUTING -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 15001\n"
        "-A OUTPUT -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 15001\nCOMMIT\n"
    )
    lab.listen("node-1", "", 15001)
    ((_, _, packet),) = delivered(lab.send("node-1", "a1", syn("10.244.2.2", 80)))
    assert (packet.dst, packet.dst_port) == ("10.244.1.1", 15001)
    ((_, _, packet),) = delivered(lab.send("node-1", "", syn("10.244.2.2", 80)))
    assert (packet.dst, packet.dst_port) == ("127.0.0.1", 15001)


def test_random_ports_stay_in_the_range_that_was_asked_for():
    """--to-ports 40000-40009 for ten clients with one source port: each gets its own."""
    lab = lab_with(
        "*nat\n-A POSTROUTING -p udp -o flannel.1 -j MASQUERADE --to-ports 40000-40009 --random\n"
        "COMMIT\n"
    )
    seen = set()
    for i in range(10):
        packet = udp("10.244.2.2", 53, sport=5000 + i)
        seen.add(delivered(lab.send("node-1", "a1", packet))[0][2].src_port)
    assert seen == set(range(40000, 40010))


def test_a_clamped_syn_asks_for_what_the_tunnel_takes():
    """TCPMSS: 1450 less 40 toward the tunnel; never raised; --set-mss as it says."""
    for option, offered, got in (
        ("--clamp-mss-to-pmtu", 1460, 1410),
        ("--clamp-mss-to-pmtu", 1200, 1200),
        ("--set-mss 1300", 1460, 1300),
    ):
        lab = lab_with(
            "*mangle\n-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS "
            f"{option}\nCOMMIT\n"
        )
        packet = replace(syn("10.244.2.2", 80), mss_bytes=offered)
        ((_, _, arrived),) = delivered(lab.send("node-1", "a1", packet))
        assert arrived.mss_bytes == got
        saved, _, _ = lab.world.kernels["node-1"].tool("", ["iptables-save"], "", lab.now)
        assert f"-j TCPMSS {option}\n" in saved


def test_counters_tell_what_happened_to_insertions():
    """conntrack -S; the tunnel's own packets are the node's connections too."""
    lab = lab_with("*nat\nCOMMIT\n")
    lab.send("node-1", "a1", udp("10.244.2.2", 53))
    shown, _, _ = lab.world.kernels["node-1"].tool("", ["conntrack", "-S"], "", lab.now)
    assert shown.startswith("cpu=0   \tfound=0 invalid=0 insert=2 insert_failed=0 drop=0 ")


def test_counters_outlive_a_fork():
    """A trace forks the kernels; the next packet finds a copy of the table, which counts on."""
    lab = lab_with("*nat\nCOMMIT\n")
    kernel = lab.world.kernels["node-1"]
    table = kernel.netns("").conntrack
    table.found, table.invalid, table.dropped, table.early_dropped = 1, 2, 3, 4
    table.insert_failed, table.clash_resolved, table.inserted = 5, 6, 7
    before = kernel.tool("", ["conntrack", "-S"], "", lab.now)
    twin = kernel.fork()
    assert kernel.netns("").conntrack is not table
    assert kernel.tool("", ["conntrack", "-S"], "", lab.now) == before
    assert twin.tool("", ["conntrack", "-S"], "", lab.now) == before
