"""Network tools print what the real ones print (captured from iproute2 6.1 on a node like this)."""

import re
from pathlib import Path

import pytest

from podwire.dataplane import commands as c
from podwire.dataplane.kernel import Kernel
from podwire.dataplane.packet import ICMP_ECHO, Packet, replace
from podwire.dataplane.tools import procfs
from podwire.dataplane.tools.options import Options
from podwire.runtime.rng import SeededRng
from tests.unit.dataplane.lab import Lab, syn, udp
from tests.unit.dataplane.services import load, service

GOLDEN = (Path(__file__).parent / "golden" / "tools.txt").read_text()
SESSIONS = [
    (head, body, int(code))
    for head, body, code in re.findall(r"(?ms)^\$ ([^\n]+)\n(.*?)^\[(\d+)\]\n", GOLDEN)
]


@pytest.fixture(scope="module")
def node():
    """The node the goldens were captured on: cni0 with one pod, flannel.1 with one peer."""
    kernel = Kernel("node-1", SeededRng(1))
    for command in (
        c.LinkAdd(name="cni0", kind="bridge", mtu_bytes=1450),
        c.LinkSet(name="cni0", up=True),
        c.AddrAdd(dev="cni0", cidr="10.244.1.1/24"),
        c.NetnsAdd(name="pod"),
        c.LinkAdd(name="veth1", kind="veth", peer_name="eth0", peer_netns="pod", mtu_bytes=1450),
        c.LinkSet(name="veth1", master="cni0", up=True, hairpin=True),
        c.LinkSet(netns="pod", name="eth0", up=True),
    ):
        kernel.execute(command, 0)
    kernel.add_physical("eth0", "3e:27:97:5d:26:14")
    for command in (
        c.AddrAdd(dev="eth0", cidr="192.168.0.11/24"),
        c.RouteReplace(dst="default", via="192.168.0.1", dev="eth0"),
        c.LinkAdd(
            name="flannel.1",
            kind="vxlan",
            vni=1,
            local="192.168.0.11",
            dev="eth0",
            learning=False,
            mac="02:00:00:00:01:01",
        ),
        c.LinkSet(name="flannel.1", up=True),
        c.AddrAdd(dev="flannel.1", cidr="10.244.1.0/32"),
        c.RouteReplace(dst="10.244.2.0/24", via="10.244.2.0", dev="flannel.1", onlink=True),
        c.NeighReplace(dev="flannel.1", dst="10.244.2.0", mac="02:00:00:00:01:02"),
        c.FdbReplace(dev="flannel.1", mac="02:00:00:00:01:02", dst="192.168.0.12"),
        c.RouteReplace(dst="10.9.0.0/16", type="blackhole"),
        c.RouteReplace(dst="10.8.0.0/16", type="unreachable"),
        c.SysctlSet(key="net.ipv4.ip_forward", value="1"),
    ):
        kernel.execute(command, 0)
    return kernel


@pytest.mark.parametrize(("command", "text", "code"), SESSIONS, ids=[s[0] for s in SESSIONS])
def test_tools_print_what_the_real_ones_print(node, command, text, code):
    """Standard output and error together, and the exit code."""
    out, err, got = node.tool("", command.split(), "", 0)
    assert (out + err, got) == (text, code)


def test_a_pods_own_view_names_the_far_interface_index():
    """eth0@if.. and the peer's namespace."""
    lab = Lab(nodes=1)
    kernel = lab.world.kernels["node-1"]
    out, _, code = kernel.tool("a1", ["ip", "addr"], "", 0)
    assert code == 0
    assert re.search(r"2: eth0@if5: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450", out)
    assert "    inet 10.244.1.2/24 scope global eth0\n" in out
    assert "link-netnsid 0" in out
    out, _, _ = kernel.tool("", ["ip", "link", "show", "vetha1"], "", 0)
    assert out.startswith("5: vetha1@if2: ")
    assert "link-netns a1" in out


def test_a_veth_whose_peer_is_down_has_no_carrier():
    """NO-CARRIER and LOWERLAYERDOWN."""
    lab = Lab(nodes=1)
    lab.run("node-1", c.LinkSet(netns="a1", name="eth0", up=False))
    out, _, _ = lab.world.kernels["node-1"].tool("", ["ip", "link", "show", "vetha1"], "", 0)
    assert "<NO-CARRIER,BROADCAST,MULTICAST,UP>" in out
    assert "state LOWERLAYERDOWN" in out


