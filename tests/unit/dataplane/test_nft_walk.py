"""Packets among nft chains: where they are seen, what is done to them, what is told of it."""

import pytest

from podwire.dataplane import commands as c
from podwire.dataplane.emit import Deliver, Drop
from podwire.dataplane.kernel import Kernel
from podwire.dataplane.netfilter.hooks import stages
from podwire.dataplane.packet import Frame, Packet
from podwire.dataplane.walk import Script
from podwire.runtime.rng import SeededRng
from tests.unit.dataplane.lab import record, syn, udp

SECOND = 1_000_000_000
HERE, THERE, V6 = "192.168.0.11", "10.0.0.9", "fd00:a8::11"


class Node:
    """A node with one card and a neighbour behind it that takes everything."""

    def __init__(self, *texts):
        self.kernel = Kernel("node-1", SeededRng(1))
        self.kernel.add_physical("eth0", "02:00:00:00:00:01", arp=False)
        self.now = SECOND
        self.run(
            c.AddrAdd(dev="eth0", cidr=f"{HERE}/24"), c.AddrAdd(dev="eth0", cidr=f"{V6}/64"),
            c.RouteReplace(dst="default", dev="eth0"), c.RouteReplace(dst="::/0", dev="eth0"),
            *(c.NftApply(text=text) for text in texts),
        )  # fmt: skip

    def run(self, *commands):
        for command in commands:
            self.kernel.execute(command, self.now)

    def send(self, packet, recorder=None):
        """What becomes of a packet of the node's own: the packet that left, or the drop."""
        emits = self.kernel.send("", packet, self.now, recorder)
        for emit in emits:
            if isinstance(emit, Drop):
                return emit
        return next(e.frame.packet if hasattr(e, "frame") else e.packet for e in emits)

    def rules(self, *argv):
        return self.kernel.tool("", ["nft", *argv], "", self.now)[0]


def output(*rules, kind="filter", priority=0, more=""):
    """A table with one base chain at the output hook."""
    body = "".join(f"  {rule}\n" for rule in rules)
    head = f"type {kind} hook output priority {priority};"
    return f"table ip t {{\n{more} chain out {{\n  {head}\n{body} }}\n}}\n"


def fate(found):
    return found.fate.value if isinstance(found, Drop) else "out"


# ---------------------------------------------------------------- hooks and priorities


def test_the_one_list_orders_iptables_conntrack_and_nft_by_priority():
    node = Node(
        "table ip t {\n"
        " chain a { type filter hook output priority -500; }\n"
        " chain b { type filter hook output priority -110; ct state new; }\n"
        " chain c { type nat hook output priority 7; }\n"
        " chain d { type filter hook output priority filter; }\n"
        " chain e { type filter hook output priority filter; }\n"
        " chain f { type filter hook postrouting priority srcnat + 5; }\n"
        "}\n".replace("; ct state new; }", "; ct state new accept; }")
    )
    node.run(c.RulesRestore(text="*raw\nCOMMIT\n*nat\nCOMMIT\n*filter\nCOMMIT\n"))
    ns = node.kernel.netns("")
    assert [(s.priority, s.name) for s in stages(ns, "ipv4", "OUTPUT")] == [
        (-500, "ip t a"), (-300, "raw"), (-200, "conntrack"), (-110, "ip t b"), (-100, "nat"),
        (0, "ip t e"), (0, "ip t d"), (0, "filter"),
    ]  # fmt: skip
    assert [s.name for s in stages(ns, "ipv4", "POSTROUTING")] == ["nat", "ip t f", "confirm"]
    assert stages(ns, "ipv6", "OUTPUT") == []


def test_accept_ends_one_base_chain_not_the_hook():
    """A later chain still drops; what an earlier one dropped nobody sees."""
    early = output("counter accept", priority=-10)
    late = output("counter drop").replace("table ip t", "table ip u")
    node = Node(early, late)
    assert fate(node.send(syn(THERE, 80))) == "DROPPED_BY_RULE"
    assert "counter packets 1 bytes 60 accept" in node.rules("list", "table", "ip", "t")
    node = Node(early.replace("accept", "drop"), late.replace("drop", "accept"))
    assert fate(node.send(syn(THERE, 80))) == "DROPPED_BY_RULE"
    assert "counter packets 0 bytes 0 accept" in node.rules("list", "table", "ip", "u")


def test_a_chains_policy_decides_what_no_rule_does():
    node = Node(output("policy drop; tcp dport 80 accept"))
    assert fate(node.send(syn(THERE, 80))) == "out"
    dropped = node.send(syn(THERE, 81))
    assert (fate(dropped), dropped.rule) == ("DROPPED_BY_RULE", "ip t out policy drop")


