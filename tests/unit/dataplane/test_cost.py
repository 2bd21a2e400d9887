"""What a packet would have cost a real kernel, counted by hand and held to."""

import pytest

from podwire.dataplane import commands as c
from podwire.dataplane.cost import NS, Cost, duration_words, total
from podwire.dataplane.emit import Recorder
from podwire.dataplane.netfilter import hooks, interpret
from podwire.dataplane.packet import ACK
from podwire.dataplane.verdict import WalkRequest
from podwire.dataplane.walk import walk as walked
from podwire.runtime.rng import SeededRng
from tests.unit.dataplane.ipvs_lab import IpvsLab
from tests.unit.dataplane.lab import Lab, syn
from tests.unit.dataplane.services import load, service

A2, B2 = ("10.244.2.2", 8080), ("10.244.2.3", 8080)


def vip(number):
    return f"10.96.{number // 100}.{number % 100 + 1}"


def cluster(services):
    """A laboratory with so many Services of two endpoints on node-2, numbered in rule order."""
    lab = Lab(nodes=2)
    load(lab, *(service(f"s{n}", vip(n), 80, [A2, B2]) for n in range(services)))
    for letter in "ab":
        lab.listen("node-2", f"{letter}2", 8080)
    return lab


def walk(lab, dst, **options):
    request = WalkRequest(node="node-1", netns="a1", dst=dst, dst_port=80, **options)
    return walked(lab.world, request, SeededRng(7), lab.now)


def steps(branch, node="node-1"):
    return [s for hop in branch.hops if hop.node == node for s in hop.steps]


def rules_of(branch, stage, object):
    """The rules told with the steps of a chain, in order."""
    return [
        step.cost.rules_traversed
        for step in steps(branch)
        if (step.stage, step.object) == (stage, object) and step.cost
    ]


@pytest.mark.parametrize("number", [0, 6, 49])
def test_every_rule_before_the_one_that_matches_counts(number):
    """The n-th Service of KUBE-SERVICES costs n rules, though an index finds it at once."""
    first, second = walk(cluster(50), vip(number)).branches
    assert rules_of(first, "nat", "KUBE-SERVICES") == [number + 1]
    up = f"KUBE-SVC-S{number}"
    assert (rules_of(first, "nat", up), rules_of(second, "nat", up)) == ([2], [3])


def test_rules_tried_in_vain_are_told_with_what_happens_next():
    """Who speaks to no Service tries all of them; the next step (the route's) tells it."""
    (branch,) = walk(cluster(50), A2[0], reply=False).branches
    told = next(s for s in steps(branch) if s.stage == "route" and s.result == "forward")
    assert told.cost.rules_traversed == 51  # and the jump to KUBE-NODEPORTS


def test_the_index_changes_nothing_of_the_account(monkeypatch):
    """All branches, all steps, both ways: as when every rule is really tried."""
    lab = cluster(60)
    targets = [vip(0), vip(59), "10.96.99.9", A2[0], "192.168.0.12"]
    indexed = [walk(lab, dst) for dst in targets]
    monkeypatch.setattr(hooks.program, "walk", interpret.walk)
    assert [walk(lab, dst) for dst in targets] == indexed
    assert max(b.cost.rules_traversed for b in indexed[2].branches) > 60


def test_hops_and_branches_add_up():
    """A branch is its hops, a hop its steps; the tunnel's bytes count once."""
    (branch, _) = walk(cluster(3), vip(2)).branches
    assert branch.cost == total(hop.cost for hop in branch.hops)
    for hop in branch.hops:
        assert (hop.cost or Cost()) == total(step.cost for step in hop.steps)
    assert branch.cost.encap_bytes == branch.reply_cost.encap_bytes == 50
    wrap = next(s for s in steps(branch) if s.stage == "encap")
    assert wrap.cost.encap_bytes == 50
    assert branch.latency_ns == 200_000, "wires are another matter"


def test_connections_are_looked_up_and_put_in():
    """New ones cost a lookup and two for the insertion, known ones a lookup."""
    lab = cluster(1)
    found = []
    for flags in (2, ACK):
        recorder = Recorder()
        packet = syn(A2[0], 8080, "10.244.1.2")
        lab.world.kernels["node-1"].send("a1", packet, lab.now, recorder)
        if flags == 2:
            lab.send("node-1", "a1", packet)
        spent = total(step.cost for step in recorder.steps)
        found.append(spent.lookups)
    assert found[0] == 6, "the pod's connection and the tunnel's"
    assert found[1] == 2


