"""Commands change a kernel as iproute2 does, and fail in its words."""

import pytest

from podwire.dataplane import commands as c
from podwire.dataplane.commands import CommandError
from podwire.dataplane.kernel import Kernel
from podwire.runtime.rng import SeededRng


@pytest.fixture
def kernel():
    made = Kernel("node-1", SeededRng(1))
    made.add_physical("eth0", "02:00:00:00:00:01")
    made.execute(c.AddrAdd(dev="eth0", cidr="192.168.0.11/24"), 0)
    return made


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (c.LinkSet(name="nope", up=True), 'Cannot find device "nope"'),
        (c.LinkAdd(name="eth0", kind="bridge"), "RTNETLINK answers: File exists"),
        (c.LinkAdd(name="x", kind="gre"), "Error: Unknown device type."),
        (c.NetnsDel(name="x"), "Cannot remove namespace file"),
        (c.LinkSet(netns="x", name="lo"), "Cannot open network namespace"),
        (c.RouteDel(dst="10.0.0.0/8"), "RTNETLINK answers: No such process"),
        (
            c.RouteReplace(dst="10.0.0.0/8", via="172.16.0.1", dev="eth0"),
            "Error: Nexthop has invalid gateway.",
        ),
        (c.AddrAdd(dev="eth0", cidr="192.168.0.11/24"), "Error: ipv4: Address already assigned."),
        (c.AddrDel(dev="eth0", cidr="192.168.0.12/24"), "Error: ipv4: Address not found."),
        (c.NeighDel(dev="eth0", dst="192.168.0.9"), "No such file or directory"),
        (c.SysctlSet(key="net.ipv4.nope", value="1"), "cannot stat /proc/sys/net/ipv4/nope"),
        (c.RouteReplace(dst="10.0.0/33", dev="eth0"), "inet prefix is expected"),
    ],
)
def test_failures_speak_as_the_tools_do(kernel, command, words):
    """The message is the tool's, and nothing changed."""
    before = kernel.state_hash()
    with pytest.raises(CommandError, match=words.replace(".", r"\.")):
        kernel.execute(command, 0)
    assert kernel.state_hash() == before


def test_a_veth_lives_and_dies_with_its_peer(kernel):
    """Deleting the namespace of one end removes the other end too."""
    kernel.execute(c.NetnsAdd(name="pod"), 0)
    kernel.execute(c.LinkAdd(name="v0", kind="veth", peer_name="eth0", peer_netns="pod"), 0)
    assert list(kernel.netns("pod").links) == ["lo", "eth0"]
    kernel.execute(c.NetnsDel(name="pod"), 0)
    assert "v0" not in kernel.netns("").links


def test_a_device_that_goes_down_loses_its_routes_and_gets_the_connected_ones_back(kernel):
    """As in Linux: static routes must be added again."""
    kernel.execute(c.RouteReplace(dst="default", via="192.168.0.1", dev="eth0"), 0)
    kernel.execute(c.LinkSet(name="eth0", up=False), 0)
    assert kernel.netns("").fib.routes() == []
    kernel.execute(c.LinkSet(name="eth0", up=True), 0)
    assert [r.dst for r in kernel.netns("").fib.routes()] == ["192.168.0.0/24"]


def test_a_bridge_takes_the_smallest_mtu_of_its_ports(kernel):
    """Unless someone sets it."""
    kernel.execute(c.LinkAdd(name="br0", kind="bridge"), 0)
    kernel.execute(c.LinkAdd(name="v0", kind="veth", peer_name="v1", mtu_bytes=1450), 0)
    kernel.execute(c.LinkSet(name="v0", master="br0"), 0)
    assert kernel.netns("").links["br0"].mtu_bytes == 1450
    kernel.execute(c.LinkSet(name="br0", mtu_bytes=1400), 0)
    kernel.execute(c.LinkSet(name="v0", mtu_bytes=1300), 0)
    assert kernel.netns("").links["br0"].mtu_bytes == 1400


def test_the_longest_prefix_wins_whatever_the_order_of_commands(kernel):
    """/32 before /16 before default."""
    for dst, via in (("default", 1), ("10.1.2.3", 4), ("10.1.0.0/16", 3)):
        kernel.execute(c.RouteReplace(dst=dst, via=f"192.168.0.{via}", dev="eth0"), 0)
    fib = kernel.netns("").fib
    found = [fib.lookup(ip).via for ip in ("10.1.2.3", "10.1.2.4", "10.2.0.1")]
    assert found == ["192.168.0.4", "192.168.0.3", "192.168.0.1"]


def test_sockets_share_a_port_only_on_different_addresses(kernel):
    """Any address conflicts with every address."""
    kernel.open_socket("", "tcp", "192.168.0.11", 80)
    kernel.open_socket("", "tcp", "127.0.0.1", 80)
    with pytest.raises(CommandError, match="Address already in use"):
        kernel.open_socket("", "tcp", "", 80)
    kernel.close_socket("", "tcp", "192.168.0.11", 80)
    kernel.close_socket("", "tcp", "127.0.0.1", 80)
    kernel.open_socket("", "tcp", "", 80)
