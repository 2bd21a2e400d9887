"""The underlay carries frames with delay, in order, unless told to misbehave."""

from __future__ import annotations

from collections.abc import Callable

from podwire.dataplane.kernel import Kernel
from podwire.dataplane.packet import Arp, Frame
from podwire.dataplane.world import World
from podwire.fabric.wire import NIC, Wire
from podwire.runtime.env import Env
from tests.unit.fabric.world import run

MACS = {"a": "02:00:00:00:00:0a", "b": "02:00:00:00:00:0b", "c": "02:00:00:00:00:0c"}


class Segment:
    """Three hosts that note what arrives."""

    def __init__(self, env: Env, jitter_s: float = 20e-6) -> None:
        self.env = env
        self.arrived: list[tuple[str, int]] = []
        self.lost: list[str] = []
        world = World()
        self.wire = Wire(
            world, env.clock, env.rng, 200e-6, jitter_s, lambda _h, _f, why: self.lost.append(why)
        )
        for host, mac in MACS.items():
            kernel = world.add(Kernel(host, env.rng.child(host)))
            kernel.add_physical(NIC, mac)
            self.wire.attach(host, mac, self._receiver(host))

    def _receiver(self, host: str) -> Callable[[Frame], None]:
        def receive(frame: Frame) -> None:
            assert frame.arp is not None
            self.arrived.append((host, frame.arp.op))

        return receive

    def send(self, src: str, dst: str, number: int) -> None:
        mac = MACS.get(dst, dst)
        arp = Arp(op=number, sender_mac=MACS[src], sender_ip="", target_ip="")
        self.wire.transmit(src, mac, Frame(src=MACS[src], dst=mac, arp=arp), 60)

    async def settle(self) -> list[tuple[str, int]]:
        await self.env.clock.sleep(1)
        return self.arrived


def test_a_frame_arrives_at_the_owner_of_its_mac_only() -> None:
    async def story(env: Env) -> tuple[object, ...]:
        segment = Segment(env)
        segment.send("a", "b", 1)
        assert segment.arrived == []
        arrived = await segment.settle()
        b = segment.wire.ports["b"].counters
        return arrived, b.rx_packets, b.rx_bytes

    assert run(story) == ([("b", 1)], 1, 60)


def test_a_broadcast_reaches_everybody_else() -> None:
    async def story(env: Env) -> list[tuple[str, int]]:
        segment = Segment(env)
        segment.send("a", "ff:ff:ff:ff:ff:ff", 1)
        return sorted(await segment.settle())

    assert run(story) == [("b", 1), ("c", 1)]


def test_jitter_does_not_reorder() -> None:
    async def story(env: Env) -> list[int]:
        segment = Segment(env, jitter_s=0.01)
        for number in range(50):
            segment.send("a", "b", number)
        return [number for _, number in await segment.settle()]

    assert run(story) == list(range(50))


def test_a_port_that_is_busy_leaves_the_delays_of_another_alone() -> None:
    async def story(env: Env, *, busy: int) -> list[tuple[str, int]]:
        segment = Segment(env, jitter_s=0.01)
        for number in range(20):
            for _ in range(busy):
                segment.send("a", "b", number)
            segment.send("c", "b", 1000 + number)
        return [x for x in await segment.settle() if x[1] >= 1000]

    assert run(lambda env: story(env, busy=0)) == run(lambda env: story(env, busy=3))


def test_a_path_can_be_cut_in_one_direction() -> None:
    async def story(env: Env) -> tuple[object, ...]:
        segment = Segment(env)
        segment.wire.set_link("a", "b", up=False, both=False)
        segment.send("a", "b", 1)
        segment.send("b", "a", 2)
        first = list(await segment.settle())
        segment.wire.heal()
        segment.send("a", "b", 3)
        return first, await segment.settle(), segment.lost, segment.wire.cut()

    first, then, lost, cut = run(story)
    assert first == [("a", 2)]
    assert then == [("a", 2), ("b", 3)]
    assert lost == ["link a-b is down"]
    assert cut == []


def test_a_partition_cuts_between_groups_only() -> None:
    async def story(env: Env) -> list[tuple[str, int]]:
        segment = Segment(env)
        segment.wire.partition(["a", "b"], ["c"])
        segment.send("a", "b", 1)
        segment.send("a", "c", 2)
        segment.send("c", "b", 3)
        assert segment.wire.is_up("a", "b")
        assert not segment.wire.is_up("c", "a")
        return await segment.settle()

    assert run(story) == [("b", 1)]


def test_a_host_without_power_neither_sends_nor_receives() -> None:
    async def story(env: Env) -> list[tuple[str, int]]:
        segment = Segment(env)
        segment.send("a", "b", 1)  # in flight when the power goes
        segment.wire.power("b", on=False)
        segment.send("b", "a", 2)
        await segment.settle()
        segment.wire.power("b", on=True)
        segment.send("a", "b", 3)
        return await segment.settle()

    assert run(story) == [("b", 3)]