NFT = """table ip t {
 map m { type ipv4_addr . inet_service : verdict
  elements = { 10.96.0.1 . 80 : goto one, 10.96.0.2 . 80 : goto two }
 }
 set seen { type ipv4_addr; flags dynamic,timeout; timeout 1h; }
 chain pre { type nat hook prerouting priority -100;
  ip daddr 10.0.0.1 drop
  ip daddr . tcp dport vmap @m
  counter
 }
 chain one { tcp dport { 443, 444 } drop
  numgen random mod 2 vmap { 0 : goto end, 1 : goto end }
 }
 chain two { update @seen { ip saddr }
  goto end
 }
 chain end {
  meta l4proto tcp dnat to 10.244.2.2:8080
 }
}
"""


def test_nft_rules_and_maps_are_counted():
    """Two rules to the map, then the chain's: a set that does not match, a map that does."""
    lab = Lab(nodes=2)
    lab.run("node-1", c.NftApply(text=NFT))
    lab.listen("node-2", "a2", 8080)

    def spent(dst):
        """Rules, and lookups other than the three connections' (the pod's, the tunnel's)."""
        found = total(s.cost for s in steps(walk(lab, dst, reply=False).branches[0]))
        return found.rules_traversed, found.lookups

    base = spent("10.244.2.3")
    assert base[0] == 3
    one, two = spent("10.96.0.1"), spent("10.96.0.2")
    assert (one[0], one[1] - base[1]) == (2 + 2 + 1, 2)
    assert (two[0], two[1] - base[1]) == (2 + 2 + 1, 1)


def test_ipvs_costs_lookups_whatever_the_number_of_servers():
    """IPVS: whether it is an answer, a connection, a server; a set of POSTROUTING; conntrack."""
    few, many = IpvsLab(), IpvsLab()
    lines = [f"-A -t 10.97.0.{n}:80 -s rr" for n in range(1, 200)]
    many.apply("node-1", *lines)
    costs = [
        walked(
            lab.world,
            WalkRequest(node="node-1", netns="b1", dst="10.96.0.10", dst_port=80, reply=False),
            SeededRng(7), lab.now,
        ).branches[0].cost
        for lab in (few, many)
    ]  # fmt: skip
    assert costs[0] == costs[1]
    assert (costs[0].rules_traversed, costs[0].lookups) == (5, 3 + 1 + 3)


def test_a_socket_that_ebpf_sends_elsewhere_pays_at_connect():
    """Service, slot, backend, reverse: four maps. One that it leaves alone pays one."""
    lab = Lab(nodes=2)
    lines = [
        "attach cil_sock4_connect cgroup",
        "update BE: ID=1 ADDR=10.244.2.2:8080/TCP STATE=active",
        (
            "update SVC: ID=1 ADDR=10.96.0.10:80/TCP SLOT=0 LBALG=undef AFFTimeout=0 "
            "COUNT=1 QCOUNT=0 FLAGS=ClusterIP+non-routable # default/web"
        ),
        "update SVC: ID=1 ADDR=10.96.0.10:80/TCP SLOT=1 BEID=1 COUNT=0 QCOUNT=0 FLAGS=ClusterIP",
    ]
    lab.run("node-1", c.EbpfMapUpdate(text="\n".join(lines) + "\n"))
    lab.listen("node-2", "a2", 8080)
    (branch,) = walk(lab, "10.96.0.10").branches
    assert steps(branch)[0].cost == Cost(lookups=4, latency_ns=4 * NS["ebpf map"])
    (branch,) = walk(lab, "10.244.2.3").branches
    assert steps(branch)[0].cost == Cost(lookups=1, latency_ns=NS["ebpf map"])


@pytest.mark.parametrize(
    ("ns", "words"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1_000, "1.0 us"),
        (999_960, "1.0 ms"),
        (2_140_000_000, "2.1 s"),
    ],
)
def test_durations_are_told_in_a_unit_that_fits(ns, words):
    """Three digits at most."""
    assert duration_words(ns) == words


def test_a_cost_is_told_in_words():
    """What is nothing is left out."""
    cost = Cost(rules_traversed=1_204, lookups=1, encap_bytes=50, latency_ns=13_100)
    assert str(cost) == "1,204 rules, 1 lookup, +50 bytes, about 13.1 us"
    assert str(Cost(lookups=2, latency_ns=80)) == "2 lookups, about 80 ns"