def test_an_inet_table_sees_both_families():
    text = output("tcp dport 80 counter drop").replace("table ip", "table inet")
    node = Node(text)
    assert fate(node.send(syn(THERE, 80))) == "DROPPED_BY_RULE"
    assert fate(node.send(syn("fd00:9::9", 80))) == "DROPPED_BY_RULE"
    assert "counter packets 2" in node.rules("list", "ruleset")
    node = Node(text.replace("table inet", "table ip6"))
    assert fate(node.send(syn(THERE, 80))) == "out"
    assert fate(node.send(syn("fd00:9::9", 80))) == "DROPPED_BY_RULE"


def test_a_dormant_table_sleeps():
    node = Node(output("drop").replace("{\n chain", "{\n flags dormant\n chain", 1))
    assert fate(node.send(syn(THERE, 80))) == "out"


# ---------------------------------------------------------------- matches

TCP, UDP = syn(THERE, 80), udp(THERE, 53)
MATCHES = [
    ("ip daddr 10.0.0.9", True, True), ("ip daddr 10.0.0.0/8", True, True),
    ("ip daddr != 10.0.0.0/8", False, False), ("ip daddr 10.0.0.8-10.0.0.9", True, True),
    ("ip daddr { 10.0.0.9, 1.1.1.1 }", True, True), ("ip daddr != { 10.0.0.0/24 }", False, False),
    ("ip saddr 192.168.0.11", True, True), ("ip protocol tcp", True, False),
    ("meta l4proto { tcp, udp }", True, True), ("meta l4proto != tcp", False, True),
    ("tcp dport 80", True, False), ("tcp dport != 80", False, False), ("th dport 53", False, True),
    ("tcp dport 79-81", True, False), ("tcp dport { 1, 79-81 }", True, False),
    ("tcp dport > 79", True, False), ("tcp flags syn", True, False),
    ("tcp flags & (syn | ack) == syn", True, False), ("tcp flags ! syn", False, False),
    ("oifname eth0", True, True), ("oifname != eth0", False, False), ('oifname "eth*"', True, True),
    ("iifname eth0", False, False), ("oif lo", False, False), ("meta nfproto ipv4", True, True),
    ("meta length 60", True, True), ("meta mark 0", True, True),
    ("meta mark & 0xff == 0x1", False, False), ("ip ttl 64", True, True),
    ("ip daddr . tcp dport { 10.0.0.9 . 80 }", True, False),
    ("ip daddr . tcp dport { 10.0.0.0/24 . 70-90 }", True, False),
    ("ct state new", True, True), ("ct state established,related", False, False),
    ("ct direction original", True, True), ("ct original daddr 10.0.0.9", True, True),
    ("fib saddr type local", True, True), ("fib daddr type local", False, False),
    ("fib daddr oif eth0", True, True), ("fib daddr oif missing", False, False),
]  # fmt: skip


@pytest.mark.parametrize(("match", "tcp", "other"), MATCHES)
def test_a_match_looks_at_the_packet(match, tcp, other):
    """What is dropped matched: a SYN to 10.0.0.9:80, a datagram to 10.0.0.9:53."""
    if match.startswith("meta nfproto"):
        node = Node(output(f"{match} drop").replace("table ip", "table inet"))
    else:
        node = Node(output(f"{match} drop"))
    assert (fate(node.send(TCP)) != "out", fate(node.send(UDP)) != "out") == (tcp, other)


def test_ipip_is_protocol_4():
    """ipencap to nft; the name ipip belongs to number 94."""
    packet = Packet(HERE, THERE, "ipip")
    for word, wanted in (("4", "DROPPED_BY_RULE"), ("ipencap", "DROPPED_BY_RULE"), ("ipip", "out")):
        assert fate(Node(output(f"ip protocol {word} drop")).send(packet)) == wanted


@pytest.mark.parametrize(("dst", "kind"), [("ff02::9", "multicast"), ("ff::9", "unicast")])
def test_fib_knows_multicast_by_the_first_byte(dst, kind):
    """ff00::/8, not every address that is written with two f in front (ff::9 is 00ff::9)."""
    node = Node(output(f"fib daddr type {kind} drop").replace("table ip", "table ip6"))
    assert fate(node.send(syn(dst, 80))) == "DROPPED_BY_RULE"


def test_verdict_maps_decide_and_misses_go_on():
    more = " map m { type inet_service : verdict; elements = { 80 : jump no, 81 : continue } }\n"
    more += " chain no { drop; }\n"
    node = Node(output("tcp dport vmap @m", "tcp dport 81 drop", more=more))
    assert [fate(node.send(syn(THERE, port))) for port in (80, 81, 82)] == [
        "DROPPED_BY_RULE", "DROPPED_BY_RULE", "out",
    ]  # fmt: skip


