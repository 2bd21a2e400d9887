"""Rules, tables, next hops, what may arrive and ARP's manners: the model against Linux."""

import subprocess

import pytest

from podwire.dataplane import commands as c
from podwire.dataplane.packet import Packet
from tests.system.mirror import PREFIX, Mirror, sh
from tests.system.test_kernel import able

pytestmark = pytest.mark.skipif(not able(), reason="needs root and a kernel with VXLAN")

NODE = "node-1"


def route(dst, **fields):
    return c.RouteReplace(dst=dst, **fields)


def rule(**fields):
    return c.RuleAdd(**fields)


HOPS = [c.Hop(via="192.168.0.12", dev="eth0", weight=3), c.Hop(via="192.168.0.100", dev="eth0")]
SETTINGS = (
    route("10.60.0.0/16", via="192.168.0.12", metric=5, mtu_bytes=1400, mtu_lock=True, verb="add"),
    route("10.60.0.0/16", via="192.168.0.100", metric=3, advmss_bytes=1300, verb="add"),
    route("10.61.0.0/16", via="172.16.9.9", dev="eth0", onlink=True, mtu_bytes=1300),
    route("10.62.0.0/16", nexthops=HOPS),
    route("10.63.0.0/16", type="unreachable"),
    route("10.64.0.0/16", type="prohibit"),
    route("10.65.0.0/16", type="blackhole"),
    route("10.66.0.0/16", type="throw", table="66"),
    route("default", type="prohibit", table="66"),
    route("10.67.0.0/16", via="192.168.0.12", src="10.244.1.1"),
    route("default", via="192.168.0.12", dev="eth0", table="7"),
    route("10.80.0.0/16", type="prohibit", table="80"),
    rule(priority=40, dst="10.66.0.0/15", table="66"),
    rule(priority=50, mark=7, mask=0xFF, table="7"),
    rule(priority=60, src="10.244.1.2", dst="10.70.0.0/16", iif="cni0", action="prohibit"),
    rule(priority=61, src="10.244.1.3", dst="10.70.0.0/16", action="unreachable"),
    rule(priority=62, dst="10.71.0.0/16", action="blackhole"),
    rule(priority=63, inverted=True, src="10.244.0.0/16", dst="10.80.0.0/16", table="80"),
    rule(priority=64, dst="10.81.0.0/16", protocol="tcp", dport="80-90", action="prohibit"),
    rule(priority=70, dst="10.82.0.0/16", action="goto", target=32766),
    rule(priority=71, dst="10.82.0.0/15", action="prohibit"),
    rule(priority=72, action="goto", target=99),
    rule(priority=73, oif="cni0", table="main", suppress_prefixlength=0),
    rule(src="10.9.9.9", table="7"),
    route("fd00:60::/64", via="fd00:a8::12", metric=5, mtu_bytes=1400),
    route("fd00:61::/64", via="fd00:a8::12", verb="add"),
    route("fd00:63::/64", type="unreachable"),
    route("fd00:66::/64", type="throw", table="66"),
    route("fd00::/8", type="prohibit", table="66"),
    rule(priority=40, dst="fd00:66::/31", table="66", family="ipv6"),
    rule(priority=41, dst="fd00:70::/64", action="unreachable", family="ipv6"),
)


@pytest.fixture(scope="module")
def lab():
    """Two nodes of both families; node-1 with many ways."""
    with Mirror(nodes=2, pods=2, dual=True) as made:
        for i in (1, 2):
            made.serve(i, "a")
        made.run(NODE, *SETTINGS)
        yield made


SHOWN = [
    "ip rule",
    "ip -6 rule",
    "ip route",
    "ip route show table 66",
    "ip route show table 7",
    "ip -6 route show table 66",
    "ip route show table 4711",
    "ip route get 10.60.1.1",
    "ip route get 10.61.1.1",
    "ip route get 10.63.1.1",
    "ip route get 10.64.1.1",
    "ip route get 10.65.1.1",
    "ip route get 10.66.1.1",
    "ip route get 10.67.1.1",
    "ip route get 10.71.1.1",
    "ip route get 10.80.1.1",
    "ip route get 10.80.1.1 from 10.244.1.1",
    "ip route get 10.82.1.1",
    "ip route get 10.83.1.1",
    "ip route get 10.99.1.1 mark 7",
    "ip route get 10.99.1.1 mark 0x107",
    "ip -6 route get fd00:60::1",
    "ip -6 route get fd00:63::1",
    "ip -6 route get fd00:66::1",
    "ip -6 route get fd00:67::1",
    "ip -6 route get fd00:70::1",
    "ip route add 10.60.0.0/16 via 192.168.0.12 metric 3",
    "ip route change 10.99.0.0/16 via 192.168.0.12",
    "ip route del 10.99.0.0/16",
    "ip route add 10.99.0.0/16 via 172.30.0.1",
    "ip -6 route add fd00:99::/64 via fd00:98::1",
    "ip rule del pref 4711",
    "ip rule add pref 50 fwmark 7/0xff lookup 7",
]


