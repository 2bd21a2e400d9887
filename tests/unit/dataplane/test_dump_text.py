"""Dumps as text: every shape that tools print is read, what does not parse is refused in place."""

import contextlib
import json
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podwire.dataplane.dump.load import NOW_NS, load
from podwire.dataplane.dump.text import (
    SECTIONS,
    Dump,
    DumpError,
    Section,
    is_dump,
    read,
    script,
    write,
)
from podwire.dataplane.kernel import HOST
from podwire.runtime.rng import SeededRng

ADDR = """\
1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN group default qlen 1000
    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00
    inet 127.0.0.1/8 scope host lo
       valid_lft forever preferred_lft forever
2: ens5: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 9001 qdisc mq state UP group default qlen 1000
    link/ether 0a:58:0a:00:00:05 brd ff:ff:ff:ff:ff:ff
    altname enp0s5
    inet 10.0.0.5/24 metric 512 brd 10.0.0.255 scope global dynamic ens5
       valid_lft 3021sec preferred_lft 3021sec
7: eni0a1b2c@if3: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 9001 qdisc noqueue state UP group default
    link/ether 0a:58:0a:00:00:06 brd ff:ff:ff:ff:ff:ff link-netnsid 0
"""
ROUTES = (
    "default via 10.0.0.1 dev ens5\n10.0.0.0/24 dev ens5 proto kernel scope link src 10.0.0.5\n"
)


def loaded(**texts):
    sections = {key.replace("_", "-"): Section(text, f"{key}.txt") for key, text in texts.items()}
    return load(Dump("n1", sections), SeededRng(0))


def host(**texts):
    return loaded(**texts).kernel.netns(HOST)


def tool(node, *argv):
    return node.kernel.tool(HOST, list(argv), "", NOW_NS)[0]


def test_plain_ip_addr_of_a_cloud_machine():
    """Lifetimes, metrics and other names are read over; ``@if3`` with a netns is a veth."""
    ns = host(ip_addr=ADDR)
    assert [(link.index, link.name, link.kind) for link in ns.links.values()] == [
        (1, "lo", "loopback"), (2, "ens5", "phys"), (7, "eni0a1b2c", "veth"),
    ]  # fmt: skip
    (address,) = ns.links["ens5"].addresses
    assert (address.ip, address.told, address.flags) == (
        "10.0.0.5", "metric 512 brd 10.0.0.255", "dynamic",
    )  # fmt: skip
    assert "if3 in netns 0" in ns.links["eni0a1b2c"].beyond.words


def test_json_says_the_same_as_text():
    """``ip -j -d addr`` and ``ip -d addr`` make equal devices."""
    text = (
        "3: flannel.1: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450 qdisc noqueue state UNKNOWN\n"
        "    link/ether 02:00:00:00:01:04 brd ff:ff:ff:ff:ff:ff promiscuity 0  allmulti 0\n"
        "    vxlan id 1 local 10.0.0.5 dev eth0 srcport 0 0 dstport 8472 nolearning ttl auto\n"
        "    inet 10.244.1.0/32 scope global flannel.1\n"
    )
    told = [{
        "ifindex": 3, "ifname": "flannel.1", "mtu": 1450, "operstate": "UNKNOWN",
        "flags": ["BROADCAST", "MULTICAST", "UP", "LOWER_UP"], "link_type": "ether",
        "address": "02:00:00:00:01:04", "linkinfo": {"info_kind": "vxlan", "info_data": {
            "id": 1, "local": "10.0.0.5", "link": "eth0", "port": 8472, "learning": False}},
        "addr_info": [{"family": "inet", "local": "10.244.1.0", "prefixlen": 32,
                       "scope": "global", "label": "flannel.1"}],
    }]  # fmt: skip
    assert host(ip_addr=text, bridge_fdb="").links == (
        host(ip_addr=json.dumps(told), bridge_fdb="").links
    )