def test_commands_typed_at_a_node_change_it():
    """ip, bridge, sysctl and iptables write as well as read."""
    lab = Lab(nodes=1)
    kernel = lab.world.kernels["node-1"]

    def tool(text):
        out, err, code = kernel.tool("", text.split(), "", lab.now)
        assert (err, code) == ("", 0), text
        return out

    tool("ip route add 10.50.0.0/16 via 192.168.0.1")
    assert tool("ip route get 10.50.1.1").startswith("10.50.1.1 via 192.168.0.1 dev eth0")
    tool("ip link set vetha1 down")
    assert "state DOWN" in tool("ip link show vetha1")
    tool("sysctl -w net.ipv4.conf.all.rp_filter=1")
    assert tool("sysctl -n net.ipv4.conf.all.rp_filter") == "1\n"
    tool("iptables -t nat -A POSTROUTING -s 10.244.0.0/16 -j MASQUERADE")
    tool("iptables -I FORWARD 1 -p tcp --dport 80 -j DROP")
    assert tool("iptables -S FORWARD") == (
        "-P FORWARD ACCEPT\n-A FORWARD -p tcp -m tcp --dport 80 -j DROP\n"
    )
    tool("iptables -C FORWARD -p tcp --dport 80 -j DROP")
    tool("iptables -D FORWARD 1")
    assert tool("iptables -S FORWARD") == "-P FORWARD ACCEPT\n"
    tool("bridge link set dev vethb1 hairpin off")
    assert "hairpin off" in tool("bridge -d link show dev vethb1")


def test_counters_count_packets_and_bytes():
    """-v shows what matched, -c saves it, -Z forgets it."""
    lab = Lab(nodes=1)
    kernel = lab.world.kernels["node-1"]
    kernel.tool("", ["iptables", "-A", "FORWARD", "-p", "udp", "-j", "ACCEPT"], "", 0)
    for sport in range(40000, 40003):
        lab.send("node-1", "a1", udp("10.244.1.3", 9, sport=sport, size=100))
    out, _, _ = kernel.tool("", ["iptables", "-nvL", "FORWARD"], "", 0)
    assert "    3   300 ACCEPT     17   --" in out
    out, _, _ = kernel.tool("", ["iptables-save", "-c", "-t", "filter"], "", 0)
    assert "[3:300] -A FORWARD -p udp -j ACCEPT\n" in out
    kernel.tool("", ["iptables", "-Z", "FORWARD"], "", 0)
    out, _, _ = kernel.tool("", ["iptables-save", "-c", "-t", "filter"], "", 0)
    assert "[0:0] -A FORWARD -p udp -j ACCEPT\n" in out


def test_conntrack_lists_translated_connections():
    """The line has the state, both tuples and what is left of the timeout."""
    lab = Lab()
    load(lab, service("web", "10.96.0.10", 80, [("10.244.2.2", 8080)]))
    lab.listen("node-2", "a2", 8080)
    lab.send("node-1", "a1", syn("10.96.0.10", 80))
    lab.now += 7 * 10**9
    kernel = lab.world.kernels["node-1"]
    out, err, code = kernel.tool("", ["conntrack", "-L", "-p", "tcp"], "", lab.now)
    assert out == (
        "tcp      6 113 SYN_SENT src=10.244.1.2 dst=10.96.0.10 sport=40000 dport=80 [UNREPLIED] "
        "src=10.244.2.2 dst=10.244.1.2 sport=8080 dport=40000 mark=0 use=1\n"
    )
    assert (err, code) == (
        "conntrack v1.4.7 (conntrack-tools): 1 flow entries have been shown.\n",
        0,
    )
    out, _, _ = kernel.tool("", ["conntrack", "-D", "-d", "10.96.0.10"], "", lab.now)
    assert out.count("\n") == 1
    assert kernel.tool("", ["conntrack", "-L", "-p", "tcp"], "", lab.now)[0] == ""


