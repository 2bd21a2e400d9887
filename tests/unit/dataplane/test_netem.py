"""netem on devices of the model: time, chance, order, and what tc prints."""

import pytest

from podwire.dataplane import commands as c
from podwire.dataplane.emit import Deliver, Drop
from podwire.dataplane.verdict import Fate, WalkRequest
from podwire.runtime.rng import SeededRng
from tests.unit.dataplane.lab import Lab, delivered, drops, udp

MS = 1_000_000


def tc(lab, words, node="node-1", netns=""):
    return lab.world.kernels[node].tool(netns, ["tc", *words.split()], "", lab.now)


def quiet(lab, until_ms=10_000):
    """Let time jump from deadline to deadline; (milliseconds, node, emit) of what happened."""
    began, seen = lab.now, []
    while True:
        dues = [k.deadline_ns() for k in lab.world.kernels.values()]
        due = min((d for d in dues if d is not None), default=None)
        if due is None or due > began + until_ms * MS:
            return seen
        lab.now = max(lab.now, due)
        for name, kernel in lab.world.kernels.items():
            emits = lab.settle([(name, e) for e in kernel.tick(lab.now)])
            seen += [((lab.now - began) / MS, node, e) for node, e in emits]


def lab_with(words, node="node-1", netns="", dev="eth0", **options):
    lab = Lab(**options)
    lab.listen("node-2", "a2", 53, "udp")
    lab.send("node-1", "a1", udp("10.244.2.2", 53))  # everybody knows everybody's MAC
    out, err, code = tc(lab, f"qdisc add dev {dev} root netem {words}", node, netns)
    assert (out, err, code) == ("", "", 0)
    return lab


def send(lab, count, size=100):
    seen = []
    for i in range(count):
        seen += lab.send("node-1", "a1", udp("10.244.2.2", 53, sport=1000 + i, size=size))
    return seen


def arrivals(seen):
    return [(ms, e.packet.src_port) for ms, _, e in seen if isinstance(e, Deliver)]


def test_a_frame_leaves_when_its_delay_is_over_and_the_kernel_says_when():
    """100 ms on the card: nothing until the deadline, then it arrives."""
    lab = lab_with("delay 100ms")
    assert delivered(send(lab, 1)) == []
    assert lab.world.kernels["node-1"].deadline_ns() == lab.now + 100 * MS
    assert arrivals(quiet(lab)) == [(100.0, 1000)]


def test_a_pod_s_own_device_can_be_slow():
    """Only what the pod sends; its node's other traffic is not touched."""
    lab = lab_with("delay 20ms", netns="a1")
    assert delivered(send(lab, 1)) == []
    assert len(delivered(lab.send("node-1", "b1", udp("10.244.2.2", 53, sport=9)))) == 1
    assert arrivals(quiet(lab)) == [(20.0, 1000)]


def test_losses_come_as_often_as_asked_from_the_device_s_own_stream():
    """A fifth of 2,000, within three percent; another device's frames do not disturb the draw."""
    lost = []
    for disturb in (False, True):
        lab = lab_with("loss 20%")
        if disturb:
            tc(lab, "qdisc add dev eth0 root netem loss 50%", "node-2")
        seen = []
        for i in range(2000):
            seen += lab.send("node-1", "a1", udp("10.244.2.2", 53, sport=1000 + i))
            if disturb:
                lab.send("node-2", "", udp("192.168.0.100", 9, sport=1000 + i))
        gone = [
            e.packet.payload.frame.packet.src_port
            for n, e in seen
            if isinstance(e, Drop) and n == "node-1" and e.fate is Fate.LOST
        ]
        lost.append(gone)
    assert len(lost[0]) / 2000 == pytest.approx(0.2, abs=0.03)
    assert lost[0] == lost[1]


def test_duplicates_arrive_twice_and_corrupt_frames_not_at_all():
    """duplicate 100%, then corrupt 100%."""
    lab = lab_with("duplicate 100%")
    assert len(delivered(send(lab, 5))) == 10
    tc(lab, "qdisc change dev eth0 root netem corrupt 100%")
    assert delivered(send(lab, 5)) == []


def test_a_rate_spaces_frames_out():
    """1 Mbit/s: 1,250 bytes on the wire take 10 ms each, one behind the other."""
    lab = lab_with("rate 1mbit")
    send(lab, 3, size=1250 - 14 - 50)
    assert [ms for ms, _ in arrivals(quiet(lab))] == [10.0, 20.0, 30.0]


