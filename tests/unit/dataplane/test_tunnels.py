"""IPIP, Geneve and WireGuard between two nodes: overheads, far ends, what a device prints."""

import pytest

from podwire.dataplane import commands as c
from podwire.dataplane.commands import CommandError
from podwire.dataplane.emit import ToWire
from podwire.dataplane.packet import Vxlan
from podwire.dataplane.verdict import Fate, WalkRequest
from podwire.runtime.rng import SeededRng
from tests.unit.dataplane.lab import Lab, delivered, drops, record, syn, udp

KEYS = {1: "nodeone=", 2: "nodetwo="}


def walk(lab, node, netns, dst, port=80, **options):
    request = WalkRequest(node=node, netns=netns, dst=dst, dst_port=port, **options)
    return lab.world.walk(request, SeededRng(1), lab.now).drawn


def ipip(lab):
    """Calico's: one tunl0 per node without far end, routes by the other node, onlink."""
    for i, other in ((1, 2), (2, 1)):
        lab.run(
            f"node-{i}",
            c.LinkAdd(name="tunl0", kind="ipip"),
            c.LinkSet(name="tunl0", up=True),
            c.AddrAdd(dev="tunl0", cidr=f"10.244.{i}.77/32"),
            c.RouteReplace(
                dst=f"10.244.{other}.0/24",
                via=f"192.168.0.1{other}",
                dev="tunl0",
                onlink=True,
                proto="bird",
            ),
        )


def wireguard(lab, allowed="10.244.{}.0/24", six=False):
    for i, other in ((1, 2), (2, 1)):
        lab.run(
            f"node-{i}",
            c.LinkAdd(name="wg0", kind="wireguard", key=KEYS[i]),
            c.LinkSet(name="wg0", up=True),
            c.WireguardPeer(
                dev="wg0",
                key=KEYS[other],
                endpoint=f"fd00:a8::1{other}" if six else f"192.168.0.1{other}",
                allowed=[allowed.format(other)],
            ),
            c.RouteReplace(dst=f"10.244.{other}.0/24", dev="wg0"),
        )


def geneve(lab):
    for i, other in ((1, 2), (2, 1)):
        remote = f"192.168.0.1{other}"
        lab.run(
            f"node-{i}",
            c.LinkAdd(name="gnv0", kind="geneve", vni=7, remote=remote, dev="eth0"),
            c.LinkSet(name="gnv0", up=True),
            c.AddrAdd(dev="gnv0", cidr=f"172.31.0.{i}/24"),
            c.RouteReplace(dst=f"10.244.{other}.0/24", via=f"172.31.0.{other}", dev="gnv0"),
        )


def lab_with(build, **options):
    lab = Lab(**options)
    lab.listen("node-2", "a2", 80)
    lab.listen("node-2", "a2", 80, "udp")
    build(lab)
    return lab


def outer(lab, packet):
    """The packet on the wire that carries the one sent: the largest."""
    seen = lab.send("node-1", "a1", packet)
    frames = [e.frame.packet for n, e in seen if isinstance(e, ToWire) and n == "node-1"]
    return max((p for p in frames if p is not None), key=lambda p: p.size_bytes)


@pytest.mark.parametrize(("build", "device", "mtu", "overhead", "protocol"), [
    (ipip, "tunl0", 1480, 20, "ipip"),
    (geneve, "gnv0", 1450, 50, "udp"),
    (wireguard, "wg0", 1420, 60, "udp"),
])  # fmt: skip
def test_pods_talk_through_each_tunnel_and_pay_its_bytes(build, device, mtu, overhead, protocol):
    """There and back; the outer packet is larger by the tunnel's headers; the MTU leaves room."""
    lab = lab_with(build)
    assert walk(lab, "node-1", "a1", "10.244.2.2").fate is Fate.DELIVERED
    assert lab.world.kernels["node-1"].netns("").links[device].mtu_bytes == mtu
    packet = outer(lab, udp("10.244.2.2", 80, size=960))
    assert (packet.protocol, packet.size_bytes) == (protocol, 960 + overhead)


def test_wireguard_over_ipv6_costs_twenty_bytes_more():
    """40 bytes of outer header instead of 20."""
    lab = lab_with(lambda made: wireguard(made, six=True), dual=True)
    assert outer(lab, udp("10.244.2.2", 80, size=960)).size_bytes == 960 + 80