def test_jump_comes_back_and_goto_does_not():
    more = " chain one { return; drop; }\n chain two { tcp dport 1 accept; }\n"
    rules = ("tcp dport 80 jump one", "tcp dport 81 goto two", "drop")
    node = Node(output(*rules, more=more))
    assert [fate(node.send(syn(THERE, port))) for port in (80, 81)] == ["DROPPED_BY_RULE", "out"]


# ---------------------------------------------------------------- statements


def test_marks_are_set_by_bits():
    rules = ("meta mark set 0xf0", "mark set mark or 0x4000", "mark set mark xor 0x10")
    node = Node(
        output(*rules, "mark and 0x4000 == 0 return", "ct mark set mark", "ct state new accept")
    )
    node.send(TCP)
    (entry,) = node.kernel.netns("").conntrack.entries(node.now)
    assert entry.mark == 0x40E0


def test_limits_are_token_buckets_that_time_fills():
    node = Node(output("limit rate 2/second burst 3 packets accept", "drop"))
    assert [fate(node.send(syn(THERE, n))) for n in range(5)].count("out") == 3
    node.now += SECOND
    assert [fate(node.send(syn(THERE, n))) for n in range(5)].count("out") == 2


def test_packets_put_elements_that_expire():
    """Affinity as kube-proxy writes it: known until the timeout, refreshed by each packet."""
    more = " set seen { type ipv4_addr; flags dynamic,timeout; timeout 10s; }\n"
    node = Node(output("ip daddr @seen drop", "update @seen { ip daddr }", more=more))
    assert fate(node.send(TCP)) == "out"
    assert "10.0.0.9 expires 10s" in node.rules("list", "set", "ip", "t", "seen")
    node.now += 9 * SECOND
    assert fate(node.send(TCP)) == "DROPPED_BY_RULE"
    node.now += SECOND
    assert fate(node.send(TCP)) == "out"


def test_counters_count_and_named_ones_are_reset():
    node = Node(output("tcp dport 80 counter", "counter name all", more=" counter all { }\n"))
    node.send(TCP)
    node.send(UDP)
    assert "tcp dport 80 counter packets 1 bytes 60" in node.rules("list", "ruleset")
    assert "packets 2 bytes 120" in node.rules("reset", "counter", "ip", "t", "all")
    assert "packets 0 bytes 0" in node.rules("list", "counter", "ip", "t", "all")


def test_all_counters_of_a_rule_go_with_it():
    node = Node(output("counter " * 9 + "accept"))
    node.send(TCP)
    node.rules("delete", "rule", "ip", "t", "out", "handle", "2")
    assert node.kernel.netns("").nft.counts == {}


def test_notrack_keeps_conntrack_out():
    node = Node(output("notrack", priority=-300),
                output("ct state untracked drop").replace("table ip t", "table ip u"))  # fmt: skip
    assert fate(node.send(TCP)) == "DROPPED_BY_RULE"


@pytest.mark.parametrize(
    "rule", ["queue", "quota over 1 bytes drop", "ip ttl set 1", "meta skuid 0 drop",
             "ct count over 1 drop", "tcp option maxseg size set 1400"],
)  # fmt: skip
def test_what_is_not_modelled_is_unknown_and_named(rule):
    dropped = Node(output(rule)).send(TCP)
    assert fate(dropped) == "UNKNOWN"
    assert dropped.rule == f"ip t out {rule}"
    assert dropped.reason.startswith("not modelled: ")


# ---------------------------------------------------------------- NAT


def nat(*rules, more=""):
    return output(*rules, kind="nat", priority=-100, more=more)


def test_destinations_are_translated_there_and_back():
    node = Node(nat("tcp dport 80 dnat to 10.0.0.3:8080"))
    sent = node.send(TCP)
    assert (sent.dst, sent.dst_port) == ("10.0.0.3", 8080)
    node.kernel.connect_socket("", "tcp", HERE, sent.src_port, THERE, 80)
    back = Packet(src="10.0.0.3", dst=HERE, protocol="tcp", src_port=8080,
                  dst_port=sent.src_port, tcp_flags=18)  # fmt: skip
    frame = Frame(src="02:00:00:00:00:09", dst="02:00:00:00:00:01", packet=back)
    (got,) = [e for e in node.kernel.receive("eth0", frame, node.now) if isinstance(e, Deliver)]
    assert (got.packet.src, got.packet.src_port) == (THERE, 80)


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ("dnat to 10.0.0.3", ("10.0.0.3", 80)),
        ("dnat to tcp dport map { 80 : 10.0.0.4 }", ("10.0.0.4", 80)),
        ("dnat ip to ip daddr . tcp dport map @pairs", ("10.0.0.5", 8081)),
        ("dnat to numgen inc mod 2 map { 0 : 10.0.0.6, 1 : 10.0.0.7 }", ("10.0.0.6", 80)),
        ("tcp dport 80 redirect to :99", ("127.0.0.1", 99)),
        ("dnat to jhash ip saddr mod 1 map { 0 : 10.0.0.8 }", ("10.0.0.8", 80)),
    ],
)
def test_a_destination_may_come_from_a_map_or_a_number(rule, wanted):
    more = (" map pairs { type ipv4_addr . inet_service : ipv4_addr . inet_service; "
            "elements = { 10.0.0.9 . 80 : 10.0.0.5 . 8081 } }\n")  # fmt: skip
    node = Node(nat(rule, more=more))
    node.kernel.open_socket("", "tcp", "", 99)
    sent = node.send(TCP)
    assert (sent.dst, sent.dst_port) == wanted