@pytest.mark.parametrize("line", SHOWN)
def test_tools_print_what_the_real_ones_print(lab, line):
    """Output, error words and exit code, to the letter."""
    argv = line.split()
    out, err, code = lab.world.kernels[NODE].tool("", argv, "", lab.now)
    words = ["ip", "netns", "exec", PREFIX + NODE, *argv]
    real = subprocess.run(words, text=True, capture_output=True, check=False)
    kept = [row for row in real.stdout.splitlines(keepends=True) if "fe80" not in row]
    mine = [row for row in out.splitlines(keepends=True) if "fe80" not in row]
    assert (mine, err, code) == (kept, real.stderr, real.returncode)


@pytest.mark.parametrize("netns", ["a1", "b1"])
def test_connections_fail_as_the_kernel_s_do(lab, netns):
    """Prohibited, unreachable, silent: by route and by rule, from pods."""
    targets = [("tcp", f"10.{n}.0.1", 80) for n in (63, 64, 65, 66, 70, 71, 81, 83)] + [
        ("tcp", "fd00:63::1", 80),
        ("tcp", "fd00:70::1", 80),
        ("tcp", "fd00:66::1", 80),
    ]
    lab.agree(NODE, netns, targets)


MANNERS = [
    ({}, True, True),
    ({"arp_ignore": 1}, True, False),
    ({"arp_ignore": 2}, True, False),
    ({"arp_ignore": 1, "proxy_arp": 1}, True, False),
]


@pytest.mark.parametrize(("keys", "own", "other"), MANNERS, ids=[str(m[0]) for m in MANNERS])
def test_arp_is_answered_as_the_kernel_answers(lab, keys, own, other):
    """The client asks for eth0's and cni0's address, and for a pod's, on the wire."""
    for address in ("10.244.1.1", "10.244.1.2"):
        lab.run("client", route(f"{address}/32", dev="eth0"))
    for key in ("arp_ignore", "proxy_arp"):
        value = str(keys.get(key, 0))
        lab.run(NODE, c.SysctlSet(key=f"net.ipv4.conf.eth0.{key}", value=value))
    sh("ip", "-n", PREFIX + "client", "neigh", "flush", "all")
    lab.world.kernels["client"].netns("").neighbours.entries.clear()
    targets = [("tcp", ip, 8080) for ip in ("192.168.0.11", "10.244.1.1", "10.244.1.2")]
    real = lab.real("client", "", targets)
    heard = [answer in {"REFUSED", "a1 192.168.0.100"} for answer in real]
    assert heard == [own, other, bool(keys.get("proxy_arp"))]
    for probe, answer in zip(targets, real, strict=True):
        said = lab.model("client", "", *probe)
        assert (answer in said) or (answer == "EHOSTUNREACH" and said == {"TIMEOUT"}), (probe, said)


PROBED = "-p udp -m udp --dport 4242"


@pytest.mark.parametrize("source", ["10.244.2.9", "172.31.1.1", "192.168.0.77"])
@pytest.mark.parametrize("mode", ["0", "1", "2"])
def test_reverse_path_filters_let_through_what_the_kernel_s_do(lab, mode, source):
    """Datagrams from one cable with the addresses of others, counted where they come in."""
    for key in ("all", "eth0"):
        lab.run(NODE, c.SysctlSet(key=f"net.ipv4.conf.{key}.rp_filter", value=mode))
    text = f"*filter\n-A INPUT {PROBED} -j DROP\nCOMMIT\n"
    lab.run(NODE, c.RulesRestore(text=text, noflush=False))
    lab.run("client", c.AddrAdd(dev="eth0", cidr=f"{source}/32"))
    code = (
        "import socket; s = socket.socket(type=socket.SOCK_DGRAM); "
        f"s.bind(('{source}', 4243)); s.sendto(b'x', ('192.168.0.11', 4242))"
    )
    sh("ip", "netns", "exec", PREFIX + "client", "python3", "-c", code)
    packet = Packet(
        src=source, dst="192.168.0.11", protocol="udp", src_port=4243, dst_port=4242, size_bytes=29
    )
    lab.send("client", "", packet)
    lab.run("client", c.AddrDel(dev="eth0", cidr=f"{source}/32"))
    real = sh("ip", "netns", "exec", PREFIX + NODE, "iptables-save", "-c", "-t", "filter")
    counts = lab.world.kernels[NODE].netns("").netfilter.counts("filter", "INPUT", 0)
    assert "[{}:{}] -A INPUT".format(*counts) in real
