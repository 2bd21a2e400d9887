"""Programs in namespaces talk by SCTP through kernels and the wire."""

from __future__ import annotations

from typing import Any

import pytest

from podwire.fabric.hardware import Fabric
from podwire.runtime.env import Env
from podwire.runtime.tasks import Nursery
from tests.unit.fabric.world import cluster, run


async def capitals(fabric: Fabric, port: int) -> None:
    """Answers each message in capitals until the peer shuts down."""
    listener = await fabric.owned_by("capitals").listen_sctp("node-2", "pod-2", "", port)
    while True:
        stream = await listener.accept()
        while message := await stream.recv():
            await stream.send(message.upper())
        await stream.close()


def test_messages_stay_apart_and_large_ones_whole() -> None:
    """Two messages are two, one larger than the MTU is one; a shutdown ends both sides."""

    async def story(env: Env) -> list[Any]:
        fabric = await cluster(env)
        async with Nursery() as nursery:
            nursery.start(capitals(fabric, 80), name="server")
            await env.clock.sleep(0.001)
            stream = await fabric.connect_sctp("node-1", "pod-1", "10.244.2.2", 80, timeout_s=1)
            for message in (b"hello", b"world", b"x" * 4000):
                await stream.send(message)
            answers = [await stream.recv() for _ in range(3)]
            await stream.close()
            rest = await stream.recv()
            await env.clock.sleep(1)
            left = [len(s.sctp.held) for s in fabric.sockets.spaces()]
            nursery.cancel()
        return [answers, rest, left]

    assert run(story) == [[b"HELLO", b"WORLD", b"X" * 4000], b"", [0, 0]]


def test_nobody_listening_is_answered_by_abort() -> None:
    """connect() is refused at once, on the own node too."""

    async def story(env: Env) -> float:
        fabric = await cluster(env)
        for node, netns in (("node-1", "pod-1"), ("node-2", "pod-2"), ("node-1", "")):
            with pytest.raises(ConnectionRefusedError):
                await fabric.connect_sctp(node, netns, "10.244.2.2", 81, timeout_s=5)
        return env.clock.monotonic_ns() / 1e9

    assert run(story) < 1


def test_init_is_repeated_until_linux_gives_up() -> None:
    """Nobody answers: nine INITs in 333 seconds, ETIMEDOUT; or after the time given."""

    async def story(env: Env) -> list[float]:
        fabric = await cluster(env)
        fabric.wire.set_link("node-1", "node-2", up=False)
        took = []
        for timeout_s in (1000, 5):
            begun = env.clock.monotonic_ns()
            with pytest.raises(TimeoutError):
                await fabric.connect_sctp("node-1", "pod-1", "10.244.2.2", 80, timeout_s)
            took.append((env.clock.monotonic_ns() - begun) / 1e9)
        return took

    assert run(story) == pytest.approx([333, 5])


def test_what_is_lost_is_sent_again() -> None:
    """A cut of five seconds delays a message, and a peer that is gone for good is noticed."""

    async def story(env: Env) -> list[Any]:
        fabric = await cluster(env)
        async with Nursery() as nursery:
            nursery.start(capitals(fabric, 80), name="server")
            await env.clock.sleep(0.001)
            stream = await fabric.connect_sctp("node-1", "pod-1", "10.244.2.2", 80, timeout_s=1)
            fabric.wire.set_link("node-1", "node-2", up=False)
            await stream.send(b"one")
            await stream.send(b"two")
            await env.clock.sleep(5)
            fabric.wire.set_link("node-1", "node-2", up=True)
            answers = [await stream.recv(), await stream.recv()]
            fabric.wire.set_link("node-1", "node-2", up=False)
            await stream.send(b"three")
            with pytest.raises(TimeoutError):
                await stream.recv()
            nursery.cancel()
        return answers

    assert run(story, horizon_s=3600) == [b"ONE", b"TWO"]


def test_an_exit_shuts_down_and_a_reset_aborts() -> None:
    """A process that ends says SHUTDOWN; one whose kubelet is lost, ABORT."""

    async def story(env: Env) -> bytes:
        fabric = await cluster(env)
        place = ("node-2", "pod-2", "", 80)
        ends = []
        for owner in ("exits", "lost"):
            listener = await fabric.owned_by(owner).listen_sctp(*place)
            stream = await fabric.connect_sctp("node-1", "pod-1", "10.244.2.2", 80, timeout_s=1)
            await listener.accept()
            ends.append(stream)
            (fabric.release if owner == "exits" else fabric.reset_owner)(owner)
        rest = await ends[0].recv()
        with pytest.raises(ConnectionResetError):
            await ends[1].recv()
        return rest

    assert run(story) == b""


def test_idle_ends_ask_whether_the_other_is_there() -> None:
    """A HEARTBEAT every half minute keeps conntrack's memory; eleven without answer end it."""

    async def story(env: Env) -> list[Any]:
        fabric = await cluster(env)
        listener = await fabric.listen_sctp("node-2", "pod-2", "", 80)
        stream = await fabric.connect_sctp("node-1", "pod-1", "10.244.2.2", 80, timeout_s=1)
        peer = await listener.accept()
        await env.clock.sleep(600)
        await stream.send(b"still there?")
        told = [await peer.recv()]
        began = env.clock.monotonic_ns()
        fabric.wire.set_link("node-1", "node-2", up=False)
        for end in (stream, peer):
            with pytest.raises(TimeoutError):
                await end.recv()
        return [*told, 690 < (env.clock.monotonic_ns() - began) / 1e9 < 760]

    assert run(story, horizon_s=3600) == [b"still there?", True]