def test_sources_are_masqueraded_and_the_first_opinion_counts():
    """nft's chain comes before iptables' table at the same priority; only one translates."""
    text = ("table ip t {\n chain post {\n  type nat hook postrouting priority srcnat;\n"
            "  ip daddr 10.0.0.9 masquerade fully-random\n }\n}\n")  # fmt: skip
    node = Node(text)
    node.run(c.RulesRestore(text="*nat\n-A POSTROUTING -j SNAT --to-source 192.168.0.77\nCOMMIT\n"))
    node.run(c.AddrAdd(dev="lo", cidr="10.9.9.9/32"))
    assert node.send(syn(THERE, 80, src="10.9.9.9")).src == HERE
    assert node.send(syn("10.0.0.10", 80, src="10.9.9.9")).src == "192.168.0.77"


def test_ipv6_destinations_are_translated():
    text = ("table ip6 t {\n chain out {\n  type nat hook output priority -100;\n"
            "  tcp dport 80 dnat to [fd00:9::3]:8080\n }\n}\n")  # fmt: skip
    sent = Node(text).send(syn("fd00:9::9", 80))
    assert (sent.dst, sent.dst_port) == ("fd00:9::3", 8080)


def test_every_outcome_of_numgen_can_be_walked():
    """A walk's script tries one outcome after the other, each with its probability."""
    node = Node(nat("numgen random mod 3 vmap { 0 : goto a, 1 : goto b, 2 : goto c }",
                    more="".join(f" chain {n} {{ dnat to 10.0.0.{i}; }}\n"
                                 for i, n in enumerate("abc", 1))))  # fmt: skip
    seen = {}
    for script in ((), (False,), (False, False)):
        twin = node.kernel.fork()
        chance = twin.chance = Script(script)
        (emit,) = twin.send("", TCP, node.now)
        seen[emit.frame.packet.dst] = round(chance.probability, 3)
    assert seen == {"10.0.0.1": 0.333, "10.0.0.2": 0.333, "10.0.0.3": 0.333}


# ---------------------------------------------------------------- what is told


def test_steps_are_named_as_nft_monitor_trace_names_them():
    more = (
        ' map m { type inet_service : verdict; elements = { 80 comment "web" : goto one } }\n'
        " chain one { meta mark set 1; meta l4proto tcp dnat to 10.0.0.3:8080; }\n"
    )
    node = Node(nat("tcp dport vmap @m", more=more))
    recorder = record()
    node.send(TCP, recorder)
    told = [(s.object, s.result, s.rule) for s in recorder.steps if s.stage == "ip t"]
    assert told == [
        ("out", "goto", "ip t out tcp dport vmap @m"),
        ("one", "continue", "ip t one meta mark set 0x00000001"),
        ("one", "accept", "ip t one meta l4proto tcp dnat to 10.0.0.3:8080"),
    ]
    (step,) = [s for s in recorder.steps if s.result == "goto"]
    assert step.detail == 'goto one  by @m { 80 comment "web" : goto one }'


@pytest.mark.parametrize(
    ("rule", "fate_wanted", "answer"),
    [
        ("reject", "REFUSED", ("icmp", 3)),
        ("reject with icmp admin-prohibited", "REFUSED", ("icmp", 13)),
        ("reject with tcp reset", "REFUSED", ("tcp", 0)),
    ],
)
def test_rejections_answer(rule, fate_wanted, answer):
    node = Node(output(f"tcp dport 80 {rule}"))
    emits = node.kernel.send("", TCP, node.now)
    (dropped,) = [e for e in emits if isinstance(e, Drop) and not e.packet.tcp_flags & 4]
    assert dropped.fate.value == fate_wanted
    if answer[0] == "icmp":
        (told,) = [e for e in emits if isinstance(e, Deliver)]
        assert (told.packet.protocol, told.packet.icmp_code) == answer


def test_the_state_hash_knows_rules_and_counts():
    node = Node(output("counter"))
    before = node.kernel.state_hash()
    node.send(UDP)
    after = node.kernel.state_hash()
    node.run(c.NftApply(text="flush ruleset\n"))
    assert len({before, after, node.kernel.state_hash()}) == 3
