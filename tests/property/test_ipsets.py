"""Sets of networks, held to what their words mean: the longest network that holds wins."""

from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from podwire.dataplane import commands as c
from podwire.dataplane.ipset import lookup
from podwire.dataplane.kernel import Kernel
from podwire.dataplane.packet import Packet
from podwire.dataplane.skb import Skb
from podwire.runtime.rng import SeededRng

ADDRESSES = st.integers(0, 255).map(lambda n: f"10.0.{n >> 6}.{n & 63}")
NETS = st.tuples(ADDRESSES, st.integers(20, 32)).map(
    lambda pair: str(ip_network(f"{pair[0]}/{pair[1]}", strict=False))
)
ENTRIES = st.dictionaries(NETS, st.booleans(), max_size=12)


def matches(sets, sides, packet):
    return lookup.matches(sets, "S", Skb(packet, "", ""), sides, 0, lookup.Counting())


def filled(kind, lines):
    kernel = Kernel("node-1", SeededRng(1, "ipset"))
    text = "".join(f"add S {line}\n" for line in lines)
    kernel.execute(c.IpsetRestore(text=f"create S {kind}\n{text}"), 0)
    return kernel.netns("").ipsets


@given(ENTRIES, st.lists(ADDRESSES, min_size=1, max_size=8))
def test_the_longest_network_decides_and_nomatch_denies(entries, asked):
    """hash:net against a search of every entry."""
    lines = [f"{net} nomatch" if denied else net for net, denied in entries.items()]
    sets = filled("hash:net", lines)
    for address in asked:
        holding = [ip_network(n) for n in entries if ip_address(address) in ip_network(n)]
        best = max(holding, key=lambda n: n.prefixlen, default=None)
        expected = best is not None and not entries[str(best)]
        found = matches(sets, ("src",), Packet(address, "10.9.9.9", "tcp", 1, 2))
        assert found == expected, (address, lines)


@given(
    st.sets(st.tuples(ADDRESSES, st.integers(1, 4), NETS), max_size=12),
    st.lists(st.tuples(ADDRESSES, st.integers(1, 4), ADDRESSES), min_size=1, max_size=8),
)
def test_a_source_range_admits_exactly_its_addresses(entries, asked):
    """hash:ip,port,net as KUBE-LOAD-BALANCER-SOURCE-CIDR is matched: dst,dst,src."""
    sets = filled("hash:ip,port,net", [f"{ip},tcp:{port},{net}" for ip, port, net in entries])
    for dst, port, src in asked:
        expected = any(
            (dst, port) == (ip, number) and ip_address(src) in ip_network(net)
            for ip, number, net in entries
        )
        found = matches(sets, ("dst", "dst", "src"), Packet(src, dst, "tcp", 9, port))
        assert found == expected, (dst, port, src)