def test_ip_link_tells_what_ip_addr_did_not():
    """Addresses of the one, kinds of the other."""
    addr = "4: br0: <UP> mtu 1500\n    link/ether 02:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff\n"
    addr += "    inet 10.1.0.1/24 scope global br0\n"
    link = "4: br0: <UP> mtu 1500\n    link/ether 02:00:00:00:00:01\n    bridge\n"
    assert host(ip_addr=addr).links["br0"].kind == "phys"
    both = host(ip_addr=addr, ip_link=link).links["br0"]
    assert (both.kind, [a.cidr for a in both.addresses]) == ("bridge", ["10.1.0.1/24"])


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("9: bond0: <BROADCAST,MULTICAST,MASTER,UP,LOWER_UP> mtu 1500", "bond"),
        ("9: red: <NOARP,MASTER,UP,LOWER_UP> mtu 65536", "vrf"),
        ("9: vethx@if2: <BROADCAST,UP> mtu 1500", "veth"),
    ],
)
def test_kinds_that_flags_and_names_give_away(line, kind):
    """Without ``-d`` a bond, a VRF and a veth are known all the same."""
    name = line.split()[1].partition("@")[0].rstrip(":")
    assert host(ip_addr=line + "\n").links[name].kind == kind


def test_routes_of_which_something_is_not_modelled_load_and_print():
    """``tos``, ``encap`` and gateways of the other family keep their words."""
    text = (
        "10.1.0.0/16 tos 0x10 via 10.0.0.1 dev ens5 \n"
        "10.2.0.0/16  encap mpls  100 via inet6 fe80::1 dev ens5 \n"
        "10.3.0.0/16 via inet6 fe80::1 dev ens5 proto bird metric 32 \n"
    )
    node = loaded(ip_addr=ADDR, ip_route=text)
    assert tool(node, "ip", "route").splitlines() == text.splitlines()
    unknown = [route.unknown for route in node.kernel.netns(HOST).fib.routes()]
    assert all(unknown)


def test_a_device_that_only_a_route_names_is_there():
    """Honest: it is not described, and packets leave by it."""
    ns = host(ip_route="10.9.0.0/16 dev wg0 scope link\n")
    assert ns.links["wg0"].beyond.words == "the device itself is not described in the dump"


def test_rules_of_both_families_in_one_text():
    """A list whose priorities begin anew is the other family's."""
    four = "0:\tfrom all lookup local\n32766:\tfrom all lookup main\n"
    six = "0:\tfrom all lookup local\n10:\tfrom fd00::/8 lookup 7\n32766:\tfrom all lookup main\n"
    ns = host(ip_rule=four + six)
    assert [r.priority for r in ns.fib.rules] == [0, 32766]
    assert [r.priority for r in ns.fib6.rules] == [0, 10, 32766]
    assert [r.priority for r in host(ip_rule=six).fib6.rules] == [0, 10, 32766]


def test_connections_are_tracked_on():
    """NAT, marks, zones, echo requests, the extended form; protocols without ports are left out."""
    text = (
        "conntrack v1.4.7 (conntrack-tools): 3 flow entries have been shown.\n"
        "tcp      6 431999 ESTABLISHED src=10.244.1.4 dst=10.96.0.1 sport=40000 dport=443 "
        "src=10.0.0.7 dst=10.0.0.5 sport=6443 dport=1024 [ASSURED] mark=0 zone=3 use=1\n"
        "ipv4     2 udp      17 29 src=10.0.0.5 dst=8.8.8.8 sport=5000 dport=53 [UNREPLIED] "
        "src=8.8.8.8 dst=10.0.0.5 sport=53 dport=5000 mark=7 use=1\n"
        "icmp     1 29 src=10.0.0.5 dst=1.1.1.1 type=8 code=0 id=77 src=1.1.1.1 dst=10.0.0.5 "
        "type=0 code=0 id=77 mark=0 use=1\n"
        "unknown  2 580 src=10.0.0.5 dst=224.0.0.1 [UNREPLIED] src=224.0.0.1 dst=10.0.0.5 use=1\n"
    )
    node = loaded(conntrack=text)
    entries = node.kernel.netns(HOST).conntrack.entries(NOW_NS)
    by_protocol = {entry.orig[0]: entry for entry in entries}
    tcp, udp, icmp = (by_protocol[name] for name in ("tcp", "udp", "icmp"))
    assert len(by_protocol) == 3
    assert (tcp.tcp_state, tcp.zone, tcp.snat, tcp.dnat, tcp.assured) == (
        "ESTABLISHED", 3, True, True, True,
    )  # fmt: skip
    assert (udp.mark, udp.seen_reply, udp.snat) == (7, False, False)
    assert icmp.orig == ("icmp", "10.0.0.5", 77, "1.1.1.1", 8)


