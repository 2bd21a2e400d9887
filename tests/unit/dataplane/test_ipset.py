"""ipset: the tool's words, and what -m set and -j SET do to packets."""

import pytest

from podwire.dataplane import commands as c
from podwire.dataplane.commands import CommandError
from podwire.dataplane.ipset import lookup
from podwire.dataplane.kernel import Kernel
from podwire.dataplane.packet import Packet
from podwire.dataplane.skb import Skb
from podwire.runtime.rng import SeededRng
from tests.unit.dataplane import ipset_sessions as sessions

SECOND = sessions.SECOND


@pytest.fixture
def kernel():
    return Kernel("node-1", SeededRng(1, "ipset"))


def run(kernel, text, now=SECOND, **extra):
    kernel.execute(c.IpsetRestore(text=text, **extra), now)


def holds(kernel, name, packet, sides, now=SECOND, in_dev="", out_dev=""):
    skb = Skb(packet, in_dev, out_dev)
    sets = kernel.netns("").ipsets
    return lookup.matches(sets, name, skb, tuple(sides.split(",")), now, lookup.Counting())


def packet(src="10.0.0.1", dst="10.0.0.2", protocol="tcp", sport=4000, dport=80, **extra):
    return Packet(src, dst, protocol, sport, dport, **extra)


@pytest.mark.parametrize("name", ["words", "options", "icmp"])
def test_commands_are_answered_as_ipset_answered_them(name):
    """Every line of three recorded sessions of ipset 7.17: output, errors, exit codes."""
    session = sessions.commands(name)
    for (argv, _), ours, real in zip(
        session, sessions.model(session), sessions.recorded(name), strict=True
    ):
        assert ours == real, " ".join(argv)


def test_a_restore_is_carried_out_whole_or_not_at_all(kernel):
    """The third line fails: the set of the first one does not exist afterwards."""
    with pytest.raises(CommandError, match=r"ipset v7.17: Error in line 3: The set with the given"):
        run(kernel, "create A hash:ip\nadd A 10.0.0.1\nadd B 10.0.0.1\n")
    assert kernel.tool("", ["ipset", "list", "-n"], "", 0) == ("", "", 0)


def test_exist_lets_a_restore_be_repeated(kernel):
    """With -exist, creating and adding again is fine; without, it is not."""
    text = "create A hash:ip,port\nadd A 10.0.0.1,tcp:80\n"
    run(kernel, text)
    run(kernel, text, exist=True)
    with pytest.raises(CommandError, match="set with the same name already exists"):
        run(kernel, text)


def test_addresses_and_ports_are_looked_up_by_side(kernel):
    """hash:ip,port,ip by dst,dst,src: kube-proxy's hairpin set."""
    run(kernel, "create L hash:ip,port,ip\nadd L 10.0.0.2,tcp:80,10.0.0.2\n")
    assert holds(kernel, "L", packet(src="10.0.0.2"), "dst,dst,src")
    assert not holds(kernel, "L", packet(), "dst,dst,src")
    assert not holds(kernel, "L", packet(src="10.0.0.2", protocol="udp"), "dst,dst,src")
    assert not holds(kernel, "L", packet(src="10.0.0.2"), "dst,dst")


def test_protocols_without_ports_have_the_port_zero(kernel):
    """By name or number: IPIP is 4, ipencap."""
    run(kernel, "create G hash:ip,port\nadd G 10.0.0.1,gre:0\nadd G 10.0.0.1,4:0\n")
    assert [holds(kernel, "G", packet(protocol=p), "src,dst") for p in ("gre", "ipip", "esp")] == [
        True, True, False,
    ]  # fmt: skip


def test_the_most_specific_network_decides_and_nomatch_excepts_it(kernel):
    """10.0.0.0/8 without 10.1.0.0/16, but with 10.1.2.0/24."""
    run(
        kernel,
        "create N hash:net\nadd N 10.0.0.0/8\nadd N 10.1.0.0/16 nomatch\nadd N 10.1.2.0/24\n",
    )
    answers = [
        holds(kernel, "N", packet(src=f"10.{x}"), "src") for x in ("9.0.1", "1.0.1", "1.2.1")
    ]
    assert answers == [True, False, True]


def test_two_networks_are_tried_in_all_their_lengths(kernel):
    """hash:net,net holds pairs of different lengths."""
    run(
        kernel,
        "create P hash:net,net\nadd P 10.0.0.0/8,192.168.0.0/16\nadd P 10.1.0.0/16,172.16.0.0/12\n",
    )
    assert holds(kernel, "P", packet(src="10.1.0.1", dst="192.168.3.4"), "src,dst")
    assert holds(kernel, "P", packet(src="10.1.0.1", dst="172.17.0.1"), "src,dst")
    assert not holds(kernel, "P", packet(src="10.2.0.1", dst="172.17.0.1"), "src,dst")


def test_a_bitmap_of_ports_knows_tcp_and_udp_only(kernel):
    """The same bitmap answers for both; SCTP needs a hash."""
    run(kernel, "create B bitmap:port range 0-65535\nadd B 80\n")
    assert holds(kernel, "B", packet(), "dst")
    assert holds(kernel, "B", packet(protocol="udp"), "dst")
    assert not holds(kernel, "B", packet(protocol="sctp"), "dst")
    assert not holds(kernel, "B", packet(dport=81), "dst")