def test_vxlan_over_ipv6_costs_seventy_bytes():
    """The laboratory's flannel-v6.1."""
    lab = Lab(dual=True)
    packet = outer(lab, udp("fd00:244:2::2", 80, size=960))
    assert isinstance(packet.payload, Vxlan)
    assert packet.size_bytes == 960 + 70


def test_too_large_packets_learn_the_tunnel_s_mtu():
    """DF is set: fragmentation needed, with what the device takes."""
    lab = lab_with(wireguard, pod_mtu=1500)
    seen = lab.send("node-1", "a1", udp("10.244.2.2", 80, size=1500))
    assert drops(seen) == [("node-1", "MTU_EXCEEDED")]
    ((_, _, error),) = delivered(seen)
    assert error.icmp_mtu_bytes == 1420


def test_cryptokey_routing_chooses_peers_and_judges_senders():
    """Nobody's AllowedIPs: no key. Not the sender's AllowedIPs: dropped on arrival."""
    lab = lab_with(wireguard)
    lab.run("node-1", c.RouteReplace(dst="10.99.0.0/16", dev="wg0"))
    branch = walk(lab, "node-1", "", "10.99.0.1")
    assert branch.fate is Fate.NEIGHBOR_UNREACHABLE
    assert "Required key not available" in branch.hops[-1].steps[-1].detail
    lab.run(
        "node-2",
        c.WireguardPeer(dev="wg0", key=KEYS[1], endpoint="192.168.0.11", allowed=["10.244.1.3/32"]),
    )
    assert walk(lab, "node-1", "a1", "10.244.2.2").fate is Fate.MARTIAN
    assert walk(lab, "node-1", "b1", "10.244.2.2").fate is Fate.DELIVERED


def test_an_address_belongs_to_the_peer_that_was_given_it_last():
    """wg(8): moving an allowed IP takes it from the other peer."""
    lab = lab_with(wireguard)
    lab.run("node-1", c.WireguardPeer(dev="wg0", key="third=", allowed=["10.244.2.0/24"]))
    assert walk(lab, "node-1", "a1", "10.244.2.2").fate is Fate.NEIGHBOR_UNREACHABLE
    lab.run("node-1", c.WireguardPeer(dev="wg0", key="third=", remove=True))
    peers = lab.world.kernels["node-1"].netns("").links["wg0"].peers
    assert [(p.key, p.allowed) for p in peers] == [(KEYS[2], ())]
    with pytest.raises(CommandError, match="No such device"):
        lab.run("node-1", c.WireguardPeer(dev="wg9", key="x"))


def test_a_tunnel_whose_far_end_knows_nothing_of_it_is_told_so():
    """ICMP protocol unreachable for IPIP, port unreachable for WireGuard's UDP."""
    for build, device, code in ((ipip, "tunl0", 2), (wireguard, "wg0", 3)):
        lab = lab_with(build)
        lab.run("node-2", c.LinkDel(name=device))
        steps = record()
        lab.send("node-1", "", syn("10.244.2.2", 80), steps)
        words = {2: "protocol unreachable", 3: "port unreachable"}[code]
        assert any(words in s.detail for s in steps.steps), build


def test_a_tunnel_routed_into_itself_is_a_loop():
    """The far end lies behind the tunnel."""
    lab = lab_with(ipip)
    lab.run(
        "node-1", c.RouteReplace(dst="192.168.0.12", via="192.168.0.12", dev="tunl0", onlink=True)
    )
    assert walk(lab, "node-1", "a1", "10.244.2.2").fate is Fate.LOOP


def test_devices_print_their_kind():
    """``ip -d link``."""
    lab = lab_with(ipip)
    geneve(lab)
    wireguard(lab)
    shown, _, _ = lab.world.kernels["node-1"].tool("", ["ip", "-d", "link"], "", lab.now)
    lines = shown.splitlines()
    assert any(": tunl0@NONE: <NOARP,UP,LOWER_UP> mtu 1480 " in line for line in lines)
    assert "    link/ipip 0.0.0.0 brd 0.0.0.0 promiscuity 0  allmulti 0 " in shown
    assert "    ipip any remote any local any ttl inherit nopmtudisc " in shown
    assert "    geneve id 7 remote 192.168.0.12 ttl auto dstport 6081 " in shown
    assert ": wg0: <POINTOPOINT,NOARP,UP,LOWER_UP> mtu 1420 " in shown
    assert "    link/none " in shown


def test_a_geneve_device_needs_a_far_end():
    """The kernel asks for remote."""
    with pytest.raises(CommandError, match="remote"):
        Lab().run("node-1", c.LinkAdd(name="g", kind="geneve", vni=1))
