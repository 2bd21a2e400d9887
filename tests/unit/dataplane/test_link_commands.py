"""Devices and namespaces made from the command line, as on a real node."""

import pytest

from podwire.dataplane.kernel import Kernel
from podwire.runtime.rng import SeededRng


@pytest.fixture
def node():
    kernel = Kernel("node-1", SeededRng(1))
    kernel.add_physical("eth0", "02:00:00:00:00:0b")
    assert tool(kernel, "ip addr add 192.168.0.11/24 dev eth0") == ("", "", 0)
    return kernel


def tool(kernel, line):
    """(stdout, stderr, exit code)."""
    return kernel.tool("", line.split(), "", 0)


@pytest.mark.parametrize(
    ("line", "name", "mtu", "shown"),
    [
        ("add d0 type dummy", "d0", 1500, "dummy"),
        ("add name br9 type bridge", "br9", 1500, "bridge"),
        ("add d1 mtu 1280 address 02:00:00:00:00:99 type dummy", "d1", 1280, "02:00:00:00:00:99"),
        (
            "add vx9 type vxlan id 9 dev eth0 local 192.168.0.11 remote 192.168.0.12 dstport 4789",
            "vx9", 1450, "vxlan id 9 ",
        ),
        ("add gn type geneve id 7 remote 192.168.0.12 dev eth0", "gn", 1450, "geneve id 7 "),
        ("add t1 type ipip local 192.168.0.11 remote 192.168.0.12", "t1", 1480, "ipip any remote"),
        ("add wg0 type wireguard", "wg0", 1420, "wireguard"),
        ("add vx6 type vxlan id 1 dev eth0 remote fd00::12", "vx6", 1430, "vxlan id 1 "),
    ],
)  # fmt: skip
def test_devices_of_every_kind(node, line, name, mtu, shown):
    """Each is there with its MTU: what it wraps packets in is taken off."""
    assert tool(node, f"ip link {line}") == ("", "", 0)
    out, _, code = tool(node, f"ip -d link show {name}")
    assert code == 0
    assert f" mtu {mtu} " in out
    assert shown in out


def test_an_old_fashioned_tunnel(node):
    """ip tunnel add ... mode ipip; other modes are not modelled."""
    assert tool(node, "ip tunnel add t0 mode ipip remote 192.168.0.12 local 192.168.0.11")[2] == 0
    assert "ipip any remote 192.168.0.12" in tool(node, "ip -d link show t0")[0]
    assert tool(node, "ip tunnel add g0 mode gre remote 1.2.3.4")[1:] == (
        "not modelled: ip tunnel add mode gre\n", 1,
    )  # fmt: skip


def test_a_namespace_of_ones_own(node):
    """ip netns add, a veth into it, ip netns exec; and all is gone again with it."""
    for line in (
        "ip netns add lab",
        "ip link add v0 type veth peer name v1 netns lab",
        "ip addr add 10.9.0.1/24 dev v0",
        "ip link set v0 up",
        "ip netns exec lab ip addr add 10.9.0.2/24 dev v1",
        "ip netns exec lab ip link set v1 up",
    ):
        assert tool(node, line) == ("", "", 0), line
    assert "lab\n" in tool(node, "ip netns")[0]
    assert "10.9.0.2/24" in tool(node, "ip netns exec lab ip -4 addr")[0]
    assert tool(node, "ip netns del lab") == ("", "", 0)
    assert tool(node, "ip link show v0")[2] == 1
    assert tool(node, "ip netns exec lab ip addr") == (
        "", 'Cannot open network namespace "lab": No such file or directory\n', 255,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "words", "code"),
    [
        ("ip link add d0", 'Not enough information: "type" argument is required', 255),
        ("ip link add eth0 type dummy", "RTNETLINK answers: File exists", 2),
        ("ip link add x type macvlan", "not modelled: ip link add type macvlan", 1),
        ("ip link add x type vxlan dev eth0", "vxlan: missing virtual network identifier", 255),
        (
            "ip link add x type vxlan id 1 group 239.1.1.1",
            "not modelled: ip link add type vxlan",
            1,
        ),
        ("ip link add x type geneve id 1", "Error: argument remote is required", 2),
        ("ip link add sixteenletters16 type dummy", 'is wrong: "name" not a valid ifname', 2),
        ("ip link add type dummy", "RTNETLINK answers: Invalid argument", 2),
    ],
)
def test_what_is_wrong_is_said_in_the_tools_words(node, line, words, code):
    """And what is not modelled by name; nothing is left of it."""
    before = node.state_hash()
    out, err, got = tool(node, line)
    assert (out, got) == ("", code)
    assert words in err
    assert node.state_hash() == before


def test_how_many_flows_are_tracked_is_a_figure(node):
    """nf_conntrack_count cannot be written."""
    assert tool(node, "sysctl net.netfilter.nf_conntrack_count")[0] == (
        "net.netfilter.nf_conntrack_count = 0\n"
    )