def test_what_is_bound_is_known_by_ss():
    """Everything: ``*``, ``::`` and an interface's; nothing told: all ports count as open."""
    text = (
        "udp UNCONN 0 0 127.0.0.53%lo:53 0.0.0.0:*\n"
        "tcp LISTEN 0 4096 *:10250 *:*\ntcp LISTEN 0 128 [::1]:631 [::]:*\n"
    )
    sockets = host(ss=text).sockets
    assert sockets.bound == {
        ("udp", 53): ("127.0.0.53",), ("tcp", 10250): ("",), ("tcp", 631): ("::1",),
    }  # fmt: skip
    assert not sockets.unknown
    assert host(ip_addr=ADDR).sockets.unknown


def test_parameters_are_taken_as_told_and_assumptions_are_told():
    """One device's value survives the switch for all; without br_netfilter bridges call nobody."""
    text = "net.ipv4.conf.ens5.rp_filter = 1\nnet.ipv4.ip_forward = 1\nkernel.hostname = n1\n"
    ns = host(sysctl=text)
    assert ns.sysctls.device("rp_filter", "ens5") == 1
    assert ns.sysctls.number("net.bridge.bridge-nf-call-iptables") == 0
    assert any("no sysctl" in note for note in loaded(ip_addr=ADDR).notes)


# ---------------------------------------------------------------- nft and both iptables

MANAGED = """table ip filter {
\tchain FORWARD {
\t\ttype filter hook forward priority filter; policy accept;
\t\ttcp dport 81 counter packets 0 bytes 0 drop
\t}
}
"""
OWN = """table inet fw {
\tflowtable ft {
\t\thook ingress priority filter
\t\tdevices = { ens5 }
\t}

\tchain forward {
\t\ttype filter hook forward priority filter; policy accept;
\t\tmeta l4proto tcp flow add @ft
\t\ttcp dport 82 drop
\t}
}
"""
SAVED = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -p tcp -m tcp --dport 8{} -j DROP\nCOMMIT\n"


def test_tables_of_iptables_are_not_loaded_twice():
    """nft shows iptables-nft's tables too: with iptables-save in the dump they stay out of nft."""
    alone = host(nft=MANAGED + OWN).nft.ruleset.tables
    beside = host(nft=MANAGED + OWN, iptables_save=SAVED.format(1)).nft.ruleset.tables
    assert (list(alone), list(beside)) == (
        [("ip", "filter"), ("inet", "fw")], [("inet", "fw")],
    )  # fmt: skip


def test_rules_of_both_backends_of_iptables():
    """The old one's are iptables', the new one's are read from nft; without nft it is refused."""
    both = {"iptables_save": SAVED.format(1), "iptables_legacy_save": SAVED.format(3)}
    ns = host(nft=MANAGED, **both)
    assert "--dport 83" in ns.netfilter.tables["filter"]["FORWARD"].rules[0].text
    assert ("ip", "filter") in ns.nft.ruleset.tables
    with pytest.raises(DumpError, match=r"iptables_save\.txt:1:1: .*nft list ruleset is needed"):
        loaded(**both)
    empty = "*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n"
    old = host(iptables_save=empty, iptables_legacy_save=SAVED.format(3))
    assert old.netfilter.tables["filter"]["FORWARD"].rules


