"""Peers told at once are what they are told one by one, on every kernel that shares them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from podwire.dataplane import commands as c
from podwire.dataplane.commands import CommandError
from podwire.dataplane.kernel import Kernel
from podwire.runtime.rng import SeededRng

DEV = "flannel.1"
PEERS = [c.TunnelPeer(f"10.244.{i}.0/24", f"02:00:00:00:00:0{i}", f"10.0.0.{i}") for i in range(5)]
MOVED = c.TunnelPeer(PEERS[1].subnet, "02:00:00:00:00:99", "10.0.0.99")
BATCHES = st.lists(st.sampled_from([*PEERS, MOVED]), min_size=1, max_size=5).map(tuple)


def one_by_one(batch: c.TunnelPeers) -> list[c.Command]:
    found: list[c.Command] = []
    for peer in batch.peers:
        if peer.subnet == batch.skip:
            continue
        via = peer.subnet.partition("/")[0]
        found += [
            c.NeighReplace(dev=DEV, dst=via, mac=peer.mac),
            c.FdbReplace(dev=DEV, mac=peer.mac, dst=peer.address),
            c.RouteReplace(dst=peer.subnet, via=via, dev=DEV, onlink=True),
        ]
    return found


def kernel() -> Kernel:
    made = Kernel("n", SeededRng(1))
    made.add_physical("eth0", "02:00:00:00:01:00")
    made.execute(c.AddrAdd(dev="eth0", cidr="10.0.0.200/24"), 0)
    link = c.LinkAdd(name=DEV, kind="vxlan", mac="02:00:00:00:02:00", vni=1, dev="eth0",
                     local="10.0.0.200", learning=False)  # fmt: skip
    made.execute(link, 0)
    made.execute(c.LinkSet(name=DEV, up=True), 0)
    return made


def tried(one: Kernel, command: c.Command) -> str:
    try:
        one.execute(command, 0)
    except CommandError as error:
        return str(error)
    return ""


DEVIATIONS = st.one_of(
    st.builds(lambda p: c.NeighDel(dev=DEV, dst=p.subnet.partition("/")[0]),
              st.sampled_from(PEERS)),
    st.builds(lambda p: c.FdbDel(dev=DEV, mac=p.mac), st.sampled_from(PEERS)),
    st.builds(lambda p: c.RouteDel(dst=p.subnet), st.sampled_from(PEERS)),
    st.builds(lambda p: c.RouteReplace(dst=p.subnet, dev="eth0"), st.sampled_from(PEERS)),
    st.builds(lambda p: c.RouteReplace(dst=p.subnet, dev="eth0", metric=7),
              st.sampled_from(PEERS)),
    st.builds(lambda p: c.FdbReplace(dev=DEV, mac=p.mac, dst="10.0.0.77"), st.sampled_from(PEERS)),
    st.builds(lambda p: c.NeighReplace(dev=DEV, dst=p.subnet.partition("/")[0],
                                       mac="02:00:00:00:00:77", state="REACHABLE"),
              st.sampled_from(PEERS)),
    st.just(c.LinkDel(name=DEV)),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(BATCHES, st.lists(st.tuples(st.integers(0, 2), DEVIATIONS), max_size=3)),
                max_size=4))  # fmt: skip
def test_shared_peers_are_those_told_one_by_one(story):
    """Three nodes, each without itself, each with what else is done to it, and a fork of one."""
    together, apart = [kernel() for _ in range(3)], [kernel() for _ in range(3)]
    for peers, deviations in story:
        for number in range(3):
            batch = c.TunnelPeers(dev=DEV, peers=peers, skip=PEERS[number].subnet)
            told = [tried(apart[number], each) for each in one_by_one(batch)]
            before = together[number].state_hash()
            complaint = tried(together[number], batch)
            if complaint and told:
                assert complaint in told[0]
                assert together[number].state_hash() == before
        fork = together[0].fork()
        was = fork.state_hash()
        for number, command in deviations:
            assert tried(together[number], command) == tried(apart[number], command)
        for one, two in zip(together, apart, strict=True):
            assert one.state_hash() == two.state_hash()
            for argv in (["ip", "route"], ["ip", "neigh"], ["bridge", "fdb"]):
                shown = [sorted(k.tool("", argv, "", 0)[0].splitlines()) for k in (one, two)]
                assert shown[0] == shown[1]
        assert fork.state_hash() == was


def test_nodes_that_came_at_different_times_rest_on_the_same():
    """One is told of all peers at once, the other of one after the other."""
    one, two = kernel(), kernel()
    one.execute(c.TunnelPeers(dev=DEV, peers=tuple(PEERS)), 0)
    for peer in PEERS:
        two.execute(c.TunnelPeers(dev=DEV, peers=(peer,)), 0)
    fdb = [each.netns("").fdb[DEV] for each in (one, two)]
    assert fdb[0].base is fdb[1].base
    assert len(fdb[0].base) == len(PEERS)