def test_devices_are_matched_by_side_and_bridge_ports_apart(kernel):
    """hash:net,iface: src is the incoming device; physdev: a port of a bridge."""
    run(
        kernel,
        "create I hash:net,iface\nadd I 10.0.0.0/8,eth0\nadd I 10.0.0.0/8,physdev:veth1\n",
    )
    assert holds(kernel, "I", packet(), "src,src", in_dev="eth0")
    assert not holds(kernel, "I", packet(), "src,dst", in_dev="eth0")
    assert not holds(kernel, "I", packet(), "src,src", in_dev="veth1")
    bridged = Skb(packet(), "cni0")
    bridged.phys_in = "veth1"
    sets = kernel.netns("").ipsets
    found = lookup.matches(sets, "I", bridged, ("src", "src"), SECOND, lookup.Counting())
    assert found


def test_a_list_asks_its_sets_in_order(kernel):
    """list:set is as good as its members; one that needs more sides is passed over."""
    run(
        kernel,
        "create A hash:ip\ncreate P hash:ip,port\ncreate L list:set\nadd L P\nadd L A\n"
        "add P 10.0.0.1,tcp:4000\nadd A 10.0.0.7\n",
    )
    assert holds(kernel, "L", packet(), "src,src")
    assert not holds(kernel, "L", packet(), "src")
    assert holds(kernel, "L", packet(src="10.0.0.7"), "src")


def test_elements_expire_and_their_place_becomes_free(kernel):
    """timeout 10: gone after ten seconds, for packets, for test and for maxelem."""
    run(kernel, "create T hash:ip timeout 10 maxelem 1\nadd T 10.0.0.1\n")
    assert holds(kernel, "T", packet(), "src", now=10 * SECOND)
    later = 11 * SECOND
    assert not holds(kernel, "T", packet(), "src", now=later)
    run(kernel, "add T 10.0.0.9\n", now=later)
    listed = kernel.tool("", ["ipset", "list", "T"], "", later)[0]
    assert listed.endswith("Members:\n10.0.0.9 timeout 10\n")


def test_counters_count_and_are_compared(kernel):
    """Packets and bytes of what matched; --packets-gt asks for more than that many."""
    run(kernel, "create C hash:ip counters\nadd C 10.0.0.1\n")
    sets = kernel.netns("").ipsets
    more = lookup.Counting(packets=("gt", 1))
    skb = Skb(packet(size_bytes=100))
    answers = [lookup.matches(sets, "C", skb, ("src",), SECOND, more) for _ in range(3)]
    assert answers == [False, True, True]
    assert kernel.tool("", ["ipset", "save", "C"], "", SECOND)[0].endswith(
        "add C 10.0.0.1 packets 3 bytes 300\n"
    )


def test_both_families_keep_to_their_own_sets(kernel):
    """An IPv6 set holds IPv6 packets, however their address is written."""
    run(kernel, "create S hash:ip,port family inet6\nadd S fd00:0:0::1,tcp:80\n")
    assert holds(kernel, "S", packet(src="fd00::9", dst="fd00::1"), "dst,dst")
    assert not holds(kernel, "S", packet(), "dst,dst")
    run(kernel, "add S ::ffff:a00:1,udp:53\n")
    saved = kernel.tool("", ["ipset", "save"], "", SECOND)[0]
    assert saved.endswith("add S fd00::1,tcp:80\nadd S ::ffff:10.0.0.1,udp:53\n")


def test_rules_hold_the_sets_they_name(kernel):
    """A rule needs its set; the set cannot go or be renamed while the rule is there."""
    rule = "*filter\n-A INPUT -m set --match-set A src -j DROP\nCOMMIT\n"
    with pytest.raises(CommandError, match=r"line 2 failed: Set A doesn't exist\."):
        kernel.execute(c.RulesRestore(text=rule), SECOND)
    run(kernel, "create A hash:ip\ncreate B hash:ip\nadd B 10.0.0.1\n")
    kernel.execute(c.RulesRestore(text=rule), SECOND)
    with pytest.raises(CommandError, match="in use by a kernel component"):
        run(kernel, "destroy A\n")
    with pytest.raises(CommandError, match="in use by another system"):
        run(kernel, "rename A Z\n")
    run(kernel, "swap A B\n")
    assert holds(kernel, "A", packet(), "src")


def test_the_set_target_fills_and_empties_sets(kernel):
    """-j SET --add-set remembers who asked; --del-set forgets them; the packet goes on."""
    run(kernel, "create SEEN hash:ip timeout 60\ncreate GONE hash:ip\nadd GONE 127.0.0.1\n")
    kernel.execute(
        c.RulesRestore(
            text="*filter\n-A INPUT -j SET --add-set SEEN src --exist --timeout 5 --del-set GONE "
            "src\nCOMMIT\n"
        ),
        SECOND,
    )
    kernel.open_socket("", "udp", "", 53)
    kernel.send("", packet(src="127.0.0.1", dst="127.0.0.1", protocol="udp", dport=53), SECOND)
    out = kernel.tool("", ["ipset", "save"], "", SECOND)[0]
    assert "add SEEN 127.0.0.1 timeout 5\n" in out
    assert "add GONE" not in out


def test_a_fork_changes_its_own_sets_only(kernel):
    """Sets are shared until one side writes."""
    run(kernel, "create A hash:net\nadd A 10.0.0.0/8\n")
    before = kernel.state_hash()
    fork = kernel.fork()
    run(fork, "add A 192.168.0.0/16\nflush A\nadd A 1.1.1.1\n")
    assert holds(kernel, "A", packet(), "src")
    assert not holds(fork, "A", packet(), "src")
    assert kernel.state_hash() == before != fork.state_hash()
