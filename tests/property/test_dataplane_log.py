"""A world's log gives the world again: at every point, with equal state and the same chance."""

import random
from functools import partial

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podwire.dataplane import commands as c
from podwire.dataplane.log import CommandLog
from podwire.runtime.rng import SeededRng
from tests.property.test_dataplane_paths import Side, story
from tests.rotation import examples
from tests.unit.dataplane.lab import SECOND, Lab, syn


class LoggedLab(Lab):
    """The laboratory, every call to which is written down."""

    def empty_world(self):
        self.log = CommandLog()
        return self.log.world

    def kernel(self, name, seed):
        return self.log.kernel(name, partial(SeededRng, seed, f"{seed}/{name}"))


@settings(max_examples=examples(12), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 1 << 32))
def test_replaying_up_to_any_point_gives_equal_state_hashes(seed):
    """Rules that draw, NAT that picks ports, conntrack, neighbours, tools, sockets, forks."""
    side = Side(paths=True, lab=LoggedLab)
    log = side.lab.log
    points = [(len(log.calls), log.world.state_hash())]
    for event in story(seed):
        side.do(event)
        points.append((len(log.calls), log.world.state_hash()))
    dice = random.Random(seed)  # noqa: S311  a test's dice
    for calls, expected in [points[-1], *dice.sample(points, min(4, len(points)))]:
        assert log.replay(calls).state_hash() == expected, (seed, calls)


def test_the_log_tells_commands_with_their_time_and_replays_to_a_time():
    """What node-1 was told, when; and the world before the rule that broke it."""
    lab = LoggedLab(nodes=2)
    lab.listen("node-2", "a2", 8080)
    before = lab.world.state_hash()
    lab.now += SECOND
    breaking = c.RouteReplace(dst="10.244.2.0/24", type="blackhole")
    lab.run("node-1", breaking)
    told = [(call.at_ns, call.command) for call in lab.log.calls if call.command is not None]
    assert told[-1] == (lab.now, breaking)

    good = lab.log.replay(lab.log.until(lab.now - 1))
    assert good.state_hash() == before
    assert lab.log.replay().state_hash() == lab.world.state_hash() != before
    packet = syn("10.244.2.2", 8080, src="10.244.1.2")
    assert good.kernels["node-1"].send("a1", packet, lab.now) != []


def test_what_was_refused_is_not_in_the_log():
    """A command that failed changed nothing."""
    lab = LoggedLab(nodes=1)
    calls = len(lab.log.calls)
    for command in (c.LinkDel(name="nowhere"), c.AddrAdd(dev="nowhere", cidr="10.0.0.1/8")):
        try:
            lab.run("node-1", command)
        except c.CommandError:
            continue
        raise AssertionError(command)
    assert len(lab.log.calls) == calls


def test_a_replayed_world_is_its_own():
    """What happens to it is neither in the log nor in the first world."""
    lab = LoggedLab(nodes=1)
    again = lab.log.replay()
    calls, state = len(lab.log.calls), lab.world.state_hash()
    again.kernels["node-1"].execute(c.LinkSet(name="cni0", up=False), lab.now)
    again.set_link("node-1", "client", up=False)
    assert (len(lab.log.calls), lab.world.state_hash()) == (calls, state)
    assert again.state_hash() != state