def test_tables_that_are_not_modelled_make_their_devices_unknown():
    """netdev and bridge: nobody can say what passes there; arp sees no packet."""
    text = (
        "table arp a {\n\tchain i {\n\t\ttype filter hook input priority filter; policy accept;\n"
        "\t}\n}\ntable netdev guard {\n\tchain i {\n"
        '\t\ttype filter hook ingress device "ens5" priority filter; policy accept;\n\t}\n}\n'
    )
    node = loaded(ip_addr=ADDR, nft=text)
    assert not node.kernel.netns(HOST).links["ens5"].beyond.takes
    assert any("netdev guard" in note for note in node.notes)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("section", "text", "place", "why"),
    [
        ("iptables_save", "*nat\n-A POSTROUTING -j MASQUERADE --bogus\nCOMMIT\n", "2:30", "bogus"),
        ("iptables_save", "*nat\n", "2:1", "COMMIT"),
        ("nft", "table ip x {\n\tchain y {\n\t\ttcp dprot 80 accept\n\t}\n}\n", "3:7", "syntax"),
        ("ip_route", "default vai 10.0.0.1 dev eth0\n", "1:9", "vai"),
        ("ip_route", "default via 10.0.0.300 dev eth0\n", "1:13", "10.0.0.300"),
        ("ip_route", "\tnexthop via 10.0.0.1\n", "1:1", "route is expected"),
        ("ip_rule", "0:\tfrom all lookup local\nfoo\n", "2:1", "rule is expected"),
        ("ip_rule", "7:\tfrom all fwmark zz lookup 7\n", "1:20", "zz"),
        ("ip_addr", "hello\n", "1:1", "device is expected"),
        ("ip_addr", "2: eth0: <UP> mtu 1500\n    inet 10.0.0.1/99 scope global\n", "2:10", "99"),
        ("ip_addr", '[{"ifname": 3', "1:1", "truncated"),
        ("ip_neigh", "10.0.0.1 lladdr 02:00:00:00:00:01 STALE\n", "1:35", "dev"),
        ("bridge_fdb", "zz dev eth0\n", "1:1", "MAC"),
        ("sysctl", "hello\n", "1:1", "KEY = VALUE"),
        ("ipset_save", "create a hash:ip\nadd a 10.0.0.x\n", "2:1", "10.0.0.x"),
        ("ipvsadm_save", "-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.2:80 -r 1.1.1.1:80 -m\n", "2:1",
         "not defined"),
        ("conntrack", "tcp 6 10 ESTABLISHED src=1.1.1.1 dst=2.2.2.2 sport=1 dport=2\n", "1:54",
         "both directions"),
        ("ss", "tcp LISTEN 0 1 *:http *:*\n", "1:16", "port number"),
    ],
)  # fmt: skip
def test_text_that_does_not_parse_is_refused_in_place(section, text, place, why):
    """File, line and column; nothing is loaded."""
    with pytest.raises(DumpError) as refused:
        loaded(**{section: text})
    assert str(refused.value).startswith(f"{section}.txt:{place}: "), refused.value
    assert why in str(refused.value)


def test_a_place_in_a_dump_file_counts_its_lines():
    """The section's line is told as the file's."""
    text = "==== podwire node n1\n==== podwire ip-rule\n0:\tfrom all lookup local\nfoo\n"
    (found,) = read(text, "n1.dump")
    with pytest.raises(DumpError, match=r"^n1\.dump:4:1: "):
        load(found, SeededRng(0))
    with pytest.raises(DumpError, match=r'n1\.dump:2:14: .*no section "bogus"'):
        read("==== podwire node n1\n==== podwire bogus\n", "n1.dump")


TEXTS = st.text(alphabet=string.printable, max_size=200)


@settings(max_examples=150)
@given(
    st.sampled_from([name for name in SECTIONS if name != "ip-link"]),
    TEXTS,
    st.integers(0, 400),
    st.sampled_from([ADDR, ROUTES, "0:\tfrom all lookup local\n"]),
)
def test_garbage_is_loaded_or_refused_and_nothing_else(name, noise, at, base):
    """No text makes anything but a kernel or a DumpError."""
    text = base[:at] + noise + base[at:]
    with contextlib.suppress(DumpError):
        load(Dump("n1", {name: Section(text, "f")}), SeededRng(0))


@given(st.dictionaries(st.sampled_from(list(SECTIONS)),
                       st.text(string.ascii_letters + " \n", max_size=40), max_size=5))  # fmt: skip
def test_a_dump_file_reads_back_as_it_was_written(texts):
    """All sections, with their text (a last newline is added)."""
    sections = {name: Section(text) for name, text in texts.items()}
    text = write("n1", sections)
    assert is_dump(text)
    (found,) = read(text, "f")
    back = {name: section.text for name, section in found.sections.items()}
    assert back == {n: t if t.endswith("\n") or not t else t + "\n" for n, t in texts.items()}


def test_the_script_has_every_section():
    """What it prints is what ``read`` knows."""
    assert [name for name in SECTIONS if f"section {name} " not in script()] == []