def test_a_tool_that_is_not_modelled_exits_127_and_an_option_says_so():
    """Never a guess."""
    kernel = Kernel("n", SeededRng(1))
    assert kernel.tool("", ["tcpdump"], "", 0)[2] == 127
    _, err, code = kernel.tool("", ["ip", "-s", "route"], "", 0)
    assert (err, code) == ("not modelled: ip -s route\n", 1)
    _, err, code = kernel.tool("", ["ip", "-rc", "64k", "link"], "", 0)
    assert (err, code) == ("not modelled: option -rc\n", 1)
    _, err, code = kernel.tool("nope", ["ip", "route"], "", 0)
    assert (err, code) == (
        'Cannot open network namespace "nope": No such file or directory\n',
        1,
    )


@pytest.mark.parametrize(
    ("count", "decimal", "binary"),
    [
        (999, "999", "999"), (1000, "1.00k", "1000"), (3168, "3.17k", "3.09ki"),
        (485408, "485k", "474ki"), (568003, "568k", "555ki"), (422438, "422k", "413ki"),
        (43201302, "43.2M", "41.2Mi"), (18722652889, "18.7G", "17.4Gi"),
        (238437733860, "238G", "222Gi"),
    ],
)  # fmt: skip
def test_counters_are_shortened_as_iproute2_shortens_them(count, decimal, binary):
    """``ip -h -s link``, without and with ``-iec``: what iproute2 6.1 printed."""
    options = Options()
    assert options.number(count) == str(count)
    options.take("-h")
    assert options.number(count) == decimal
    options.take("-iec")
    assert options.number(count) == binary


PING = Packet("", "10.244.2.2", "icmp", icmp_type=ICMP_ECHO, size_bytes=84)


def _counted(lab, netns, dev):
    """(rx packets, rx bytes, tx packets, tx bytes) by /sys, as programs read them."""
    kernel, folder = lab.world.kernels["node-1"], f"/sys/class/net/{dev}/statistics/"
    names = ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes")
    return [int(procfs.read(kernel, netns, folder + name)) for name in names]


def test_devices_count_what_passes_them():
    """The bytes that Linux counts for a ping of 56 (tests/system/test_device_counters.py): a frame
    at cards and veths, a packet in tunnels and at lo, either at a bridge, by its direction.
    """
    lab = Lab(nodes=2)
    devices = [("a1", "eth0"), ("", "cni0"), ("", "flannel.1"), ("", "eth0")]
    lab.send("node-1", "a1", PING)
    before = [_counted(lab, *device) for device in devices]
    lab.send("node-1", "a1", PING)
    after = [_counted(lab, *device) for device in devices]
    rose = [
        [new - old for old, new in zip(*pair, strict=True)]
        for pair in zip(before, after, strict=True)
    ]
    assert rose == [[1, 98, 1, 98], [1, 84, 1, 98], [1, 84, 1, 84], [1, 148, 1, 148]]
    lab.send("node-1", "a1", replace(PING, dst="10.244.1.2"))
    assert _counted(lab, "a1", "lo") == [2, 168, 2, 168]


def test_devices_drop_what_nobody_takes():
    """A veth whose peer is down, a tunnel whose FDB names no end: tx_dropped, and nothing sent."""
    lab = Lab(nodes=2)
    route = c.RouteReplace(dst="10.9.0.0/16", via="10.9.0.0", dev="flannel.1", onlink=True)
    near = c.NeighReplace(dev="flannel.1", dst="10.9.0.0", mac="02:00:00:00:09:00")
    lab.run("node-1", route, near)
    lab.send("node-1", "a1", replace(PING, dst="10.244.1.1"))
    sent = _counted(lab, "a1", "eth0")
    lab.run("node-1", c.LinkSet(name="vetha1", up=False))
    for netns, dst in (("a1", "10.244.1.1"), ("", "10.9.0.9")):
        lab.send("node-1", netns, replace(PING, dst=dst))
    kernel, dropped = lab.world.kernels["node-1"], "/sys/class/net/{}/statistics/tx_dropped".format
    assert procfs.read(kernel, "a1", dropped("eth0")) == "1\n"
    assert procfs.read(kernel, "", dropped("flannel.1")) == "1\n"
    assert _counted(lab, "a1", "eth0") == sent
    assert _counted(lab, "", "flannel.1")[2:] == [0, 0]
