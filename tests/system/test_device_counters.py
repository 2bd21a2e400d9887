"""What devices count, held to Linux: the same packets in the model and in network namespaces."""

import json

import pytest

from podwire.dataplane.packet import ICMP_ECHO, Packet
from tests.system.mirror import PREFIX, Mirror, sh
from tests.system.test_kernel import able
from tests.unit.dataplane.lab import syn

pytestmark = pytest.mark.skipif(not able(), reason="needs root and a kernel with VXLAN")
SPACES = [("node-1", ""), ("node-2", ""), *((f"node-{x[1]}", x) for x in ("a1", "b1", "a2", "b2"))]
LINK = ["ip", "-s", "-s", "-j", "link"]


@pytest.fixture(scope="module")
def lab():
    """Two nodes, four pods; no IPv6, which would talk of itself."""
    with Mirror(nodes=2, pods=2) as made:
        for name in made.made:
            off = "net.ipv6.conf.all.disable_ipv6=1"
            sh("ip", "netns", "exec", name, "sysctl", "-qw", off)
        yield made


def counted(text):
    """Device -> what it counted, but how often its carrier changed: ours came up once."""
    told = {}
    for link in json.loads(text):
        stats = link["stats64"]
        stats["tx"].pop("carrier_changes")
        told[link["ifname"]] = {f"{way} {k}": v for way in stats for k, v in stats[way].items()}
    return told


def real():
    """What the kernel of this machine counted."""
    return {
        space: counted(sh("ip", "netns", "exec", PREFIX + (space or node), *LINK))
        for node, space in SPACES
        for space in [space or node]
    }


def model(lab):
    """What the modelled kernels counted."""
    return {
        space or node: counted(lab.world.kernels[node].tool(space, LINK, "", lab.now)[0])
        for node, space in SPACES
    }


def change(before, after):
    """Whatever rose, and by how much."""
    return {
        (space, dev, what): value - before[space][dev][what]
        for space, devices in after.items()
        for dev, values in devices.items()
        for what, value in values.items()
        if value != before[space][dev][what]
    }


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("a1", "10.244.1.3"),  # the bridge only carries it
        ("a1", "10.244.1.1"),  # the bridge is an end
        ("a1", "10.244.2.2"),  # routed, and through the tunnel
        ("a1", "192.168.0.12"),
        ("a1", "10.244.1.2"),  # itself: lo
        ("a1", "127.0.0.1"),
    ],
)
def test_a_ping_and_a_refused_connection_are_counted_as_linux_does(lab, source, target):
    """Every device on the way there and back: packets, and bytes with or without Ethernet.

    Linux also talks of its own (IGMP, and ARP for what it met before): then once more.
    """
    node, ns = f"node-{source[1]}", PREFIX + source
    theirs, ours = {}, {"": 0}
    for _ in range(6):
        before = real(), model(lab)
        sh("ip", "netns", "exec", ns, "ping", "-c1", "-W1", "-s56", target)
        lab.send(node, source, Packet("", target, "icmp", icmp_type=ICMP_ECHO, size_bytes=84))
        lab.real(node, source, [["tcp", target, 81]])
        lab.send(node, source, syn(target, 81))
        theirs, ours = change(before[0], real()), change(before[1], model(lab))
        if theirs == ours:
            break
    assert theirs == ours
    assert ours