def test_order_is_kept_without_jitter_and_lost_with_reorder():
    """Every second frame overtakes: reorder 100% gap 2."""
    lab = lab_with("delay 10ms")
    send(lab, 4)
    assert [port for _, port in arrivals(quiet(lab))] == [1000, 1001, 1002, 1003]
    tc(lab, "qdisc change dev eth0 root netem delay 10ms reorder 100% gap 2")
    at_once = [packet.src_port for _, _, packet in delivered(send(lab, 4))]
    assert len(at_once) == 2
    assert sorted(at_once + [port for _, port in arrivals(quiet(lab))]) == [1000, 1001, 1002, 1003]


def test_a_full_queue_drops():
    """limit 2."""
    lab = lab_with("delay 1s limit 2")
    assert drops(send(lab, 3)) == [("node-1", "LOST")]
    assert len(arrivals(quiet(lab))) == 2


def test_a_discipline_that_goes_takes_what_it_holds_along():
    """netem_reset; the device is as before."""
    lab = lab_with("delay 1s")
    send(lab, 2)
    assert tc(lab, "qdisc del dev eth0 root") == ("", "", 0)
    assert quiet(lab) == []
    assert len(delivered(send(lab, 1))) == 1


@pytest.mark.parametrize(
    "command", [c.LinkDel(name="vetha1"), c.NetnsDel(name="a1")], ids=["device", "namespace"]
)
def test_what_a_device_that_is_gone_held_does_not_leave_by_its_namesake(command):
    """The pod's veth, or all of the pod, goes and comes back before the delay is over."""
    lab = lab_with("delay 1s", netns="a1")
    send(lab, 2)
    lab.run("node-1", command)
    assert not lab.world.kernels["node-1"].holding
    if command == c.LinkDel(name="vetha1"):
        lab.run("node-1", c.NetnsDel(name="a1"))
    lab.pod(1, "a", 2)
    assert arrivals(quiet(lab)) == []
    assert len(delivered(send(lab, 1))) == 1


def test_a_walk_names_netem_and_does_not_depend_on_luck():
    """The trace shows the step; only certain loss ends it."""
    lab = lab_with("delay 50ms loss 90%")
    request = WalkRequest(node="node-1", netns="a1", protocol="udp", dst="10.244.2.2", dst_port=53)
    branch = lab.world.walk(request, SeededRng(1), lab.now).drawn
    steps = [s for hop in branch.hops for s in hop.steps if s.stage == "qdisc"]
    assert (branch.fate, steps[0].detail) == (Fate.DELIVERED, "delay 50ms loss 90%")
    tc(lab, "qdisc change dev eth0 root netem loss 100%")
    assert lab.world.walk(request, SeededRng(1), lab.now).drawn.fate is Fate.LOST


def test_tc_prints_and_refuses_as_iproute2_does():
    """Units, defaults, handles that grow, and the words of errors."""
    lab = lab_with("delay 100ms 10ms loss 1% duplicate 2% reorder 25% corrupt 0.1% rate 1mbit")
    assert tc(lab, "qdisc show dev eth0")[0] == (
        "qdisc netem 8001: root refcnt 2 limit 1000 delay 100ms  10ms loss 1% duplicate 2% "
        "reorder 25% corrupt 0.1% rate 1Mbit gap 1 \n"
    )
    assert tc(lab, "qdisc show dev cni0")[0] == "qdisc noqueue 0: root refcnt 2 \n"
    assert (
        "mtu 1500 qdisc netem "
        in lab.world.kernels["node-1"].tool("", ["ip", "link", "show", "dev", "eth0"], "", 0)[0]
    )
    for words, said, code in (
        ("add dev eth0 root netem loss 1%", "Error: Exclusivity flag on, cannot modify.\n", 2),
        ("add dev nope root netem loss 1%", 'Cannot find device "nope"\n', 1),
        ("del dev cni0 root", "Error: Cannot delete qdisc with handle of zero.\n", 2),
        (
            "change dev cni0 root netem loss 1%",
            "Error: Qdisc not found. To create specify NLM_F_CREATE flag.\n",
            2,
        ),
        (
            "add dev cni0 root netem reorder 5%",
            "reordering not possible without specifying some delay\n",
            1,
        ),
        ("add dev cni0 root netem bogus", 'What is "bogus"?\n', 1),
        ("add dev cni0 root netem loss 1% 25%", "not modelled: netem correlation\n", 1),
        ("add dev cni0 root tbf rate 1mbit", "not modelled: qdisc tbf\n", 1),
    ):
        assert tc(lab, f"qdisc {words}") == ("", said, code), words
